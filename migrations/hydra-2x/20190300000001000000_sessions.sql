-- Login sessions, flows (a login with its consent), logouts, pairwise subjects.
-- State of a flow: 1 login started, 2 answered, 3 used; 4 consent started, 5 answered, 6 used;
-- 128 login refused, 129 consent refused. The check says what each state must have filled.
--
-- crossfade: records 20190300000002000000 20190300000003000000 20190300000004000000 20190300000005000000 20190300000006000000
-- crossfade: records 20190300000007000000 20190300000008000000 20190300000009000000 20190300000010000000 20190300000011000000
-- crossfade: records 20190300000012000000 20190300000013000000 20190300000014000000 20200521071434000000 20201116133000000000
-- crossfade: records 20210928155900000000 20211019000001000000 20211019000001000001 20211019000001000002 20211019000001000003
-- crossfade: records 20211019000001000004 20211019000001000005 20211019000001000006 20211019000001000007 20211019000001000008
-- crossfade: records 20211019000001000009 20211019000001000010 20211019000001000011 20211019000001000012 20211019000001000013
-- crossfade: records 20211019000001000014 20211019000001000015 20211019000001000016 20211019000001000017 20211019000001000018
-- crossfade: records 20211019000001000019 20211019000001000020 20211019000001000021 20211019000001000022 20211019000001000023
-- crossfade: records 20211019000001000024 20211019000001000025 20211019000001000026 20211019000001000027 20211019000001000028
-- crossfade: records 20211019000001000029 20211019000001000030 20211019000001000031 20211019000001000032 20211019000001000033
-- crossfade: records 20211019000001000034 20211019000001000035 20211019000001000036 20211019000001000037 20211019000001000038
-- crossfade: records 20211019000001000039 20220916000010000000 20230313112801000001 20230606112801000001 20230809122501000001
-- crossfade: records 20240916105610000001

CREATE TABLE hydra_oauth2_authentication_session (
    id                           varchar(40)  NOT NULL,
    authenticated_at             timestamp,
    subject                      varchar(255) NOT NULL,
    remember                     boolean      NOT NULL DEFAULT false,
    nid                          uuid         NOT NULL,
    identity_provider_session_id varchar(40),
    CONSTRAINT hydra_oauth2_authentication_session_pkey PRIMARY KEY (id),
    CONSTRAINT hydra_oauth2_authentication_session_nid_fk_idx
        FOREIGN KEY (nid) REFERENCES networks (id) ON UPDATE RESTRICT ON DELETE CASCADE
);
CREATE INDEX hydra_oauth2_authentication_session_sub_idx
    ON hydra_oauth2_authentication_session (subject, nid);

CREATE TABLE hydra_oauth2_flow (
    login_challenge               varchar(40)  NOT NULL,
    login_verifier                varchar(40)  NOT NULL,
    login_csrf                    varchar(40)  NOT NULL,
    subject                       varchar(255) NOT NULL,
    request_url                   text         NOT NULL,
    login_skip                    boolean      NOT NULL,
    client_id                     varchar(255) NOT NULL,
    requested_at                  timestamp    NOT NULL DEFAULT now(),
    login_initialized_at          timestamp,
    oidc_context                  jsonb        NOT NULL DEFAULT '{}',
    login_session_id              varchar(40),
    state                         integer      NOT NULL,
    login_remember                boolean      NOT NULL DEFAULT false,
    login_remember_for            integer      NOT NULL,
    login_error                   text,
    acr                           text         NOT NULL DEFAULT '',
    login_authenticated_at        timestamp,
    login_was_used                boolean      NOT NULL DEFAULT false,
    forced_subject_identifier     varchar(255) NOT NULL DEFAULT '',
    context                       jsonb        NOT NULL DEFAULT '{}',
    consent_challenge_id          varchar(40),
    consent_skip                  boolean      NOT NULL DEFAULT false,
    consent_verifier              varchar(40),
    consent_csrf                  varchar(40),
    consent_remember              boolean      NOT NULL DEFAULT false,
    consent_remember_for          integer,
    consent_handled_at            timestamp,
    consent_error                 text,
    session_access_token          jsonb        NOT NULL DEFAULT '{}',
    session_id_token              jsonb        NOT NULL DEFAULT '{}',
    consent_was_used              boolean      NOT NULL DEFAULT false,
    nid                           uuid         NOT NULL,
    requested_scope               jsonb        NOT NULL,
    requested_at_audience         jsonb        DEFAULT '[]',
    amr                           jsonb        DEFAULT '[]',
    granted_scope                 jsonb,
    granted_at_audience           jsonb        DEFAULT '[]',
    login_extend_session_lifespan boolean      NOT NULL DEFAULT false,
    identity_provider_session_id  varchar(40),
    CONSTRAINT hydra_oauth2_flow_pkey PRIMARY KEY (login_challenge),
    CONSTRAINT hydra_oauth2_flow_check CHECK (
        state = 128 OR state = 129 OR state = 1
        OR (state = 2 AND (login_remember IS NOT NULL AND login_remember_for IS NOT NULL AND login_error IS NOT NULL
            AND acr IS NOT NULL AND login_was_used IS NOT NULL AND context IS NOT NULL
            AND amr IS NOT NULL))
        OR (state = 3 AND (login_remember IS NOT NULL AND login_remember_for IS NOT NULL AND login_error IS NOT NULL
            AND acr IS NOT NULL AND login_was_used IS NOT NULL AND context IS NOT NULL
            AND amr IS NOT NULL))
        OR (state = 4 AND (login_remember IS NOT NULL AND login_remember_for IS NOT NULL AND login_error IS NOT NULL
            AND acr IS NOT NULL AND login_was_used IS NOT NULL AND context IS NOT NULL
            AND amr IS NOT NULL
            AND consent_challenge_id IS NOT NULL AND consent_verifier IS NOT NULL
            AND consent_skip IS NOT NULL AND consent_csrf IS NOT NULL))
        OR (state = 5 AND (login_remember IS NOT NULL AND login_remember_for IS NOT NULL AND login_error IS NOT NULL
            AND acr IS NOT NULL AND login_was_used IS NOT NULL AND context IS NOT NULL
            AND amr IS NOT NULL
            AND consent_challenge_id IS NOT NULL AND consent_verifier IS NOT NULL
            AND consent_skip IS NOT NULL AND consent_csrf IS NOT NULL))
        OR (state = 6 AND (login_remember IS NOT NULL AND login_remember_for IS NOT NULL AND login_error IS NOT NULL
            AND acr IS NOT NULL AND login_was_used IS NOT NULL AND context IS NOT NULL
            AND amr IS NOT NULL
            AND consent_challenge_id IS NOT NULL AND consent_verifier IS NOT NULL
            AND consent_skip IS NOT NULL AND consent_csrf IS NOT NULL
            AND granted_scope IS NOT NULL AND consent_remember IS NOT NULL AND consent_remember_for IS NOT NULL
            AND consent_error IS NOT NULL AND session_access_token IS NOT NULL
            AND session_id_token IS NOT NULL AND consent_was_used IS NOT NULL))
    ),
    CONSTRAINT hydra_oauth2_flow_client_id_fk
        FOREIGN KEY (client_id, nid) REFERENCES hydra_client (id, nid) ON DELETE CASCADE,
    CONSTRAINT hydra_oauth2_flow_login_session_id_fk
        FOREIGN KEY (login_session_id) REFERENCES hydra_oauth2_authentication_session (id) ON DELETE SET NULL,
    CONSTRAINT hydra_oauth2_flow_nid_fk_idx
        FOREIGN KEY (nid) REFERENCES networks (id) ON UPDATE RESTRICT ON DELETE CASCADE
);
CREATE INDEX hydra_oauth2_flow_cid_idx
    ON hydra_oauth2_flow (client_id, nid);
