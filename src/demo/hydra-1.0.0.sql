-- The PostgreSQL schema of Hydra 1.0.0 in an empty database, as its own migration tool leaves it:
-- tables, keys, indexes and the four lists of applied migrations. No data.

-- An OAuth client (application).
CREATE TABLE hydra_client (
    id varchar(255) NOT NULL,
    client_name text NOT NULL,
    client_secret text NOT NULL,
    redirect_uris text NOT NULL,
    grant_types text NOT NULL,
    response_types text NOT NULL,
    scope text NOT NULL,
    owner text NOT NULL,
    policy_uri text NOT NULL,
    tos_uri text NOT NULL,
    client_uri text NOT NULL,
    logo_uri text NOT NULL,
    contacts text NOT NULL,
    client_secret_expires_at integer NOT NULL DEFAULT 0,
    sector_identifier_uri text NOT NULL,
    jwks text NOT NULL,
    jwks_uri text NOT NULL,
    request_uris text NOT NULL,
    token_endpoint_auth_method varchar(25) NOT NULL DEFAULT '',
    request_object_signing_alg varchar(10) NOT NULL DEFAULT '',
    userinfo_signed_response_alg varchar(10) NOT NULL DEFAULT '',
    subject_type varchar(15) NOT NULL DEFAULT '',
    allowed_cors_origins text NOT NULL,
    pk serial NOT NULL,
    audience text NOT NULL,
    created_at timestamp NOT NULL DEFAULT now(),
    updated_at timestamp NOT NULL DEFAULT now(),
    frontchannel_logout_uri text NOT NULL DEFAULT '',
    frontchannel_logout_session_required boolean NOT NULL DEFAULT false,
    post_logout_redirect_uris text NOT NULL DEFAULT '',
    backchannel_logout_uri text NOT NULL DEFAULT '',
    backchannel_logout_session_required boolean NOT NULL DEFAULT false,
    CONSTRAINT hydra_client_pkey PRIMARY KEY (pk)
);
CREATE UNIQUE INDEX hydra_client_idx_id_uq
    ON hydra_client (id);

-- A signing key, by key set (sid) and key (kid).
CREATE TABLE hydra_jwk (
    sid varchar(255) NOT NULL,
    kid varchar(255) NOT NULL,
    version integer NOT NULL DEFAULT 0,
    keydata text NOT NULL,
    created_at timestamp NOT NULL DEFAULT now(),
    pk serial NOT NULL,
    CONSTRAINT hydra_jwk_pkey PRIMARY KEY (pk)
);
CREATE UNIQUE INDEX hydra_jwk_idx_id_uq
    ON hydra_jwk (sid, kid);

-- A login session (browser cookie).
CREATE TABLE hydra_oauth2_authentication_session (
    id varchar(40) NOT NULL,
    authenticated_at timestamp NOT NULL DEFAULT now(),
    subject varchar(255) NOT NULL,
    remember boolean NOT NULL DEFAULT false,
    CONSTRAINT hydra_oauth2_authentication_session_pkey PRIMARY KEY (id)
);

-- A login request: the start of an authorization.
CREATE TABLE hydra_oauth2_authentication_request (
    challenge varchar(40) NOT NULL,
    requested_scope text NOT NULL,
    verifier varchar(40) NOT NULL,
    csrf varchar(40) NOT NULL,
    subject varchar(255) NOT NULL,
    request_url text NOT NULL,
    skip boolean NOT NULL,
    client_id varchar(255) NOT NULL,
    requested_at timestamp NOT NULL DEFAULT now(),
    authenticated_at timestamp,
    oidc_context text NOT NULL,
    login_session_id varchar(40),
    requested_at_audience text DEFAULT '',
    CONSTRAINT hydra_oauth2_authentication_request_pkey PRIMARY KEY (challenge),
    CONSTRAINT hydra_oauth2_authentication_request_client_id_fk FOREIGN KEY (client_id)
        REFERENCES hydra_client (id) ON DELETE CASCADE,
    CONSTRAINT hydra_oauth2_authentication_request_login_session_id_fk FOREIGN KEY (login_session_id)
        REFERENCES hydra_oauth2_authentication_session (id) ON DELETE CASCADE
);
CREATE INDEX hydra_oauth2_authentication_request_cid_idx
    ON hydra_oauth2_authentication_request (client_id);
CREATE INDEX hydra_oauth2_authentication_request_sub_idx
    ON hydra_oauth2_authentication_request (subject);
CREATE UNIQUE INDEX hydra_oauth2_authentication_request_veri_idx
    ON hydra_oauth2_authentication_request (verifier);

