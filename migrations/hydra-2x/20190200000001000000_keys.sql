-- Signing keys, and the issuers whose assertions are exchanged for tokens.
--
-- crossfade: records 20190200000002000000 20190200000003000000 20190200000004000000 20211011000001000000 20211011000002000000
-- crossfade: records 20211011000003000000 20211226155900000000 20220328111500000000 20240104181300000001

CREATE SEQUENCE hydra_jwk_pk_seq AS integer;
CREATE TABLE hydra_jwk (
    sid           varchar(255) NOT NULL,
    kid           varchar(255) NOT NULL,
    version       integer      NOT NULL DEFAULT 0,
    keydata       text         NOT NULL,
    created_at    timestamp    NOT NULL DEFAULT now(),
    pk_deprecated integer      NOT NULL DEFAULT nextval('hydra_jwk_pk_seq'),
    pk            uuid         NOT NULL,
    nid           uuid         NOT NULL,
    CONSTRAINT hydra_jwk_pkey PRIMARY KEY (pk),
    CONSTRAINT hydra_jwk_nid_fk_idx
        FOREIGN KEY (nid) REFERENCES networks (id) ON UPDATE RESTRICT ON DELETE CASCADE
);
CREATE INDEX hydra_jwk_nid_sid_created_at_idx
    ON hydra_jwk (nid, sid, created_at);
CREATE INDEX hydra_jwk_nid_sid_kid_created_at_idx
    ON hydra_jwk (nid, sid, kid, created_at);
CREATE UNIQUE INDEX hydra_jwk_sid_kid_nid_key
    ON hydra_jwk (sid, kid, nid);
ALTER SEQUENCE hydra_jwk_pk_seq OWNED BY hydra_jwk.pk_deprecated;

CREATE TABLE hydra_oauth2_trusted_jwt_bearer_issuer (
    id                uuid         NOT NULL,
    issuer            varchar(255) NOT NULL,
    subject           varchar(255) NOT NULL,
    scope             text         NOT NULL,
    key_set           varchar(255) NOT NULL,
    key_id            varchar(255) NOT NULL,
    created_at        timestamp    NOT NULL DEFAULT now(),
    expires_at        timestamp    NOT NULL DEFAULT now(),
    allow_any_subject boolean      NOT NULL DEFAULT false,
    nid               uuid         NOT NULL,
    CONSTRAINT hydra_oauth2_trusted_jwt_bearer_issuer_pkey PRIMARY KEY (id),
    CONSTRAINT hydra_oauth2_trusted_jwt_bearer_issue_issuer_subject_key_id_key UNIQUE (issuer, subject, key_id, nid),
    CONSTRAINT hydra_oauth2_trusted_jwt_bearer_issuer_key_set_fkey
        FOREIGN KEY (key_set, key_id, nid) REFERENCES hydra_jwk (sid, kid, nid) ON DELETE CASCADE,
    CONSTRAINT hydra_oauth2_trusted_jwt_bearer_issuer_nid_fk_idx
        FOREIGN KEY (nid) REFERENCES networks (id) ON UPDATE RESTRICT ON DELETE CASCADE
);
CREATE INDEX hydra_oauth2_trusted_jwt_bearer_issuer_expires_at_idx
    ON hydra_oauth2_trusted_jwt_bearer_issuer (expires_at);
CREATE INDEX hydra_oauth2_trusted_jwt_bearer_issuer_nid_idx
    ON hydra_oauth2_trusted_jwt_bearer_issuer (id, nid);
