-- Tenants, and the application's own record of applied versions.
-- Every other table carries nid, the id of the one row of networks made here.

CREATE TABLE IF NOT EXISTS schema_migration (
    version      varchar(48) NOT NULL,
    version_self integer     NOT NULL DEFAULT 0
);
CREATE UNIQUE INDEX IF NOT EXISTS schema_migration_version_idx
    ON schema_migration (version);
CREATE INDEX IF NOT EXISTS schema_migration_version_self_idx
    ON schema_migration (version_self);

CREATE TABLE networks (
    id         uuid      NOT NULL,
    created_at timestamp NOT NULL,
    updated_at timestamp NOT NULL,
    CONSTRAINT networks_pkey PRIMARY KEY (id)
);

INSERT INTO networks (id, created_at, updated_at)
VALUES (gen_random_uuid(), now() AT TIME ZONE 'UTC', now() AT TIME ZONE 'UTC');
