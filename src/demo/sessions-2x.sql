-- The valid sessions of a Hydra 2.x database (written for 2.3.0): the meaning, the columns and the way to compare are
-- those of sessions.sql. No semicolon at the end.
--
-- What a consent row is in 1.x is a flow in state 5 (consent answered) or 6 (consent used) here. A later refusal is
-- stored as state 6 with its error text, so the error is looked at too. Each defect of a naive migration takes
-- sessions away from this result:
--   states computed as if success were NULL (all become 128 or 129)   the flow does not count
--   subject taken from the login request (empty unless skipped)       the flow does not count
--   consents without login_challenge get no flow                      there is none to count
-- and a wrong subject, client, scope or number of linked tokens changes the row.
SELECT f.consent_challenge_id AS consent_challenge,
       f.subject,
       f.client_id,
       (SELECT coalesce(jsonb_agg(scope ORDER BY scope COLLATE "C"), '[]')
        FROM jsonb_array_elements_text(coalesce(f.granted_scope, '[]')) scope) AS granted_scope,
       coalesce(t.tokens, 0) AS tokens
FROM hydra_oauth2_flow f
LEFT JOIN (SELECT challenge_id, subject, client_id, nid, count(*) AS tokens
           FROM (SELECT challenge_id, subject, client_id, nid FROM hydra_oauth2_access WHERE active
                 UNION ALL
                 SELECT challenge_id, subject, client_id, nid FROM hydra_oauth2_refresh WHERE active) active
           GROUP BY challenge_id, subject, client_id, nid) t
       ON t.challenge_id = f.consent_challenge_id AND t.subject = f.subject AND t.client_id = f.client_id
          AND t.nid = f.nid
WHERE f.state IN (5, 6)
  AND coalesce(f.consent_error, '') IN ('{}', '')
  AND f.consent_challenge_id IS NOT NULL
  AND f.subject <> ''
  AND (NOT f.consent_skip OR t.tokens IS NOT NULL)
