-- Writes down RS256, so far implied, for the clients of hydra_client that sign with a key of their own. ROW
-- EXCLUSIVE, and only those few rows: tokens can be written for them meanwhile, as no key column changes.
UPDATE hydra_client SET token_endpoint_auth_signing_alg = 'RS256'
    WHERE token_endpoint_auth_method = 'private_key_jwt' AND token_endpoint_auth_signing_alg = '';
