-- Makes RS256 implied again in hydra_client. ROW EXCLUSIVE and the rows of a few clients; the values are set
-- aside first.
CREATE SCHEMA IF NOT EXISTS crossfade;
CREATE TABLE IF NOT EXISTS crossfade.aside_hydra_client_token_endpoint_auth_signing_alg (
    id varchar(255) PRIMARY KEY,
    token_endpoint_auth_signing_alg varchar(10)
);
WITH implied AS (
    UPDATE hydra_client SET token_endpoint_auth_signing_alg = ''
    WHERE token_endpoint_auth_method = 'private_key_jwt' AND token_endpoint_auth_signing_alg = 'RS256'
    RETURNING id
)
INSERT INTO crossfade.aside_hydra_client_token_endpoint_auth_signing_alg (id, token_endpoint_auth_signing_alg)
    SELECT id, 'RS256' FROM implied
    ON CONFLICT (id) DO UPDATE SET token_endpoint_auth_signing_alg = excluded.token_endpoint_auth_signing_alg;
