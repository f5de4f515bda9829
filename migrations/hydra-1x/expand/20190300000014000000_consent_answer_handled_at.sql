-- handled_at of hydra_oauth2_consent_request_handled, nullable. ACCESS EXCLUSIVE on it, the catalog only:
-- no scan and no rewrite; a 1.0.0 server leaves the column NULL.
ALTER TABLE hydra_oauth2_consent_request_handled ADD COLUMN IF NOT EXISTS handled_at timestamp;
