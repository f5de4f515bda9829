-- What a watch step measured, for a later one to compare with.
CREATE TABLE crossfade.baseline (
    run      text        NOT NULL,
    step     text        NOT NULL,
    measured jsonb       NOT NULL,
    taken_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (run, step)
);
