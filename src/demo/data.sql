-- OAuth data in the shape of Hydra 1.0.0, for `crossfade demo`: fills an empty database of that schema.
--
-- Settings, read with current_setting(), to be SET before:
--   crossfade.sessions  how many consents (sessions) to make; 0 and up
--   crossfade.seed      ASCII text without backslash; the same settings give the same rows, byte for byte
--   crossfade.planted   how many rows of EACH violating kind (section 3) to add; 0 and up
--   crossfade.now       the moment the data pretends to be loaded at, a timestamp in UTC. Nothing is later
-- Needs the right to set session_replication_role (a superuser) for the dangling kinds. Plain SQL, no psql commands.
-- One batch through the simple query protocol is one transaction: it loads all or nothing.
-- The migration history tables are not touched.
--
-- What can be recomputed outside
--   hex(purpose, n) = lower-case hex of sha256 of the ASCII string  <seed>:<purpose>:<n>    n decimal, no padding
--   session number i = 0 .. sessions-1; planted sessions follow (section 3)
--   login challenge   = first 32 digits of hex("login", i)          not for planted sessions
--   consent challenge = first 32 digits of hex("consent", i)        not for planted sessions
--                       = request_id = challenge_id of all tokens of the session
--   access token      = <anything>.<hex("access", i)>               rows hold the part after the dot only
--   refresh token     = <anything>.<hex("refresh", i)>
--   code              = <anything>.<hex("code", i)>                 oidc and pkce rows have the same signature
--   machine token m   = <anything>.<hex("machine", m)>              client credentials, m = 0 .. sessions/10-1
--   client number n = 1 .. clients, clients = max(20, sessions/200); id "client-" and n with at least 4 digits
--   client secret     = hex("secret", n), the row holds hex(sha256(secret)) where a real server has bcrypt;
--                       every fourth client (n % 4 = 0) is public: no secret, token_endpoint_auth_method "none"
-- Which session has which tokens and which client is a draw: ask the rows.
--
-- The mix. Sessions come in order of time over 30 days with a daily cycle (fewest at 03:00 UTC), the last 0.5 % of
-- them in the last 20 minutes. Of every five, three log in (two of these ask to be remembered) and two are let in
-- by an earlier remembered login session of the same subject (login skipped). 2 % of the consents are refused, 2 %
-- unanswered, 3 % granted but not used yet. 1 in 12 login sessions was logged out: its row, login requests and
-- answers are gone, login_challenge and login_session_id of its consents are NULL, consents and tokens stay.
-- On top: 1 abandoned login per 20 sessions, 1 refused login per 100, 1 client-credentials token per 10.

-- 1. Draws -----------------------------------------------------------------------------------------------------

SET jit = off;   -- compiling these long one-time queries takes longer than running them

CREATE FUNCTION pg_temp.hex(purpose text, n bigint) RETURNS text LANGUAGE sql STABLE
AS $$ SELECT encode(sha256((current_setting('crossfade.seed') || ':' || purpose || ':' || n)::bytea), 'hex') $$;

-- An even draw of 0 .. 65535: bytes `at` and `at` + 1 of a hash.
CREATE FUNCTION pg_temp.draw(hash bytea, at integer) RETURNS integer LANGUAGE sql IMMUTABLE
AS $$ SELECT get_byte(hash, at) * 256 + get_byte(hash, at + 1) $$;

CREATE FUNCTION pg_temp.client_id(n bigint) RETURNS text LANGUAGE sql IMMUTABLE
AS $$ SELECT 'client-' || lpad(n::text, greatest(4, length(n::text)), '0') $$;

CREATE FUNCTION pg_temp.uuid_like(digits text) RETURNS text LANGUAGE sql IMMUTABLE
AS $$ SELECT overlay(overlay(left(digits, 32)::uuid::text placing '4' from 15 for 1) placing 'a' from 20 for 1) $$;

-- `length` characters of base64 that do not compress; stands for encrypted data.
CREATE FUNCTION pg_temp.noise(tag text, length integer) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
    link bytea := tag::bytea;
    raw bytea := '';
BEGIN
    FOR k IN 0 .. length / 85 LOOP   -- 64 bytes are 85 characters
        link := sha512(link);
        raw := raw || link;
    END LOOP;
    RETURN left(replace(encode(raw, 'base64'), E'\n', ''), length);
END $$;

CREATE TEMP TABLE demo_setting AS
SELECT current_setting('crossfade.sessions')::bigint AS sessions,
       greatest(20, current_setting('crossfade.sessions')::bigint / 200) AS clients,
       current_setting('crossfade.planted')::integer AS planted,
       current_setting('crossfade.now')::timestamp AS now;

