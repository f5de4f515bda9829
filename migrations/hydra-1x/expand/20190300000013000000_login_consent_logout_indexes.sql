-- Five indexes on the login session and request, consent request and logout tables. SHARE UPDATE EXCLUSIVE on
-- each in turn: reads and writes go on; a build waits for older transactions, and nobody waits for it.
-- crossfade: no-transaction
CREATE INDEX CONCURRENTLY IF NOT EXISTS hydra_oauth2_authentication_session_sub_idx
    ON hydra_oauth2_authentication_session (subject);
CREATE INDEX CONCURRENTLY IF NOT EXISTS hydra_oauth2_authentication_request_login_session_id_idx
    ON hydra_oauth2_authentication_request (login_session_id);
CREATE INDEX CONCURRENTLY IF NOT EXISTS hydra_oauth2_consent_request_login_session_id_idx
    ON hydra_oauth2_consent_request (login_session_id);
CREATE INDEX CONCURRENTLY IF NOT EXISTS hydra_oauth2_consent_request_login_challenge_idx
    ON hydra_oauth2_consent_request (login_challenge);
CREATE INDEX CONCURRENTLY IF NOT EXISTS hydra_oauth2_logout_request_client_id_idx
    ON hydra_oauth2_logout_request (client_id);
