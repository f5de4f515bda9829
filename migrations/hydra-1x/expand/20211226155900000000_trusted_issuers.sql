-- The new table hydra_oauth2_trusted_jwt_bearer_issuer and its index. Its foreign key takes SHARE ROW EXCLUSIVE
-- on hydra_jwk, the catalog only as the new table is empty: keys are read meanwhile, and seldom written.
CREATE TABLE IF NOT EXISTS hydra_oauth2_trusted_jwt_bearer_issuer (
    id uuid NOT NULL,
    issuer varchar(255) NOT NULL,
    subject varchar(255) NOT NULL,
    scope text NOT NULL,
    key_set varchar(255) NOT NULL,
    key_id varchar(255) NOT NULL,
    created_at timestamp NOT NULL DEFAULT now(),
    expires_at timestamp NOT NULL DEFAULT now(),
    CONSTRAINT hydra_oauth2_trusted_jwt_bearer_issuer_pkey PRIMARY KEY (id),
    CONSTRAINT hydra_oauth2_trusted_jwt_bearer_issue_issuer_subject_key_id_key UNIQUE (issuer, subject, key_id),
    CONSTRAINT hydra_oauth2_trusted_jwt_bearer_issuer_key_set_key_id_fkey FOREIGN KEY (key_set, key_id)
        REFERENCES hydra_jwk (sid, kid) ON DELETE CASCADE
);
CREATE INDEX IF NOT EXISTS hydra_oauth2_trusted_jwt_bearer_issuer_expires_at_idx
    ON hydra_oauth2_trusted_jwt_bearer_issuer (expires_at);