-- Hash and start of each session, at least a minute before `now`; the `recent` last ones within 20 minutes.
CREATE TEMP TABLE demo_start AS
WITH scaled AS (
    SELECT i, sessions, recent, now,
           i * 30000000 / greatest(sessions - recent, 1) AS place   -- millionths of a day since the first
    FROM demo_setting, LATERAL (SELECT sessions / 200 AS recent) r, generate_series(0, sessions - 1) i
), hourly AS (
    SELECT *, width_bucket((place % 1000000) / 1000, starts[1:24]) AS hour   -- 1 .. 24
    FROM scaled,
         (SELECT ARRAY[0, 20, 32, 40, 45, 51, 61, 83, 123, 181, 247, 315, 381, 441, 503, 567, 629, 687, 741, 793,
                       847, 900, 946, 980, 1000]::bigint[] AS starts) cycle   -- thousandths of a day's logins
)
SELECT i, sha256((current_setting('crossfade.seed') || ':session:' || i)::bytea) AS hash,
       CASE WHEN i >= sessions - recent
            THEN now - interval '1 minute' - (sessions - i) * 1140 / recent * interval '1 second'
            ELSE date_trunc('day', now - interval '1 minute') - interval '30 days' + place / 1000000 * interval '1 day'
                 + (hour - 1) * interval '1 hour'
                 + (place % 1000000 - starts[hour] * 1000) * 3600 / ((starts[hour + 1] - starts[hour]) * 1000)
                   * interval '1 second' END AS at
FROM hourly;
ALTER TABLE demo_start ADD PRIMARY KEY (i);
ANALYZE demo_start;

-- One row per session: all its draws and keys. `host` is the session whose login session it uses.
CREATE TEMP TABLE demo_session AS
WITH hosted AS (
    SELECT s.*, CASE WHEN i % 5 < 3 THEN i
                     ELSE i % 5 - 3 + 5 * (i / 5 - (get_byte(hash, 30) * 65536 + pg_temp.draw(hash, 28))
                                                   % (1 + least(i / 5, sessions / 25))) END AS host
    FROM demo_start s, demo_setting
), drawn AS (
    SELECT v.*, h.hash AS host_hash, h.at AS host_at, v.host <> v.i AS login_skip,
           pg_temp.draw(h.hash, 6) % 12 = 0 AS logged_out,
           v.i % 5 < 2 OR pg_temp.draw(v.hash, 4) % 10 < 3 AS remember,
           -- the application remembered the host's consent, and this is the same application once more
           v.host <> v.i AND pg_temp.draw(v.hash, 2) % 3 = 0 AND pg_temp.draw(h.hash, 4) % 10 < 7
                         AND pg_temp.draw(h.hash, 0) % 1000 >= 40 AS consent_skip
    FROM hosted v JOIN demo_start h ON h.i = v.host
), numbered AS (
    SELECT d.*, pg_temp.draw(CASE WHEN consent_skip THEN host_hash ELSE hash END, 8)::bigint AS popularity,
           CASE WHEN pg_temp.draw(hash, 0) % 1000 >= 70 THEN 'used'
                WHEN consent_skip OR pg_temp.draw(hash, 0) % 1000 >= 40 THEN 'unused'
                WHEN pg_temp.draw(hash, 0) % 1000 >= 20 THEN 'unanswered'
                ELSE 'refused' END AS outcome,
           (ARRAY['openid|offline|profile|email', 'openid|offline', 'openid|offline|profile', 'openid|profile',
                  'photos.read|photos.write|offline', 'offline|invoices:read', 'openid', 'openid|email'])
               [1 + pg_temp.draw(hash, 10) % 64 * (pg_temp.draw(hash, 10) % 64) / 512] AS scope
    FROM drawn d
)
SELECT i, hash, host, at, host_at, login_skip, consent_skip, logged_out, remember, outcome, scope,
       NULL::integer AS kind, true AS login_answered,
       -- few clients have most of the sessions: the number grows with the square of an even draw
       1 + (popularity * popularity * clients >> 32) AS client,
       'user-' || (get_byte(host_hash, 31) * 65536 + pg_temp.draw(host_hash, 28)) % (sessions * 2 / 5 + 1) AS subject,
       pg_temp.uuid_like(pg_temp.hex('login-session', host)) AS session_id,
       left(pg_temp.hex('login', i), 32) AS login,
       left(pg_temp.hex('consent', i), 32) AS consent,
       CASE WHEN pg_temp.draw(hash, 12) % 100 = 0 THEN ''
            WHEN pg_temp.draw(hash, 12) % 100 < 6 THEN split_part(scope, '|', 1)
            ELSE scope END AS granted_scope,
       CASE WHEN pg_temp.draw(hash, 14) % 10 = 0 THEN 'https://api.example/v1|https://files.example' ELSE '' END
           AS audience,
       outcome = 'used' AND pg_temp.draw(hash, 16) % 100 < 82 AS has_access,
       outcome = 'used' AND pg_temp.draw(hash, 16) % 100 < 95 AS may_refresh,   -- 5 % of the sessions were revoked
       outcome = 'used' AND pg_temp.draw(hash, 18) % 100 < 70 AS has_code,
       -- last issued: within 45 minutes for three in eight, any time since the login for the others
       greatest(at + interval '40 seconds',
                CASE WHEN pg_temp.draw(hash, 20) % 8 < 3
                     THEN now - pg_temp.draw(hash, 22) % 2700 * interval '1 second'
                     ELSE at + extract(epoch FROM now - at)::bigint * pg_temp.draw(hash, 22) / 65536
                               * interval '1 second' END) AS token_at
