-- crossfade: irreversible: rows get a tenant; green is a copy: drop it and begin again
-- Every table gets nid, the id of the one network.

ALTER TABLE hydra_oauth2_code DROP CONSTRAINT hydra_oauth2_code_client_id_fk;
ALTER TABLE hydra_oauth2_pkce DROP CONSTRAINT hydra_oauth2_pkce_client_id_fk;
ALTER TABLE hydra_oauth2_oidc DROP CONSTRAINT hydra_oauth2_oidc_client_id_fk;
ALTER TABLE hydra_oauth2_access DROP CONSTRAINT hydra_oauth2_access_client_id_fk;
ALTER TABLE hydra_oauth2_refresh DROP CONSTRAINT hydra_oauth2_refresh_client_id_fk;
ALTER TABLE hydra_oauth2_flow DROP CONSTRAINT hydra_oauth2_flow_client_id_fk;
ALTER TABLE hydra_oauth2_logout_request DROP CONSTRAINT hydra_oauth2_logout_request_client_id_fk;
ALTER TABLE hydra_oauth2_obfuscated_authentication_session DROP CONSTRAINT hydra_oauth2_obfuscated_authentication_session_client_id_fk;
ALTER TABLE hydra_oauth2_trusted_jwt_bearer_issuer DROP CONSTRAINT hydra_oauth2_trusted_jwt_bearer_issuer_key_set_key_id_fkey;
DROP INDEX hydra_client_idx_id_uq;
DROP INDEX hydra_jwk_idx_id_uq;

ALTER TABLE hydra_client ADD COLUMN nid uuid;
UPDATE hydra_client SET nid = (SELECT id FROM networks);
ALTER TABLE hydra_client ALTER COLUMN nid SET NOT NULL;
ALTER TABLE hydra_client ADD CONSTRAINT hydra_client_nid_fk_idx
    FOREIGN KEY (nid) REFERENCES networks (id) ON UPDATE RESTRICT ON DELETE CASCADE;

ALTER TABLE hydra_jwk ADD COLUMN nid uuid;
UPDATE hydra_jwk SET nid = (SELECT id FROM networks);
ALTER TABLE hydra_jwk ALTER COLUMN nid SET NOT NULL;
ALTER TABLE hydra_jwk ADD CONSTRAINT hydra_jwk_nid_fk_idx
    FOREIGN KEY (nid) REFERENCES networks (id) ON UPDATE RESTRICT ON DELETE CASCADE;

ALTER TABLE hydra_oauth2_trusted_jwt_bearer_issuer ADD COLUMN nid uuid;
UPDATE hydra_oauth2_trusted_jwt_bearer_issuer SET nid = (SELECT id FROM networks);
ALTER TABLE hydra_oauth2_trusted_jwt_bearer_issuer ALTER COLUMN nid SET NOT NULL;
ALTER TABLE hydra_oauth2_trusted_jwt_bearer_issuer ADD CONSTRAINT hydra_oauth2_trusted_jwt_bearer_issuer_nid_fk_idx
    FOREIGN KEY (nid) REFERENCES networks (id) ON UPDATE RESTRICT ON DELETE CASCADE;

ALTER TABLE hydra_oauth2_authentication_session ADD COLUMN nid uuid;
UPDATE hydra_oauth2_authentication_session SET nid = (SELECT id FROM networks);
ALTER TABLE hydra_oauth2_authentication_session ALTER COLUMN nid SET NOT NULL;
ALTER TABLE hydra_oauth2_authentication_session ADD CONSTRAINT hydra_oauth2_authentication_session_nid_fk_idx
    FOREIGN KEY (nid) REFERENCES networks (id) ON UPDATE RESTRICT ON DELETE CASCADE;

ALTER TABLE hydra_oauth2_flow ADD COLUMN nid uuid;
UPDATE hydra_oauth2_flow SET nid = (SELECT id FROM networks);
ALTER TABLE hydra_oauth2_flow ALTER COLUMN nid SET NOT NULL;
ALTER TABLE hydra_oauth2_flow ADD CONSTRAINT hydra_oauth2_flow_nid_fk_idx
    FOREIGN KEY (nid) REFERENCES networks (id) ON UPDATE RESTRICT ON DELETE CASCADE;

