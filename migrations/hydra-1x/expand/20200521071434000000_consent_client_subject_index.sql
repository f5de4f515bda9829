-- An index on (client_id, subject) of hydra_oauth2_consent_request. SHARE UPDATE EXCLUSIVE: reads and writes
-- go on; the build waits for older transactions, and nobody waits for it.
-- crossfade: no-transaction
CREATE INDEX CONCURRENTLY IF NOT EXISTS hydra_oauth2_consent_request_client_id_subject_idx
    ON hydra_oauth2_consent_request (client_id, subject);
