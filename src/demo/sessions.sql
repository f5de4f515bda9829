-- The valid sessions of a Hydra 1.x database (1.0.0 to 1.11.10): one row each. sessions-2x.sql gives the same rows
-- with the same meaning from 2.x. No semicolon at the end: both stand as a subquery. Compare them by
--
--   SELECT count(*), coalesce(sum(hashtextextended(s::text, 0)::numeric), 0) FROM (<this query>) s
--
-- which does not depend on the order of rows, or fetch the rows and name the consents that differ.
--
-- A session is valid when its consent was granted (an answer whose error is '{}' or empty), belongs to a subject,
-- and can still be used in one of two ways:
--   listed  the user sees and can revoke it: the consent was asked for, not skipped;
--   usable  at least one active access or refresh token row is linked to it (challenge_id) and agrees with it on
--           subject and client.
-- The clock is left out on purpose: the end of remember_for and of a token's lifetime comes by itself, so a count
-- that depended on it would differ between two moments without any fault of a migration.
--
-- `tokens` is how many such token rows there are: a session that keeps its row but loses its tokens shows here.
SELECT c.challenge AS consent_challenge,
       c.subject,
       c.client_id,
       (SELECT coalesce(jsonb_agg(scope ORDER BY scope COLLATE "C"), '[]')
        FROM unnest(string_to_array(a.granted_scope, '|')) scope) AS granted_scope,
       coalesce(t.tokens, 0) AS tokens
FROM hydra_oauth2_consent_request c
JOIN hydra_oauth2_consent_request_handled a ON a.challenge = c.challenge
LEFT JOIN (SELECT challenge_id, subject, client_id, count(*) AS tokens
           FROM (SELECT challenge_id, subject, client_id FROM hydra_oauth2_access WHERE active
                 UNION ALL
                 SELECT challenge_id, subject, client_id FROM hydra_oauth2_refresh WHERE active) active
           GROUP BY challenge_id, subject, client_id) t
       ON t.challenge_id = c.challenge AND t.subject = c.subject AND t.client_id = c.client_id
WHERE a.error IN ('{}', '')
  AND c.subject <> ''
  AND (NOT c.skip OR t.tokens IS NOT NULL)