-- The login app's answer; error '{}' means success.
CREATE TABLE hydra_oauth2_authentication_request_handled (
    challenge varchar(40) NOT NULL,
    subject varchar(255) NOT NULL,
    remember boolean NOT NULL,
    remember_for integer NOT NULL,
    error text NOT NULL,
    acr text NOT NULL,
    requested_at timestamp NOT NULL DEFAULT now(),
    authenticated_at timestamp,
    was_used boolean NOT NULL,
    forced_subject_identifier varchar(255) DEFAULT '',
    context text NOT NULL DEFAULT '{}',
    CONSTRAINT hydra_oauth2_authentication_request_handled_pkey PRIMARY KEY (challenge),
    CONSTRAINT hydra_oauth2_authentication_request_handled_challenge_fk FOREIGN KEY (challenge)
        REFERENCES hydra_oauth2_authentication_request (challenge) ON DELETE CASCADE
);

-- A consent request, with login_challenge back to its login.
CREATE TABLE hydra_oauth2_consent_request (
    challenge varchar(40) NOT NULL,
    verifier varchar(40) NOT NULL,
    client_id varchar(255) NOT NULL,
    subject varchar(255) NOT NULL,
    request_url text NOT NULL,
    skip boolean NOT NULL,
    requested_scope text NOT NULL,
    csrf varchar(40) NOT NULL,
    authenticated_at timestamp,
    requested_at timestamp NOT NULL DEFAULT now(),
    oidc_context text NOT NULL,
    forced_subject_identifier varchar(255) DEFAULT '',
    login_session_id varchar(40),
    login_challenge varchar(40),
    requested_at_audience text DEFAULT '',
    acr text DEFAULT '',
    context text NOT NULL DEFAULT '{}',
    CONSTRAINT hydra_oauth2_consent_request_pkey PRIMARY KEY (challenge),
    CONSTRAINT hydra_oauth2_consent_request_client_id_fk FOREIGN KEY (client_id)
        REFERENCES hydra_client (id) ON DELETE CASCADE,
    CONSTRAINT hydra_oauth2_consent_request_login_challenge_fk FOREIGN KEY (login_challenge)
        REFERENCES hydra_oauth2_authentication_request (challenge) ON DELETE SET NULL,
    CONSTRAINT hydra_oauth2_consent_request_login_session_id_fk FOREIGN KEY (login_session_id)
        REFERENCES hydra_oauth2_authentication_session (id) ON DELETE SET NULL
);
CREATE INDEX hydra_oauth2_consent_request_cid_idx
    ON hydra_oauth2_consent_request (client_id);
CREATE INDEX hydra_oauth2_consent_request_sub_idx
    ON hydra_oauth2_consent_request (subject);
CREATE UNIQUE INDEX hydra_oauth2_consent_request_veri_idx
    ON hydra_oauth2_consent_request (verifier);

-- The answer to a consent: the consent session; error '{}' means granted.
CREATE TABLE hydra_oauth2_consent_request_handled (
    challenge varchar(40) NOT NULL,
    granted_scope text NOT NULL,
    remember boolean NOT NULL,
    remember_for integer NOT NULL,
    error text NOT NULL,
    requested_at timestamp NOT NULL DEFAULT now(),
    session_access_token text NOT NULL,
    session_id_token text NOT NULL,
    authenticated_at timestamp,
    was_used boolean NOT NULL,
    granted_at_audience text DEFAULT '',
    CONSTRAINT hydra_oauth2_consent_request_handled_pkey PRIMARY KEY (challenge),
    CONSTRAINT hydra_oauth2_consent_request_handled_challenge_fk FOREIGN KEY (challenge)
        REFERENCES hydra_oauth2_consent_request (challenge) ON DELETE CASCADE
);

-- Access tokens; request_id is shared by all tokens of one authorization.
CREATE TABLE hydra_oauth2_access (
    signature varchar(255) NOT NULL,
    request_id varchar(40) NOT NULL,
    requested_at timestamp NOT NULL DEFAULT now(),
    client_id varchar(255) NOT NULL,
    scope text NOT NULL,
    granted_scope text NOT NULL,
    form_data text NOT NULL,
    session_data text NOT NULL,
    subject varchar(255) NOT NULL DEFAULT '',
    active boolean NOT NULL DEFAULT true,
    requested_audience text DEFAULT '',
    granted_audience text DEFAULT '',
    challenge_id varchar(40),
    CONSTRAINT hydra_oauth2_access_pkey PRIMARY KEY (signature),
    CONSTRAINT hydra_oauth2_access_challenge_id_fk FOREIGN KEY (challenge_id)
        REFERENCES hydra_oauth2_consent_request_handled (challenge) ON DELETE CASCADE,
    CONSTRAINT hydra_oauth2_access_client_id_fk FOREIGN KEY (client_id)
        REFERENCES hydra_client (id) ON DELETE CASCADE
);
CREATE INDEX hydra_oauth2_access_client_id_idx
    ON hydra_oauth2_access (client_id);