ALTER TABLE hydra_oauth2_logout_request ADD COLUMN nid uuid;
UPDATE hydra_oauth2_logout_request SET nid = (SELECT id FROM networks);
ALTER TABLE hydra_oauth2_logout_request ALTER COLUMN nid SET NOT NULL;
ALTER TABLE hydra_oauth2_logout_request ADD CONSTRAINT hydra_oauth2_logout_request_nid_fk_idx
    FOREIGN KEY (nid) REFERENCES networks (id) ON UPDATE RESTRICT ON DELETE CASCADE;

ALTER TABLE hydra_oauth2_obfuscated_authentication_session ADD COLUMN nid uuid;
UPDATE hydra_oauth2_obfuscated_authentication_session SET nid = (SELECT id FROM networks);
ALTER TABLE hydra_oauth2_obfuscated_authentication_session ALTER COLUMN nid SET NOT NULL;
ALTER TABLE hydra_oauth2_obfuscated_authentication_session ADD CONSTRAINT hydra_oauth2_obfuscated_authentication_session_nid_fk_idx
    FOREIGN KEY (nid) REFERENCES networks (id) ON UPDATE RESTRICT ON DELETE CASCADE;

ALTER TABLE hydra_oauth2_jti_blacklist ADD COLUMN nid uuid;
UPDATE hydra_oauth2_jti_blacklist SET nid = (SELECT id FROM networks);
ALTER TABLE hydra_oauth2_jti_blacklist ALTER COLUMN nid SET NOT NULL;
ALTER TABLE hydra_oauth2_jti_blacklist ADD CONSTRAINT hydra_oauth2_jti_blacklist_nid_fk_idx
    FOREIGN KEY (nid) REFERENCES networks (id) ON UPDATE RESTRICT ON DELETE CASCADE;

ALTER TABLE hydra_oauth2_code ADD COLUMN nid uuid;
UPDATE hydra_oauth2_code SET nid = (SELECT id FROM networks);
ALTER TABLE hydra_oauth2_code ALTER COLUMN nid SET NOT NULL;
ALTER TABLE hydra_oauth2_code ADD CONSTRAINT hydra_oauth2_code_nid_fk_idx
    FOREIGN KEY (nid) REFERENCES networks (id) ON UPDATE RESTRICT ON DELETE CASCADE;

ALTER TABLE hydra_oauth2_pkce ADD COLUMN nid uuid;
UPDATE hydra_oauth2_pkce SET nid = (SELECT id FROM networks);
ALTER TABLE hydra_oauth2_pkce ALTER COLUMN nid SET NOT NULL;
ALTER TABLE hydra_oauth2_pkce ADD CONSTRAINT hydra_oauth2_pkce_nid_fk_idx
    FOREIGN KEY (nid) REFERENCES networks (id) ON UPDATE RESTRICT ON DELETE CASCADE;

ALTER TABLE hydra_oauth2_oidc ADD COLUMN nid uuid;
UPDATE hydra_oauth2_oidc SET nid = (SELECT id FROM networks);
ALTER TABLE hydra_oauth2_oidc ALTER COLUMN nid SET NOT NULL;
ALTER TABLE hydra_oauth2_oidc ADD CONSTRAINT hydra_oauth2_oidc_nid_fk_idx
    FOREIGN KEY (nid) REFERENCES networks (id) ON UPDATE RESTRICT ON DELETE CASCADE;

ALTER TABLE hydra_oauth2_access ADD COLUMN nid uuid;
UPDATE hydra_oauth2_access SET nid = (SELECT id FROM networks);
ALTER TABLE hydra_oauth2_access ALTER COLUMN nid SET NOT NULL;
ALTER TABLE hydra_oauth2_access ADD CONSTRAINT hydra_oauth2_access_nid_fk_idx
    FOREIGN KEY (nid) REFERENCES networks (id) ON UPDATE RESTRICT ON DELETE CASCADE;

ALTER TABLE hydra_oauth2_refresh ADD COLUMN nid uuid;
UPDATE hydra_oauth2_refresh SET nid = (SELECT id FROM networks);
ALTER TABLE hydra_oauth2_refresh ALTER COLUMN nid SET NOT NULL;
ALTER TABLE hydra_oauth2_refresh ADD CONSTRAINT hydra_oauth2_refresh_nid_fk_idx
    FOREIGN KEY (nid) REFERENCES networks (id) ON UPDATE RESTRICT ON DELETE CASCADE;

