-- OAuth clients. pk_deprecated is the serial key of 1.x; the key is (id, nid).
-- The unique index comes before the primary key on the same columns: foreign keys to a client rest on it.
--
-- crossfade: records 20190100000002000000 20190100000003000000 20190100000004000000 20190100000005000000 20190100000006000000
-- crossfade: records 20190100000007000000 20190100000008000000 20190100000009000000 20190100000010000000 20190100000011000000
-- crossfade: records 20190100000012000000 20190100000013000000 20190100000014000000 20200527215731000000 20200527215732000000
-- crossfade: records 20210928175900000000 20211004110001000000 20211004110002000000 20211004110003000000 20211226156000000000
-- crossfade: records 20230220000000000000 20230228000010000001 20230908104443000000 20230908104443000001 20240129174410000001

CREATE SEQUENCE hydra_client_pk_seq AS integer;
CREATE TABLE hydra_client (
    id                                              varchar(255) NOT NULL,
    client_name                                     text         NOT NULL,
    client_secret                                   text         NOT NULL,
    scope                                           text         NOT NULL,
    owner                                           text         NOT NULL,
    policy_uri                                      text         NOT NULL,
    tos_uri                                         text         NOT NULL,
    client_uri                                      text         NOT NULL,
    logo_uri                                        text         NOT NULL,
    client_secret_expires_at                        integer      NOT NULL DEFAULT 0,
    sector_identifier_uri                           text         NOT NULL,
    jwks                                            text         NOT NULL,
    jwks_uri                                        text         NOT NULL,
    token_endpoint_auth_method                      varchar(25)  NOT NULL DEFAULT '',
    request_object_signing_alg                      varchar(10)  NOT NULL DEFAULT '',
    userinfo_signed_response_alg                    varchar(10)  NOT NULL DEFAULT '',
    subject_type                                    varchar(15)  NOT NULL DEFAULT '',
    pk_deprecated                                   integer      NOT NULL DEFAULT nextval('hydra_client_pk_seq'),
    created_at                                      timestamp    NOT NULL DEFAULT now(),
    updated_at                                      timestamp    NOT NULL DEFAULT now(),
    frontchannel_logout_uri                         text         NOT NULL DEFAULT '',
    frontchannel_logout_session_required            boolean      NOT NULL DEFAULT false,
    backchannel_logout_uri                          text         NOT NULL DEFAULT '',
    backchannel_logout_session_required             boolean      NOT NULL DEFAULT false,
    metadata                                        text         NOT NULL,
    token_endpoint_auth_signing_alg                 varchar(10)  NOT NULL DEFAULT '',
    authorization_code_grant_access_token_lifespan  bigint,
    authorization_code_grant_id_token_lifespan      bigint,
    authorization_code_grant_refresh_token_lifespan bigint,
    client_credentials_grant_access_token_lifespan  bigint,
    implicit_grant_access_token_lifespan            bigint,
    implicit_grant_id_token_lifespan                bigint,
    jwt_bearer_grant_access_token_lifespan          bigint,
    password_grant_access_token_lifespan            bigint,
    password_grant_refresh_token_lifespan           bigint,
    refresh_token_grant_id_token_lifespan           bigint,
    refresh_token_grant_access_token_lifespan       bigint,
    refresh_token_grant_refresh_token_lifespan      bigint,
    registration_access_token_signature             varchar(128) NOT NULL DEFAULT '',
    pk                                              uuid,
    nid                                             uuid         NOT NULL,
    redirect_uris                                   jsonb        NOT NULL,
    grant_types                                     jsonb        NOT NULL,
    response_types                                  jsonb        NOT NULL,
    audience                                        jsonb        NOT NULL,
    allowed_cors_origins                            jsonb        NOT NULL,
    contacts                                        jsonb        NOT NULL,
    request_uris                                    jsonb        NOT NULL,
    post_logout_redirect_uris                       jsonb        NOT NULL DEFAULT '[]',
    access_token_strategy                           varchar(10)  NOT NULL DEFAULT '',
    skip_consent                                    boolean      NOT NULL DEFAULT false,
    skip_logout_consent                             boolean,
    CONSTRAINT hydra_client_nid_fk_idx
        FOREIGN KEY (nid) REFERENCES networks (id) ON UPDATE RESTRICT ON DELETE CASCADE
);
CREATE UNIQUE INDEX hydra_client_idx_id_uq
    ON hydra_client (id, nid);
ALTER TABLE hydra_client ADD CONSTRAINT hydra_client_pkey PRIMARY KEY (id, nid);
ALTER SEQUENCE hydra_client_pk_seq OWNED BY hydra_client.pk_deprecated;
