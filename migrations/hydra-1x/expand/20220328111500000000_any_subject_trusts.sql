-- allow_any_subject of hydra_oauth2_trusted_jwt_bearer_issuer. ACCESS EXCLUSIVE on it, the catalog only: a
-- constant default, on a table that a 1.0.0 server does not know.
ALTER TABLE hydra_oauth2_trusted_jwt_bearer_issuer
    ADD COLUMN IF NOT EXISTS allow_any_subject boolean NOT NULL DEFAULT false;
