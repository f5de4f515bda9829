-- crossfade: irreversible: rows get a tenant; green is a copy: drop it and begin again
-- Every table gets nid, the id of the one network.

ALTER TABLE hydra_oauth2_code DROP CONSTRAINT hydra_oauth2_code_client_id_fk;
ALTER TABLE hydra_oauth2_pkce DROP CONSTRAINT hydra_oauth2_pkce_client_id_fk;
ALTER TABLE hydra_oauth2_oidc DROP CONSTRAINT hydra_oauth2_oidc_client_id_fk;
ALTER TABLE hydra_oauth2_access DROP CONSTRAINT hydra_oauth2_access_client_id_fk;
ALTER TABLE hydra_oauth2_refresh DROP CONSTRAINT hydra_oauth2_refresh_client_id_fk;
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
ALTER TABLE hydra_oauth2_flow ADD CONSTRAINT hydra_oauth2_flow_login_session_id_fk
    FOREIGN KEY (login_session_id) REFERENCES hydra_oauth2_authentication_session (id) ON DELETE SET NULL;
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
