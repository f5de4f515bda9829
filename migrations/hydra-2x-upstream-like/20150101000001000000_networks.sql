-- Tenants: one row, whose id every other table gets as nid.

CREATE TABLE networks (
    id         uuid      NOT NULL,
    created_at timestamp NOT NULL,
    updated_at timestamp NOT NULL,
    CONSTRAINT networks_pkey PRIMARY KEY (id)
);
INSERT INTO networks (id, created_at, updated_at)
VALUES (gen_random_uuid(), now() AT TIME ZONE 'UTC', now() AT TIME ZONE 'UTC');
