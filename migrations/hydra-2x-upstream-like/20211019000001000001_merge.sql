-- crossfade: irreversible: the four request tables go; green is a copy: drop it and begin again
-- Login request, its answer, consent request and its answer become one row of hydra_oauth2_flow. With the three defects
-- that every release from 2.0 on has (plans/audit/hydra-2x.toml says how each shows):
--   A  the state asks for an error that IS NOT NULL, and 1.x writes '{}' for none: all answered logins become refused
--   B  the subject is the login request's, which is empty unless the login was skipped
--   C  a consent whose login is gone gets no row, and its tokens lose their link
-- Lists stay text here; 20220513000001000005 and on turn them into jsonb.

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
    requested_scope               text         NOT NULL,
    requested_at_audience         text         DEFAULT '',
    amr                           text         DEFAULT '',
    granted_scope                 text,
    granted_at_audience           text         DEFAULT '',
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
    )
);

INSERT INTO hydra_oauth2_flow (
    login_challenge,
    login_verifier,
    login_csrf,
    subject,
    request_url,
    login_skip,
    client_id,
    requested_at,
    login_initialized_at,
    oidc_context,
    login_session_id,
    state,
    login_remember,
    login_remember_for,
    login_error,
    acr,
    login_authenticated_at,
    login_was_used,
    forced_subject_identifier,
    context,
    consent_challenge_id,
    consent_skip,
    consent_verifier,
    consent_csrf,
    consent_remember,
    consent_remember_for,
    consent_handled_at,
    consent_error,
    session_access_token,
    session_id_token,
    consent_was_used,
    requested_scope,
    requested_at_audience,
    amr,
    granted_scope,
    granted_at_audience
)
SELECT l.challenge,
       l.verifier,
       l.csrf,
       l.subject,
       l.request_url,
       l.skip,
       l.client_id,
       l.requested_at,
       l.authenticated_at,
       l.oidc_context::jsonb,
       l.login_session_id,
       CASE WHEN la.error IS NOT NULL THEN 128
            WHEN ca.error IS NOT NULL THEN 129
            WHEN ca.was_used THEN 6
            WHEN ca.challenge IS NOT NULL THEN 5
            WHEN c.challenge IS NOT NULL THEN 4
            WHEN la.was_used THEN 3
            WHEN la.challenge IS NOT NULL THEN 2
            ELSE 1 END,
       coalesce(la.remember, false),
       coalesce(la.remember_for, 0),
       la.error,
       coalesce(la.acr, ''),
       la.authenticated_at,
       coalesce(la.was_used, false),
       coalesce(c.forced_subject_identifier, la.forced_subject_identifier, ''),
       coalesce(la.context, '{}')::jsonb,
       c.challenge,
       coalesce(c.skip, false),
       c.verifier,
       c.csrf,
       coalesce(ca.remember, false),
       coalesce(ca.remember_for, 0),
       ca.handled_at,
       ca.error,
       coalesce(ca.session_access_token, '{}')::jsonb,
       coalesce(ca.session_id_token, '{}')::jsonb,
       coalesce(ca.was_used, false),
       l.requested_scope,
       coalesce(l.requested_at_audience, ''),
       coalesce(la.amr, ''),
       ca.granted_scope,
       coalesce(ca.granted_at_audience, '')
FROM hydra_oauth2_authentication_request AS l
LEFT JOIN hydra_oauth2_authentication_request_handled AS la ON la.challenge = l.challenge
LEFT JOIN hydra_oauth2_consent_request AS c ON c.login_challenge = l.challenge
LEFT JOIN hydra_oauth2_consent_request_handled AS ca ON ca.challenge = c.challenge;

CREATE INDEX hydra_oauth2_flow_client_id_subject_idx
    ON hydra_oauth2_flow (client_id, subject);
CREATE INDEX hydra_oauth2_flow_cid_idx
    ON hydra_oauth2_flow (client_id);
CREATE INDEX hydra_oauth2_flow_login_session_id_idx
    ON hydra_oauth2_flow (login_session_id);
CREATE INDEX hydra_oauth2_flow_sub_idx
    ON hydra_oauth2_flow (subject);
CREATE UNIQUE INDEX hydra_oauth2_flow_login_verifier_idx
    ON hydra_oauth2_flow (login_verifier);
CREATE UNIQUE INDEX hydra_oauth2_flow_consent_verifier_idx
    ON hydra_oauth2_flow (consent_verifier);
