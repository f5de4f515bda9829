//! Revocations: told from what changed on blue, taken away on green, and proved.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Stdio;

use crossfade::capture::{Outbox, Shape, captured_from_here, create_slot, install, publish, slot_name};
use crossfade::pg::{Opener, Snapshot, ensure_control};
use crossfade::projection::Captured;
use crossfade::revocation::{Event, Figures, Proof, Rules, Source, ahead, figures, load, pending, prove, record};
use crossfade::terms::{RunId, StepId, key_digest};

use crate::hydra::{blue_1_11_10, logical_1_11_10, without_capture};
use crate::support::{Ran, TestDb, Workspace, entries};

fn rules() -> Rules {
    load(&Path::new(env!("CARGO_MANIFEST_DIR")).join("plans/revocations/hydra-1x.toml")).unwrap()
}

/// A blue database of 1.11.10 whose changes are captured.
struct Blue {
    db: TestDb,
    run: RunId,
    since: String,
    slot: bool,
}

impl Blue {
    async fn new() -> Self {
        Self::of(blue_1_11_10().await, false).await
    }

    /// The same, read from a slot; the inbox is in the same database.
    async fn slot() -> Self {
        Self::of(logical_1_11_10().await, true).await
    }

    async fn of(db: TestDb, slot: bool) -> Self {
        let run = RunId::fresh();
        let mut session = db.session().await;
        ensure_control(&mut session).await.unwrap();
        session.batch_execute(GRANT).await.unwrap();
        let step = StepId::new("capture").unwrap();
        let mut shapes = Vec::new();
        for wanted in rules().wanted {
            let mut columns = wanted.columns.clone();
            columns.sort();
            let captured = Captured { table: wanted.table.clone(), columns, watch: None };
            let mut shape = Shape::read(&session, &captured).await.unwrap().unwrap();
            if slot {
                session.batch_execute(&format!("ALTER TABLE {} REPLICA IDENTITY FULL", shape.table)).await.unwrap();
                shapes.push(shape);
                continue;
            }
            shape.rows_of_truncate = true; // as `start_capture` with rules has it
            let statements = install(&session, &run, &step, &shape, 1_000_000).await.unwrap();
            session.batch_execute(&format!("BEGIN; {}; COMMIT", statements.join(";"))).await.unwrap();
        }
        if slot {
            let statements = publish(&session, &run, &step, &shapes, 1_000_000).await.unwrap();
            session.batch_execute(&format!("BEGIN; {}; COMMIT", statements.join(";"))).await.unwrap();
            create_slot(&session, &slot_name(&run)).await.unwrap();
            session.batch_execute(&captured_from_here(&run, &step)).await.unwrap();
        }
        let mut blue = Self { db, run, since: String::new(), slot };
        blue.pass().await;
        blue
    }

    /// From now on only what comes later is asked for.
    async fn pass(&mut self) {
        self.since = self.db.value("SELECT pg_current_snapshot()").await;
    }

    async fn snapshot(&self) -> Snapshot {
        Snapshot::export(Opener::new(self.db.database(), "test".to_owned())).await.unwrap()
    }

    async fn events(&self) -> Vec<Event> {
        let snapshot = self.snapshot().await;
        let rules = rules();
        if self.slot {
            let opener = || Opener::new(self.db.database(), "test".to_owned());
            let outbox = Outbox::open(opener(), opener(), &self.run).await.unwrap().unwrap();
            outbox.arrive(&snapshot).await.unwrap();
        }
        let mut all = Vec::new();
        let mut pages = pending(&snapshot, &self.db.session().await, &self.run, &rules, &self.since).await.unwrap();
        while let Some(events) = pages.next().await.unwrap() {
            all.extend(events);
        }
        all
    }

    /// What is told from these transactions, as `what id`, sorted.
    async fn told(&mut self, transactions: &[&str]) -> Vec<String> {
        for transaction in transactions {
            self.db.sql(&format!("BEGIN; {transaction}; COMMIT")).await;
        }
        let mut told: Vec<String> = self.events().await.iter().map(|event| format!("{} {}", event.what, event.id)).collect();
        told.sort();
        self.pass().await;
        told
    }
}

