-- An index on challenge_id of each of the five token tables. SHARE UPDATE EXCLUSIVE on one table at a time:
-- tokens are issued, refreshed and revoked meanwhile; a build waits for older transactions, nobody waits for it.
-- crossfade: no-transaction
CREATE INDEX CONCURRENTLY IF NOT EXISTS hydra_oauth2_access_challenge_id_idx
    ON hydra_oauth2_access (challenge_id);
CREATE INDEX CONCURRENTLY IF NOT EXISTS hydra_oauth2_refresh_challenge_id_idx
    ON hydra_oauth2_refresh (challenge_id);
CREATE INDEX CONCURRENTLY IF NOT EXISTS hydra_oauth2_code_challenge_id_idx
    ON hydra_oauth2_code (challenge_id);
CREATE INDEX CONCURRENTLY IF NOT EXISTS hydra_oauth2_oidc_challenge_id_idx
    ON hydra_oauth2_oidc (challenge_id);
CREATE INDEX CONCURRENTLY IF NOT EXISTS hydra_oauth2_pkce_challenge_id_idx
    ON hydra_oauth2_pkce (challenge_id);
