-- Twelve token lifespans of hydra_client, nullable. ACCESS EXCLUSIVE on it, the catalog only: no scan and no
-- rewrite; a 1.0.0 server leaves them NULL.
ALTER TABLE hydra_client
    ADD COLUMN IF NOT EXISTS authorization_code_grant_access_token_lifespan bigint,
    ADD COLUMN IF NOT EXISTS authorization_code_grant_id_token_lifespan bigint,
    ADD COLUMN IF NOT EXISTS authorization_code_grant_refresh_token_lifespan bigint,
    ADD COLUMN IF NOT EXISTS client_credentials_grant_access_token_lifespan bigint,
    ADD COLUMN IF NOT EXISTS implicit_grant_access_token_lifespan bigint,
    ADD COLUMN IF NOT EXISTS implicit_grant_id_token_lifespan bigint,
    ADD COLUMN IF NOT EXISTS jwt_bearer_grant_access_token_lifespan bigint,
    ADD COLUMN IF NOT EXISTS password_grant_access_token_lifespan bigint,
    ADD COLUMN IF NOT EXISTS password_grant_refresh_token_lifespan bigint,
    ADD COLUMN IF NOT EXISTS refresh_token_grant_id_token_lifespan bigint,
    ADD COLUMN IF NOT EXISTS refresh_token_grant_access_token_lifespan bigint,
    ADD COLUMN IF NOT EXISTS refresh_token_grant_refresh_token_lifespan bigint;
