-- The route that several routers follow: which side serves, or nobody (hold), and the epoch that orders the changes.
CREATE TABLE crossfade.route (
    name        text        PRIMARY KEY,
    epoch       bigint      NOT NULL CHECK (epoch > 0),
    position    text        NOT NULL CHECK (position IN ('blue', 'green', 'hold')),
    side        text        NOT NULL CHECK (side IN ('blue', 'green')),
    deadline_ms bigint      NOT NULL,
    moved_at    timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- The routers that follow a route, the epoch each goes by, and what it still has in flight.
CREATE TABLE crossfade.route_instance (
    route    text        NOT NULL,
    instance text        NOT NULL,
    epoch    bigint      NOT NULL,
    blue     bigint      NOT NULL,
    green    bigint      NOT NULL,
    parked   bigint      NOT NULL,
    seen_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (route, instance)
);
