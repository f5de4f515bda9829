//! Bad input: the right exit code, an error that names object, state and next command, and nothing changed.

use std::fs::File;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ExitStatus};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::fingerprint::{assert_same, fingerprint};
use crate::support::{Ran, TestDb, Workspace, cluster, eventually};

const HEAD: &str = "format = 1\nname = \"bad-input\"\n[blue]\nurl_env = \"BLUE_DATABASE_URL\"\n";
const GREEN: &str = "[green]\nurl_env = \"GREEN_DATABASE_URL\"\n";
const ADD: &str = "[[step]]\nid = \"add\"\nphase = \"expand\"\nkind = \"run_sql\"\nside = \"blue\"\n\
                   sql = [\"ALTER TABLE t ADD COLUMN b int\"]\nundo_sql = [\"ALTER TABLE t DROP COLUMN b\"]\n";
const MORE: &str = "[[step]]\nid = \"more\"\nphase = \"expand\"\nkind = \"run_sql\"\nside = \"blue\"\n\
                    sql = [\"ALTER TABLE t ADD COLUMN c int\"]\nundo_sql = [\"ALTER TABLE t DROP COLUMN c\"]\n";
const ASK: &str = "[[step]]\nid = \"ask\"\nphase = \"expand\"\nkind = \"confirm\"\nquestion = \"Go on?\"\n";

async fn database() -> TestDb {
    let db = TestDb::empty().await;
    db.sql("CREATE TABLE t (a int); INSERT INTO t SELECT generate_series(1, 10)").await;
    db
}

/// Runs the workspace's plan: it must end with `code`, say each of `words`, and leave no trace.
async fn refused(workspace: &Workspace, blue: &TestDb, code: i32, words: &[&str]) {
    refused_with(workspace, blue, &["run", "--execute"], code, words).await;
}

async fn refused_with(workspace: &Workspace, blue: &TestDb, command: &[&str], code: i32, words: &[&str]) {
    let before = fingerprint(blue).await;
    let ran = Ran::of(workspace.command(command).output().unwrap()).exits(code);
    for word in words {
        assert!(ran.stderr.contains(word), "`{word}` is not in:\n{}", ran.stderr);
    }
    assert!(!ran.stderr.contains("panicked"), "{}", ran.stderr);
    assert_same("after a refusal", &[before], &[fingerprint(blue).await]);
    assert_eq!(blue.value("to_regnamespace('crossfade') IS NULL").await, "true", "schema crossfade was made");
    assert!(!workspace.folder.path().join("state").exists(), "a journal was begun");
}

