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