FROM numbered, demo_setting;

-- The planted sessions start as plain ones, used and with every token; section 3 damages them.
INSERT INTO demo_session
SELECT i, hash, i, moment, moment, false, false, false, false,
       CASE kind WHEN 3 THEN 'unanswered' WHEN 9 THEN 'refused' ELSE 'used' END, 'openid|offline|profile',
       kind, kind <> 3, 1 + i % clients, 'planted-' || kind || '-' || j,
       key || '04' || serial, key || '01' || serial, key || '02' || serial, 'openid|offline|profile', '',
       kind NOT IN (3, 9), kind NOT IN (3, 9), kind NOT IN (3, 9), moment + interval '1 minute'
FROM demo_setting, unnest(ARRAY[1, 2, 3, 4, 5, 7, 8, 9, 10, 11, 12]) kind, generate_series(1, planted) j,
     LATERAL (SELECT sessions + (kind - 1) * planted + j - 1 AS i, lpad(j::text, 20, '0') AS serial,
                     'dead' || lpad(kind::text, 2, '0') || '0000' AS key) k,
     LATERAL (SELECT sha256((current_setting('crossfade.seed') || ':session:' || i)::bytea) AS hash,
                     now - interval '10 days' + (kind * 3600 + j) * interval '1 second' AS moment) h;
ALTER TABLE demo_session ADD PRIMARY KEY (i);
ANALYZE demo_session;

-- 2. Rows ------------------------------------------------------------------------------------------------------

INSERT INTO hydra_client (pk, id, client_name, client_secret, redirect_uris, grant_types, response_types, scope,
    owner, policy_uri, tos_uri, client_uri, logo_uri, contacts, sector_identifier_uri, jwks, jwks_uri, request_uris,
    token_endpoint_auth_method, request_object_signing_alg, userinfo_signed_response_alg, subject_type,
    allowed_cors_origins, audience, created_at, updated_at, frontchannel_logout_uri, post_logout_redirect_uris,
    backchannel_logout_uri, backchannel_logout_session_required)
SELECT n, pg_temp.client_id(n), 'Application ' || n,
       CASE WHEN n % 4 = 0 THEN '' ELSE encode(sha256(pg_temp.hex('secret', n)::bytea), 'hex') END,
       site || '/callback|' || site || '/silent-renew',
       CASE WHEN n % 4 = 0 THEN 'authorization_code|refresh_token'
            ELSE 'authorization_code|refresh_token|client_credentials' END,
       CASE WHEN n % 5 = 0 THEN 'code|id_token' ELSE 'code' END,
       'openid offline profile email photos.read photos.write invoices:read',
       CASE WHEN n % 3 = 0 THEN 'team-' || n % 17 ELSE '' END, site || '/privacy', site || '/terms', site,
       CASE WHEN n % 2 = 0 THEN site || '/logo.png' ELSE '' END,
       CASE n % 3 WHEN 0 THEN '' WHEN 1 THEN 'ops@app-' || n || '.example'
                  ELSE 'ops@app-' || n || '.example|security@app-' || n || '.example' END,
       '', '', '', '',
       CASE WHEN n % 4 = 0 THEN 'none' WHEN n % 4 = 1 THEN 'client_secret_post' ELSE 'client_secret_basic' END,
       'RS256', 'none', CASE WHEN n % 8 = 3 THEN 'pairwise' ELSE 'public' END,
       CASE WHEN n % 4 = 0 THEN site ELSE '' END,
       CASE WHEN n % 10 = 1 THEN 'https://api.example/v1|https://files.example' ELSE '' END,
       born, born + n % 90 * interval '1 day',
       CASE WHEN n % 6 = 5 THEN site || '/logout/front' ELSE '' END, site || '/bye',
       CASE WHEN n % 6 = 1 THEN site || '/logout/back' ELSE '' END, n % 6 = 1
FROM demo_setting, generate_series(1, clients) n,
     LATERAL (SELECT 'https://app-' || n || '.example' AS site,
                     now - interval '400 days' + n * 30 % 300 * interval '1 day' AS born) c;

