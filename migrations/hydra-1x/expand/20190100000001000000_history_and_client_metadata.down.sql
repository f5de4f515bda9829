-- Sets aside the metadata of hydra_client and the version history, then drops both. ACCESS EXCLUSIVE on
-- hydra_client, the catalog only. A 1.0.0 server writes neither, so nothing is lost between copy and drop.
CREATE SCHEMA IF NOT EXISTS crossfade;

CREATE TABLE IF NOT EXISTS crossfade.aside_schema_migration (version varchar(48) PRIMARY KEY, version_self integer);
INSERT INTO crossfade.aside_schema_migration (version, version_self)
    SELECT version, version_self FROM schema_migration
    ON CONFLICT (version) DO NOTHING;
DROP TABLE schema_migration;

CREATE TABLE IF NOT EXISTS crossfade.aside_hydra_client_metadata (id varchar(255) PRIMARY KEY, metadata text);
INSERT INTO crossfade.aside_hydra_client_metadata (id, metadata)
    SELECT id, metadata FROM hydra_client WHERE metadata <> '{}'
    ON CONFLICT (id) DO UPDATE SET metadata = excluded.metadata;
ALTER TABLE hydra_client DROP COLUMN IF EXISTS metadata;