CREATE INDEX hydra_oauth2_flow_client_id_subject_idx
    ON hydra_oauth2_flow (client_id, nid, subject);
CREATE UNIQUE INDEX hydra_oauth2_flow_consent_challenge_idx
    ON hydra_oauth2_flow (consent_challenge_id);
CREATE INDEX hydra_oauth2_flow_login_session_id_idx
    ON hydra_oauth2_flow (login_session_id, nid);
CREATE INDEX hydra_oauth2_flow_previous_consents_idx
    ON hydra_oauth2_flow (subject, client_id, nid, consent_skip, consent_error, consent_remember);
CREATE INDEX hydra_oauth2_flow_sub_idx
    ON hydra_oauth2_flow (subject, nid);

CREATE TABLE hydra_oauth2_logout_request (
    challenge    varchar(36)  NOT NULL,
    verifier     varchar(36)  NOT NULL,
    subject      varchar(255) NOT NULL,
    sid          varchar(36)  NOT NULL,
    client_id    varchar(255),
    request_url  text         NOT NULL,
    redir_url    text         NOT NULL,
    was_used     boolean      NOT NULL DEFAULT false,
    accepted     boolean      NOT NULL DEFAULT false,
    rejected     boolean      NOT NULL DEFAULT false,
    rp_initiated boolean      NOT NULL DEFAULT false,
    nid          uuid         NOT NULL,
    expires_at   timestamp,
    requested_at timestamp,
    CONSTRAINT hydra_oauth2_logout_request_pkey PRIMARY KEY (challenge),
    CONSTRAINT hydra_oauth2_logout_request_client_id_fk
        FOREIGN KEY (client_id, nid) REFERENCES hydra_client (id, nid) ON DELETE CASCADE,
    CONSTRAINT hydra_oauth2_logout_request_nid_fk_idx
        FOREIGN KEY (nid) REFERENCES networks (id) ON UPDATE RESTRICT ON DELETE CASCADE
);
CREATE INDEX hydra_oauth2_logout_request_client_id_idx
    ON hydra_oauth2_logout_request (client_id, nid);
CREATE UNIQUE INDEX hydra_oauth2_logout_request_veri_idx
    ON hydra_oauth2_logout_request (verifier);

CREATE TABLE hydra_oauth2_obfuscated_authentication_session (
    subject            varchar(255) NOT NULL,
    client_id          varchar(255) NOT NULL,
    subject_obfuscated varchar(255) NOT NULL,
    nid                uuid         NOT NULL,
    CONSTRAINT hydra_oauth2_obfuscated_authentication_session_pkey PRIMARY KEY (subject, client_id, nid),
    CONSTRAINT hydra_oauth2_obfuscated_authentication_session_client_id_fk
        FOREIGN KEY (client_id, nid) REFERENCES hydra_client (id, nid) ON DELETE CASCADE,
    CONSTRAINT hydra_oauth2_obfuscated_authentication_session_nid_fk_idx
        FOREIGN KEY (nid) REFERENCES networks (id) ON UPDATE RESTRICT ON DELETE CASCADE
);
CREATE UNIQUE INDEX hydra_oauth2_obfuscated_authentication_session_so_idx
    ON hydra_oauth2_obfuscated_authentication_session (client_id, subject_obfuscated, nid);