INSERT INTO hydra_jwk (pk, sid, kid, version, keydata, created_at)
SELECT n, CASE WHEN n < 3 THEN 'hydra.openid.id-token' ELSE 'hydra.jwt.access-token' END,
       CASE WHEN n % 2 = 1 THEN 'private:' ELSE 'public:' END || pg_temp.uuid_like(pg_temp.hex('jwk', (n + 1) / 2)),
       0, pg_temp.noise(pg_temp.hex('jwk-data', n), CASE WHEN n % 2 = 1 THEN 4300 ELSE 1150 END),
       now - interval '400 days'
FROM demo_setting, generate_series(1, 4) n;

INSERT INTO hydra_oauth2_authentication_session (id, authenticated_at, subject, remember)
SELECT session_id, at + interval '20 seconds', subject, remember
FROM demo_session WHERE host = i AND NOT logged_out;

INSERT INTO hydra_oauth2_authentication_request (challenge, requested_scope, verifier, csrf, subject, request_url,
    skip, client_id, requested_at, authenticated_at, oidc_context, login_session_id, requested_at_audience)
SELECT login, scope, left(pg_temp.hex('login-verifier', i), 32), left(pg_temp.hex('login-csrf', i), 32),
       CASE WHEN login_skip THEN subject ELSE '' END,
       'https://login.example/oauth2/auth?client_id=' || pg_temp.client_id(client) || '&response_type=code&scope='
           || translate(scope, '|', '+') || '&state=' || left(pg_temp.hex('state', i), 24)
           || '&redirect_uri=https%3A%2F%2Fapp-' || client || '.example%2Fcallback',
       login_skip, pg_temp.client_id(client), at,
       CASE WHEN login_skip THEN host_at + interval '20 seconds' END,
       CASE pg_temp.draw(hash, 24) % 4
           WHEN 0 THEN '{"login_hint":"user@mail.example","ui_locales":["de","en"]}'
           WHEN 1 THEN '{"ui_locales":["fr-CA","fr"],"display":"page"}' ELSE '{}' END,
       session_id, audience
FROM demo_session WHERE NOT logged_out;

INSERT INTO hydra_oauth2_authentication_request_handled (challenge, subject, remember, remember_for, error, acr,
    requested_at, authenticated_at, was_used, forced_subject_identifier, context)
SELECT login, subject, remember, CASE WHEN remember THEN 2592000 ELSE 0 END,
       CASE WHEN pg_temp.draw(hash, 26) % 200 = 0 THEN '' ELSE '{}' END,
       CASE WHEN pg_temp.draw(hash, 26) % 4 = 1 THEN 'urn:example:acr:2' ELSE '' END,
       at, CASE WHEN login_skip THEN host_at ELSE at END + interval '20 seconds', true, '',
       CASE WHEN pg_temp.draw(hash, 26) % 3 = 1 THEN '{"device":"browser","risk":0.25}' ELSE '{}' END
FROM demo_session WHERE NOT logged_out AND login_answered;

INSERT INTO hydra_oauth2_consent_request (challenge, verifier, client_id, subject, request_url, skip,
    requested_scope, csrf, authenticated_at, requested_at, oidc_context, forced_subject_identifier,
    login_session_id, login_challenge, requested_at_audience, acr, context)
SELECT consent, left(pg_temp.hex('consent-verifier', i), 32), pg_temp.client_id(client), subject,
       'https://login.example/oauth2/auth?client_id=' || pg_temp.client_id(client) || '&response_type=code&scope='
           || translate(scope, '|', '+') || '&state=' || left(pg_temp.hex('state', i), 24)
           || '&redirect_uri=https%3A%2F%2Fapp-' || client || '.example%2Fcallback',
       consent_skip, scope, left(pg_temp.hex('consent-csrf', i), 32),
       CASE WHEN login_skip THEN host_at ELSE at END + interval '20 seconds', at + interval '25 seconds',
       CASE pg_temp.draw(hash, 24) % 4
           WHEN 0 THEN '{"login_hint":"user@mail.example","ui_locales":["de","en"]}'
           WHEN 1 THEN '{"ui_locales":["fr-CA","fr"],"display":"page"}' ELSE '{}' END,
       '', CASE WHEN NOT logged_out THEN session_id END, CASE WHEN NOT logged_out THEN login END, audience,
       CASE WHEN pg_temp.draw(hash, 26) % 4 = 1 THEN 'urn:example:acr:2' ELSE '' END,
       CASE WHEN pg_temp.draw(hash, 26) % 3 = 1 THEN '{"device":"browser","risk":0.25}' ELSE '{}' END
FROM demo_session;

INSERT INTO hydra_oauth2_consent_request_handled (challenge, granted_scope, remember, remember_for, error,
    requested_at, session_access_token, session_id_token, authenticated_at, was_used, granted_at_audience)