CREATE UNIQUE INDEX hydra_client_idx_id_uq
    ON hydra_client (id, nid);
ALTER TABLE hydra_client ADD CONSTRAINT hydra_client_pkey PRIMARY KEY (id, nid);
CREATE UNIQUE INDEX hydra_jwk_sid_kid_nid_key
    ON hydra_jwk (sid, kid, nid);

ALTER TABLE hydra_oauth2_code ADD CONSTRAINT hydra_oauth2_code_client_id_fk
    FOREIGN KEY (client_id, nid) REFERENCES hydra_client (id, nid) ON DELETE CASCADE;
ALTER TABLE hydra_oauth2_pkce ADD CONSTRAINT hydra_oauth2_pkce_client_id_fk
    FOREIGN KEY (client_id, nid) REFERENCES hydra_client (id, nid) ON DELETE CASCADE;
ALTER TABLE hydra_oauth2_oidc ADD CONSTRAINT hydra_oauth2_oidc_client_id_fk
    FOREIGN KEY (client_id, nid) REFERENCES hydra_client (id, nid) ON DELETE CASCADE;
ALTER TABLE hydra_oauth2_access ADD CONSTRAINT hydra_oauth2_access_client_id_fk
    FOREIGN KEY (client_id, nid) REFERENCES hydra_client (id, nid) ON DELETE CASCADE;
ALTER TABLE hydra_oauth2_refresh ADD CONSTRAINT hydra_oauth2_refresh_client_id_fk
    FOREIGN KEY (client_id, nid) REFERENCES hydra_client (id, nid) ON DELETE CASCADE;
ALTER TABLE hydra_oauth2_logout_request ADD CONSTRAINT hydra_oauth2_logout_request_client_id_fk
    FOREIGN KEY (client_id, nid) REFERENCES hydra_client (id, nid) ON DELETE CASCADE;
ALTER TABLE hydra_oauth2_obfuscated_authentication_session ADD CONSTRAINT hydra_oauth2_obfuscated_authentication_session_client_id_fk
    FOREIGN KEY (client_id, nid) REFERENCES hydra_client (id, nid) ON DELETE CASCADE;
ALTER TABLE hydra_oauth2_flow ADD CONSTRAINT hydra_oauth2_flow_client_id_fk
    FOREIGN KEY (client_id, nid) REFERENCES hydra_client (id, nid) ON DELETE CASCADE;
ALTER TABLE hydra_oauth2_trusted_jwt_bearer_issuer DROP CONSTRAINT hydra_oauth2_trusted_jwt_bearer_issue_issuer_subject_key_id_key;
ALTER TABLE hydra_oauth2_trusted_jwt_bearer_issuer ADD CONSTRAINT hydra_oauth2_trusted_jwt_bearer_issue_issuer_subject_key_id_key
    UNIQUE (issuer, subject, key_id, nid);
ALTER TABLE hydra_oauth2_trusted_jwt_bearer_issuer ADD CONSTRAINT hydra_oauth2_trusted_jwt_bearer_issuer_key_set_fkey
    FOREIGN KEY (key_set, key_id, nid) REFERENCES hydra_jwk (sid, kid, nid) ON DELETE CASCADE;
ALTER TABLE hydra_oauth2_jti_blacklist DROP CONSTRAINT hydra_oauth2_jti_blacklist_pkey;
ALTER TABLE hydra_oauth2_jti_blacklist ADD CONSTRAINT hydra_oauth2_jti_blacklist_pkey PRIMARY KEY (signature, nid);
ALTER TABLE hydra_oauth2_obfuscated_authentication_session DROP CONSTRAINT hydra_oauth2_obfuscated_authentication_session_pkey;
ALTER TABLE hydra_oauth2_obfuscated_authentication_session ADD CONSTRAINT hydra_oauth2_obfuscated_authentication_session_pkey
    PRIMARY KEY (subject, client_id, nid);

-- Indexes get it at their end.

DROP INDEX hydra_oauth2_access_challenge_id_idx;
DROP INDEX hydra_oauth2_access_client_id_idx;
DROP INDEX hydra_oauth2_access_client_id_subject_idx;
DROP INDEX hydra_oauth2_access_request_id_idx;
DROP INDEX hydra_oauth2_access_requested_at_idx;
CREATE INDEX hydra_oauth2_access_challenge_id_idx
    ON hydra_oauth2_access (challenge_id);