#[tokio::test(flavor = "multi_thread")]
async fn broken_toml_names_its_line() {
    let db = database().await;
    refused(&Workspace::new(&format!("{HEAD}[[step]\n"), &db, None), &db, 2, &["plan.toml:5", "nothing was run"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_kind_is_answered_with_the_nearest() {
    let db = database().await;
    let plan = format!("{HEAD}[[step]]\nid = \"x\"\nphase = \"expand\"\nkind = \"create_idnex\"\n");
    refused(&Workspace::new(&plan, &db, None), &db, 2, &["plan.toml:8", "step x", "create_idnex", "did you mean `create_index`"])
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_key_is_named_with_its_line() {
    let db = database().await;
    let workspace = Workspace::new(&format!("{HEAD}{ADD}colour = 3\n"), &db, None);
    refused(&workspace, &db, 2, &["plan.toml:12", "step add", "unknown field `colour`"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_problems_are_listed_at_once() {
    let db = database().await;
    let plan = format!(
        "{HEAD}{ADD}{}{}{}{}{}",
        ASK.replace("\"ask\"", "\"add\""),
        ASK.replace("\"ask\"", "\"Bad Id\""),
        ASK.replace("\"expand\"", "\"preflight\""),
        ADD.replace("\"add\"", "\"on-green\"").replace("\"blue\"", "\"green\""),
        "[[step]]\nid = \"both\"\nphase = \"expand\"\nkind = \"add_constraint\"\nside = \"blue\"\ntable = \"t\"\nname = \"n\"\n\
         check = \"true\"\nunique = [\"a\"]\n"
    );
    let words = [
        "the id is taken by the step at line 5",
        "`Bad Id` is not a step id",
        "phase preflight after step add of phase expand",
        "works on green, but the plan has no [green]",
        "exactly one of `check`, `foreign_key`, `unique` and `primary_key`",
        "5 problems in the plan; nothing was run",
    ];
    refused(&Workspace::new(&plan, &db, None), &db, 2, &words).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_variable_is_named() {
    let db = database().await;
    let mut workspace = Workspace::new(&format!("{HEAD}{ADD}"), &db, None);
    workspace.env.clear();
    refused(&workspace, &db, 2, &["blue has no connection string", "set BLUE_DATABASE_URL", "--blue"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unreadable_connection_string_is_not_repeated() {
    let db = database().await;
    let mut workspace = Workspace::new(&format!("{HEAD}{ADD}"), &db, None);
    workspace.env[0].1 = "postgresql://someone:hunter2@host:notaport/x".to_owned();
    let ran = workspace.run(&["run", "--execute"]).exits(2);
    assert!(ran.stderr.contains("blue") && !ran.stderr.contains("hunter2"), "{}", ran.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unreachable_server_is_named() {
    let db = database().await;
    let mut workspace = Workspace::new(&format!("{HEAD}{ADD}"), &db, None);
    workspace.env[0].1 = "postgresql://postgres@/x?host=/nowhere".to_owned();
    refused(&workspace, &db, 11, &["cannot connect to blue", "/nowhere", "next: "]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn blue_and_green_must_be_two_databases() {
    let db = database().await;
    let workspace = Workspace::new(&format!("{HEAD}{GREEN}{ADD}"), &db, Some(&db));
    refused(&workspace, &db, 2, &["blue and green are the same database", db.name(), "green must be another one"]).await;
    refused_with(&workspace, &db, &["run"], 2, &["blue and green are the same database"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_only_database_is_refused() {
    let db = database().await;
    db.sql(&format!("ALTER DATABASE {} SET default_transaction_read_only = on", db.name())).await;
    refused(&Workspace::new(&format!("{HEAD}{ADD}"), &db, None), &db, 2, &["blue is read-only", "default_transaction_read_only"])
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_privilege_is_named_with_the_grant() {
    let db = database().await;
    let role = format!("limited_{}", db.name());
    db.sql(&format!("CREATE ROLE {role} LOGIN")).await;
    let mut workspace = Workspace::new(&format!("{HEAD}{ADD}"), &db, None);
    workspace.env[0].1 = format!("postgresql://{role}@/{}?host={}", db.name(), cluster().folder().display());
    let grant = format!("GRANT CREATE ON DATABASE \"{}\" TO \"{role}\"", db.name());
    refused(&workspace, &db, 2, &["blue", "schema crossfade", &grant]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_approval_of_an_unknown_step_is_refused() {
    let db = database().await;
    let workspace = Workspace::new(&format!("{HEAD}{ASK}"), &db, None);
    refused_with(&workspace, &db, &["run", "--execute", "--approve", "aks"], 2, &["--approve aks", "no such step"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_that_asks_waits_for_its_approval() {
    let db = database().await;
    let workspace = Workspace::new(&format!("{HEAD}{ASK}{ADD}"), &db, None);
    for _ in 0..2 {
        let ran = workspace.run(&["run", "--execute"]).exits(12);
        assert!(ran.stderr.contains("Go on?") && ran.stderr.contains("--approve ask"), "{}", ran.stderr);
    }
    workspace.run(&["run", "--execute", "--approve", "ask"]).exits(0);
    assert_eq!(db.value("SELECT count(b) FROM t").await, "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_that_changed_under_a_run_is_refused() {
    let db = database().await;
    let workspace = Workspace::new(&format!("{HEAD}{ADD}{ASK}"), &db, None);
    workspace.run(&["run", "--execute"]).exits(12);
    let before = fingerprint(&db).await;
    std::fs::write(workspace.plan(), format!("{HEAD}{}{ASK}", ADD.replace("COLUMN b int", "COLUMN b text"))).unwrap();
    let ran = workspace.run(&["run", "--execute", "--approve", "ask"]).exits(2);
    assert!(
        ran.stderr.contains("step add or a file it reads has changed") && ran.stderr.contains("crossfade rollback"),
        "{}",
        ran.stderr
    );
    assert_same("after a refusal", &[before], &[fingerprint(&db).await]);
}

/// A run that waits for a lock on table `t`, its process and what it says.
struct Waiting {
    workspace: Workspace,
    child: Child,
    holder: crossfade::pg::Session,
}

impl Waiting {
    async fn start(db: &TestDb, plan: &str) -> Self {
        let holder = db.session().await;
        holder.batch_execute("BEGIN; LOCK TABLE t").await.unwrap();
        let workspace = Workspace::new(plan, db, None);
        let child = Self::spawn(&workspace);
        let waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' \
                     AND application_name LIKE 'crossfade/%' AND datname = current_database()";
        eventually("a run that waits for a lock", async || db.value(waits).await != "0").await;
        Self { workspace, child, holder }
    }

    fn spawn(workspace: &Workspace) -> Child {
        let said = File::create(workspace.folder.path().join("said")).unwrap();
        workspace.command(&["run", "--execute"]).stdout(said.try_clone().unwrap()).stderr(said).spawn().unwrap()
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().cast_signed()), signal).unwrap();
    }

    fn said(&self) -> String {
        std::fs::read_to_string(self.workspace.folder.path().join("said")).unwrap()
    }

    async fn says(&self, word: &str) {
        eventually(word, async || self.said().contains(word)).await;
    }

    async fn ends(&mut self) -> ExitStatus {
        for _ in 0..1000 {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("it does not end; it said:\n{}", self.said());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_driver_is_refused() {
    let db = database().await;
    let mut first = Waiting::start(&db, &format!("{HEAD}{ADD}")).await;
    let same_run = first.workspace.run(&["run", "--execute"]).exits(2);
    assert!(same_run.stderr.contains("is locked: another crossfade drives this run"), "{}", same_run.stderr);
    let elsewhere = Workspace::new(&format!("{HEAD}{ADD}"), &db, None);
    let other_run = elsewhere.run(&["run", "--execute"]).exits(2);
    assert!(other_run.stderr.contains("being driven by another crossfade: backend"), "{}", other_run.stderr);
    assert!(!elsewhere.folder.path().join("state").exists());
    first.holder.batch_execute("COMMIT").await.unwrap();
    assert_eq!(first.ends().await.code(), Some(0), "{}", first.said());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_signal_stops_after_the_step() {
    let db = database().await;
    let mut run = Waiting::start(&db, &format!("{HEAD}{ADD}{MORE}")).await;
    run.signal(Signal::SIGINT);
    run.says("stopping after this step").await;
    run.holder.batch_execute("COMMIT").await.unwrap();
    assert_eq!(run.ends().await.code(), Some(130), "{}", run.said());
    assert_eq!(columns(&db).await, "a,b");
    run.workspace.run(&["run", "--execute"]).exits(0);
    assert_eq!(columns(&db).await, "a,b,c");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_second_signal_cancels_the_query() {
    let db = database().await;
    let mut run = Waiting::start(&db, &format!("{HEAD}{ADD}{MORE}")).await;
    run.signal(Signal::SIGINT);
    run.says("stopping after this step").await;
    run.signal(Signal::SIGTERM);
    assert_eq!(run.ends().await.code(), Some(130), "{}", run.said());
    assert_eq!(run.ends().await.signal(), None);
    let ours = "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'crossfade/%' AND datname = current_database()";
    eventually("no session of ours", async || db.value(ours).await == "0").await;
    run.holder.batch_execute("COMMIT").await.unwrap();
    assert_eq!(columns(&db).await, "a");
    run.workspace.run(&["run", "--execute"]).exits(0);
    assert_eq!(columns(&db).await, "a,b,c");
}

async fn columns(db: &TestDb) -> String {
    db.value("SELECT string_agg(attname, ',' ORDER BY attnum) FROM pg_attribute WHERE attrelid = 't'::regclass AND attnum > 0")
        .await
}