SELECT consent, CASE WHEN outcome = 'refused' THEN '' ELSE granted_scope END,
       outcome <> 'refused' AND pg_temp.draw(hash, 4) % 10 < 7,
       CASE WHEN outcome = 'refused' OR pg_temp.draw(hash, 4) % 10 >= 7 THEN 0
            WHEN pg_temp.draw(hash, 4) % 7 = 0 THEN 3600 WHEN pg_temp.draw(hash, 4) % 7 < 3 THEN 2592000 ELSE 0 END,
       CASE WHEN outcome = 'refused' THEN '{"error":"access_denied","error_description":"The resource owner denied'
                 || ' the request","error_hint":"","error_code":403,"error_debug":""}'
            WHEN pg_temp.draw(hash, 26) % 200 = 1 THEN '' ELSE '{}' END,
       at + interval '25 seconds',
       CASE WHEN pg_temp.draw(hash, 14) % 3 = 0 THEN '{"roles":["reader","writer"],"tenant":' || i % 500 || '}'
            ELSE '{}' END,
       CASE WHEN pg_temp.draw(hash, 14) % 2 = 0
            THEN '{"email":"' || subject || '@mail.example","email_verified":true,"name":"User ' || i || '"}'
            ELSE '{}' END,
       CASE WHEN login_skip THEN host_at ELSE at END + interval '20 seconds', outcome <> 'unused', audience
FROM demo_session WHERE outcome <> 'unanswered';

-- Tokens. A row holds the signature only; see the top of the file for the token itself.
CREATE FUNCTION pg_temp.form(client bigint, i bigint) RETURNS text LANGUAGE sql STABLE
AS $$ SELECT 'client_id=' || pg_temp.client_id(client) || '&grant_type=authorization_code'
             || '&redirect_uri=https%3A%2F%2Fapp-' || client || '.example%2Fcallback&state='
             || left(pg_temp.hex('state', i), 24) $$;

INSERT INTO hydra_oauth2_access (signature, request_id, requested_at, client_id, scope, granted_scope, form_data,
    session_data, subject, active, requested_audience, granted_audience, challenge_id)
SELECT pg_temp.hex('access', i), consent, token_at, pg_temp.client_id(client), scope, granted_scope,
       pg_temp.form(client, i), pg_temp.noise(pg_temp.hex('access-data', i), 1000 + pg_temp.draw(hash, 1) % 1000),
       subject, true, audience, audience, consent
FROM demo_session WHERE has_access;

INSERT INTO hydra_oauth2_refresh (signature, request_id, requested_at, client_id, scope, granted_scope, form_data,
    session_data, subject, active, requested_audience, granted_audience, challenge_id)
SELECT pg_temp.hex('refresh', i), consent, token_at, pg_temp.client_id(client), scope, granted_scope,
       pg_temp.form(client, i), pg_temp.noise(pg_temp.hex('refresh-data', i), 1000 + pg_temp.draw(hash, 3) % 1000),
       subject, true, audience, audience, consent
FROM demo_session WHERE may_refresh AND granted_scope ~ '(^|\|)offline(\||$)';

-- A used code stays, inactive; those of the last five minutes were not exchanged yet.
INSERT INTO hydra_oauth2_code (signature, request_id, requested_at, client_id, scope, granted_scope, form_data,
    session_data, subject, active, requested_audience, granted_audience, challenge_id)
SELECT pg_temp.hex('code', i), consent, at + interval '30 seconds', pg_temp.client_id(client), scope, granted_scope,
       pg_temp.form(client, i), pg_temp.noise(pg_temp.hex('code-data', i), 1000 + pg_temp.draw(hash, 5) % 1000),
       subject, at > now - interval '5 minutes', audience, audience, consent
FROM demo_session, demo_setting WHERE has_code;

INSERT INTO hydra_oauth2_oidc (signature, request_id, requested_at, client_id, scope, granted_scope, form_data,
    session_data, subject, active, requested_audience, granted_audience, challenge_id)
SELECT pg_temp.hex('code', i), consent, at + interval '30 seconds', pg_temp.client_id(client), scope, granted_scope,
       pg_temp.form(client, i) || '&nonce=' || left(pg_temp.hex('nonce', i), 24),
       pg_temp.noise(pg_temp.hex('oidc-data', i), 1000 + pg_temp.draw(hash, 7) % 1000),
       subject, true, audience, audience, consent
FROM demo_session WHERE has_code AND granted_scope ~ '(^|\|)openid(\||$)';

INSERT INTO hydra_oauth2_pkce (signature, request_id, requested_at, client_id, scope, granted_scope, form_data,
    session_data, subject, active, requested_audience, granted_audience, challenge_id)
SELECT pg_temp.hex('code', i), consent, at + interval '30 seconds', pg_temp.client_id(client), scope, granted_scope,
       'code_challenge=' || left(pg_temp.hex('pkce', i), 43) || '&code_challenge_method=S256',
       pg_temp.noise(pg_temp.hex('pkce-data', i), 1000 + pg_temp.draw(hash, 9) % 1000),
       subject, true, audience, audience, consent