CREATE UNIQUE INDEX hydra_oauth2_flow_consent_challenge_idx
    ON hydra_oauth2_flow (consent_challenge_id);
ALTER TABLE hydra_oauth2_flow ADD CONSTRAINT hydra_oauth2_flow_pkey PRIMARY KEY (login_challenge);
ALTER TABLE hydra_oauth2_flow ADD CONSTRAINT hydra_oauth2_flow_client_id_fk
    FOREIGN KEY (client_id) REFERENCES hydra_client (id) ON DELETE CASCADE;
ALTER TABLE hydra_oauth2_flow ADD CONSTRAINT hydra_oauth2_flow_login_session_id_fk
    FOREIGN KEY (login_session_id) REFERENCES hydra_oauth2_authentication_session (id) ON DELETE CASCADE;

ALTER TABLE hydra_oauth2_code DROP CONSTRAINT hydra_oauth2_code_challenge_id_fk;
UPDATE hydra_oauth2_code AS t SET challenge_id = NULL
WHERE challenge_id IS NOT NULL AND NOT EXISTS (SELECT FROM hydra_oauth2_flow AS f WHERE f.consent_challenge_id = t.challenge_id);
ALTER TABLE hydra_oauth2_code ADD CONSTRAINT hydra_oauth2_code_challenge_id_fk
    FOREIGN KEY (challenge_id) REFERENCES hydra_oauth2_flow (consent_challenge_id) ON DELETE CASCADE;

ALTER TABLE hydra_oauth2_pkce DROP CONSTRAINT hydra_oauth2_pkce_challenge_id_fk;
UPDATE hydra_oauth2_pkce AS t SET challenge_id = NULL
WHERE challenge_id IS NOT NULL AND NOT EXISTS (SELECT FROM hydra_oauth2_flow AS f WHERE f.consent_challenge_id = t.challenge_id);
ALTER TABLE hydra_oauth2_pkce ADD CONSTRAINT hydra_oauth2_pkce_challenge_id_fk
    FOREIGN KEY (challenge_id) REFERENCES hydra_oauth2_flow (consent_challenge_id) ON DELETE CASCADE;

ALTER TABLE hydra_oauth2_oidc DROP CONSTRAINT hydra_oauth2_oidc_challenge_id_fk;
UPDATE hydra_oauth2_oidc AS t SET challenge_id = NULL
WHERE challenge_id IS NOT NULL AND NOT EXISTS (SELECT FROM hydra_oauth2_flow AS f WHERE f.consent_challenge_id = t.challenge_id);
ALTER TABLE hydra_oauth2_oidc ADD CONSTRAINT hydra_oauth2_oidc_challenge_id_fk
    FOREIGN KEY (challenge_id) REFERENCES hydra_oauth2_flow (consent_challenge_id) ON DELETE CASCADE;

ALTER TABLE hydra_oauth2_access DROP CONSTRAINT hydra_oauth2_access_challenge_id_fk;
UPDATE hydra_oauth2_access AS t SET challenge_id = NULL
WHERE challenge_id IS NOT NULL AND NOT EXISTS (SELECT FROM hydra_oauth2_flow AS f WHERE f.consent_challenge_id = t.challenge_id);
ALTER TABLE hydra_oauth2_access ADD CONSTRAINT hydra_oauth2_access_challenge_id_fk
    FOREIGN KEY (challenge_id) REFERENCES hydra_oauth2_flow (consent_challenge_id) ON DELETE CASCADE;

ALTER TABLE hydra_oauth2_refresh DROP CONSTRAINT hydra_oauth2_refresh_challenge_id_fk;
UPDATE hydra_oauth2_refresh AS t SET challenge_id = NULL
WHERE challenge_id IS NOT NULL AND NOT EXISTS (SELECT FROM hydra_oauth2_flow AS f WHERE f.consent_challenge_id = t.challenge_id);
ALTER TABLE hydra_oauth2_refresh ADD CONSTRAINT hydra_oauth2_refresh_challenge_id_fk
    FOREIGN KEY (challenge_id) REFERENCES hydra_oauth2_flow (consent_challenge_id) ON DELETE CASCADE;

DROP TABLE hydra_oauth2_consent_request_handled;
DROP TABLE hydra_oauth2_consent_request;
DROP TABLE hydra_oauth2_authentication_request_handled;
DROP TABLE hydra_oauth2_authentication_request;
