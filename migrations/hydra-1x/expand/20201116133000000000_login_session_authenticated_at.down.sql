-- authenticated_at of hydra_oauth2_authentication_session is required again; sessions whose login never ended
-- are listed aside and dated now, the default of 1.0.0. ACCESS EXCLUSIVE for the catalog only, in three separate
-- statements; the scan is under SHARE UPDATE EXCLUSIVE: reads and writes go on.
-- crossfade: no-transaction
CREATE SCHEMA IF NOT EXISTS crossfade;
CREATE TABLE IF NOT EXISTS crossfade.aside_hydra_oauth2_authentication_session_authenticated_at (
    id varchar(40) PRIMARY KEY,
    authenticated_at timestamp
);
ALTER TABLE hydra_oauth2_authentication_session
    DROP CONSTRAINT IF EXISTS hydra_oauth2_authentication_session_authenticated,
    ALTER COLUMN authenticated_at SET DEFAULT now(),
    ADD CONSTRAINT hydra_oauth2_authentication_session_authenticated
        CHECK (authenticated_at IS NOT NULL) NOT VALID;
WITH dated AS (
    UPDATE hydra_oauth2_authentication_session SET authenticated_at = now()
    WHERE authenticated_at IS NULL
    RETURNING id
)
INSERT INTO crossfade.aside_hydra_oauth2_authentication_session_authenticated_at (id, authenticated_at)
    SELECT id, NULL FROM dated
    ON CONFLICT (id) DO NOTHING;
ALTER TABLE hydra_oauth2_authentication_session
    VALIDATE CONSTRAINT hydra_oauth2_authentication_session_authenticated;
ALTER TABLE hydra_oauth2_authentication_session ALTER COLUMN authenticated_at SET NOT NULL;
ALTER TABLE hydra_oauth2_authentication_session
    DROP CONSTRAINT IF EXISTS hydra_oauth2_authentication_session_authenticated;
