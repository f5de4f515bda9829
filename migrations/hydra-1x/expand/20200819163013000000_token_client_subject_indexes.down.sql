-- Drops the indexes again. SHARE UPDATE EXCLUSIVE on each table in turn: reads and writes go on.
-- crossfade: no-transaction
DROP INDEX CONCURRENTLY IF EXISTS hydra_oauth2_refresh_client_id_subject_idx;
DROP INDEX CONCURRENTLY IF EXISTS hydra_oauth2_access_client_id_subject_idx;
