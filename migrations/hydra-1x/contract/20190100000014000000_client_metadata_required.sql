-- hydra_client.metadata loses the default that served 1.0.0 servers; the four lists of migrations of 1.0 to 1.4
-- are set aside. ACCESS EXCLUSIVE, the catalog only: on lists that no running server reads, then on hydra_client.
CREATE SCHEMA IF NOT EXISTS crossfade;
ALTER TABLE IF EXISTS hydra_jwk_migration SET SCHEMA crossfade;
ALTER TABLE IF EXISTS hydra_client_migration SET SCHEMA crossfade;
ALTER TABLE IF EXISTS hydra_oauth2_authentication_consent_migration SET SCHEMA crossfade;
ALTER TABLE IF EXISTS hydra_oauth2_migration SET SCHEMA crossfade;

-- The full version, recorded with this file, takes the place of its stand-in.
DELETE FROM schema_migration WHERE version = '20190100000014';

-- Clients that 1.0.0 servers made since expand.
UPDATE hydra_client SET token_endpoint_auth_signing_alg = 'RS256'
    WHERE token_endpoint_auth_method = 'private_key_jwt' AND token_endpoint_auth_signing_alg = '';

ALTER TABLE hydra_client ALTER COLUMN metadata DROP DEFAULT;
