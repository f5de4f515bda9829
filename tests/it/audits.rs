//! Audit, repair and guard on the sessions of a whole database: what the upstream-like migrations damage is found to the row,
//! repaired, and gone; what users did meanwhile stays.

use std::path::Path;

use tokio::sync::OnceCell;

use crate::hydra::{self, catalog, fixture, history, plan, run};
use crate::support::{Ran, TestDb, Workspace, crossfade};

const RESTORE: &str = "hydra-2x-restore-migrate.toml";
const REPAIR: &str = "hydra-2x-audit-and-repair.toml";

/// Blue at 1.11.10 with 2,000 sessions and 20 rows of each special kind.
async fn blue() -> TestDb {
    static TEMPLATE: OnceCell<TestDb> = OnceCell::const_new();
    let template = TEMPLATE
        .get_or_init(|| async {
            let db = TestDb::empty().await;
            hydra::make_1_11_10_of(&db, 2000, 20).await;
            db
        })
        .await;
    TestDb::from_template(template.name()).await
}

/// A green that the migrations damaged: the restore-then-migrate plan as far as its first audit, with a program in the place
/// of the migrations, as an operator puts the application's own tool there.
async fn damaged() -> TestDb {
    static TEMPLATE: OnceCell<TestDb> = OnceCell::const_new();
    let template = TEMPLATE
        .get_or_init(|| async {
            let (blue, green) = (blue().await, TestDb::empty().await);
            let text = std::fs::read_to_string(plan(RESTORE)).unwrap();
            let (begin, _) = text.split_once("[[step]]\nid = \"audit-migrated\"").unwrap();
            let (begin, _) = begin.split_once("[[step]]\nid = \"migrate-green\"").unwrap();
            let workspace = Workspace::at(beside(&format!("{begin}{HOOK}")), &blue, Some(&green));
            workspace.run(&["run", "--execute", "--allow-hooks"]).exits(0);
            green
        })
        .await;
    TestDb::from_template(template.name()).await
}

/// Runs the migrations from outside.
const HOOK: &str = concat!(
    r#"
[[step]]
id = "migrate-green"
phase = "convert"
kind = "run_hook"
command = ["sh", "-c", '''
for f in "#,
    env!("CARGO_MANIFEST_DIR"),
    r#"/migrations/hydra-2x-upstream-like/*.sql; do
    case $f in *.down.sql) ;; *) psql -qX1 -v ON_ERROR_STOP=1 -d "$GREEN_DATABASE_URL" -f $f || exit 1;; esac
done''']
probe = ["sh", "-c", '''
psql -qXAt -d "$GREEN_DATABASE_URL" -c "SELECT to_regclass('hydra_oauth2_flow')" | grep -q hydra''']
"#
);

/// A folder with this plan and everything of `plans/` and `migrations/` where its paths find it.
fn beside(text: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).display().to_string();
    let text = text
        .replace("\"../migrations/", &format!("\"{source}/migrations/"))
        .replace("\"audit/", &format!("\"{source}/plans/audit/"))
        .replace("\"repair/", &format!("\"{source}/plans/repair/"))
        .replace("\"projections/", &format!("\"{source}/plans/projections/"))
        .replace("\"revocations/", &format!("\"{source}/plans/revocations/"));
    std::fs::write(folder.path().join("plan.toml"), text).unwrap();
    folder
}

/// An audit by the shipped plan, as JSON. The exit code says whether it found damage.
fn audit(blue: &TestDb, green: &TestDb, words: &[&str], code: i32) -> serde_json::Value {
    let workspace = Workspace::at(tempfile::tempdir().unwrap(), blue, Some(green));
    let words: Vec<&str> = ["audit", "--format", "json", "-q"].iter().chain(words).copied().collect();
    let ran = run(&workspace, REPAIR, &words).exits(code);
    for secret in ["dead0", "user-1", "planted-", "postgresql://"] {
        assert!(!ran.stdout.contains(secret) && !ran.stderr.contains(secret), "{secret} is shown");
    }
    serde_json::from_str(&ran.stdout).unwrap()
}

