//! Thirty-odd damages to a green that was right, one at a time: each is found, and nothing else is.

use std::path::Path;

use crossfade::audit::{BlueFacts, Report, audit, load};
use crossfade::pg::Opener;
use crossfade::terms::Side;

use crate::hydra::{blue_1_11_10, run};
use crate::support::{TestDb, Workspace};

/// A granted, used, listed session with tokens of every sort, whose consent has no end.
const PLAIN: &str = "(SELECT f.consent_challenge_id FROM hydra_oauth2_flow f WHERE f.state = 6 AND NOT f.consent_skip \
    AND f.consent_challenge_id !~ '^dead' AND f.consent_remember_for = 0 AND jsonb_array_length(f.granted_scope) > 1 \
    AND EXISTS (SELECT FROM hydra_oauth2_access t WHERE t.challenge_id = f.consent_challenge_id) \
    AND EXISTS (SELECT FROM hydra_oauth2_refresh t WHERE t.challenge_id = f.consent_challenge_id) \
    AND EXISTS (SELECT FROM hydra_oauth2_oidc t WHERE t.challenge_id = f.consent_challenge_id) ORDER BY 1 LIMIT 1)";

/// A session whose consent has an end, which is over.
const ENDED: &str = "(SELECT f.consent_challenge_id FROM hydra_oauth2_flow f WHERE f.state = 6 AND f.consent_remember_for > 0 \
    ORDER BY 1 LIMIT 1)";

