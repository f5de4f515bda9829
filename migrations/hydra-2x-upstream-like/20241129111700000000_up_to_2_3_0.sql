-- crossfade: irreversible: indexes of 1.x go; green is a copy: drop it and begin again
-- What the releases up to 2.3.0 add: columns, and the indexes as they stand then. Also stands for every version in between.
--
-- crossfade: records 20211004110002000000 20211004110003000000 20211011000001000000 20211011000002000000 20211011000003000000
-- crossfade: records 20211019000001000000 20211019000001000002 20211019000001000003 20211019000001000004 20211019000001000005
-- crossfade: records 20211019000001000006 20211019000001000007 20211019000001000008 20211019000001000009 20211019000001000010
-- crossfade: records 20211019000001000011 20211019000001000012 20211019000001000013 20211019000001000014 20211019000001000015
-- crossfade: records 20211019000001000016 20211019000001000017 20211019000001000018 20211019000001000019 20211019000001000020
-- crossfade: records 20211019000001000021 20211019000001000022 20211019000001000023 20211019000001000024 20211019000001000025
-- crossfade: records 20211019000001000026 20211019000001000027 20211019000001000028 20211019000001000029 20211019000001000030
-- crossfade: records 20211019000001000031 20211019000001000032 20211019000001000033 20211019000001000034 20211019000001000035
-- crossfade: records 20211019000001000036 20211019000001000037 20211019000001000038 20211019000001000039 20220210000001000001
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
-- crossfade: records 20220210000001000077 20220210000001000078 20220210000001000079 20220513000001000001 20220513000001000002
-- crossfade: records 20220513000001000003 20220513000001000004
-- crossfade: records 20220513000001000009 20220513000001000010 20220916000010000000 20221109000010000000
-- crossfade: records 20221109000010000001 20230220000000000000 20230228000010000001 20230313112801000001 20230512112801000001
-- crossfade: records 20230606112801000001 20230809122501000001 20230908104443000000 20230908104443000001 20240104181300000001
-- crossfade: records 20240129174410000001 20240403121110000001 20240612222110000001 20240916105610000001 20241012144910000001
-- crossfade: records 20241014121000000000

ALTER TABLE hydra_client
    ADD COLUMN access_token_strategy varchar(10) NOT NULL DEFAULT '',
    ADD COLUMN skip_consent boolean NOT NULL DEFAULT false,
    ADD COLUMN skip_logout_consent boolean;
ALTER TABLE hydra_oauth2_flow
    ADD COLUMN login_extend_session_lifespan boolean NOT NULL DEFAULT false,
    ADD COLUMN identity_provider_session_id varchar(40);
ALTER TABLE hydra_oauth2_authentication_session ADD COLUMN identity_provider_session_id varchar(40);
ALTER TABLE hydra_oauth2_logout_request
    ADD COLUMN expires_at timestamp,
    ADD COLUMN requested_at timestamp;
ALTER TABLE hydra_oauth2_code ADD COLUMN expires_at timestamp;
ALTER TABLE hydra_oauth2_pkce ADD COLUMN expires_at timestamp;
ALTER TABLE hydra_oauth2_oidc ADD COLUMN expires_at timestamp;
ALTER TABLE hydra_oauth2_access ADD COLUMN expires_at timestamp;
ALTER TABLE hydra_oauth2_refresh ADD COLUMN expires_at timestamp;
ALTER TABLE hydra_oauth2_refresh
    ADD COLUMN first_used_at timestamp,
    ADD COLUMN access_token_signature varchar(255) DEFAULT NULL;

-- Indexes that later versions take away again; the first five are on one table, as upstream has them.
CREATE INDEX hydra_oauth2_access_expires_at_idx
    ON hydra_oauth2_oidc (expires_at);
CREATE INDEX hydra_oauth2_refresh_expires_at_idx
    ON hydra_oauth2_oidc (expires_at);
CREATE INDEX hydra_oauth2_code_expires_at_idx
    ON hydra_oauth2_oidc (expires_at);
CREATE INDEX hydra_oauth2_pkce_expires_at_idx
    ON hydra_oauth2_oidc (expires_at);