FROM demo_session WHERE has_code AND (client % 4 = 0 OR kind IS NOT NULL);

-- Client credentials: no user, no consent, a request id of their own.
INSERT INTO hydra_oauth2_access (signature, request_id, requested_at, client_id, scope, granted_scope, form_data,
    session_data, subject, active, requested_audience, granted_audience, challenge_id)
SELECT pg_temp.hex('machine', m), pg_temp.uuid_like(pg_temp.hex('machine-request', m)),
       now - pg_temp.draw(hash, 0) % 7200 * interval '1 second', pg_temp.client_id(client), 'invoices:read',
       'invoices:read', 'grant_type=client_credentials&scope=invoices%3Aread',
       pg_temp.noise(pg_temp.hex('machine-data', m), 1000 + pg_temp.draw(hash, 2) % 400),
       pg_temp.client_id(client), true, '', '', NULL
FROM demo_setting, generate_series(0, sessions / 10 - 1) m,
     LATERAL (SELECT sha256((current_setting('crossfade.seed') || ':machine-draw:' || m)::bytea) AS hash) h,
     LATERAL (SELECT 1 + pg_temp.draw(hash, 4) % clients AS any_client) a,
     LATERAL (SELECT any_client - (any_client % 4 = 0)::integer AS client) c;   -- a public client cannot

-- Logins that never became a consent: abandoned (no answer), and every sixth refused.
CREATE TEMP TABLE demo_lost_login AS
SELECT n, n % 6 = 0 AS refused, 1 + pg_temp.draw(hash, 0) % clients AS client,
       pg_temp.uuid_like(pg_temp.hex('lost-session', n)) AS session_id,
       now - (pg_temp.draw(hash, 2) * 39 + 60) * interval '1 second' AS at
FROM demo_setting, generate_series(1, sessions / 20 + sessions / 100) n,
     LATERAL (SELECT sha256((current_setting('crossfade.seed') || ':lost-login:' || n)::bytea) AS hash) h;

INSERT INTO hydra_oauth2_authentication_session (id, authenticated_at, subject, remember)
SELECT session_id, at, '', false FROM demo_lost_login;

INSERT INTO hydra_oauth2_authentication_request (challenge, requested_scope, verifier, csrf, subject, request_url,
    skip, client_id, requested_at, authenticated_at, oidc_context, login_session_id, requested_at_audience)
SELECT left(pg_temp.hex('lost', n), 32), 'openid|offline', left(pg_temp.hex('lost-verifier', n), 32),
       left(pg_temp.hex('lost-csrf', n), 32), '',
       'https://login.example/oauth2/auth?client_id=' || pg_temp.client_id(client)
           || '&response_type=code&scope=openid+offline&state=' || left(pg_temp.hex('lost-state', n), 24),
       false, pg_temp.client_id(client), at, NULL, '{}', session_id, ''
FROM demo_lost_login;

INSERT INTO hydra_oauth2_authentication_request_handled (challenge, subject, remember, remember_for, error, acr,
    requested_at, authenticated_at, was_used, forced_subject_identifier, context)
SELECT left(pg_temp.hex('lost', n), 32), '', false, 0,
       '{"error":"login_required","error_description":"The user could not be authenticated","error_hint":"",'
           || '"error_code":400,"error_debug":""}',
       '', at, NULL, true, '', '{}'
FROM demo_lost_login WHERE refused;

-- A finished logout for each login session that is gone, one given up for every fortieth that is there.
INSERT INTO hydra_oauth2_logout_request (challenge, verifier, subject, sid, client_id, request_url, redir_url,
    was_used, accepted, rejected, rp_initiated)
SELECT pg_temp.uuid_like(pg_temp.hex('logout', i)), pg_temp.uuid_like(pg_temp.hex('logout-verifier', i)), subject,
       session_id, CASE WHEN i % 2 = 0 THEN pg_temp.client_id(client) END,
       '/oauth2/sessions/logout', 'https://app-' || client || '.example/bye',
       logged_out, logged_out, NOT logged_out AND i % 80 = 0, i % 2 = 0
FROM demo_session WHERE host = i AND kind IS NULL AND (logged_out OR i % 40 = 0);

INSERT INTO hydra_oauth2_obfuscated_authentication_session (subject, client_id, subject_obfuscated)
SELECT subject, pg_temp.client_id(client),
       encode(sha256((current_setting('crossfade.seed') || ':pairwise:' || client || ':' || subject)::bytea), 'hex')
FROM (SELECT DISTINCT subject, client FROM demo_session WHERE client % 8 = 3 AND outcome = 'used') s
ORDER BY client, subject;

