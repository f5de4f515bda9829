//! The service on a Hydra 1.x database, 1.0.0 to 1.11.10: only columns that all of them have. What a rotation and a revocation
//! leave changed on the way.

use super::Store;

/// SQL for Hydra 1.x. A rotation deletes the old rows and inserts new ones, as releases 1.0 to 1.9 do.
pub const STORE_1X: Store = Store {
    name: "Hydra 1.x",
    client: "SELECT client_secret, string_to_array(grant_types, '|') FROM hydra_client WHERE id = $1",
    introspect: "
        SELECT 'access_token', client_id, subject, granted_scope,
               active AND requested_at > (now() AT TIME ZONE 'UTC') - interval '1 hour',
               extract(epoch FROM requested_at)::bigint
        FROM hydra_oauth2_access WHERE signature = $1
        UNION ALL
        SELECT 'refresh_token', client_id, subject, granted_scope,
               active AND requested_at > (now() AT TIME ZONE 'UTC') - interval '720 hours',
               extract(epoch FROM requested_at)::bigint
        FROM hydra_oauth2_refresh WHERE signature = $1",
    authorize: "
        WITH session AS (
            INSERT INTO hydra_oauth2_authentication_session (id, authenticated_at, subject, remember)
            VALUES ($1, now() AT TIME ZONE 'UTC', $5, false)
        ), login AS (
            INSERT INTO hydra_oauth2_authentication_request (challenge, requested_scope, verifier, csrf, subject, request_url,
                skip, client_id, requested_at, oidc_context, login_session_id, requested_at_audience)
            VALUES ($2, $6, $8, $9, '', $7, false, $4, now() AT TIME ZONE 'UTC', '{}', $1, '')
        ), login_answer AS (
            INSERT INTO hydra_oauth2_authentication_request_handled (challenge, subject, remember, remember_for, error, acr,
                requested_at, authenticated_at, was_used, forced_subject_identifier, context)
            VALUES ($2, $5, false, 0, '{}', '', now() AT TIME ZONE 'UTC', now() AT TIME ZONE 'UTC', true, '', '{}')
        ), consent AS (
            INSERT INTO hydra_oauth2_consent_request (challenge, verifier, client_id, subject, request_url, skip,
                requested_scope, csrf, authenticated_at, requested_at, oidc_context, forced_subject_identifier,
                login_session_id, login_challenge, requested_at_audience, acr, context)
            VALUES ($3, $10, $4, $5, $7, false, $6, $11, now() AT TIME ZONE 'UTC', now() AT TIME ZONE 'UTC', '{}', '',
                $1, $2, '', '', '{}')
        ), consent_answer AS (
            INSERT INTO hydra_oauth2_consent_request_handled (challenge, granted_scope, remember, remember_for, error,
                requested_at, session_access_token, session_id_token, authenticated_at, was_used, granted_at_audience)
            VALUES ($3, $6, false, 0, '{}', now() AT TIME ZONE 'UTC', '{}', '{}', now() AT TIME ZONE 'UTC', true, '')
        ), code AS (
            INSERT INTO hydra_oauth2_code (signature, request_id, requested_at, client_id, scope, granted_scope, form_data,
                session_data, subject, active, requested_audience, granted_audience, challenge_id)
            VALUES ($12, $3, now() AT TIME ZONE 'UTC', $4, $6, $6, $13, $14, $5, true, '', '', $3)
        ), oidc AS (
            INSERT INTO hydra_oauth2_oidc (signature, request_id, requested_at, client_id, scope, granted_scope, form_data,
                session_data, subject, active, requested_audience, granted_audience, challenge_id)
            SELECT $12::text, $3::text, now() AT TIME ZONE 'UTC', $4::text, $6::text, $6::text, $13::text, $14::text,
                $5::text, true, '', '', $3::text
            WHERE 'openid' = ANY (string_to_array($6, '|'))
        )
        INSERT INTO hydra_oauth2_pkce (signature, request_id, requested_at, client_id, scope, granted_scope, form_data,
            session_data, subject, active, requested_audience, granted_audience, challenge_id)
        SELECT $12::text, $3::text, now() AT TIME ZONE 'UTC', $4::text, $6::text, $6::text, $15::text, $14::text,
            $5::text, true, '', '', $3::text
        WHERE $15::text IS NOT NULL",
    use_code: "
        UPDATE hydra_oauth2_code SET active = false
        WHERE signature = $1 AND client_id = $2 AND active
          AND requested_at > (now() AT TIME ZONE 'UTC') - interval '10 minutes'
        RETURNING request_id, scope, granted_scope, form_data, session_data, subject, challenge_id",
    use_pkce: "DELETE FROM hydra_oauth2_pkce WHERE signature = $1 RETURNING form_data",
    use_refresh: "
        DELETE FROM hydra_oauth2_refresh
        WHERE signature = $1 AND client_id = $2 AND active
          AND requested_at > (now() AT TIME ZONE 'UTC') - interval '720 hours'
        RETURNING request_id, scope, granted_scope, form_data, session_data, subject, challenge_id",
    refuse_reuse: None,
    drop_access: "DELETE FROM hydra_oauth2_access WHERE request_id = $1",
    issue: "
        WITH access AS (
            INSERT INTO hydra_oauth2_access (signature, request_id, requested_at, client_id, scope, granted_scope, form_data,
                session_data, subject, active, requested_audience, granted_audience, challenge_id)
            VALUES ($1, $3, now() AT TIME ZONE 'UTC', $4, $5, $6, $7, $8, $9, true, '', '', $10)
        )
        INSERT INTO hydra_oauth2_refresh (signature, request_id, requested_at, client_id, scope, granted_scope, form_data,
            session_data, subject, active, requested_audience, granted_audience, challenge_id)
        SELECT $2::text, $3::text, now() AT TIME ZONE 'UTC', $4::text, $5::text, $6::text, $7::text, $8::text, $9::text,
            true, '', '', $10::text
        WHERE $2::text IS NOT NULL",
    revoke: "
        WITH request AS (
            SELECT request_id FROM hydra_oauth2_refresh WHERE signature = $1 AND client_id = $2
            UNION
            SELECT request_id FROM hydra_oauth2_access WHERE signature = $1 AND client_id = $2
        ), refresh AS (
            DELETE FROM hydra_oauth2_refresh r USING request WHERE r.request_id = request.request_id
        )
        DELETE FROM hydra_oauth2_access a USING request WHERE a.request_id = request.request_id",
};

