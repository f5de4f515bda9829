-- Sets aside the twelve token lifespans of hydra_client, then drops them. The copy only reads; then ACCESS
-- EXCLUSIVE, the catalog only. A 1.0.0 server does not write them, so nothing is lost in between.
CREATE SCHEMA IF NOT EXISTS crossfade;
CREATE TABLE IF NOT EXISTS crossfade.aside_hydra_client_lifespans (
    id varchar(255) NOT NULL,
    authorization_code_grant_access_token_lifespan bigint,
    authorization_code_grant_id_token_lifespan bigint,
    authorization_code_grant_refresh_token_lifespan bigint,
    client_credentials_grant_access_token_lifespan bigint,
    implicit_grant_access_token_lifespan bigint,
    implicit_grant_id_token_lifespan bigint,
    jwt_bearer_grant_access_token_lifespan bigint,
    password_grant_access_token_lifespan bigint,
    password_grant_refresh_token_lifespan bigint,
    refresh_token_grant_id_token_lifespan bigint,
    refresh_token_grant_access_token_lifespan bigint,
    refresh_token_grant_refresh_token_lifespan bigint
);
INSERT INTO crossfade.aside_hydra_client_lifespans (
    id,
    authorization_code_grant_access_token_lifespan,
    authorization_code_grant_id_token_lifespan,
    authorization_code_grant_refresh_token_lifespan,
    client_credentials_grant_access_token_lifespan,
    implicit_grant_access_token_lifespan,
    implicit_grant_id_token_lifespan,
    jwt_bearer_grant_access_token_lifespan,
    password_grant_access_token_lifespan,
    password_grant_refresh_token_lifespan,
    refresh_token_grant_id_token_lifespan,
    refresh_token_grant_access_token_lifespan,
    refresh_token_grant_refresh_token_lifespan
)
SELECT
    id,
    authorization_code_grant_access_token_lifespan,
    authorization_code_grant_id_token_lifespan,
    authorization_code_grant_refresh_token_lifespan,
    client_credentials_grant_access_token_lifespan,
    implicit_grant_access_token_lifespan,
    implicit_grant_id_token_lifespan,
    jwt_bearer_grant_access_token_lifespan,
    password_grant_access_token_lifespan,
    password_grant_refresh_token_lifespan,
    refresh_token_grant_id_token_lifespan,
    refresh_token_grant_access_token_lifespan,
    refresh_token_grant_refresh_token_lifespan
FROM hydra_client
WHERE num_nonnulls(
    authorization_code_grant_access_token_lifespan,
    authorization_code_grant_id_token_lifespan,
    authorization_code_grant_refresh_token_lifespan,
    client_credentials_grant_access_token_lifespan,
    implicit_grant_access_token_lifespan,
    implicit_grant_id_token_lifespan,
    jwt_bearer_grant_access_token_lifespan,
    password_grant_access_token_lifespan,
    password_grant_refresh_token_lifespan,
    refresh_token_grant_id_token_lifespan,
    refresh_token_grant_access_token_lifespan,
    refresh_token_grant_refresh_token_lifespan
) > 0;
ALTER TABLE hydra_client
    DROP COLUMN IF EXISTS authorization_code_grant_access_token_lifespan,
    DROP COLUMN IF EXISTS authorization_code_grant_id_token_lifespan,
    DROP COLUMN IF EXISTS authorization_code_grant_refresh_token_lifespan,
    DROP COLUMN IF EXISTS client_credentials_grant_access_token_lifespan,
    DROP COLUMN IF EXISTS implicit_grant_access_token_lifespan,
    DROP COLUMN IF EXISTS implicit_grant_id_token_lifespan,
    DROP COLUMN IF EXISTS jwt_bearer_grant_access_token_lifespan,
    DROP COLUMN IF EXISTS password_grant_access_token_lifespan,
    DROP COLUMN IF EXISTS password_grant_refresh_token_lifespan,
    DROP COLUMN IF EXISTS refresh_token_grant_id_token_lifespan,
    DROP COLUMN IF EXISTS refresh_token_grant_access_token_lifespan,
    DROP COLUMN IF EXISTS refresh_token_grant_refresh_token_lifespan;
