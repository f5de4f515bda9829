-- Sets aside token_endpoint_auth_signing_alg of hydra_client, then drops it. The copy only reads; then ACCESS
-- EXCLUSIVE, the catalog only. A 1.0.0 server does not write it, so nothing is lost in between.
CREATE SCHEMA IF NOT EXISTS crossfade;
CREATE TABLE IF NOT EXISTS crossfade.aside_hydra_client_token_endpoint_auth_signing_alg (
    id varchar(255) PRIMARY KEY,
    token_endpoint_auth_signing_alg varchar(10)
);
INSERT INTO crossfade.aside_hydra_client_token_endpoint_auth_signing_alg (id, token_endpoint_auth_signing_alg)
    SELECT id, token_endpoint_auth_signing_alg FROM hydra_client WHERE token_endpoint_auth_signing_alg <> ''
    ON CONFLICT (id) DO UPDATE SET token_endpoint_auth_signing_alg = excluded.token_endpoint_auth_signing_alg;
ALTER TABLE hydra_client DROP COLUMN IF EXISTS token_endpoint_auth_signing_alg;
