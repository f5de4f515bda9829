-- Drops the indexes again. SHARE UPDATE EXCLUSIVE on each table in turn: reads and writes go on.
-- crossfade: no-transaction
DROP INDEX CONCURRENTLY IF EXISTS hydra_oauth2_pkce_challenge_id_idx;
DROP INDEX CONCURRENTLY IF EXISTS hydra_oauth2_oidc_challenge_id_idx;
DROP INDEX CONCURRENTLY IF EXISTS hydra_oauth2_code_challenge_id_idx;
DROP INDEX CONCURRENTLY IF EXISTS hydra_oauth2_refresh_challenge_id_idx;
DROP INDEX CONCURRENTLY IF EXISTS hydra_oauth2_access_challenge_id_idx;