/// `granted(name)`: a login session, a login and its answer, a consent and its answer, a code, an access and a refresh token of
/// client `app`, as Hydra leaves them. `tokens(name, n)`: what a rotation issues.
pub const GRANT: &str = "
CREATE FUNCTION tokens(name text, generation int) RETURNS void LANGUAGE sql AS $$
    INSERT INTO hydra_oauth2_access (signature, request_id, requested_at, client_id, scope, granted_scope, form_data, session_data,
        subject, active, challenge_id)
    SELECT 'a-' || name || generation, 'c-' || name, now() AT TIME ZONE 'UTC', 'app', '', '', '', '', 'user', true, 'c-' || name;
    INSERT INTO hydra_oauth2_refresh (signature, request_id, requested_at, client_id, scope, granted_scope, form_data, session_data,
        subject, active, challenge_id)
    SELECT 'r-' || name || generation, 'c-' || name, now() AT TIME ZONE 'UTC', 'app', '', '', '', '', 'user', true, 'c-' || name;
$$;
CREATE FUNCTION granted(name text) RETURNS void LANGUAGE sql AS $$
    INSERT INTO hydra_oauth2_authentication_session (id, authenticated_at, subject, remember)
    VALUES ('s-' || name, now() AT TIME ZONE 'UTC', 'user', false);
    INSERT INTO hydra_oauth2_authentication_request (challenge, requested_scope, verifier, csrf, subject, request_url, skip, client_id,
        requested_at, oidc_context, login_session_id, requested_at_audience)
    VALUES ('l-' || name, '', 'lv-' || name, '', '', '', false, 'app', now() AT TIME ZONE 'UTC', '{}', 's-' || name, '');
    INSERT INTO hydra_oauth2_authentication_request_handled (challenge, subject, remember, remember_for, error, acr, requested_at,
        authenticated_at, was_used, forced_subject_identifier, context)
    VALUES ('l-' || name, 'user', false, 0, '{}', '', now() AT TIME ZONE 'UTC', now() AT TIME ZONE 'UTC', true, '', '{}');
    INSERT INTO hydra_oauth2_consent_request (challenge, verifier, client_id, subject, request_url, skip, requested_scope, csrf,
        authenticated_at, requested_at, oidc_context, forced_subject_identifier, login_session_id, login_challenge,
        requested_at_audience, acr, context)
    VALUES ('c-' || name, 'cv-' || name, 'app', 'user', '', false, '', '', now() AT TIME ZONE 'UTC', now() AT TIME ZONE 'UTC', '{}', '',
        's-' || name, 'l-' || name, '', '', '{}');
    INSERT INTO hydra_oauth2_consent_request_handled (challenge, granted_scope, remember, remember_for, error, requested_at,
        session_access_token, session_id_token, authenticated_at, was_used, granted_at_audience)
    VALUES ('c-' || name, '', false, 0, '{}', now() AT TIME ZONE 'UTC', '{}', '{}', now() AT TIME ZONE 'UTC', true, '');
    INSERT INTO hydra_oauth2_code (signature, request_id, requested_at, client_id, scope, granted_scope, form_data, session_data,
        subject, active, challenge_id)
    VALUES ('o-' || name, 'c-' || name, now() AT TIME ZONE 'UTC', 'app', '', '', '', '', 'user', false, 'c-' || name);
    SELECT tokens(name, 1);
$$;
INSERT INTO hydra_client (id, client_name, client_secret, redirect_uris, grant_types, response_types, scope, owner, policy_uri,
    tos_uri, client_uri, logo_uri, contacts, sector_identifier_uri, jwks, jwks_uri, request_uris, allowed_cors_origins, audience, metadata)
SELECT id, '', '', '', '', '', '', '', '', '', '', '', '', '', '', '', '', '', '', '{}' FROM (VALUES ('app'), ('other')) AS new (id);
";

/// The token endpoint's revocation as 1.0 to 1.9 do it: both rows go. And as 1.10 and 1.11 do it.
const REVOKE_OLD: &str =
    "DELETE FROM hydra_oauth2_refresh WHERE request_id = 'c-x'; DELETE FROM hydra_oauth2_access WHERE request_id = 'c-x'";
const REVOKE: &str = "UPDATE hydra_oauth2_refresh SET active = false WHERE request_id = 'c-x'; DELETE FROM hydra_oauth2_access WHERE request_id = 'c-x'";
const ROTATE_OLD: &str = "DELETE FROM hydra_oauth2_access WHERE request_id = 'c-x'; DELETE FROM hydra_oauth2_refresh WHERE request_id = 'c-x'; SELECT tokens('x', 2)";
const ROTATE: &str = "DELETE FROM hydra_oauth2_access WHERE request_id = 'c-x'; UPDATE hydra_oauth2_refresh SET active = false WHERE request_id = 'c-x'; SELECT tokens('x', 2)";

