-- An index on (client_id, subject) of hydra_oauth2_access and hydra_oauth2_refresh. SHARE UPDATE EXCLUSIVE on
-- one at a time: reads and writes go on; a build waits for older transactions, and nobody waits for it.
-- crossfade: no-transaction
CREATE INDEX CONCURRENTLY IF NOT EXISTS hydra_oauth2_access_client_id_subject_idx
    ON hydra_oauth2_access (client_id, subject);
CREATE INDEX CONCURRENTLY IF NOT EXISTS hydra_oauth2_refresh_client_id_subject_idx
    ON hydra_oauth2_refresh (client_id, subject);
