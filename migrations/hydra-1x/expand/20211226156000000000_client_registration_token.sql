-- registration_access_token_signature of hydra_client. ACCESS EXCLUSIVE on it, the catalog only: the constant
-- default needs no scan and no rewrite, and serves the inserts of a 1.0.0 server.
ALTER TABLE hydra_client
    ADD COLUMN IF NOT EXISTS registration_access_token_signature varchar(128) NOT NULL DEFAULT '';