CREATE INDEX hydra_oauth2_oidc_expires_at_idx
    ON hydra_oauth2_oidc (expires_at);
CREATE INDEX hydra_oauth2_access_expires_at_v2_idx
    ON hydra_oauth2_access (expires_at);
CREATE INDEX hydra_oauth2_refresh_expires_at_v2_idx
    ON hydra_oauth2_refresh (expires_at);
CREATE INDEX hydra_oauth2_code_expires_at_v2_idx
    ON hydra_oauth2_code (expires_at);
CREATE INDEX hydra_oauth2_pkce_expires_at_v2_idx
    ON hydra_oauth2_pkce (expires_at);
CREATE INDEX hydra_oauth2_flow_multi_query_idx
    ON hydra_oauth2_flow (subject, client_id, nid, consent_skip, consent_error, consent_remember);

DROP INDEX hydra_oauth2_access_expires_at_idx;
DROP INDEX hydra_oauth2_refresh_expires_at_idx;
DROP INDEX hydra_oauth2_code_expires_at_idx;
DROP INDEX hydra_oauth2_pkce_expires_at_idx;
DROP INDEX hydra_oauth2_oidc_expires_at_idx;
DROP INDEX hydra_oauth2_access_expires_at_v2_idx;
DROP INDEX hydra_oauth2_refresh_expires_at_v2_idx;
DROP INDEX hydra_oauth2_code_expires_at_v2_idx;
DROP INDEX hydra_oauth2_pkce_expires_at_v2_idx;
DROP INDEX hydra_oauth2_flow_multi_query_idx;
DROP INDEX hydra_oauth2_access_client_id_subject_idx;
DROP INDEX hydra_oauth2_code_request_id_idx;
DROP INDEX hydra_oauth2_oidc_request_id_idx;
DROP INDEX hydra_oauth2_pkce_request_id_idx;
DROP INDEX hydra_oauth2_refresh_client_id_subject_idx;
DROP INDEX hydra_oauth2_flow_login_verifier_idx;
DROP INDEX hydra_oauth2_flow_consent_verifier_idx;
DROP INDEX hydra_oauth2_authentication_session_sub_idx;
DROP INDEX hydra_oauth2_jti_blacklist_expiry;
DROP INDEX hydra_oauth2_logout_request_client_id_idx;
DROP INDEX hydra_oauth2_obfuscated_authentication_session_so_idx;

CREATE INDEX hydra_jwk_nid_sid_created_at_idx
    ON hydra_jwk (nid, sid, created_at);
CREATE INDEX hydra_jwk_nid_sid_kid_created_at_idx
    ON hydra_jwk (nid, sid, kid, created_at);
CREATE INDEX hydra_oauth2_authentication_session_sub_idx
    ON hydra_oauth2_authentication_session (subject, nid);
CREATE INDEX hydra_oauth2_jti_blacklist_expires_at_idx
    ON hydra_oauth2_jti_blacklist (expires_at, nid);
CREATE INDEX hydra_oauth2_logout_request_client_id_idx
    ON hydra_oauth2_logout_request (client_id, nid);
CREATE UNIQUE INDEX hydra_oauth2_obfuscated_authentication_session_so_idx
    ON hydra_oauth2_obfuscated_authentication_session (client_id, subject_obfuscated, nid);
CREATE INDEX hydra_oauth2_trusted_jwt_bearer_issuer_nid_idx
    ON hydra_oauth2_trusted_jwt_bearer_issuer (id, nid);
CREATE INDEX hydra_oauth2_refresh_requested_at_idx
    ON hydra_oauth2_refresh (nid, requested_at);
CREATE INDEX hydra_oauth2_flow_previous_consents_idx
    ON hydra_oauth2_flow (subject, client_id, nid, consent_skip, consent_error, consent_remember);

ALTER TABLE hydra_oauth2_flow DROP CONSTRAINT hydra_oauth2_flow_login_session_id_fk;
ALTER TABLE hydra_oauth2_flow ADD CONSTRAINT hydra_oauth2_flow_login_session_id_fk
    FOREIGN KEY (login_session_id) REFERENCES hydra_oauth2_authentication_session (id) ON DELETE SET NULL;