CREATE UNIQUE INDEX hydra_oauth2_access_request_id_idx
    ON hydra_oauth2_access (request_id);
CREATE INDEX hydra_oauth2_access_requested_at_idx
    ON hydra_oauth2_access (requested_at);

-- Authorization codes.
CREATE TABLE hydra_oauth2_code (
    signature varchar(255) NOT NULL,
    request_id varchar(40) NOT NULL,
    requested_at timestamp NOT NULL DEFAULT now(),
    client_id varchar(255) NOT NULL,
    scope text NOT NULL,
    granted_scope text NOT NULL,
    form_data text NOT NULL,
    session_data text NOT NULL,
    subject varchar(255) NOT NULL DEFAULT '',
    active boolean NOT NULL DEFAULT true,
    requested_audience text DEFAULT '',
    granted_audience text DEFAULT '',
    challenge_id varchar(40),
    CONSTRAINT hydra_oauth2_code_pkey PRIMARY KEY (signature),
    CONSTRAINT hydra_oauth2_code_challenge_id_fk FOREIGN KEY (challenge_id)
        REFERENCES hydra_oauth2_consent_request_handled (challenge) ON DELETE CASCADE,
    CONSTRAINT hydra_oauth2_code_client_id_fk FOREIGN KEY (client_id)
        REFERENCES hydra_client (id) ON DELETE CASCADE
);
CREATE INDEX hydra_oauth2_code_client_id_idx
    ON hydra_oauth2_code (client_id);

-- A logout in progress.
CREATE TABLE hydra_oauth2_logout_request (
    challenge varchar(36) NOT NULL,
    verifier varchar(36) NOT NULL,
    subject varchar(255) NOT NULL,
    sid varchar(36) NOT NULL,
    client_id varchar(255),
    request_url text NOT NULL,
    redir_url text NOT NULL,
    was_used boolean NOT NULL DEFAULT false,
    accepted boolean NOT NULL DEFAULT false,
    rejected boolean NOT NULL DEFAULT false,
    rp_initiated boolean NOT NULL DEFAULT false,
    CONSTRAINT hydra_oauth2_logout_request_pkey PRIMARY KEY (challenge),
    CONSTRAINT hydra_oauth2_logout_request_client_id_fk FOREIGN KEY (client_id)
        REFERENCES hydra_client (id) ON DELETE CASCADE
);
CREATE UNIQUE INDEX hydra_oauth2_logout_request_veri_idx
    ON hydra_oauth2_logout_request (verifier);

-- The pairwise subject of a client.
CREATE TABLE hydra_oauth2_obfuscated_authentication_session (
    subject varchar(255) NOT NULL,
    client_id varchar(255) NOT NULL,
    subject_obfuscated varchar(255) NOT NULL,
    CONSTRAINT hydra_oauth2_obfuscated_authentication_session_pkey PRIMARY KEY (subject, client_id),
    CONSTRAINT hydra_oauth2_obfuscated_authentication_session_client_id_fk FOREIGN KEY (client_id)
        REFERENCES hydra_client (id) ON DELETE CASCADE
);
CREATE UNIQUE INDEX hydra_oauth2_obfuscated_authentication_session_so_idx
    ON hydra_oauth2_obfuscated_authentication_session (client_id, subject_obfuscated);

-- OpenID Connect data of an authorization.
CREATE TABLE hydra_oauth2_oidc (
    signature varchar(255) NOT NULL,
    request_id varchar(40) NOT NULL,
    requested_at timestamp NOT NULL DEFAULT now(),
    client_id varchar(255) NOT NULL,
    scope text NOT NULL,
    granted_scope text NOT NULL,
    form_data text NOT NULL,
    session_data text NOT NULL,
    subject varchar(255) NOT NULL DEFAULT '',
    active boolean NOT NULL DEFAULT true,
    requested_audience text DEFAULT '',
    granted_audience text DEFAULT '',
    challenge_id varchar(40),
    CONSTRAINT hydra_oauth2_oidc_pkey PRIMARY KEY (signature),
    CONSTRAINT hydra_oauth2_oidc_challenge_id_fk FOREIGN KEY (challenge_id)
        REFERENCES hydra_oauth2_consent_request_handled (challenge) ON DELETE CASCADE,
    CONSTRAINT hydra_oauth2_oidc_client_id_fk FOREIGN KEY (client_id)
        REFERENCES hydra_client (id) ON DELETE CASCADE
);
CREATE INDEX hydra_oauth2_oidc_client_id_idx
    ON hydra_oauth2_oidc (client_id);

