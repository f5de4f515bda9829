-- A copy whose rows are being read: the snapshot of blue that all its parts come from, and what those who load go by. The row goes
-- when all rows are in, or when the copy is begun again or undone: whoever holds the snapshot ends then. `seen` tells it from one
-- of the same name after a restart; `planned`: each part is in copy_part or in copy_missing; `waits`: why the driver lets nobody
-- load now; `rate`: bytes per second of each session that loads; the snapshot is held `held_for` after the driver was last there.
CREATE TABLE crossfade.copy_snapshot (
    run       text        NOT NULL,
    step      text        NOT NULL,
    name      text        NOT NULL,
    seen      pg_snapshot NOT NULL,
    planned   boolean     NOT NULL DEFAULT false,
    settings  text        NOT NULL DEFAULT '',
    paused    boolean     NOT NULL DEFAULT false,
    waits     text,
    rate      bigint,
    driven_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    held_for  interval    NOT NULL,
    PRIMARY KEY (run, step)
);

-- Parts of a copy that are not in. Who loads one holds a lock on its row, and takes it away in the transaction of the part's rows.
CREATE TABLE crossfade.copy_missing (
    run        text    NOT NULL,
    step       text    NOT NULL,
    projection text    NOT NULL,
    source     text    NOT NULL,
    part       integer NOT NULL,
    bytes      bigint  NOT NULL,
    form       text    NOT NULL CHECK (form IN ('small', 'frozen', 'plain')),
    read       text    NOT NULL,
    write      text    NOT NULL,
    PRIMARY KEY (run, step, projection, source, part)
);
