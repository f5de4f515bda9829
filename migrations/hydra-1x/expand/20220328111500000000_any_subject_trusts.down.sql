-- Sets aside allow_any_subject of hydra_oauth2_trusted_jwt_bearer_issuer, then drops it. ACCESS EXCLUSIVE, the
-- catalog only, on a table that a 1.0.0 server does not know.
CREATE SCHEMA IF NOT EXISTS crossfade;
CREATE TABLE IF NOT EXISTS crossfade.aside_hydra_oauth2_trusted_jwt_bearer_issuer_allow_any_subject (
    id uuid PRIMARY KEY,
    allow_any_subject boolean
);
INSERT INTO crossfade.aside_hydra_oauth2_trusted_jwt_bearer_issuer_allow_any_subject (id, allow_any_subject)
    SELECT id, allow_any_subject FROM hydra_oauth2_trusted_jwt_bearer_issuer WHERE allow_any_subject
    ON CONFLICT (id) DO UPDATE SET allow_any_subject = excluded.allow_any_subject;
ALTER TABLE hydra_oauth2_trusted_jwt_bearer_issuer DROP COLUMN IF EXISTS allow_any_subject;
