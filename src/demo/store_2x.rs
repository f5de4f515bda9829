//! The service on a Hydra 2.3.0 database: one flow per login and consent, and the network's id on every row.

use super::Store;

/// SQL for Hydra 2.3.0, without a grace period for refresh tokens: a rotation keeps the old row, inactive, and a token that
/// is used a second time takes its whole request with it.
pub const STORE_2X: Store = Store {
    name: "Hydra 2.3.0",
    client: "
        SELECT client_secret, ARRAY(SELECT jsonb_array_elements_text(grant_types))
        FROM hydra_client WHERE id = $1 AND nid = (SELECT id FROM networks)",
    introspect: "
        SELECT 'access_token', client_id, subject, granted_scope,
               active AND coalesce(expires_at, requested_at + interval '1 hour') > now() AT TIME ZONE 'UTC',
               extract(epoch FROM requested_at)::bigint
        FROM hydra_oauth2_access WHERE signature = $1 AND nid = (SELECT id FROM networks)
        UNION ALL
        SELECT 'refresh_token', client_id, subject, granted_scope,
               active AND coalesce(expires_at, requested_at + interval '720 hours') > now() AT TIME ZONE 'UTC',
               extract(epoch FROM requested_at)::bigint
        FROM hydra_oauth2_refresh WHERE signature = $1 AND nid = (SELECT id FROM networks)",
    authorize: "
        WITH network AS MATERIALIZED (
            SELECT id AS nid FROM networks
        ), session AS (
            INSERT INTO hydra_oauth2_authentication_session (id, authenticated_at, subject, remember, nid)
            SELECT $1::text, now() AT TIME ZONE 'UTC', $5::text, false, nid FROM network
        ), flow AS (
            INSERT INTO hydra_oauth2_flow (login_challenge, login_verifier, login_csrf, subject, request_url, login_skip,
                client_id, requested_at, login_session_id, state, login_remember_for, login_error, login_authenticated_at,
                login_was_used, consent_challenge_id, consent_verifier, consent_csrf, consent_remember_for,
                consent_handled_at, consent_error, consent_was_used, requested_scope, granted_scope, nid)
            SELECT $2::text, $8::text, $9::text, $5::text, $7::text, false, $4::text, now() AT TIME ZONE 'UTC', $1::text, 6,
                0, '{}', now() AT TIME ZONE 'UTC', true, $3::text, $10::text, $11::text, 0, now() AT TIME ZONE 'UTC', '{}',
                true, to_jsonb(string_to_array($6::text, '|')), to_jsonb(string_to_array($6::text, '|')), nid
            FROM network
        ), code AS (
            INSERT INTO hydra_oauth2_code (signature, request_id, requested_at, client_id, scope, granted_scope, form_data,
                session_data, subject, active, requested_audience, granted_audience, challenge_id, nid, expires_at)
            SELECT $12::text, $3::text, now() AT TIME ZONE 'UTC', $4::text, $6::text, $6::text, $13::text, $14::text,
                $5::text, true, '', '', $3::text, nid, (now() AT TIME ZONE 'UTC') + interval '10 minutes'
            FROM network
        ), oidc AS (
            INSERT INTO hydra_oauth2_oidc (signature, request_id, requested_at, client_id, scope, granted_scope, form_data,
                session_data, subject, active, requested_audience, granted_audience, challenge_id, nid, expires_at)
            SELECT $12::text, $3::text, now() AT TIME ZONE 'UTC', $4::text, $6::text, $6::text, $13::text, $14::text,
                $5::text, true, '', '', $3::text, nid, (now() AT TIME ZONE 'UTC') + interval '10 minutes'
            FROM network WHERE 'openid' = ANY (string_to_array($6, '|'))
        )
        INSERT INTO hydra_oauth2_pkce (signature, request_id, requested_at, client_id, scope, granted_scope, form_data,
            session_data, subject, active, requested_audience, granted_audience, challenge_id, nid, expires_at)
        SELECT $12::text, $3::text, now() AT TIME ZONE 'UTC', $4::text, $6::text, $6::text, $15::text, $14::text,
            $5::text, true, '', '', $3::text, nid, (now() AT TIME ZONE 'UTC') + interval '10 minutes'
        FROM network WHERE $15::text IS NOT NULL",
    use_code: "
        UPDATE hydra_oauth2_code SET active = false
        WHERE signature = $1 AND client_id = $2 AND active AND nid = (SELECT id FROM networks)
          AND coalesce(expires_at, requested_at + interval '10 minutes') > now() AT TIME ZONE 'UTC'
        RETURNING request_id, scope, granted_scope, form_data, session_data, subject, challenge_id",
    use_pkce: "
        DELETE FROM hydra_oauth2_pkce WHERE signature = $1 AND nid = (SELECT id FROM networks) RETURNING form_data",
    use_refresh: "
        UPDATE hydra_oauth2_refresh SET active = false, first_used_at = now() AT TIME ZONE 'UTC'
        WHERE signature = $1 AND client_id = $2 AND active AND nid = (SELECT id FROM networks)
          AND coalesce(expires_at, requested_at + interval '720 hours') > now() AT TIME ZONE 'UTC'
        RETURNING request_id, scope, granted_scope, form_data, session_data, subject, challenge_id",
    refuse_reuse: Some(
        "
        WITH request AS (
            SELECT request_id FROM hydra_oauth2_refresh
            WHERE signature = $1 AND client_id = $2 AND NOT active AND nid = (SELECT id FROM networks)
        ), refresh AS (
            DELETE FROM hydra_oauth2_refresh r USING request WHERE r.request_id = request.request_id
            RETURNING r.request_id, r.active
        ), access AS (
            DELETE FROM hydra_oauth2_access a USING request WHERE a.request_id = request.request_id RETURNING a.request_id
        )
        SELECT count(DISTINCT request_id)
        FROM (SELECT request_id FROM refresh WHERE active UNION ALL SELECT request_id FROM access) AS ended",
    ),
    drop_access: "DELETE FROM hydra_oauth2_access WHERE request_id = $1 AND nid = (SELECT id FROM networks)",
    issue: "
        WITH network AS MATERIALIZED (
            SELECT id AS nid FROM networks
        ), access AS (
            INSERT INTO hydra_oauth2_access (signature, request_id, requested_at, client_id, scope, granted_scope, form_data,
                session_data, subject, active, requested_audience, granted_audience, challenge_id, nid, expires_at)
            SELECT $1::text, $3::text, now() AT TIME ZONE 'UTC', $4::text, $5::text, $6::text, $7::text, $8::text, $9::text,
                true, '', '', $10::text, nid, (now() AT TIME ZONE 'UTC') + interval '1 hour'
            FROM network
        )
        INSERT INTO hydra_oauth2_refresh (signature, request_id, requested_at, client_id, scope, granted_scope, form_data,
            session_data, subject, active, requested_audience, granted_audience, challenge_id, nid, expires_at,
            access_token_signature)
        SELECT $2::text, $3::text, now() AT TIME ZONE 'UTC', $4::text, $5::text, $6::text, $7::text, $8::text, $9::text,
            true, '', '', $10::text, nid, (now() AT TIME ZONE 'UTC') + interval '720 hours', $1::text
        FROM network WHERE $2::text IS NOT NULL",
    revoke: "
        WITH request AS (
            SELECT request_id FROM hydra_oauth2_refresh
            WHERE signature = $1 AND client_id = $2 AND nid = (SELECT id FROM networks)
            UNION
            SELECT request_id FROM hydra_oauth2_access
            WHERE signature = $1 AND client_id = $2 AND nid = (SELECT id FROM networks)
        ), refresh AS (
            DELETE FROM hydra_oauth2_refresh r USING request WHERE r.request_id = request.request_id
        )
        DELETE FROM hydra_oauth2_access a USING request WHERE a.request_id = request.request_id",
};
