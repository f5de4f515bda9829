-- request_id of hydra_oauth2_access and _refresh need no longer be unique; code, oidc and pkce get an index too.
-- SHARE UPDATE EXCLUSIVE on one table at a time: reads and writes go on, and at every moment an index on
-- request_id serves them. Nobody waits.
-- crossfade: no-transaction
CREATE INDEX CONCURRENTLY IF NOT EXISTS hydra_oauth2_access_request_id_plain_idx
    ON hydra_oauth2_access (request_id);
DROP INDEX CONCURRENTLY IF EXISTS hydra_oauth2_access_request_id_idx;
ALTER INDEX IF EXISTS hydra_oauth2_access_request_id_plain_idx RENAME TO hydra_oauth2_access_request_id_idx;

CREATE INDEX CONCURRENTLY IF NOT EXISTS hydra_oauth2_refresh_request_id_plain_idx
    ON hydra_oauth2_refresh (request_id);
DROP INDEX CONCURRENTLY IF EXISTS hydra_oauth2_refresh_request_id_idx;
ALTER INDEX IF EXISTS hydra_oauth2_refresh_request_id_plain_idx RENAME TO hydra_oauth2_refresh_request_id_idx;

CREATE INDEX CONCURRENTLY IF NOT EXISTS hydra_oauth2_code_request_id_idx
    ON hydra_oauth2_code (request_id);
CREATE INDEX CONCURRENTLY IF NOT EXISTS hydra_oauth2_oidc_request_id_idx
    ON hydra_oauth2_oidc (request_id);
CREATE INDEX CONCURRENTLY IF NOT EXISTS hydra_oauth2_pkce_request_id_idx
    ON hydra_oauth2_pkce (request_id);