#[tokio::test(flavor = "multi_thread")]
async fn each_operation_of_each_version_gives_its_events_and_no_other() {
    each_operation(Blue::new().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_operation_gives_the_same_events_from_a_slot() {
    each_operation(Blue::slot().await).await;
}

async fn each_operation(mut blue: Blue) {
    let none: [&str; 0] = [];
    let grant = "SELECT granted('x')";
    // Every case begins with a new grant and is cleared away unseen afterwards.
    let cases: &[(&str, &[&str], &[&str])] = &[
        ("token endpoint, 1.0 to 1.9", &[REVOKE_OLD], &["token c-x"]),
        ("token endpoint, 1.10 and 1.11", &[REVOKE], &["token c-x"]),
        (
            "token endpoint, the two stores in transactions of their own",
            &[
                "UPDATE hydra_oauth2_refresh SET active = false WHERE request_id = 'c-x'",
                "DELETE FROM hydra_oauth2_access WHERE request_id = 'c-x'",
            ],
            &["token c-x"],
        ),
        (
            "consent, 1.0 to 1.9",
            &[
                "DELETE FROM hydra_oauth2_access WHERE request_id = 'c-x'; DELETE FROM hydra_oauth2_refresh WHERE request_id = 'c-x'; \
               DELETE FROM hydra_oauth2_consent_request_handled WHERE challenge = 'c-x'; \
               DELETE FROM hydra_oauth2_consent_request WHERE challenge = 'c-x'",
            ],
            &["consent c-x"],
        ),
        (
            "consent, 1.10 and 1.11: everything else goes by cascade",
            &["UPDATE hydra_oauth2_refresh SET active = false WHERE request_id = 'c-x'; \
               DELETE FROM hydra_oauth2_access WHERE request_id = 'c-x'; DELETE FROM hydra_oauth2_consent_request WHERE challenge = 'c-x'"],
            &["consent c-x"],
        ),
        (
            "all consents of a subject",
            &["SELECT granted('y')", "DELETE FROM hydra_oauth2_consent_request WHERE subject = 'user'"],
            &["consent c-x", "consent c-y"],
        ),
        (
            "login sessions of a subject",
            &["SELECT granted('y')", "DELETE FROM hydra_oauth2_authentication_session WHERE subject = 'user'"],
            &["login_session s-x", "login_session s-y"],
        ),
        (
            "logout: no token and no consent",
            &["DELETE FROM hydra_oauth2_authentication_session WHERE id = 's-x'"],
            &["login_session s-x"],
        ),
        ("client", &["DELETE FROM hydra_client WHERE id = 'app'"], &["client app"]),
        (
            "all access tokens of a client",
            &["SELECT granted('y')", "DELETE FROM hydra_oauth2_access WHERE client_id = 'app'"],
            &["access_token a-x1", "access_token a-y1"],
        ),
        ("rotation, 1.0 to 1.9", &[ROTATE_OLD], &[]),
        ("rotation, 1.10 and 1.11", &[ROTATE], &[]),
        ("rotation and then a revocation", &[ROTATE, REVOKE], &["token c-x"]),
        ("a rotation that is taken back", &["SAVEPOINT s; DELETE FROM hydra_oauth2_refresh; ROLLBACK TO s"], &[]),
        (
            "refresh reuse: the row that was used up goes, the others end",
            &[
                ROTATE,
                "DELETE FROM hydra_oauth2_refresh WHERE signature = 'r-x1'; UPDATE hydra_oauth2_refresh SET active = false \
                 WHERE request_id = 'c-x'; DELETE FROM hydra_oauth2_access WHERE request_id = 'c-x'",
            ],
            &["token c-x"],
        ),
        ("a revocation twice", &[REVOKE, REVOKE], &["token c-x"]),
        ("a code is used", &["UPDATE hydra_oauth2_code SET active = true", "UPDATE hydra_oauth2_code SET active = false"], &[]),
        (
            "janitor: expired access and refresh tokens",
            &[
                "UPDATE hydra_oauth2_access SET requested_at = now() AT TIME ZONE 'UTC' - interval '2 hours'; \
                 UPDATE hydra_oauth2_refresh SET requested_at = now() AT TIME ZONE 'UTC' - interval '31 days'",
                "DELETE FROM hydra_oauth2_access WHERE requested_at < now() AT TIME ZONE 'UTC' - interval '1 hour'",
                "DELETE FROM hydra_oauth2_refresh WHERE requested_at < now() AT TIME ZONE 'UTC' - interval '30 days'",
            ],
            &[],
        ),
        (
            "janitor: expired access tokens of requests whose refresh token lives",
            &[
                "UPDATE hydra_oauth2_access SET requested_at = now() AT TIME ZONE 'UTC' - interval '2 hours'",
                "DELETE FROM hydra_oauth2_access WHERE requested_at < now() AT TIME ZONE 'UTC' - interval '1 hour'",
            ],
            &[],
        ),
        (
            "janitor: refused and unanswered consents",
            &[
                "UPDATE hydra_oauth2_consent_request_handled SET error = '{\"error\": \"access_denied\"}' WHERE challenge = 'c-x'; \
                 DELETE FROM hydra_oauth2_access WHERE request_id = 'c-x'; DELETE FROM hydra_oauth2_refresh WHERE request_id = 'c-x'",
                "DELETE FROM hydra_oauth2_consent_request WHERE challenge = 'c-x'",
            ],
            &["token c-x"], // of the first transaction; the refused consent that goes is none
        ),
        ("all tokens at once", &["TRUNCATE hydra_oauth2_access, hydra_oauth2_refresh"], &["token c-x"]),
        (
            "all access tokens, and others at once in their place",
            &["SELECT granted('y')", "TRUNCATE hydra_oauth2_access; SELECT tokens('y', 2)"],
            &["access_token a-x1"],
        ),
        ("a TRUNCATE that is taken back", &["SAVEPOINT s; TRUNCATE hydra_oauth2_access; ROLLBACK TO s"], &[]),
        (
            "a client's own token",
            &[
                "INSERT INTO hydra_oauth2_access (signature, request_id, requested_at, client_id, scope, granted_scope, form_data, \
                 session_data, subject, active) VALUES ('a-m', 'm', now() AT TIME ZONE 'UTC', 'app', '', '', '', '', 'app', true)",
                "DELETE FROM hydra_oauth2_access WHERE request_id = 'm'",
            ],
            &["access_token a-m"],
        ),
    ];
    for (name, transactions, expected) in cases {
        // A slot names no row of a TRUNCATE: following stops there.
        if blue.slot && !expected.is_empty() && transactions.iter().any(|sql| sql.contains("TRUNCATE")) {
            continue;
        }
        assert_eq!(blue.told(&[grant]).await, none, "{name}: the grant alone");
        assert_eq!(blue.told(transactions).await, *expected, "{name}");
        blue.told(&[
            "DELETE FROM hydra_oauth2_consent_request WHERE challenge IN ('c-x', 'c-y'); DELETE FROM hydra_oauth2_authentication_session; \
             DELETE FROM hydra_oauth2_authentication_request WHERE challenge IN ('l-x', 'l-y')",
            "INSERT INTO hydra_client (id, client_name, client_secret, redirect_uris, grant_types, response_types, scope, owner, policy_uri, \
                tos_uri, client_uri, logo_uri, contacts, sector_identifier_uri, jwks, jwks_uri, request_uris, allowed_cors_origins, audience, \
                metadata) SELECT 'app', '', '', '', '', '', '', '', '', '', '', '', '', '', '', '', '', '', '', '{}' \
             WHERE NOT EXISTS (SELECT FROM hydra_client WHERE id = 'app')",
        ])
        .await;
    }
}

/// Green after the copy of `blue`.
async fn copied(blue: &Blue) -> TestDb {
    let green = TestDb::empty().await;
    Workspace::new(&without_capture(), &blue.db, Some(&green)).run(&["run", "--execute"]).exits(0);
    green
}

/// What a batch does first, at a new snapshot of blue: how many revocations are new, and how many were taken away.
async fn batch(blue: &Blue, green: &TestDb) -> (u64, u64) {
    let at = blue.snapshot().await;
    ahead(&at, &mut green.session().await, &blue.run, &rules(), &blue.since, |_| ()).await.unwrap()
}

/// Active refresh tokens, access tokens, flows and login sessions that green holds of a grant.
async fn held(green: &TestDb, name: &str) -> String {
    green
        .value(&format!(
            "SELECT concat_ws(' ', (SELECT count(*) FROM hydra_oauth2_refresh WHERE request_id = 'c-{name}' AND active), \
                (SELECT count(*) FROM hydra_oauth2_access WHERE request_id = 'c-{name}'), \
                (SELECT count(*) FROM hydra_oauth2_flow WHERE consent_challenge_id = 'c-{name}'), \
                (SELECT count(*) FROM hydra_oauth2_authentication_session WHERE id = 's-{name}'))"
        ))
        .await
}

async fn proof(blue: &Blue, green: &TestDb) -> Proof {
    let at = blue.snapshot().await;
    prove(at.session(), &green.session().await, &blue.run, &rules()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn green_loses_the_access_whatever_generation_it_holds() {
    let mut blue = Blue::new().await;
    for name in ["x", "consent", "session", "access", "kept", "client"] {
        blue.db.sql(&format!("SELECT granted('{name}')")).await;
    }
    let other = "UPDATE hydra_oauth2_consent_request SET client_id = 'other' WHERE challenge = 'c-client'; \
                 UPDATE hydra_oauth2_authentication_request SET client_id = 'other' WHERE challenge = 'l-client'; \
                 UPDATE hydra_oauth2_access SET client_id = 'other' WHERE request_id = 'c-client'; \
                 UPDATE hydra_oauth2_refresh SET client_id = 'other' WHERE request_id = 'c-client'; \
                 UPDATE hydra_oauth2_code SET client_id = 'other' WHERE request_id = 'c-client'";
    blue.db.sql(other).await;
    let green = copied(&blue).await;
    blue.pass().await;
    for name in ["x", "consent", "session", "access", "kept", "client"] {
        assert_eq!(held(&green, name).await, "1 1 1 1", "{name}");
    }

    // Green holds the first generation. Blue rotates twice, then revokes: green has never heard of what was revoked.
    blue.db.sql(&format!("BEGIN; {ROTATE}; COMMIT")).await;
    blue.db.sql(&format!("BEGIN; {}; COMMIT", ROTATE.replace("2)", "3)"))).await;
    blue.db.sql(&format!("BEGIN; {REVOKE}; COMMIT")).await;
    blue.db.sql("DELETE FROM hydra_oauth2_consent_request WHERE challenge = 'c-consent'").await;
    blue.db.sql("DELETE FROM hydra_oauth2_authentication_session WHERE id = 's-session'").await;
    blue.db.sql("DELETE FROM hydra_oauth2_access WHERE signature = 'a-access1'").await;
    blue.db.sql("DELETE FROM hydra_client WHERE id = 'other'").await;
    assert_eq!(batch(&blue, &green).await, (5, 5));
    let expected = [
        ("x", "0 0 1 1"),
        ("consent", "0 0 0 1"),
        ("session", "1 1 1 0"),
        ("access", "1 0 1 1"),
        ("kept", "1 1 1 1"),
        ("client", "0 0 0 1"),
    ];
    for (name, left) in expected {
        assert_eq!(held(&green, name).await, left, "{name}");
    }
    // The rows of the family stay where blue keeps them.
    assert_eq!(green.value("SELECT count(*) FROM hydra_oauth2_refresh WHERE request_id = 'c-x'").await, "1");

    // The same again, as after a crash, changes nothing.
    assert_eq!(batch(&blue, &green).await, (0, 0));
    green.sql("UPDATE crossfade.revocation SET replayed_at = NULL").await;
    assert_eq!(batch(&blue, &green).await, (0, 5));
    for (name, left) in expected {
        assert_eq!(held(&green, name).await, left, "{name}");
    }
    let proved = proof(&blue, &green).await;
    assert_eq!((proved.captured, proved.replayed, proved.proved, proved.restored_access), (5, 5, 5, 0));
    assert_eq!(figures(&green.session().await, &blue.run).await.unwrap(), Figures { captured: 5, replayed: 5, proved: 5 });

    // Somebody brings the access back: named by digest, and no longer proved.
    green.sql("UPDATE hydra_oauth2_refresh SET active = true WHERE request_id = 'c-x'").await;
    let back = proof(&blue, &green).await;
    assert_eq!((back.proved, back.restored_access, back.granted_anew), (4, 1, 0));
    assert_eq!(back.restored[0].what, "token");
    assert_eq!(back.restored[0].digests, [key_digest("c-x")]);
    assert_eq!(figures(&green.session().await, &blue.run).await.unwrap().proved, 4);

    // Access that blue itself grants anew is no harm.
    blue.db.sql("UPDATE hydra_oauth2_refresh SET active = true WHERE signature = 'r-x3'").await;
    let anew = proof(&blue, &green).await;
    assert_eq!((anew.proved, anew.restored_access, anew.granted_anew), (4, 0, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_tap_saw_waits_until_blue_knows_it() {
    let mut blue = Blue::new().await;
    blue.db.sql("SELECT granted('x')").await;
    let green = copied(&blue).await;
    blue.pass().await;
    let event = Event {
        what: "token".to_owned(),
        id: "c-x".to_owned(),
        client: None,
        subject: None,
        transaction: 0,
        revoked_at: std::time::SystemTime::now(),
    };
    assert!(!format!("{event:?}").contains("c-x"), "{event:?}");
    let events = [event];
    for new in [1, 0] {
        assert_eq!(record(&green.session().await, &blue.run, Source::Tap, &events).await.unwrap(), new);
    }
    // Blue has not done it yet: its rows would not come again, so green keeps them.
    assert_eq!(batch(&blue, &green).await, (0, 0));
    assert_eq!(held(&green, "x").await, "1 1 1 1");
    blue.db.sql(&format!("BEGIN; {REVOKE}; COMMIT")).await;
    assert_eq!(batch(&blue, &green).await, (1, 2));
    assert_eq!(held(&green, "x").await, "0 0 1 1");
    assert_eq!(proof(&blue, &green).await.proved, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_that_do_not_fit_are_named() {
    let mut blue = Blue::new().await;
    let green = copied(&blue).await;
    let mut rules = rules();
    assert_eq!(rules.check(Some(&blue.db.session().await), Some(&green.session().await)).await.unwrap(), []);
    rules.kinds[0].replay = vec!["DELETE FROM hydra_nothing WHERE id = ANY ($1)".to_owned()];
    rules.kinds[1].query = "SELECT nothing FROM consent".to_owned();
    let findings = rules.check(Some(&blue.db.session().await), Some(&green.session().await)).await.unwrap();
    let said = findings.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
    assert!(said.contains("hydra_nothing") && said.contains("client: replay") && said.contains("nothing"), "{said}");
    blue.pass().await;
    blue.run = RunId::fresh();
    let at = blue.snapshot().await;
    let error = pending(&at, &green.session().await, &blue.run, &rules, &blue.since).await.err().unwrap().to_string();
    assert!(error.contains("hydra_oauth2_refresh is not captured") && error.contains("start_capture"), "{error}");
}

/// A plan that captures, copies, waits, follows, compares, waits, proves; paths are those of this repository.
fn journey(capture: &str) -> String {
    let plans = Path::new(env!("CARGO_MANIFEST_DIR")).join("plans");
    let migrations = Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations/hydra-2x");
    let (plans, migrations) = (plans.display(), migrations.display());
    format!(
        r#"
format = 1
name = "revocations"
blue = {{ url_env = "BLUE_DATABASE_URL" }}
green = {{ url_env = "GREEN_DATABASE_URL" }}
[[step]]
id = "schema"
phase = "expand"
kind = "migrate"
side = "green"
directory = "{migrations}"
history = {{ table = "schema_migration", column = "version", constants = {{ version_self = 0 }} }}
[[step]]
id = "capture"
phase = "capture"
kind = "start_capture"
projections = "{plans}/projections/hydra-2x"
revocations = "{plans}/revocations/hydra-1x.toml"
{capture}
[[step]]
id = "copy"
phase = "copy"
kind = "copy"
projections = "{plans}/projections/hydra-2x"
[[step]]
id = "copied"
phase = "follow"
kind = "confirm"
question = "go on?"
[[step]]
id = "follow"
phase = "follow"
kind = "follow"
projections = "{plans}/projections/hydra-2x"
until = {{ lag = "2s", for = "200ms" }}
[[step]]
id = "verify"
phase = "follow"
kind = "verify"
projections = "{plans}/projections/hydra-2x"
[[step]]
id = "verified"
phase = "cutover"
kind = "confirm"
question = "go on?"
[[step]]
id = "prove"
phase = "cutover"
kind = "prove_revocations"
revocations = "{plans}/revocations/hydra-1x.toml"
"#
    )
}

fn listed(workspace: &Workspace, words: &[&str]) -> serde_json::Value {
    let words = [&["revocations", "--format", "json"], words].concat();
    serde_json::from_str(&workspace.run(&words).exits(0).stdout).unwrap()
}

/// Runs on from a confirmation, killed once at each of these places.
fn killed_at(workspace: &Workspace, approve: &str, places: &[&str]) {
    for place in places {
        let mut command = workspace.command(&["run", "--execute", "--approve", approve]);
        let ran = Ran::of(command.env("CROSSFADE_CRASH_AT", place).output().unwrap());
        assert_eq!(ran.code, None, "{place} was not reached\n{}\n{}", ran.stdout, ran.stderr);
    }
}

/// The same, and then to its end with this exit code.
fn killed(workspace: &Workspace, approve: &str, places: &[&str], code: i32) {
    killed_at(workspace, approve, places);
    workspace.run(&["run", "--execute"]).exits(code);
}

/// More keys of a capture from a slot.
const SLOT: &str = "source = \"slot\"\nset_replica_identity = true";

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_is_killed_on_the_way_counts_each_revocation_once() {
    each_revocation_once(blue_1_11_10().await, "").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_with_a_slot_that_is_killed_on_the_way_counts_each_revocation_once() {
    each_revocation_once(logical_1_11_10().await, SLOT).await;
}

async fn each_revocation_once(blue: TestDb, capture: &str) {
    let green = TestDb::empty().await;
    blue.sql(GRANT).await;
    for name in ["x", "consent", "session", "access", "late"] {
        blue.sql(&format!("SELECT granted('{name}')")).await;
    }
    let workspace = Workspace::new(&journey(capture), &blue, Some(&green));
    workspace.run(&["run", "--execute"]).exits(12);

    // The outbox holds them until a batch comes.
    for transaction in [ROTATE, REVOKE, "DELETE FROM hydra_oauth2_consent_request WHERE challenge = 'c-consent'"] {
        blue.sql(&format!("BEGIN; {transaction}; COMMIT")).await;
    }
    blue.sql("DELETE FROM hydra_oauth2_authentication_session WHERE id = 's-session'").await;
    blue.sql("DELETE FROM hydra_oauth2_access WHERE signature = 'a-access1'").await;
    let places = ["follow/arrived", "follow/recorded", "follow/replayed", "follow/staged", "follow/changed", "follow/committed"];
    if capture == SLOT {
        // In the slot they are not known yet; in the inbox they are.
        assert_eq!(listed(&workspace, &[])["pending"], 0);
        killed_at(&workspace, "copied", &places[..1]);
    }
    let pending = listed(&workspace, &[]);
    assert_eq!([&pending["captured"], &pending["pending"]], [0, 4]);
    assert_eq!(listed(&workspace, &["--what", "token"])["revocations"].as_array().unwrap().len(), 1);
    assert_eq!(listed(&workspace, &["--since", "1h"])["revocations"].as_array().unwrap().len(), 4);
    assert_eq!(listed(&workspace, &["--since", "2100-01-01T00:00:00Z"])["revocations"].as_array().unwrap().len(), 0);
    let text = workspace.run(&["revocations"]).exits(0).stdout;
    assert!(text.contains(&key_digest("c-x")) && text.contains("pending") && !text.contains("c-x"), "{text}");
    assert!(workspace.run(&["revocations", "--show-ids"]).exits(0).stdout.contains("  c-x "));
    assert!(workspace.run(&["revocations", "--since", "tomorrow"]).exits(2).stderr.contains("duration"));

    killed(&workspace, "copied", &places, 12);
    let replayed = listed(&workspace, &["--show-ids"]);
    assert_eq!([&replayed["captured"], &replayed["replayed"], &replayed["proved"], &replayed["pending"]], [4, 4, 0, 0]);
    let ids: BTreeSet<&str> = replayed["revocations"].as_array().unwrap().iter().map(|one| one["id"].as_str().unwrap()).collect();
    assert_eq!(ids, BTreeSet::from(["c-x", "c-consent", "s-session", "a-access1"]));
    for (name, left) in
        [("x", "0 0 1 1"), ("consent", "0 0 0 1"), ("session", "1 1 1 0"), ("access", "1 0 1 1"), ("late", "1 1 1 1")]
    {
        assert_eq!(held(&green, name).await, left, "{name}");
    }

    // One more that no batch has seen, and one whose access somebody brings back: the gate says so, and stays shut.
    blue.sql(
        "BEGIN; UPDATE hydra_oauth2_refresh SET active = false WHERE request_id = 'c-late'; \
              DELETE FROM hydra_oauth2_access WHERE request_id = 'c-late'; COMMIT",
    )
    .await;
    green.sql("UPDATE hydra_oauth2_refresh SET active = true WHERE request_id = 'c-x'").await;
    killed(&workspace, "verified", &["prove/recorded", "prove/replayed", "prove/proved"], 14);
    assert_eq!(held(&green, "late").await, "0 0 1 1");
    let shut = workspace.run(&["run", "--execute"]).exits(14);
    let said = shut.stdout + &shut.stderr;
    assert!(said.contains(&key_digest("c-x")) && said.contains("revocations of kind token: 1 have access"), "{said}");
    assert!(!said.contains("c-x") && !said.contains("c-late"), "{said}");
    let report = workspace.run(&["report"]).exits(0).stdout;
    assert!(report.contains("captured 5, granted anew 0, proved 4, replayed 5, restored access 1"), "{report}");

    green.sql("UPDATE hydra_oauth2_refresh SET active = false WHERE request_id = 'c-x'").await;
    workspace.run(&["run", "--execute"]).exits(0);
    let report = workspace.run(&["report"]).exits(0).stdout;
    assert!(report.contains("captured 5, granted anew 0, proved 5, replayed 5, restored access 0"), "{report}");
    let proved = listed(&workspace, &[]);
    assert!(proved["revocations"].as_array().unwrap().iter().all(|one| one["state"] == "proved"), "{proved}");
    let journals = workspace.folder.path().join("state/revocations");
    for run in entries(&journals) {
        let journal = std::fs::read_to_string(run.join("journal.jsonl")).unwrap();
        assert!(!journal.contains("c-x") && !journal.contains("r-x1"), "ids in the journal");
    }
    workspace.run(&["rollback", "--execute"]).exits(0);
    assert_eq!(blue.value("SELECT count(*) FROM crossfade.revocation_rules").await, "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_revoked_while_the_run_goes_on_has_no_access_afterwards() {
    revoked_while_it_goes_on(blue_1_11_10().await, "").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_revoked_while_a_run_with_a_slot_goes_on_has_no_access_afterwards() {
    revoked_while_it_goes_on(logical_1_11_10().await, SLOT).await;
}

async fn revoked_while_it_goes_on(blue: TestDb, capture: &str) {
    let green = TestDb::empty().await;
    blue.sql(GRANT).await;
    blue.sql("SELECT granted('n' || n) FROM generate_series(1, 3000) AS n").await;
    let workspace = Workspace::new(&journey(capture), &blue, Some(&green));
    let mut first = workspace.command(&["run", "--execute", "--approve", "copied"]);
    let child = first.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let run = tokio::task::spawn_blocking(move || Ran::of(child.wait_with_output().unwrap()));

    // While everything goes on, from the capture to the end: every session rotates, every other one is revoked, every sixth with
    // its consent.
    let session = blue.session().await;
    let begun =
        "SELECT to_regclass('crossfade.revocation_rules') IS NOT NULL AND EXISTS (SELECT FROM crossfade.revocation_rules)";
    crate::follow::until("changes are captured", async || {
        session.query_one(begun, &[]).await.is_ok_and(|row| row.get(0)) || run.is_finished()
    })
    .await;
    let mut revoked: Vec<(String, bool)> = Vec::new();
    for n in (1..=3000).take_while(|n| *n <= 12 || !run.is_finished()) {
        let rotate = ROTATE.replace("'c-x'", &format!("'c-n{n}'")).replace("tokens('x'", &format!("tokens('n{n}'"));
        session.batch_execute(&format!("BEGIN; {rotate}; COMMIT")).await.unwrap();
        if n % 2 == 0 {
            let consent = n % 6 == 0;
            let sql = match consent {
                true => format!("DELETE FROM hydra_oauth2_consent_request WHERE challenge = 'c-n{n}'"),
                false => REVOKE.replace("'c-x'", &format!("'c-n{n}'")),
            };
            session.batch_execute(&format!("BEGIN; {sql}; COMMIT")).await.unwrap();
            revoked.push((format!("n{n}"), consent));
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    run.await.unwrap().exits(12);
    workspace.run(&["run", "--execute", "--approve", "verified"]).exits(0);
    for (name, consent) in &revoked {
        let left = held(&green, name).await;
        assert!(left.starts_with("0 0 "), "{name}: {left}");
        assert!(!consent || left.starts_with("0 0 0 "), "{name}: {left}");
    }
    let listed = listed(&workspace, &["--show-ids"]);
    let events = listed["revocations"].as_array().unwrap();
    assert!(!events.is_empty() && listed["proved"] == events.len(), "{}", listed["proved"]);
    let expected: BTreeSet<(String, String)> = revoked
        .iter()
        .map(|(name, consent)| (if *consent { "consent" } else { "token" }.to_owned(), format!("c-{name}")))
        .collect();
    let told: BTreeSet<(String, String)> = events
        .iter()
        .map(|event| (event["what"].as_str().unwrap().to_owned(), event["id"].as_str().unwrap().to_owned()))
        .collect();
    assert_eq!(told.len(), events.len(), "one event each");
    assert!(told.is_subset(&expected), "{:?}", told.difference(&expected).collect::<Vec<_>>());
    // What the copy's snapshot saw already needs no event; what came after it has one.
    let missing = expected.difference(&told).count();
    eprintln!("{} revocations, {missing} of them before the copy's snapshot", expected.len());
    let copied_before = expected.iter().filter(|one| !told.contains(*one)).map(|(_, id)| id[3..].parse::<u32>().unwrap()).max();
    let first_told = told.iter().map(|(_, id)| id[3..].parse::<u32>().unwrap()).min().unwrap();
    assert!(copied_before.is_none_or(|last| last < first_told), "{copied_before:?} {first_told}");
    // A TRUNCATE of a table that the rules read tells its rows first, where triggers tell the changes.
    let expected = if capture.is_empty() { rules().wanted.len() } else { 0 };
    let before = "SELECT count(*) FROM pg_trigger WHERE tgname = 'crossfade_capture_truncate' AND tgtype & 2 = 2";
    assert_eq!(blue.value(before).await, expected.to_string());
}