/// The damage, and what is to be found: `set class (field) = rows`, `*` for any number.
const DAMAGES: &[(&str, &str, &[&str])] = &[
    ("login refused", "UPDATE FLOW SET state = 128 WHERE IT", &["sessions lost = 1"]),
    ("consent refused by its state", "UPDATE FLOW SET state = 129 WHERE IT", &["sessions lost = 1"]),
    ("consent not answered", "UPDATE FLOW SET state = 4 WHERE IT", &["sessions lost = 1"]),
    ("login started", "UPDATE FLOW SET state = 1 WHERE IT", &["sessions lost = 1"]),
    ("used becomes unused", "UPDATE FLOW SET state = 5 WHERE IT", &["sessions changed (used) = 1"]),
    ("an error out of nowhere", "UPDATE FLOW SET consent_error = '{\"error\":\"x\"}' WHERE IT", &["sessions lost = 1"]),
    ("no subject", "UPDATE FLOW SET subject = '' WHERE IT", &["sessions changed (subject) = 1"]),
    ("somebody else's subject", "UPDATE FLOW SET subject = 'user-x' WHERE IT", &["sessions changed (subject) = 1"]),
    ("a subject in another case", "UPDATE FLOW SET subject = upper(subject) WHERE IT", &["sessions changed (subject) = 1"]),
    (
        "another client",
        "UPDATE FLOW SET client_id = (SELECT min(id) FROM hydra_client c WHERE c.id <> FLOW.client_id) WHERE IT",
        &["sessions changed (client) = 1"],
    ),
    ("a scope less", "UPDATE FLOW SET granted_scope = granted_scope - 0 WHERE IT", &["sessions changed (scopes) = 1"]),
    (
        "a scope more",
        "UPDATE FLOW SET granted_scope = granted_scope || '[\"admin\"]' WHERE IT",
        &["sessions changed (scopes) = 1"],
    ),
    ("no scope", "UPDATE FLOW SET granted_scope = '[]' WHERE IT", &["sessions changed (scopes) = 1"]),
    ("scopes that are no list", "UPDATE FLOW SET granted_scope = '{}' WHERE IT", &["sessions changed (scopes) = 1"]),
    (
        "an audience more",
        "UPDATE FLOW SET granted_at_audience = '[\"https://x\"]' WHERE IT",
        &["sessions changed (audience) = 1"],
    ),
    ("asked becomes skipped", "UPDATE FLOW SET consent_skip = true WHERE IT", &["sessions changed (skipped) = 1"]),
    (
        "remembering turned round",
        "UPDATE FLOW SET consent_remember = NOT consent_remember WHERE IT",
        &["sessions changed (remembered) = 1"],
    ),
    ("future-dated", "UPDATE FLOW SET requested_at = '2099-01-01' WHERE IT", &["sessions changed (begun) = 1"]),
    ("a second off", "UPDATE FLOW SET requested_at = requested_at + interval '1 s' WHERE IT", &["sessions changed (begun) = 1"]),
    ("ended early", "UPDATE FLOW SET consent_remember_for = 60 WHERE IT", &["sessions changed (until) = 1", "sessions lost = 1"]),
    (
        "never ends any more",
        "UPDATE FLOW SET consent_remember_for = 0 WHERE ENDED",
        &["sessions changed (until) = 1", "sessions revived = 1"],
    ),
    (
        "ends later",
        "UPDATE FLOW SET consent_remember_for = consent_remember_for + 9 WHERE ENDED",
        &["sessions changed (until) = 1"],
    ),
    (
        "a refusal becomes a grant",
        "UPDATE FLOW SET state = 6, consent_error = '{}' WHERE login_challenge = (SELECT min(login_challenge) FROM FLOW WHERE state = 129)",
        &["sessions revived = 1"],
    ),
    (
        "a consent nobody answered becomes a grant",
        "UPDATE FLOW SET state = 5, consent_error = '{}' WHERE login_challenge = (SELECT min(login_challenge) FROM FLOW WHERE state = 4)",
        &["sessions revived = 1"],
    ),
    (
        "a flow is gone with its tokens",
        "DELETE FROM FLOW WHERE IT",
        &[
            "access-tokens missing = *",
            "codes gone = *",
            "codes missing = *",
            "refresh-tokens missing = *",
            "sessions missing = 1",
        ],
    ),
    (
        "a flow nobody granted",
        "INSERT INTO FLOW SELECT (jsonb_populate_record(f, '{\"login_challenge\": \"x\", \"consent_challenge_id\": \"y\"}')).* FROM FLOW f WHERE IT",
        &["sessions extra = 1"],
    ),
    (
        "a flow twice",
        "ALTER TABLE hydra_oauth2_access DROP CONSTRAINT hydra_oauth2_access_challenge_id_fk; DROP INDEX hydra_oauth2_flow_consent_challenge_idx CASCADE; \
         INSERT INTO FLOW SELECT (jsonb_populate_record(f, '{\"login_challenge\": \"x\"}')).* FROM FLOW f WHERE IT",
        &["sessions duplicate = 1"],
    ),
    (
        "an access token without its session",
        "UPDATE ACCESS SET challenge_id = NULL WHERE ITS",
        &["access-tokens unlinked (session) = 1"],
    ),
    (
        "a refresh token without its session",
        "UPDATE REFRESH SET challenge_id = NULL WHERE ITS",
        &["refresh-tokens unlinked (session) = 1"],
    ),
    (
        "a used code without its session",
        "UPDATE hydra_oauth2_code SET challenge_id = NULL WHERE ITS",
        &["codes unlinked (session) = 1"],
    ),
    ("a token of another session", "UPDATE ACCESS SET challenge_id = OTHER WHERE ITS", &["access-tokens changed (session) = 1"]),
    ("a request of another chain", "UPDATE REFRESH SET request_id = 'x' WHERE ITS", &["refresh-tokens changed (request) = 1"]),
    ("a token deactivated", "UPDATE REFRESH SET active = false WHERE ITS", &["refresh-tokens lost = 1"]),
    ("a token gone", "DELETE FROM ACCESS WHERE ITS", &["access-tokens missing = 1"]),
    (
        "a token that blue does not have",
        "INSERT INTO REFRESH SELECT (jsonb_populate_record(t, '{\"signature\": \"x\"}')).* FROM REFRESH t WHERE ITS",
        &["refresh-tokens extra = 1"],
    ),
    (
        "a used code works again",
        "UPDATE hydra_oauth2_code SET active = true WHERE signature = (SELECT min(signature) FROM hydra_oauth2_code WHERE NOT active)",
        &["codes revived = 1"],
    ),
    ("a token of somebody else", "UPDATE ACCESS SET subject = 'user-x' WHERE ITS", &["access-tokens changed (subject) = 1"]),
    (
        "a token with more scopes",
        "UPDATE ACCESS SET granted_scope = granted_scope || '|admin' WHERE ITS",
        &["access-tokens changed (scopes) = 1"],
    ),
    (
        "a token that expired",
        "UPDATE REFRESH SET expires_at = '2020-01-01' WHERE ITS",
        &["refresh-tokens changed (until) = 1", "refresh-tokens lost = 1"],
    ),
    ("a token of the future", "UPDATE ACCESS SET requested_at = '2099-01-01' WHERE ITS", &["access-tokens changed (issued) = 1"]),
];

