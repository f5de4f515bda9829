-- Sets aside the rows of hydra_oauth2_trusted_jwt_bearer_issuer, then drops it. ACCESS EXCLUSIVE on it, unknown
-- to a 1.0.0 server, and (for the foreign key) on hydra_jwk, the catalog only.
CREATE SCHEMA IF NOT EXISTS crossfade;
CREATE TABLE IF NOT EXISTS crossfade.aside_hydra_oauth2_trusted_jwt_bearer_issuer (
    id uuid NOT NULL,
    issuer varchar(255),
    subject varchar(255),
    scope text,
    key_set varchar(255),
    key_id varchar(255),
    created_at timestamp,
    expires_at timestamp
);
INSERT INTO crossfade.aside_hydra_oauth2_trusted_jwt_bearer_issuer
        (id, issuer, subject, scope, key_set, key_id, created_at, expires_at)
    SELECT id, issuer, subject, scope, key_set, key_id, created_at, expires_at
    FROM hydra_oauth2_trusted_jwt_bearer_issuer;
DROP TABLE hydra_oauth2_trusted_jwt_bearer_issuer;
