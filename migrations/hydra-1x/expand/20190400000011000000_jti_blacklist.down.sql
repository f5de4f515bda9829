-- Sets aside the rows of hydra_oauth2_jti_blacklist, then drops it. ACCESS EXCLUSIVE on a table that a 1.0.0
-- server does not know.
CREATE SCHEMA IF NOT EXISTS crossfade;
CREATE TABLE IF NOT EXISTS crossfade.aside_hydra_oauth2_jti_blacklist (
    signature varchar(64) PRIMARY KEY,
    expires_at timestamp
);
INSERT INTO crossfade.aside_hydra_oauth2_jti_blacklist (signature, expires_at)
    SELECT signature, expires_at FROM hydra_oauth2_jti_blacklist
    ON CONFLICT (signature) DO UPDATE SET expires_at = excluded.expires_at;
DROP TABLE hydra_oauth2_jti_blacklist;