fn sql(damage: &str) -> String {
    let its = format!("challenge_id = {PLAIN}");
    let other = format!("(SELECT max(consent_challenge_id) FROM hydra_oauth2_flow WHERE consent_challenge_id <> {PLAIN})");
    damage
        .replace("WHERE ITS", &format!("WHERE {its}"))
        .replace("WHERE ENDED", &format!("WHERE consent_challenge_id = {ENDED}"))
        .replace("WHERE IT", &format!("WHERE consent_challenge_id = {PLAIN}"))
        .replace("OTHER", &other)
        .replace("FLOW", "hydra_oauth2_flow")
        .replace("ACCESS", "hydra_oauth2_access")
        .replace("REFRESH", "hydra_oauth2_refresh")
}

async fn audited(blue: &TestDb, green: &TestDb) -> Report {
    let (declared, _) = load(&Path::new(env!("CARGO_MANIFEST_DIR")).join("plans/audit/hydra-2x.toml")).unwrap();
    let opener = |db: &TestDb| Opener::new(db.database(), "crossfade/test".to_owned());
    audit(&declared, BlueFacts::Live(opener(blue)), &opener(green), Side::Blue, |_| {}).await.unwrap().unwrap()
}

fn found(report: &Report) -> Vec<String> {
    let mut all: Vec<String> = report
        .sets
        .iter()
        .flat_map(|set| set.found.iter().map(|found| format!("{} {} = {}", set.name, found.title(), found.rows)))
        .collect();
    all.sort();
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn each_of_many_damages_is_found_and_nothing_else() {
    let (blue, right) = (blue_1_11_10().await, TestDb::empty().await);
    let workspace = Workspace::at(tempfile::tempdir().unwrap(), &blue, Some(&right));
    run(&workspace, "hydra-2x-blue-green.toml", &["run", "--execute"]).exits(0);
    let undamaged = audited(&blue, &right).await;
    assert!(!undamaged.damage, "{}", undamaged.text());
    let base = found(&undamaged);
    assert!(base.iter().all(|line| line.starts_with("sessions gone")), "{base:?}");
    assert!(DAMAGES.len() >= 30, "{}", DAMAGES.len());
    for (name, damage, expected) in DAMAGES {
        let green = TestDb::from_template(right.name()).await;
        green.sql(&sql(damage)).await;
        let report = audited(&blue, &green).await;
        let mut all: Vec<String> = found(&report).into_iter().filter(|line| !base.contains(line)).collect();
        for (line, wanted) in all.iter_mut().zip(*expected) {
            if let Some(start) = wanted.strip_suffix('*')
                && line.starts_with(start)
            {
                *line = (*wanted).to_owned();
            }
        }
        assert_eq!(all, *expected, "{name}\n{}", report.text());
        assert!(report.damage, "{name}");
    }
}
