-- Sets aside handled_at of hydra_oauth2_consent_request_handled, then drops it. The copy only reads; then
-- ACCESS EXCLUSIVE, the catalog only. A 1.0.0 server does not write it, so nothing is lost in between.
CREATE SCHEMA IF NOT EXISTS crossfade;
CREATE TABLE IF NOT EXISTS crossfade.aside_hydra_oauth2_consent_request_handled_handled_at (
    challenge varchar(40) PRIMARY KEY,
    handled_at timestamp
);
INSERT INTO crossfade.aside_hydra_oauth2_consent_request_handled_handled_at (challenge, handled_at)
    SELECT challenge, handled_at FROM hydra_oauth2_consent_request_handled WHERE handled_at IS NOT NULL
    ON CONFLICT (challenge) DO UPDATE SET handled_at = excluded.handled_at;
ALTER TABLE hydra_oauth2_consent_request_handled DROP COLUMN IF EXISTS handled_at;
