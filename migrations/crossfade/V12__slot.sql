-- The logical replication slot, and the publication of the same name, that tell the changes of a table; NULL: triggers do.
ALTER TABLE crossfade.captured ADD COLUMN slot text;

-- Changes that a slot of blue gave and that are not applied yet, on green. `captured` counts blue's captured tables.
CREATE TABLE crossfade.inbox (
    run         text        NOT NULL,
    transaction xid8        NOT NULL,
    captured    integer     NOT NULL,
    operation   "char"      NOT NULL,
    keys        text[],
    written_at  timestamptz NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 20000, autovacuum_vacuum_insert_scale_factor = 0,
        autovacuum_vacuum_insert_threshold = 1000000, autovacuum_analyze_scale_factor = 0, autovacuum_analyze_threshold = 200000);
CREATE INDEX inbox_transaction ON crossfade.inbox (run, transaction);

-- Up to where in blue's log everything is in the inbox. Moves in the transaction that fills it.
CREATE TABLE crossfade.inbox_position (
    run      text   PRIMARY KEY,
    position pg_lsn NOT NULL
);
