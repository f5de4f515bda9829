-- Sets aside amr of hydra_oauth2_consent_request, then drops it. The copy only reads; then
-- ACCESS EXCLUSIVE, the catalog only. A 1.0.0 server does not write it, so nothing is lost in between.
CREATE SCHEMA IF NOT EXISTS crossfade;
CREATE TABLE IF NOT EXISTS crossfade.aside_hydra_oauth2_consent_request_amr (
    challenge varchar(40) PRIMARY KEY,
    amr text
);
INSERT INTO crossfade.aside_hydra_oauth2_consent_request_amr (challenge, amr)
    SELECT challenge, amr FROM hydra_oauth2_consent_request WHERE amr <> ''
    ON CONFLICT (challenge) DO UPDATE SET amr = excluded.amr;
ALTER TABLE hydra_oauth2_consent_request DROP COLUMN IF EXISTS amr;
