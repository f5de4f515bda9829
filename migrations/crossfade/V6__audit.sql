-- Blue's facts, for an audit of green when blue is gone.
CREATE TABLE crossfade.audit_fact (
    facts  text    NOT NULL,
    key    text    COLLATE "C" NOT NULL,
    state  text,
    valid  boolean NOT NULL,
    fields jsonb   NOT NULL
);
CREATE INDEX audit_fact_key ON crossfade.audit_fact (facts, key);

-- What was saved: under which declaration, and when blue was read.
CREATE TABLE crossfade.audit_saved (
    facts       text   PRIMARY KEY,
    fingerprint text   NOT NULL,
    rows        bigint NOT NULL,
    read_at     text   NOT NULL
);

-- Rows that a repair made: `written` is the text of the row as it was made. An undo leaves rows alone that someone changed
-- since, and what was made once and is gone since (somebody revoked it) is not made again.
CREATE TABLE crossfade.repair_made (
    id         bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    run        text        NOT NULL,
    step       text        NOT NULL,
    table_name text        NOT NULL,
    row_key    jsonb       NOT NULL,
    written    text        NOT NULL,
    made_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    unmade_at  timestamptz
);
CREATE INDEX repair_made_key ON crossfade.repair_made (table_name, row_key);
CREATE INDEX repair_made_run_step ON crossfade.repair_made (run, step, id);
