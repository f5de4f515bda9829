-- Access that somebody took away on blue: never to be lost. On green, written before anything else of a batch. `transaction` is
-- blue's, 0 where the source knows none.
CREATE TABLE crossfade.revocation (
    seq          bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    run          text        NOT NULL,
    what         text        NOT NULL,
    id           text        NOT NULL,
    client       text,
    subject      text,
    transaction  xid8        NOT NULL DEFAULT '0',
    revoked_at   timestamptz NOT NULL,
    source       text        NOT NULL CHECK (source IN ('capture', 'tap')),
    captured_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    replayed_at  timestamptz,
    proved_at    timestamptz,
    UNIQUE (run, what, id, transaction)
);
CREATE INDEX revocation_to_replay ON crossfade.revocation (run, what, seq) WHERE replayed_at IS NULL;

-- The rules that revocations of a run are told by, on blue beside what is captured: whoever reads the outbox finds them.
CREATE TABLE crossfade.revocation_rules (
    run   text PRIMARY KEY,
    rules text NOT NULL
);
