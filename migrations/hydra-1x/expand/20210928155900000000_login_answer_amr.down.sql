-- Sets aside amr of hydra_oauth2_authentication_request_handled, then drops it. The copy only reads; then
-- ACCESS EXCLUSIVE, the catalog only. A 1.0.0 server does not write it, so nothing is lost in between.
CREATE SCHEMA IF NOT EXISTS crossfade;
CREATE TABLE IF NOT EXISTS crossfade.aside_hydra_oauth2_authentication_request_handled_amr (
    challenge varchar(40) PRIMARY KEY,
    amr text
);
INSERT INTO crossfade.aside_hydra_oauth2_authentication_request_handled_amr (challenge, amr)
    SELECT challenge, amr FROM hydra_oauth2_authentication_request_handled WHERE amr <> ''
    ON CONFLICT (challenge) DO UPDATE SET amr = excluded.amr;
ALTER TABLE hydra_oauth2_authentication_request_handled DROP COLUMN IF EXISTS amr;