/// Rows of a class; 0 when it was not found.
fn rows(report: &serde_json::Value, set: &str, class: &str, field: Option<&str>) -> u64 {
    let set = report["sets"].as_array().unwrap().iter().find(|found| found["name"] == set).unwrap();
    let same = |found: &&serde_json::Value| found["class"] == class && found["field"].as_str() == field;
    set["found"].as_array().unwrap().iter().filter(same).map(|found| found["rows"].as_u64().unwrap()).sum()
}

/// `set class (field) = rows` of everything that harms.
fn harms(report: &serde_json::Value) -> Vec<String> {
    let mut all = Vec::new();
    for set in report["sets"].as_array().unwrap() {
        for found in set["found"].as_array().unwrap().iter().filter(|found| found["harms"] == true) {
            all.push(format!("{} {} {} = {}", set["name"], found["class"], found["field"], found["rows"]));
        }
    }
    all
}

async fn number(db: &TestDb, sql: &str) -> u64 {
    db.value(sql).await.parse().unwrap()
}

/// What the generator planted, asked of blue's own rows without any of the facts.
const GRANTED: &str = "hydra_oauth2_consent_request c JOIN hydra_oauth2_consent_request_handled a USING (challenge) \
    LEFT JOIN hydra_oauth2_authentication_request l ON l.challenge = c.login_challenge WHERE a.error IN ('{}', '')";

