-- Codes, PKCE challenges, OpenID Connect data, access and refresh tokens, used assertion ids.
-- Last file: it also stands for the versions that touch tables of every area (nid, lists as jsonb).
--
-- crossfade: records 20190400000002000000 20190400000003000000 20190400000004000000 20190400000005000000 20190400000006000000
-- crossfade: records 20190400000007000000 20190400000008000000 20190400000009000000 20190400000010000000 20190400000011000000
-- crossfade: records 20200819163013000000 20200913192340000000 20201110104000000000 20220210000001000000 20220210000001000001
-- crossfade: records 20220210000001000002 20220210000001000003 20220210000001000004 20220210000001000005 20220210000001000006
-- crossfade: records 20220210000001000007 20220210000001000008 20220210000001000009 20220210000001000010 20220210000001000011
-- crossfade: records 20220210000001000012 20220210000001000013 20220210000001000014 20220210000001000015 20220210000001000016
-- crossfade: records 20220210000001000017 20220210000001000018 20220210000001000019 20220210000001000020 20220210000001000021
-- crossfade: records 20220210000001000022 20220210000001000023 20220210000001000024 20220210000001000025 20220210000001000026
-- crossfade: records 20220210000001000027 20220210000001000028 20220210000001000029 20220210000001000030 20220210000001000031
-- crossfade: records 20220210000001000032 20220210000001000033 20220210000001000034 20220210000001000035 20220210000001000036
-- crossfade: records 20220210000001000037 20220210000001000038 20220210000001000039 20220210000001000040 20220210000001000041
-- crossfade: records 20220210000001000042 20220210000001000043 20220210000001000044 20220210000001000045 20220210000001000046
-- crossfade: records 20220210000001000047 20220210000001000048 20220210000001000049 20220210000001000050 20220210000001000051
-- crossfade: records 20220210000001000052 20220210000001000053 20220210000001000054 20220210000001000055 20220210000001000056
-- crossfade: records 20220210000001000057 20220210000001000058 20220210000001000059 20220210000001000060 20220210000001000061
-- crossfade: records 20220210000001000062 20220210000001000063 20220210000001000064 20220210000001000065 20220210000001000066
-- crossfade: records 20220210000001000067 20220210000001000068 20220210000001000069 20220210000001000070 20220210000001000071
-- crossfade: records 20220210000001000072 20220210000001000073 20220210000001000074 20220210000001000075 20220210000001000076
-- crossfade: records 20220210000001000077 20220210000001000078 20220210000001000079 20220513000001000000 20220513000001000001
-- crossfade: records 20220513000001000002 20220513000001000003 20220513000001000004 20220513000001000005 20220513000001000006
-- crossfade: records 20220513000001000007 20220513000001000008 20220513000001000009 20220513000001000010 20221109000010000000
-- crossfade: records 20221109000010000001 20230512112801000001 20240403121110000001 20240612222110000001 20241012144910000001
-- crossfade: records 20241014121000000000 20241129111700000000

CREATE TABLE hydra_oauth2_code (
    signature          varchar(255) NOT NULL,
    request_id         varchar(40)  NOT NULL,
    requested_at       timestamp    NOT NULL DEFAULT now(),
    client_id          varchar(255) NOT NULL,
    scope              text         NOT NULL,
    granted_scope      text         NOT NULL,
    form_data          text         NOT NULL,
    session_data       text         NOT NULL,
    subject            varchar(255) NOT NULL DEFAULT '',
    active             boolean      NOT NULL DEFAULT true,
    requested_audience text         DEFAULT '',
    granted_audience   text         DEFAULT '',
    challenge_id       varchar(40),
    nid                uuid         NOT NULL,
    expires_at         timestamp,
    CONSTRAINT hydra_oauth2_code_pkey PRIMARY KEY (signature),
    CONSTRAINT hydra_oauth2_code_challenge_id_fk
        FOREIGN KEY (challenge_id) REFERENCES hydra_oauth2_flow (consent_challenge_id) ON DELETE CASCADE,
    CONSTRAINT hydra_oauth2_code_client_id_fk
        FOREIGN KEY (client_id, nid) REFERENCES hydra_client (id, nid) ON DELETE CASCADE,
    CONSTRAINT hydra_oauth2_code_nid_fk_idx
        FOREIGN KEY (nid) REFERENCES networks (id) ON UPDATE RESTRICT ON DELETE CASCADE
);
CREATE INDEX hydra_oauth2_code_challenge_id_idx
    ON hydra_oauth2_code (challenge_id, nid);