-- PKCE challenges.
CREATE TABLE hydra_oauth2_pkce (
    signature varchar(255) NOT NULL,
    request_id varchar(40) NOT NULL,
    requested_at timestamp NOT NULL DEFAULT now(),
    client_id varchar(255) NOT NULL,
    scope text NOT NULL,
    granted_scope text NOT NULL,
    form_data text NOT NULL,
    session_data text NOT NULL,
    subject varchar(255) NOT NULL,
    active boolean NOT NULL DEFAULT true,
    requested_audience text DEFAULT '',
    granted_audience text DEFAULT '',
    challenge_id varchar(40),
    CONSTRAINT hydra_oauth2_pkce_pkey PRIMARY KEY (signature),
    CONSTRAINT hydra_oauth2_pkce_challenge_id_fk FOREIGN KEY (challenge_id)
        REFERENCES hydra_oauth2_consent_request_handled (challenge) ON DELETE CASCADE,
    CONSTRAINT hydra_oauth2_pkce_client_id_fk FOREIGN KEY (client_id)
        REFERENCES hydra_client (id) ON DELETE CASCADE
);
CREATE INDEX hydra_oauth2_pkce_client_id_idx
    ON hydra_oauth2_pkce (client_id);

-- Refresh tokens.
CREATE TABLE hydra_oauth2_refresh (
    signature varchar(255) NOT NULL,
    request_id varchar(40) NOT NULL,
    requested_at timestamp NOT NULL DEFAULT now(),
    client_id varchar(255) NOT NULL,
    scope text NOT NULL,
    granted_scope text NOT NULL,
    form_data text NOT NULL,
    session_data text NOT NULL,
    subject varchar(255) NOT NULL DEFAULT '',
    active boolean NOT NULL DEFAULT true,
    requested_audience text DEFAULT '',
    granted_audience text DEFAULT '',
    challenge_id varchar(40),
    CONSTRAINT hydra_oauth2_refresh_pkey PRIMARY KEY (signature),
    CONSTRAINT hydra_oauth2_refresh_challenge_id_fk FOREIGN KEY (challenge_id)
        REFERENCES hydra_oauth2_consent_request_handled (challenge) ON DELETE CASCADE,
    CONSTRAINT hydra_oauth2_refresh_client_id_fk FOREIGN KEY (client_id)
        REFERENCES hydra_client (id) ON DELETE CASCADE
);
CREATE INDEX hydra_oauth2_refresh_client_id_idx
    ON hydra_oauth2_refresh (client_id);
CREATE UNIQUE INDEX hydra_oauth2_refresh_request_id_idx
    ON hydra_oauth2_refresh (request_id);

CREATE TABLE hydra_client_migration (
    id text NOT NULL,
    applied_at timestamptz,
    CONSTRAINT hydra_client_migration_pkey PRIMARY KEY (id)
);

CREATE TABLE hydra_jwk_migration (
    id text NOT NULL,
    applied_at timestamptz,
    CONSTRAINT hydra_jwk_migration_pkey PRIMARY KEY (id)
);

CREATE TABLE hydra_oauth2_authentication_consent_migration (
    id text NOT NULL,
    applied_at timestamptz,
    CONSTRAINT hydra_oauth2_authentication_consent_migration_pkey PRIMARY KEY (id)
);

CREATE TABLE hydra_oauth2_migration (
    id text NOT NULL,
    applied_at timestamptz,
    CONSTRAINT hydra_oauth2_migration_pkey PRIMARY KEY (id)
);

-- What 1.0.0 records as applied, one list per module.
INSERT INTO hydra_jwk_migration (id, applied_at)
    SELECT n::text, now() FROM generate_series(1, 4) AS n;
INSERT INTO hydra_client_migration (id, applied_at)
    SELECT n::text, now() FROM generate_series(1, 13) AS n;
INSERT INTO hydra_oauth2_authentication_consent_migration (id, applied_at)
    SELECT n::text, now() FROM generate_series(1, 12) AS n;
INSERT INTO hydra_oauth2_migration (id, applied_at)
    SELECT n::text, now() FROM generate_series(1, 9) AS n;