/// SQL for Hydra 1.10.1 to 1.11.10: a rotation and a revocation keep the refresh rows, inactive, and a token that is used a second
/// time ends its whole request.
pub const STORE_1_11: Store = Store {
    name: "Hydra 1.11.10",
    use_refresh: "
        UPDATE hydra_oauth2_refresh SET active = false
        WHERE signature = $1 AND client_id = $2 AND active
          AND requested_at > (now() AT TIME ZONE 'UTC') - interval '720 hours'
        RETURNING request_id, scope, granted_scope, form_data, session_data, subject, challenge_id",
    refuse_reuse: Some(
        "
        WITH reused AS (
            DELETE FROM hydra_oauth2_refresh WHERE signature = $1 AND client_id = $2 AND NOT active RETURNING request_id
        ), refresh AS (
            UPDATE hydra_oauth2_refresh r SET active = false FROM reused
            WHERE r.request_id = reused.request_id AND r.signature <> $1 AND r.active RETURNING r.request_id
        ), access AS (
            DELETE FROM hydra_oauth2_access a USING reused WHERE a.request_id = reused.request_id RETURNING a.request_id
        )
        SELECT count(DISTINCT request_id) FROM (SELECT request_id FROM refresh UNION ALL SELECT request_id FROM access) AS ended",
    ),
    revoke: "
        WITH request AS (
            SELECT request_id FROM hydra_oauth2_refresh WHERE signature = $1 AND client_id = $2
            UNION
            SELECT request_id FROM hydra_oauth2_access WHERE signature = $1 AND client_id = $2
        ), refresh AS (
            UPDATE hydra_oauth2_refresh r SET active = false FROM request WHERE r.request_id = request.request_id AND r.active
        )
        DELETE FROM hydra_oauth2_access a USING request WHERE a.request_id = request.request_id",
    ..STORE_1X
};
