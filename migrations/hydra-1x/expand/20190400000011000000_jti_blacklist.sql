-- The new table hydra_oauth2_jti_blacklist and its index. No lock on any table in use.
CREATE TABLE IF NOT EXISTS hydra_oauth2_jti_blacklist (
    signature varchar(64) NOT NULL,
    expires_at timestamp NOT NULL DEFAULT now(),
    CONSTRAINT hydra_oauth2_jti_blacklist_pkey PRIMARY KEY (signature)
);
CREATE INDEX IF NOT EXISTS hydra_oauth2_jti_blacklist_expiry ON hydra_oauth2_jti_blacklist (expires_at);