#[tokio::test(flavor = "multi_thread")]
async fn the_damage_of_the_migrations_is_found_to_the_row_and_repaired() {
    let (blue, green) = (blue().await, TestDb::empty().await);
    let workspace = Workspace::at(tempfile::tempdir().unwrap(), &blue, Some(&green));
    let whole = run(&workspace, RESTORE, &["run", "--execute"]).exits(0);
    assert!(whole.stderr.contains("job hydra janitor: if it ran now it would delete flows: "), "{}", whole.stderr);
    assert_eq!(catalog(&green).await, fixture("catalog-2.3.0.json"));
    let mut versions: Vec<String> = serde_json::from_value(fixture("history-2.3.0.json")).unwrap();
    versions.sort();
    assert_eq!(history(&green).await, versions);
    let valid =
        |sql: &str| format!("SELECT count(*) || ' ' || coalesce(sum(hashtextextended(s::text, 0)::numeric), 0) FROM ({sql}) s");
    let (before, after) = (
        blue.value(&valid(include_str!("../../src/demo/sessions.sql"))).await,
        green.value(&valid(include_str!("../../src/demo/sessions-2x.sql"))).await,
    );
    assert_eq!(before, after);
    assert!(harms(&audit(&blue, &green, &[], 0)).is_empty());

    let hurt = damaged().await;
    let report = audit(&blue, &hurt, &["--serving", "blue"], 14);
    let (lost, subjects, missing) = (
        number(&blue, &format!("SELECT count(*) FROM {GRANTED} AND l.challenge IS NOT NULL")).await,
        number(&blue, &format!("SELECT count(*) FROM {GRANTED} AND l.subject = ''")).await,
        number(&blue, &format!("SELECT count(*) FROM {GRANTED} AND l.challenge IS NULL")).await,
    );
    assert!(lost > 1500 && subjects > 1000 && missing > 100, "{lost} {subjects} {missing}");
    assert_eq!(rows(&report, "sessions", "lost", None), lost);
    assert_eq!(rows(&report, "sessions", "changed", Some("subject")), subjects);
    assert_eq!(rows(&report, "sessions", "missing", None), missing);
    let unlinked = |table: &str| {
        format!(
            "SELECT count(*) FROM hydra_oauth2_{table} t JOIN hydra_oauth2_consent_request c ON c.challenge = t.challenge_id \
             WHERE c.login_challenge IS NULL"
        )
    };
    for (set, tables) in
        [("access-tokens", &["access"][..]), ("refresh-tokens", &["refresh"]), ("codes", &["code", "pkce", "oidc"])]
    {
        let mut planted = 0;
        for table in tables {
            planted += number(&blue, &unlinked(table)).await;
        }
        assert!(planted > 0);
        assert_eq!(rows(&report, set, "unlinked", Some("session")), planted, "{set}");
    }
    assert_eq!(harms(&report).len(), 6, "{:?}", harms(&report));
    // Each with the rule that explains it, what users would see, and digests of a few keys.
    let sessions = &report["sets"][0];
    for (class, defect, count) in
        [("lost", "defect A", lost), ("changed", "defect B", subjects), ("missing", "defect C", missing)]
    {
        let found = sessions["found"].as_array().unwrap().iter().find(|found| found["class"] == class).unwrap();
        let causes = found["causes"].as_array().unwrap();
        assert!(causes.iter().all(|cause| !cause["users_see"].as_str().unwrap().is_empty()), "{found}");
        let told = causes.iter().filter(|cause| cause["cause"].as_str().unwrap().starts_with(defect));
        let told: u64 = told.map(|cause| cause["rows"].as_u64().unwrap()).sum();
        // Some consents are missing because two shared a login.
        assert!(told == count || class == "missing" && told > 0, "{found}");
        let keys = found["keys"].as_array().unwrap();
        assert!((1..=5).contains(&keys.len()) && keys.iter().all(|key| key.as_str().unwrap().len() == 12), "{found}");
    }
    let cell = |blue: &str, green: &str| {
        let cells = sessions["matrix"].as_array().unwrap();
        cells.iter().find(|cell| cell["blue"] == blue && cell["green"] == green).map_or(0, |cell| cell["rows"].as_u64().unwrap())
    };
    assert!(cell("granted and used", "login refused") > 1000, "{}", sessions["matrix"]);
    assert!(report["jobs"][0]["would_delete"][0][1].as_u64().unwrap() > 2000, "{}", report["jobs"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn by_projection_nothing_is_damaged() {
    let (blue, green) = (blue().await, TestDb::empty().await);
    let workspace = Workspace::at(tempfile::tempdir().unwrap(), &blue, Some(&green));
    run(&workspace, "hydra-2x-blue-green.toml", &["run", "--execute"]).exits(0);
    assert!(harms(&audit(&blue, &green, &[], 0)).is_empty());
    assert!(harms(&audit(&blue, &green, &["--serving", "blue"], 0)).is_empty());
}

/// Green serves since the migration: what users did there is neither damage nor undone by a repair.
#[tokio::test(flavor = "multi_thread")]
async fn what_users_did_since_stays() {
    let (blue, green) = (blue().await, damaged().await);
    let of = "(SELECT min(consent_challenge_id) FROM hydra_oauth2_flow WHERE consent_challenge_id IN \
              (SELECT challenge_id FROM hydra_oauth2_access))";
    let revoked = green.value(&format!("SELECT {of}")).await;
    green.sql(&format!("DELETE FROM hydra_oauth2_flow WHERE consent_challenge_id = '{revoked}'")).await;
    let rotated = green.value("SELECT min(signature) FROM hydra_oauth2_refresh WHERE active AND challenge_id IS NOT NULL").await;
    green.sql(&format!("UPDATE hydra_oauth2_refresh SET active = false WHERE signature = '{rotated}'")).await;
    green
        .sql(
            "INSERT INTO hydra_oauth2_flow SELECT (jsonb_populate_record(f, '{\"login_challenge\": \"begun\", \"consent_challenge_id\": \"later\", \
             \"state\": 6, \"consent_error\": \"{}\", \"login_error\": \"{}\", \"granted_scope\": [], \"subject\": \"new\"}')).* \
             FROM hydra_oauth2_flow f WHERE consent_error IS NOT NULL LIMIT 1",
        )
        .await;
    let workspace = Workspace::at(tempfile::tempdir().unwrap(), &blue, Some(&green));
    let dry = run(&workspace, REPAIR, &["run"]).exits(0);
    assert!(dry.stdout.contains("make rows that are not there"), "{}", dry.stdout);
    assert_eq!(green.value("SELECT to_regclass('crossfade.repair_right_0') IS NULL AND count(*) > 1900 FROM hydra_oauth2_flow WHERE state = 128").await, "true");
    run(&workspace, REPAIR, &["run", "--execute"]).exits(0);
    assert_eq!(
        number(&green, &format!("SELECT count(*) FROM hydra_oauth2_flow WHERE consent_challenge_id = '{revoked}'")).await,
        0
    );
    assert_eq!(green.value(&format!("SELECT active FROM hydra_oauth2_refresh WHERE signature = '{rotated}'")).await, "false");
    assert_eq!(green.value("SELECT subject || state FROM hydra_oauth2_flow WHERE login_challenge = 'begun'").await, "new6");
    let report = audit(&blue, &green, &[], 0);
    assert_eq!((rows(&report, "sessions", "missing", None), rows(&report, "sessions", "extra", None)), (1, 1));
    assert_eq!(report["damage"], false);
    assert_eq!(audit(&blue, &green, &["--serving", "blue"], 14)["damage"], true);

    // What a repair made and somebody revoked is not made again.
    let made = green.value("SELECT row_key ->> 'login_challenge' FROM crossfade.repair_made ORDER BY id LIMIT 1").await;
    green.sql(&format!("DELETE FROM hydra_oauth2_flow WHERE login_challenge = '{made}'")).await;
    run(&workspace, REPAIR, &["run", "--execute", "--new"]).exits(14);
    assert_eq!(number(&green, &format!("SELECT count(*) FROM hydra_oauth2_flow WHERE login_challenge = '{made}'")).await, 0);
}

/// With nothing of blue left but what was saved.
#[tokio::test(flavor = "multi_thread")]
async fn when_blue_is_gone() {
    let (blue, green) = (blue().await, damaged().await);
    let live = audit(&blue, &green, &[], 14);
    let only_green = |words: &[&str]| {
        let mut command = crossfade();
        command.args(words).arg(plan(REPAIR)).env("GREEN_DATABASE_URL", green.url()).env_remove("BLUE_DATABASE_URL");
        Ran::of(command.output().unwrap())
    };
    let early = only_green(&["audit", "--saved"]).exits(10);
    assert!(early.stderr.contains("nothing of this name was saved in this database"), "{}", early.stderr);
    let workspace = Workspace::at(tempfile::tempdir().unwrap(), &blue, Some(&green));
    let kept = run(&workspace, REPAIR, &["audit", "--save"]).exits(0);
    assert!(kept.stdout.contains("sessions: 2220 rows of blue"), "{}", kept.stdout);
    run(&workspace, REPAIR, &["audit", "--save"]).exits(0);
    drop(blue);
    let saved = only_green(&["audit", "--saved", "--format", "json"]).exits(14);
    let saved: serde_json::Value = serde_json::from_str(&saved.stdout).unwrap();
    assert_eq!(saved["sets"], live["sets"]);

    let folder = tempfile::tempdir().unwrap();
    let html = folder.path().join("a.html");
    only_green(&["audit", "--saved", "--html", html.to_str().unwrap()]).exits(14);
    let page = std::fs::read_to_string(html).unwrap();
    assert!(
        page.contains("login refused") && !page.contains("http:") && !page.contains("https:") && !page.contains("dead0"),
        "{page}"
    );

    let workspace = Workspace { folder, env: vec![("GREEN_DATABASE_URL".to_owned(), green.url())] };
    run(&workspace, "hydra-2x-repair-saved.toml", &["audit"]).exits(14);
    run(&workspace, "hydra-2x-repair-saved.toml", &["run", "--execute"]).exits(0);
    let clean = run(&workspace, "hydra-2x-repair-saved.toml", &["audit"]).exits(0);
    assert!(clean.stdout.contains("No damage found."), "{}", clean.stdout);
    run(&workspace, "hydra-2x-repair-saved.toml", &["rollback", "--execute"]).exits(0);
    run(&workspace, "hydra-2x-repair-saved.toml", &["audit"]).exits(14);
}

/// Jobs that delete must be off, wherever it counts.
#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_is_on_stops_everything() {
    let (blue, green) = (TestDb::empty().await, TestDb::empty().await);
    for db in [&blue, &green] {
        db.sql("CREATE TABLE t (id int PRIMARY KEY, good boolean); CREATE TABLE job (on_it boolean)").await;
    }
    blue.sql("INSERT INTO t SELECT n, n % 2 = 0 FROM generate_series(1, 10) n").await;
    green.sql("INSERT INTO job VALUES (true)").await;
    let plan = r#"
format = 1
name = "guarded"
blue = { url_env = "BLUE_DATABASE_URL" }
green = { url_env = "GREEN_DATABASE_URL" }
[[guard]]
job = "sweeper"
side = "green"
probe = "SELECT NOT EXISTS (SELECT FROM job)"
deletes = { rows = "SELECT count(*) FROM t WHERE NOT good" }
[[guard]]
job = "outside"
side = "green"
probe = ["sh", "-c", "exit 0"]
[[step]]
id = "early"
phase = "expand"
kind = "run_sql"
side = "green"
sql = ["SELECT 1"]
[[step]]
id = "copy"
phase = "copy"
kind = "copy"
tables = ["t"]
[[step]]
id = "audit"
phase = "copy"
kind = "audit"
facts = "facts.toml"
html = "audit.html"
json = "audit.json"
"#;
    let workspace = Workspace::new(plan, &blue, Some(&green));
    let query = "SELECT id::text AS key, 'x' AS state, good AS valid FROM t";
    let facts = format!("[[facts]]\nname = \"rows\"\nblue = \"{query}\"\ngreen = \"{query}\"\n");
    std::fs::write(workspace.folder.path().join("facts.toml"), facts).unwrap();
    let looked = workspace.run(&["preflight"]).exits(10);
    assert!(looked.stdout.contains("blocks: job sweeper: is not off"), "{}", looked.stdout);
    assert!(looked.stdout.contains("warning: job outside: a program of the plan says"), "{}", looked.stdout);
    let stopped = workspace.run(&["run", "--execute", "--allow-hooks"]).exits(10);
    assert!(stopped.stderr.contains("early: done") && stopped.stderr.contains("job sweeper: is not off"), "{}", stopped.stderr);
    green.sql("DELETE FROM job").await;
    workspace.run(&["run", "--execute"]).exits(10);
    let done = workspace.run(&["run", "--execute", "--allow-hooks"]).exits(0);
    assert!(done.stderr.contains("job sweeper: if it ran now it would delete rows: 5"), "{}", done.stderr);
    for name in ["audit.html", "audit.json"] {
        assert!(workspace.folder.path().join(name).exists());
    }
    green.sql("INSERT INTO job VALUES (true)").await;
    let told = workspace.run(&["audit", "--allow-hooks"]).exits(10);
    assert!(told.stdout.contains("job sweeper: NOT OFF") && told.stdout.contains("No damage found."), "{}", told.stdout);
}

/// Everything that is wrong with facts is said at once, and nothing is compared.
#[tokio::test(flavor = "multi_thread")]
async fn facts_that_do_not_fit_are_refused() {
    let (blue, green) = (TestDb::empty().await, TestDb::empty().await);
    for db in [&blue, &green] {
        db.sql("CREATE TABLE t (id int PRIMARY KEY, at timestamp)").await;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("facts.toml");
    let facts = "[[facts]]\nname = \"rows\"\nblue = \"SELECT id AS key, 'x' AS state, true AS valid, at, 1 AS more FROM t\"\n\
                 green = \"SELECT id::text AS key, 'x'::text AS state, true AS valid, at FROM nothing\"\nfields = { at = \"time\" }\n";
    std::fs::write(&path, facts).unwrap();
    let ran = |words: &[&str]| {
        let mut command = crossfade();
        command.args(["audit", "--facts", path.to_str().unwrap(), "--green", &green.url()]).args(words);
        Ran::of(command.output().unwrap())
    };
    let refused = ran(&["--blue", &blue.url()]).exits(10);
    for words in [
        "facts rows on blue: column key is int4, text is expected",
        "column at is timestamp, timestamptz is expected",
        "say the time zone",
        "gives column more, which is no field",
        "facts rows on green: the server refuses the query",
    ] {
        assert!(refused.stderr.contains(words), "`{words}` is not in:\n{}", refused.stderr);
    }
    let missing = ran(&[]).exits(2);
    assert!(missing.stderr.contains("pass --blue"), "{}", missing.stderr);
    let same = ran(&["--blue", &green.url()]).exits(2);
    assert!(!same.stderr.contains("postgresql://"), "{}", same.stderr);
    std::fs::write(&path, "[[facts]]\nname = \"\"\nblue = \"\"\ngreen = \"nonsense from\"\n").unwrap();
    let flawed = ran(&["--blue", &blue.url()]).exits(2);
    assert!(flawed.stderr.contains("3 problems"), "{}", flawed.stderr);
}
