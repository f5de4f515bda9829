-- Sets aside registration_access_token_signature of hydra_client, then drops it. The copy only reads; then
-- ACCESS EXCLUSIVE, the catalog only. A 1.0.0 server does not write it, so nothing is lost in between.
CREATE SCHEMA IF NOT EXISTS crossfade;
CREATE TABLE IF NOT EXISTS crossfade.aside_hydra_client_registration_access_token_signature (
    id varchar(255) PRIMARY KEY,
    registration_access_token_signature varchar(128)
);
INSERT INTO crossfade.aside_hydra_client_registration_access_token_signature (id, registration_access_token_signature)
    SELECT id, registration_access_token_signature FROM hydra_client WHERE registration_access_token_signature <> ''
    ON CONFLICT (id) DO UPDATE SET registration_access_token_signature = excluded.registration_access_token_signature;
ALTER TABLE hydra_client DROP COLUMN IF EXISTS registration_access_token_signature;
