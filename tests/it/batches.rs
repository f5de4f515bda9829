//! Batches of rows give way: to sessions that pile up behind locks, and to the first signal.

use std::fs::File;
use std::process::Child;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::{TestDb, Workspace, eventually};

const PLAN: &str = "format = 1\nname = \"batches\"\n[blue]\nurl_env = \"BLUE_DATABASE_URL\"\n[limits]\nmax_blocked_sessions = 2\n\
                    [[step]]\nid = \"fill\"\nphase = \"convert\"\nkind = \"backfill\"\nside = \"blue\"\ntable = \"t\"\n\
                    set = { b = \"a * 2\" }\nwhere = \"b IS NULL\"\n";
const DONE: &str = "SELECT count(*) FROM t WHERE b IS NOT NULL";

async fn database() -> TestDb {
    let db = TestDb::empty().await;
    db.sql(
        "CREATE TABLE t (a int PRIMARY KEY, b int); INSERT INTO t SELECT generate_series(1, 3000); CREATE TABLE busy ();
         CREATE SEQUENCE writes;
         CREATE FUNCTION slowly() RETURNS trigger LANGUAGE plpgsql AS \
            $$ BEGIN PERFORM nextval('writes'), pg_sleep(0.001); RETURN NEW; END $$;
         CREATE TRIGGER slowly BEFORE UPDATE ON t FOR EACH ROW EXECUTE FUNCTION slowly()",
    )
    .await;
    db
}

fn start(workspace: &Workspace) -> Child {
    let said = File::create(workspace.folder.path().join("said")).unwrap();
    workspace.command(&["run", "--execute"]).stdout(said.try_clone().unwrap()).stderr(said).spawn().unwrap()
}

fn said(workspace: &Workspace) -> String {
    std::fs::read_to_string(workspace.folder.path().join("said")).unwrap()
}

async fn end(mut child: Child) -> Option<i32> {
    tokio::task::spawn_blocking(move || child.wait().unwrap().code()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn pause_while_sessions_pile_up_and_go_on_after() {
    let db = database().await;
    let holder = db.session().await;
    holder.batch_execute("BEGIN; LOCK TABLE busy").await.unwrap();
    let mut waiters = Vec::new();
    for _ in 0..3 {
        let session = db.session().await;
        waiters.push(tokio::spawn(async move { session.batch_execute("BEGIN; LOCK TABLE busy; COMMIT").await }));
    }
    let blocked = "SELECT count(DISTINCT pid) FROM pg_locks WHERE NOT granted AND relation = 'busy'::regclass";
    eventually("three wait", async || db.value(blocked).await == "3").await;
    let workspace = Workspace::new(PLAN, &db, None);
    let child = start(&workspace);
    eventually("it pauses", async || said(&workspace).contains("fill: pauses: sessions that wait for locks: 3")).await;
    assert_eq!(db.value(DONE).await, "0");
    holder.batch_execute("COMMIT").await.unwrap();
    assert_eq!(end(child).await, Some(0), "{}", said(&workspace));
    assert!(said(&workspace).contains("fill: goes on"), "{}", said(&workspace));
    assert_eq!(db.value(DONE).await, "3000");
    for waiter in waiters {
        waiter.await.unwrap().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn stop_softly_at_the_first_signal_and_keep_what_is_done() {
    let db = database().await;
    let workspace = Workspace::new(PLAN, &db, None);
    let child = start(&workspace);
    eventually("a batch is done", async || db.value(DONE).await != "0").await;
    kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGINT).unwrap();
    assert_eq!(end(child).await, Some(130), "{}", said(&workspace));
    let done: u32 = db.value(DONE).await.parse().unwrap();
    assert!(done > 0 && done < 3000, "{done}");
    assert_eq!(db.value("SELECT rows_done FROM crossfade.batch_progress").await, done.to_string());
    assert_eq!(end(start(&workspace)).await, Some(0), "{}", said(&workspace));
    assert_eq!(db.value(DONE).await, "3000");
    assert_eq!(db.value("SELECT last_value FROM writes").await, "3000", "each row is written once");
}