CREATE INDEX hydra_oauth2_access_client_id_idx
    ON hydra_oauth2_access (client_id, nid);
CREATE INDEX hydra_oauth2_access_client_id_subject_idx
    ON hydra_oauth2_access (client_id, subject, nid);
CREATE INDEX hydra_oauth2_access_request_id_idx
    ON hydra_oauth2_access (request_id, nid);
CREATE INDEX hydra_oauth2_access_requested_at_idx
    ON hydra_oauth2_access (requested_at, nid);

DROP INDEX hydra_oauth2_code_challenge_id_idx;
DROP INDEX hydra_oauth2_code_client_id_idx;
DROP INDEX hydra_oauth2_code_request_id_idx;
CREATE INDEX hydra_oauth2_code_challenge_id_idx
    ON hydra_oauth2_code (challenge_id, nid);
CREATE INDEX hydra_oauth2_code_client_id_idx
    ON hydra_oauth2_code (client_id, nid);
CREATE INDEX hydra_oauth2_code_request_id_idx
    ON hydra_oauth2_code (request_id, nid);

DROP INDEX hydra_oauth2_oidc_challenge_id_idx;
DROP INDEX hydra_oauth2_oidc_client_id_idx;
DROP INDEX hydra_oauth2_oidc_request_id_idx;
CREATE INDEX hydra_oauth2_oidc_challenge_id_idx
    ON hydra_oauth2_oidc (challenge_id);
CREATE INDEX hydra_oauth2_oidc_client_id_idx
    ON hydra_oauth2_oidc (client_id, nid);
CREATE INDEX hydra_oauth2_oidc_request_id_idx
    ON hydra_oauth2_oidc (request_id, nid);

DROP INDEX hydra_oauth2_pkce_challenge_id_idx;
DROP INDEX hydra_oauth2_pkce_client_id_idx;
DROP INDEX hydra_oauth2_pkce_request_id_idx;
CREATE INDEX hydra_oauth2_pkce_challenge_id_idx
    ON hydra_oauth2_pkce (challenge_id);
CREATE INDEX hydra_oauth2_pkce_client_id_idx
    ON hydra_oauth2_pkce (client_id, nid);
CREATE INDEX hydra_oauth2_pkce_request_id_idx
    ON hydra_oauth2_pkce (request_id, nid);

DROP INDEX hydra_oauth2_refresh_challenge_id_idx;
DROP INDEX hydra_oauth2_refresh_client_id_idx;
DROP INDEX hydra_oauth2_refresh_client_id_subject_idx;
DROP INDEX hydra_oauth2_refresh_request_id_idx;
CREATE INDEX hydra_oauth2_refresh_challenge_id_idx
    ON hydra_oauth2_refresh (challenge_id);
CREATE INDEX hydra_oauth2_refresh_client_id_idx
    ON hydra_oauth2_refresh (client_id, nid);
CREATE INDEX hydra_oauth2_refresh_client_id_subject_idx
    ON hydra_oauth2_refresh (client_id, subject);
CREATE INDEX hydra_oauth2_refresh_request_id_idx
    ON hydra_oauth2_refresh (request_id);

DROP INDEX hydra_oauth2_flow_client_id_subject_idx;
DROP INDEX hydra_oauth2_flow_cid_idx;
DROP INDEX hydra_oauth2_flow_login_session_id_idx;
DROP INDEX hydra_oauth2_flow_sub_idx;
DROP INDEX hydra_oauth2_flow_login_verifier_idx;
DROP INDEX hydra_oauth2_flow_consent_verifier_idx;
CREATE INDEX hydra_oauth2_flow_client_id_subject_idx
    ON hydra_oauth2_flow (client_id, nid, subject);
CREATE INDEX hydra_oauth2_flow_cid_idx
    ON hydra_oauth2_flow (client_id, nid);
CREATE INDEX hydra_oauth2_flow_login_session_id_idx
    ON hydra_oauth2_flow (login_session_id, nid);
CREATE INDEX hydra_oauth2_flow_sub_idx
    ON hydra_oauth2_flow (subject, nid);
CREATE UNIQUE INDEX hydra_oauth2_flow_login_verifier_idx
    ON hydra_oauth2_flow (login_verifier);
CREATE UNIQUE INDEX hydra_oauth2_flow_consent_verifier_idx
    ON hydra_oauth2_flow (consent_verifier);
