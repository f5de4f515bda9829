-- Drops the indexes again. SHARE UPDATE EXCLUSIVE on each table in turn: reads and writes go on.
-- crossfade: no-transaction
DROP INDEX CONCURRENTLY IF EXISTS hydra_oauth2_logout_request_client_id_idx;
DROP INDEX CONCURRENTLY IF EXISTS hydra_oauth2_consent_request_login_challenge_idx;
DROP INDEX CONCURRENTLY IF EXISTS hydra_oauth2_consent_request_login_session_id_idx;
DROP INDEX CONCURRENTLY IF EXISTS hydra_oauth2_authentication_request_login_session_id_idx;
DROP INDEX CONCURRENTLY IF EXISTS hydra_oauth2_authentication_session_sub_idx;