CREATE INDEX hydra_oauth2_code_client_id_idx
    ON hydra_oauth2_code (client_id, nid);

CREATE TABLE hydra_oauth2_pkce (
    signature          varchar(255) NOT NULL,
    request_id         varchar(40)  NOT NULL,
    requested_at       timestamp    NOT NULL DEFAULT now(),
    client_id          varchar(255) NOT NULL,
    scope              text         NOT NULL,
    granted_scope      text         NOT NULL,
    form_data          text         NOT NULL,
    session_data       text         NOT NULL,
    subject            varchar(255) NOT NULL,
    active             boolean      NOT NULL DEFAULT true,
    requested_audience text         DEFAULT '',
    granted_audience   text         DEFAULT '',
    challenge_id       varchar(40),
    nid                uuid         NOT NULL,
    expires_at         timestamp,
    CONSTRAINT hydra_oauth2_pkce_pkey PRIMARY KEY (signature),
    CONSTRAINT hydra_oauth2_pkce_challenge_id_fk
        FOREIGN KEY (challenge_id) REFERENCES hydra_oauth2_flow (consent_challenge_id) ON DELETE CASCADE,
    CONSTRAINT hydra_oauth2_pkce_client_id_fk
        FOREIGN KEY (client_id, nid) REFERENCES hydra_client (id, nid) ON DELETE CASCADE,
    CONSTRAINT hydra_oauth2_pkce_nid_fk_idx
        FOREIGN KEY (nid) REFERENCES networks (id) ON UPDATE RESTRICT ON DELETE CASCADE
);
CREATE INDEX hydra_oauth2_pkce_challenge_id_idx
    ON hydra_oauth2_pkce (challenge_id);
CREATE INDEX hydra_oauth2_pkce_client_id_idx
    ON hydra_oauth2_pkce (client_id, nid);

CREATE TABLE hydra_oauth2_oidc (
    signature          varchar(255) NOT NULL,
    request_id         varchar(40)  NOT NULL,
    requested_at       timestamp    NOT NULL DEFAULT now(),
    client_id          varchar(255) NOT NULL,
    scope              text         NOT NULL,
    granted_scope      text         NOT NULL,
    form_data          text         NOT NULL,
    session_data       text         NOT NULL,
    subject            varchar(255) NOT NULL DEFAULT '',
    active             boolean      NOT NULL DEFAULT true,
    requested_audience text         DEFAULT '',
    granted_audience   text         DEFAULT '',
    challenge_id       varchar(40),
    nid                uuid         NOT NULL,
    expires_at         timestamp,
    CONSTRAINT hydra_oauth2_oidc_pkey PRIMARY KEY (signature),
    CONSTRAINT hydra_oauth2_oidc_challenge_id_fk
        FOREIGN KEY (challenge_id) REFERENCES hydra_oauth2_flow (consent_challenge_id) ON DELETE CASCADE,
    CONSTRAINT hydra_oauth2_oidc_client_id_fk
        FOREIGN KEY (client_id, nid) REFERENCES hydra_client (id, nid) ON DELETE CASCADE,
    CONSTRAINT hydra_oauth2_oidc_nid_fk_idx
        FOREIGN KEY (nid) REFERENCES networks (id) ON UPDATE RESTRICT ON DELETE CASCADE
);
CREATE INDEX hydra_oauth2_oidc_challenge_id_idx
    ON hydra_oauth2_oidc (challenge_id);
CREATE INDEX hydra_oauth2_oidc_client_id_idx
    ON hydra_oauth2_oidc (client_id, nid);

