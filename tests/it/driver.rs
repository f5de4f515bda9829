//! The driver's hold on its run: locks that must outlast the server's settings, and rollbacks past what never happened.

use std::process::Stdio;

use crate::support::{Ran, TestDb, Workspace, eventually};

const HEAD: &str = "format = 1\nname = \"driver\"\n[blue]\nurl_env = \"BLUE_DATABASE_URL\"\n";

fn add(id: &str, column: &str) -> String {
    format!(
        "[[step]]\nid = \"{id}\"\nphase = \"expand\"\nkind = \"run_sql\"\nside = \"blue\"\n\
         sql = [\"ALTER TABLE t ADD COLUMN {column} int\"]\nundo_sql = [\"ALTER TABLE t DROP COLUMN {column}\"]\n"
    )
}

async fn database() -> TestDb {
    let db = TestDb::empty().await;
    db.sql("CREATE TABLE t (a int)").await;
    db
}

const COLUMNS: &str = "SELECT string_agg(attname, ',' ORDER BY attnum) FROM pg_attribute WHERE attrelid = 't'::regclass AND attnum > 0 AND NOT attisdropped";

#[tokio::test(flavor = "multi_thread")]
async fn settings_of_the_server_do_not_end_or_weaken_our_sessions() {
    let db = database().await;
    db.sql(&format!(
        "ALTER DATABASE {0} SET idle_session_timeout = '100ms'; ALTER DATABASE {0} SET synchronous_commit = off",
        db.name()
    ))
    .await;
    let session = db.session().await;
    tokio::time::sleep(std::time::Duration::from_millis(400)).await;
    let commit: String = session.query_one("SHOW synchronous_commit", &[]).await.expect("the session is gone").get(0);
    assert_eq!(commit, "local", "a step that the journal calls done must not be lost with the server");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_driver_that_lost_its_lock_to_another_stops_before_the_next_step() {
    let db = database().await;
    let holder = db.session().await;
    holder.batch_execute("BEGIN; LOCK TABLE t").await.unwrap();
    let workspace = Workspace::new(&format!("{HEAD}{}{}", add("one", "b"), add("two", "c")), &db, None);
    let child = workspace.command(&["run", "--execute"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' \
                 AND application_name LIKE 'crossfade/%/one/%' AND datname = current_database()";
    eventually("the first step waits", async || db.value(waits).await != "0").await;
    let other = db.session().await;
    let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
               WHERE application_name LIKE 'crossfade/%/lock' AND datname = current_database()";
    other.batch_execute(end).await.unwrap();
    let key = i64::from_be_bytes(*b"crossfad");
    other.query_one("SELECT pg_advisory_lock($1)", &[&key]).await.unwrap();
    holder.batch_execute("COMMIT").await.unwrap();
    let ran = Ran::of(tokio::task::spawn_blocking(|| child.wait_with_output().unwrap()).await.unwrap()).exits(11);
    assert!(ran.stderr.contains("being driven by another crossfade"), "{}", ran.stderr);
    assert_eq!(db.value(COLUMNS).await, "a,b", "the second step ran without the lock");
    drop(other);
    eventually("the lock is free", async || db.value("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND database = (SELECT oid FROM pg_database WHERE datname = current_database())").await == "0").await;
    workspace.run(&["run", "--execute"]).exits(0);
    assert_eq!(db.value(COLUMNS).await, "a,b,c");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_that_never_took_effect_does_not_stand_in_the_way_of_a_rollback() {
    let db = database().await;
    let fails = "[[step]]\nid = \"fails\"\nphase = \"expand\"\nkind = \"run_sql\"\nside = \"blue\"\nsql = [\"SELECT 1/0\"]\n";
    let workspace = Workspace::new(&format!("{HEAD}{}{fails}", add("one", "b")), &db, None);
    workspace.run(&["run", "--execute"]).exits(11);
    assert_eq!(db.value(COLUMNS).await, "a,b");
    workspace.run(&["rollback", "--execute"]).exits(0);
    assert_eq!(db.value(COLUMNS).await, "a");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_was_taken_back_is_not_taken_for_done() {
    let db = database().await;
    let workspace = Workspace::new(&format!("{HEAD}{}{}", add("one", "b"), add("two", "c")), &db, None);
    workspace.run(&["run", "--execute"]).exits(0);
    let killed = workspace.command(&["rollback", "--execute"]).env("CROSSFADE_CRASH_AT", "two/undone").output().unwrap();
    assert_eq!(killed.status.code(), None, "it was to be killed");
    let half = workspace.run(&["run", "--execute"]).exits(2);
    assert!(half.stderr.contains("is being rolled back") && half.stderr.contains("crossfade rollback"), "{}", half.stderr);
    assert_eq!(db.value(COLUMNS).await, "a,b", "`run` undid a step");
    workspace.run(&["rollback", "--execute"]).exits(0);
    workspace.run(&["rollback", "--execute"]).exits(0);
    let whole = workspace.run(&["run", "--execute"]).exits(2);
    assert!(whole.stderr.contains("was rolled back") && whole.stderr.contains("--new"), "{}", whole.stderr);
    workspace.run(&["run", "--execute", "--new"]).exits(0);
    assert_eq!(db.value(COLUMNS).await, "a,b,c");
}

/// Its journal is not asked: a new run, or one from another machine, finds what a killed one left at work.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_run_left_at_work_is_ended_by_the_next_run_too() {
    let db = database().await;
    let holder = db.session().await;
    holder.batch_execute("BEGIN; INSERT INTO t VALUES (1)").await.unwrap();
    let plan = format!(
        "{HEAD}[[step]]\nid = \"build\"\nphase = \"expand\"\nkind = \"create_index\"\nside = \"blue\"\ntable = \"t\"\nname = \"t_a\"\ncolumns = [\"a\"]\n"
    );
    let builders = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND application_name LIKE 'crossfade/%/build/%' \
                    AND datname = current_database()";
    let start = |workspace: &Workspace| {
        workspace.command(&["run", "--execute"]).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let (first, second) = (Workspace::new(&plan, &db, None), Workspace::new(&plan, &db, None));
    let mut killed = start(&first);
    eventually("the first build waits", async || db.value(builders).await == "1").await;
    let pids = "SELECT max(pid) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND application_name LIKE 'crossfade/%/build/%' \
                AND datname = current_database()";
    let orphan = db.value(pids).await;
    killed.kill().unwrap();
    killed.wait().unwrap();
    let child = start(&second);
    let other = format!("SELECT count(*) FROM ({pids}) AS found(pid) WHERE pid <> {orphan}");
    eventually("the second build waits, or is refused", async || db.value(&other).await == "1").await;
    holder.batch_execute("COMMIT").await.unwrap();
    Ran::of(tokio::task::spawn_blocking(|| child.wait_with_output().unwrap()).await.unwrap()).exits(0);
    assert_eq!(db.value("SELECT indisvalid FROM pg_index WHERE indexrelid = 't_a'::regclass").await, "true");
}