-- 3. Planted rows that break the 2.x migrations ------------------------------------------------------------------
--
-- `planted` of each kind, j = 1 .. planted. Keys of kind KK have 32 digits: dead KK 0000 RR <j, 20 decimal digits>,
-- RR = 01 login challenge, 02 consent challenge (= request_id), 03 challenge of an extra consent, 04 login session.
-- So `challenge LIKE 'deadKK000002%'` counts them. A planted session has number i = sessions + (KK-1)*planted + j-1,
-- which gives its tokens as for the others; the tokens of an extra consent have i + 100 000 000 000.
--
--   01 two consents for one login, both granted, each with its own tokens     consents dead01000002%, dead01000003%
--   02 two consents for one login, the second unanswered                      the extra one: dead02000003%
--   03 unanswered consent whose login has no answer                           consents dead03000002%
--   04 \u0000 in oidc_context of login and consent (also, to be kept, an
--      escaped backslash before u0000)                                        dead04000001%, dead04000002%
--   05 empty string where JSON belongs: oidc_context, context, session_*      dead05000001%, dead05000002%
--   06 quote, backslash, control character in contacts of a client            client ids dead06000000%
--   07 quote, backslash in scope and audience of login, consent and answer    dead07000001%, dead07000002%
--   08 silent: backslash and n, t or backslash in scope, which naive JSON
--      turns into another character                                           dead08000001%, dead08000002%
--   09 refused consent, error of 6 KB that does not compress                  answers dead09000002%
--   10 tokens, one in each of the five tables, of a client that is gone       request_id dead10000002%, client ids
--                                                                             dead10000000%; challenge_id NULL
--   11 login request whose login session is gone (session granted, tokens)    logins dead11000001%
--   12 tokens, in all five tables, whose consent and answer are gone          challenge_id dead12000002%
--
-- Valid sessions among them, before and after a right migration: 01 (two each), 02 (the first), 04, 05, 07, 08, 11.

CREATE TEMP TABLE demo_planted AS
SELECT s.*, right(consent, 20)::bigint AS j, left(consent, 10) || '03' || right(consent, 20) AS extra
FROM demo_session s WHERE kind IS NOT NULL;

-- 01, 02
INSERT INTO hydra_oauth2_consent_request
SELECT (jsonb_populate_record(c, jsonb_build_object('challenge', extra,
           'verifier', left(pg_temp.hex('consent-verifier', i + 100000000000), 32),
           'csrf', left(pg_temp.hex('consent-csrf', i + 100000000000), 32)))).*
FROM demo_planted JOIN hydra_oauth2_consent_request c ON c.challenge = consent WHERE kind IN (1, 2);

INSERT INTO hydra_oauth2_consent_request_handled
SELECT (jsonb_populate_record(a, jsonb_build_object('challenge', extra))).*
FROM demo_planted JOIN hydra_oauth2_consent_request_handled a ON a.challenge = consent WHERE kind = 1;

INSERT INTO hydra_oauth2_access
SELECT (jsonb_populate_record(t, jsonb_build_object('signature', pg_temp.hex('access', i + 100000000000),
           'request_id', extra, 'challenge_id', extra))).*
FROM demo_planted JOIN hydra_oauth2_access t ON t.signature = pg_temp.hex('access', i) WHERE kind = 1;

INSERT INTO hydra_oauth2_refresh
SELECT (jsonb_populate_record(t, jsonb_build_object('signature', pg_temp.hex('refresh', i + 100000000000),
           'request_id', extra, 'challenge_id', extra))).*
FROM demo_planted JOIN hydra_oauth2_refresh t ON t.signature = pg_temp.hex('refresh', i) WHERE kind = 1;

-- 03 was made as such in section 1.
-- 04
UPDATE hydra_oauth2_authentication_request r
SET oidc_context = '{"login_hint":"a\u0000b","ui_locales":["\\u0000 stays","\\\u0000 loses it"]}'
FROM demo_planted WHERE r.challenge = login AND kind = 4;

UPDATE hydra_oauth2_consent_request r
SET oidc_context = '{"login_hint":"a\u0000b","ui_locales":["\\u0000 stays","\\\u0000 loses it"]}'
FROM demo_planted WHERE r.challenge = consent AND kind = 4;

-- 05
UPDATE hydra_oauth2_authentication_request r SET oidc_context = ''
FROM demo_planted WHERE r.challenge = login AND kind = 5;

UPDATE hydra_oauth2_authentication_request_handled r SET context = ''
FROM demo_planted WHERE r.challenge = login AND kind = 5;

UPDATE hydra_oauth2_consent_request r SET oidc_context = '', context = ''
FROM demo_planted WHERE r.challenge = consent AND kind = 5;

UPDATE hydra_oauth2_consent_request_handled r SET session_access_token = '', session_id_token = ''
FROM demo_planted WHERE r.challenge = consent AND kind = 5;