CREATE TABLE hydra_oauth2_access (
    signature          varchar(255) NOT NULL,
    request_id         varchar(40)  NOT NULL,
    requested_at       timestamp    NOT NULL DEFAULT now(),
    client_id          varchar(255) NOT NULL,
    scope              text         NOT NULL,
    granted_scope      text         NOT NULL,
    form_data          text         NOT NULL,
    session_data       text         NOT NULL,
    subject            varchar(255) NOT NULL DEFAULT '',
    active             boolean      NOT NULL DEFAULT true,
    requested_audience text         DEFAULT '',
    granted_audience   text         DEFAULT '',
    challenge_id       varchar(40),
    nid                uuid         NOT NULL,
    expires_at         timestamp,
    CONSTRAINT hydra_oauth2_access_pkey PRIMARY KEY (signature),
    CONSTRAINT hydra_oauth2_access_challenge_id_fk
        FOREIGN KEY (challenge_id) REFERENCES hydra_oauth2_flow (consent_challenge_id) ON DELETE CASCADE,
    CONSTRAINT hydra_oauth2_access_client_id_fk
        FOREIGN KEY (client_id, nid) REFERENCES hydra_client (id, nid) ON DELETE CASCADE,
    CONSTRAINT hydra_oauth2_access_nid_fk_idx
        FOREIGN KEY (nid) REFERENCES networks (id) ON UPDATE RESTRICT ON DELETE CASCADE
);
CREATE INDEX hydra_oauth2_access_challenge_id_idx
    ON hydra_oauth2_access (challenge_id);
CREATE INDEX hydra_oauth2_access_client_id_idx
    ON hydra_oauth2_access (client_id, nid);
CREATE INDEX hydra_oauth2_access_request_id_idx
    ON hydra_oauth2_access (request_id, nid);
CREATE INDEX hydra_oauth2_access_requested_at_idx
    ON hydra_oauth2_access (requested_at, nid);

CREATE TABLE hydra_oauth2_refresh (
    signature              varchar(255) NOT NULL,
    request_id             varchar(40)  NOT NULL,
    requested_at           timestamp    NOT NULL DEFAULT now(),
    client_id              varchar(255) NOT NULL,
    scope                  text         NOT NULL,
    granted_scope          text         NOT NULL,
    form_data              text         NOT NULL,
    session_data           text         NOT NULL,
    subject                varchar(255) NOT NULL DEFAULT '',
    active                 boolean      NOT NULL DEFAULT true,
    requested_audience     text         DEFAULT '',
    granted_audience       text         DEFAULT '',
    challenge_id           varchar(40),
    nid                    uuid         NOT NULL,
    expires_at             timestamp,
    first_used_at          timestamp,
    access_token_signature varchar(255) DEFAULT NULL,
    CONSTRAINT hydra_oauth2_refresh_pkey PRIMARY KEY (signature),
    CONSTRAINT hydra_oauth2_refresh_challenge_id_fk
        FOREIGN KEY (challenge_id) REFERENCES hydra_oauth2_flow (consent_challenge_id) ON DELETE CASCADE,
    CONSTRAINT hydra_oauth2_refresh_client_id_fk
        FOREIGN KEY (client_id, nid) REFERENCES hydra_client (id, nid) ON DELETE CASCADE,
    CONSTRAINT hydra_oauth2_refresh_nid_fk_idx
        FOREIGN KEY (nid) REFERENCES networks (id) ON UPDATE RESTRICT ON DELETE CASCADE
);
CREATE INDEX hydra_oauth2_refresh_challenge_id_idx
    ON hydra_oauth2_refresh (challenge_id);
CREATE INDEX hydra_oauth2_refresh_client_id_idx
    ON hydra_oauth2_refresh (client_id, nid);
CREATE INDEX hydra_oauth2_refresh_request_id_idx
    ON hydra_oauth2_refresh (request_id);
CREATE INDEX hydra_oauth2_refresh_requested_at_idx
    ON hydra_oauth2_refresh (nid, requested_at);

CREATE TABLE hydra_oauth2_jti_blacklist (
    signature  varchar(64) NOT NULL,
    expires_at timestamp   NOT NULL DEFAULT now(),
    nid        uuid        NOT NULL,
    CONSTRAINT hydra_oauth2_jti_blacklist_pkey PRIMARY KEY (signature, nid),
    CONSTRAINT hydra_oauth2_jti_blacklist_nid_fk_idx
        FOREIGN KEY (nid) REFERENCES networks (id) ON UPDATE RESTRICT ON DELETE CASCADE
);
CREATE INDEX hydra_oauth2_jti_blacklist_expires_at_idx
    ON hydra_oauth2_jti_blacklist (expires_at, nid);
