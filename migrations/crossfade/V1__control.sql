-- crossfade's own tables in a database it changes. Owned by crossfade, schema `crossfade`, never read by the application.

-- Effects that the catalog cannot show: written in the same transaction as the effect.
CREATE TABLE crossfade.step_marker (
    run      text        NOT NULL,
    step     text        NOT NULL,
    unit     text        NOT NULL,
    done_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (run, step, unit)
);

-- Which statements of a migration file are done, for files that are more than one transaction.
CREATE TABLE crossfade.migration_unit (
    history      text        NOT NULL,
    version      text        NOT NULL,
    unit         integer     NOT NULL,
    fingerprint  text        NOT NULL,
    done_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (history, version, unit)
);

-- How far a backfill or a cleanup has come: the last key it finished.
CREATE TABLE crossfade.batch_progress (
    run       text        NOT NULL,
    step      text        NOT NULL,
    last_key  jsonb,
    rows_done bigint      NOT NULL DEFAULT 0,
    complete  boolean     NOT NULL DEFAULT false,
    moved_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (run, step)
);

-- Parts of a copy: written in the same green transaction as the part's rows.
CREATE TABLE crossfade.copy_part (
    run         text        NOT NULL,
    step        text        NOT NULL,
    projection  text        NOT NULL,
    source      text        NOT NULL,
    part        integer     NOT NULL,
    rows        bigint      NOT NULL,
    bytes       bigint      NOT NULL,
    done_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (run, step, projection, source, part)
);

-- Rows that crossfade removed or changed, whole, as they were. `written` is the text of the record of changed columns as
-- crossfade wrote them, NULL for a removed row: an undo leaves rows alone that someone changed since.
CREATE TABLE crossfade.quarantine (
    id           bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    run          text        NOT NULL,
    step         text        NOT NULL,
    table_name   text        NOT NULL,
    reason       text        NOT NULL,
    row_key      jsonb       NOT NULL,
    row_data     jsonb,
    row_text     text        NOT NULL,
    written      text,
    set_aside_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    restored_at  timestamptz
);
CREATE INDEX quarantine_run_step ON crossfade.quarantine (run, step, id);

-- Keys for which a projection and its table differ.
CREATE TABLE crossfade.divergence (
    run        text        NOT NULL,
    step       text        NOT NULL,
    table_name text        NOT NULL,
    row_key    jsonb       NOT NULL,
    kind       text        NOT NULL CHECK (kind IN ('missing', 'extra', 'different')),
    found_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (run, step, table_name, row_key)
);

-- Which keys changed on blue, written by the changing transaction.
CREATE TABLE crossfade.outbox (
    id          bigint  GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    transaction xid8    NOT NULL DEFAULT pg_current_xact_id(),
    table_name  text    NOT NULL,
    operation   "char"  NOT NULL,
    keys        jsonb   NOT NULL
);

-- The blue snapshot that green equals.
CREATE TABLE crossfade.watermark (
    run      text        PRIMARY KEY,
    snapshot pg_snapshot NOT NULL,
    moved_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
