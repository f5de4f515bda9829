-- Makes request_id of hydra_oauth2_access and _refresh unique again: sets aside used and revoked refresh tokens
-- (a 1.0.0 server has them deleted) and all but the newest token of a request. ROW EXCLUSIVE and those rows, the
-- indexes under SHARE UPDATE EXCLUSIVE: nobody waits. The plain_idx are there only after half of the way.
-- crossfade: no-transaction
DROP INDEX CONCURRENTLY IF EXISTS hydra_oauth2_pkce_request_id_idx;
DROP INDEX CONCURRENTLY IF EXISTS hydra_oauth2_oidc_request_id_idx;
DROP INDEX CONCURRENTLY IF EXISTS hydra_oauth2_code_request_id_idx;

CREATE SCHEMA IF NOT EXISTS crossfade;
CREATE TABLE IF NOT EXISTS crossfade.aside_hydra_oauth2_refresh (LIKE hydra_oauth2_refresh);
WITH gone AS (
    DELETE FROM hydra_oauth2_refresh AS old
    WHERE NOT old.active OR EXISTS (
        SELECT FROM hydra_oauth2_refresh AS new
        WHERE new.request_id = old.request_id
          AND new.active AND (new.requested_at, new.signature) > (old.requested_at, old.signature))
    RETURNING signature, request_id, requested_at, client_id, scope, granted_scope, form_data, session_data,
        subject, active, requested_audience, granted_audience, challenge_id
)
INSERT INTO crossfade.aside_hydra_oauth2_refresh (
        signature, request_id, requested_at, client_id, scope, granted_scope, form_data, session_data,
        subject, active, requested_audience, granted_audience, challenge_id)
    SELECT signature, request_id, requested_at, client_id, scope, granted_scope, form_data, session_data,
        subject, active, requested_audience, granted_audience, challenge_id FROM gone;
CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS hydra_oauth2_refresh_request_id_unique_idx
    ON hydra_oauth2_refresh (request_id);
DROP INDEX CONCURRENTLY IF EXISTS hydra_oauth2_refresh_request_id_idx;
ALTER INDEX IF EXISTS hydra_oauth2_refresh_request_id_unique_idx RENAME TO hydra_oauth2_refresh_request_id_idx;
DROP INDEX CONCURRENTLY IF EXISTS hydra_oauth2_refresh_request_id_plain_idx;

CREATE TABLE IF NOT EXISTS crossfade.aside_hydra_oauth2_access (LIKE hydra_oauth2_access);
WITH gone AS (
    DELETE FROM hydra_oauth2_access AS old
    WHERE EXISTS (
        SELECT FROM hydra_oauth2_access AS new
        WHERE new.request_id = old.request_id
          AND (new.requested_at, new.signature) > (old.requested_at, old.signature))
    RETURNING signature, request_id, requested_at, client_id, scope, granted_scope, form_data, session_data,
        subject, active, requested_audience, granted_audience, challenge_id
)
INSERT INTO crossfade.aside_hydra_oauth2_access (
        signature, request_id, requested_at, client_id, scope, granted_scope, form_data, session_data,
        subject, active, requested_audience, granted_audience, challenge_id)
    SELECT signature, request_id, requested_at, client_id, scope, granted_scope, form_data, session_data,
        subject, active, requested_audience, granted_audience, challenge_id FROM gone;
CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS hydra_oauth2_access_request_id_unique_idx
    ON hydra_oauth2_access (request_id);
DROP INDEX CONCURRENTLY IF EXISTS hydra_oauth2_access_request_id_idx;
ALTER INDEX IF EXISTS hydra_oauth2_access_request_id_unique_idx RENAME TO hydra_oauth2_access_request_id_idx;
DROP INDEX CONCURRENTLY IF EXISTS hydra_oauth2_access_request_id_plain_idx;
