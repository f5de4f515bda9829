-- Definitions that a clone brings to green: written before the first of them, `done` in the transaction that brings it. `drop`
-- is the text that takes everything away again.
CREATE TABLE crossfade.clone_entry (
    run          text    NOT NULL,
    step         text    NOT NULL,
    number       integer NOT NULL,
    stage        text    NOT NULL,
    table_schema text,
    table_name   text,
    object       text    NOT NULL,
    statement    text    NOT NULL,
    done         boolean NOT NULL DEFAULT false,
    PRIMARY KEY (run, step, number)
);
