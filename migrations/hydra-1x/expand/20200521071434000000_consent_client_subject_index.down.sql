-- Drops the indexes again. SHARE UPDATE EXCLUSIVE on each table in turn: reads and writes go on.
-- crossfade: no-transaction
DROP INDEX CONCURRENTLY IF EXISTS hydra_oauth2_consent_request_client_id_subject_idx;
