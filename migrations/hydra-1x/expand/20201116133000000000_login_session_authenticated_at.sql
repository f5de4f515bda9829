-- authenticated_at of hydra_oauth2_authentication_session may be NULL and has no default. ACCESS EXCLUSIVE on
-- it, the catalog only; a 1.0.0 server always names the column and gives it a value.
ALTER TABLE hydra_oauth2_authentication_session
    ALTER COLUMN authenticated_at DROP NOT NULL,
    ALTER COLUMN authenticated_at DROP DEFAULT;