-- 06
INSERT INTO hydra_client
SELECT (jsonb_populate_record(c, jsonb_build_object('pk', clients + j, 'id', 'dead06000000' || lpad(j::text, 20, '0'),
           'contacts', (ARRAY['"Ops" <ops@app.example>|security@app.example', E'DOMAIN\\ops|ops@app.example',
                              E'ops@app.example|Operations\tdesk\n2nd floor'])[1 + j % 3]))).*
FROM demo_setting, generate_series(1, planted) j, hydra_client c WHERE c.id = 'client-0001';

-- 07, 08. The tokens repeat the scopes of their consent.
CREATE TEMP TABLE demo_odd_list AS
SELECT login, consent, i,
       CASE WHEN kind = 7 THEN E'openid|offline|say:"hello"|path\\users'
            ELSE E'openid|offline|C:\\new|C:\\temp|share\\\\host' END AS list,
       CASE WHEN kind = 7 THEN E'https://api.example/"v1"|urn:d\\x' ELSE '' END AS audience
FROM demo_planted WHERE kind IN (7, 8);

UPDATE hydra_oauth2_authentication_request r SET requested_scope = list, requested_at_audience = audience
FROM demo_odd_list WHERE r.challenge = login;

UPDATE hydra_oauth2_consent_request r SET requested_scope = list, requested_at_audience = audience
FROM demo_odd_list WHERE r.challenge = consent;

UPDATE hydra_oauth2_consent_request_handled r SET granted_scope = list, granted_at_audience = audience
FROM demo_odd_list WHERE r.challenge = consent;

UPDATE hydra_oauth2_access t
SET scope = list, granted_scope = list, requested_audience = audience, granted_audience = audience
FROM demo_odd_list WHERE t.signature = pg_temp.hex('access', i);

UPDATE hydra_oauth2_refresh t
SET scope = list, granted_scope = list, requested_audience = audience, granted_audience = audience
FROM demo_odd_list WHERE t.signature = pg_temp.hex('refresh', i);

-- 09
UPDATE hydra_oauth2_consent_request_handled r
SET error = '{"error":"server_error","error_description":"' || pg_temp.noise(pg_temp.hex('error', i), 6000) || '"}'
FROM demo_planted WHERE r.challenge = consent AND kind = 9;

-- 10, 11, 12 leave references to nothing, as a load with triggers off does.
SET session_replication_role = replica;

DELETE FROM hydra_oauth2_consent_request_handled r USING demo_planted WHERE r.challenge = consent AND kind IN (10, 12);
DELETE FROM hydra_oauth2_consent_request r USING demo_planted WHERE r.challenge = consent AND kind IN (10, 12);
DELETE FROM hydra_oauth2_authentication_request_handled r USING demo_planted
WHERE r.challenge = login AND kind IN (10, 12);
DELETE FROM hydra_oauth2_authentication_request r USING demo_planted WHERE r.challenge = login AND kind IN (10, 12);
DELETE FROM hydra_oauth2_authentication_session r USING demo_planted WHERE r.id = session_id AND kind IN (10, 11, 12);

UPDATE hydra_oauth2_consent_request r SET login_session_id = NULL
FROM demo_planted WHERE r.challenge = consent AND kind = 11;

UPDATE hydra_oauth2_access t SET challenge_id = NULL, client_id = 'dead10000000' || lpad(j::text, 20, '0')
FROM demo_planted WHERE t.signature = pg_temp.hex('access', i) AND kind = 10;
UPDATE hydra_oauth2_refresh t SET challenge_id = NULL, client_id = 'dead10000000' || lpad(j::text, 20, '0')
FROM demo_planted WHERE t.signature = pg_temp.hex('refresh', i) AND kind = 10;
UPDATE hydra_oauth2_code t SET challenge_id = NULL, client_id = 'dead10000000' || lpad(j::text, 20, '0')
FROM demo_planted WHERE t.signature = pg_temp.hex('code', i) AND kind = 10;
UPDATE hydra_oauth2_oidc t SET challenge_id = NULL, client_id = 'dead10000000' || lpad(j::text, 20, '0')
FROM demo_planted WHERE t.signature = pg_temp.hex('code', i) AND kind = 10;
UPDATE hydra_oauth2_pkce t SET challenge_id = NULL, client_id = 'dead10000000' || lpad(j::text, 20, '0')
FROM demo_planted WHERE t.signature = pg_temp.hex('code', i) AND kind = 10;

RESET session_replication_role;

-- 4. The end -----------------------------------------------------------------------------------------------------

SELECT setval('hydra_client_pk_seq', max(pk)) FROM hydra_client;
SELECT setval('hydra_jwk_pk_seq', max(pk)) FROM hydra_jwk;

DISCARD TEMP;
RESET jit;
ANALYZE;
