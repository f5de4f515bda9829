//! Nobody else's wait grows beyond the lock timeout while a run waits for somebody.

use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::hydra::{blue_1_0_0, plan};
use crate::support::{Ran, TestDb, Workspace, eventually};

/// Runs statements again and again, each by a session of its own, and keeps the longest time one took.
struct Prober {
    stop: Arc<AtomicBool>,
    tasks: Vec<tokio::task::JoinHandle<(Duration, u32)>>,
}

impl Prober {
    async fn start(db: &TestDb, statements: &[&str]) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let mut tasks = Vec::new();
        for statement in statements {
            let session = db.session().await;
            session.batch_execute(statement).await.unwrap();
            let (statement, stop) = ((*statement).to_owned(), Arc::clone(&stop));
            tasks.push(tokio::spawn(async move {
                let (mut longest, mut count) = (Duration::ZERO, 0);
                while !stop.load(Ordering::Relaxed) {
                    let began = Instant::now();
                    session.batch_execute(&statement).await.unwrap();
                    longest = longest.max(began.elapsed());
                    count += 1;
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                (longest, count)
            }));
        }
        Self { stop, tasks }
    }

    /// The longest time of each statement.
    async fn finish(self) -> Vec<Duration> {
        self.stop.store(true, Ordering::Relaxed);
        let mut longest = Vec::new();
        for task in self.tasks {
            let (time, count) = task.await.unwrap();
            assert!(count > 20, "only {count} probes: they prove nothing");
            longest.push(time);
        }
        longest
    }
}

/// A session with an open transaction, found by its application name.
async fn holder(db: &TestDb, application: &str, sql: &str) -> crossfade::pg::Session {
    let session = db.database().connect(application).await.unwrap();
    session.batch_execute(&format!("BEGIN; {sql}")).await.unwrap();
    session
}

/// Sessions of ours that wait for this one.
async fn waiting_for(db: &TestDb, holder: &crossfade::pg::Session) -> bool {
    let sql = format!(
        "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'crossfade/%' AND {} = ANY (pg_blocking_pids(pid))",
        holder.pid()
    );
    db.value(&sql).await != "0"
}

async fn in_place_behind(sql: &str, probes: &[&str]) {
    let blue = blue_1_0_0().await;
    let holder = holder(&blue, "slow-report", sql).await;
    let workspace = Workspace::at(tempfile::tempdir().unwrap(), &blue, None);
    let prober = Prober::start(&blue, probes).await;
    let child = workspace
        .command_on(&["run", "--execute"], &plan("hydra-1x-in-place.toml"))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    eventually("the run waits for the holder", async || waiting_for(&blue, &holder).await).await;
    tokio::time::sleep(Duration::from_secs(4)).await; // long enough for several tries, and for a long wait to be named
    let pid = holder.pid();
    holder.batch_execute("COMMIT").await.unwrap();
    let ran = Ran::of(tokio::task::spawn_blocking(|| child.wait_with_output().unwrap()).await.unwrap()).exits(0);
    let longest = prober.finish().await;
    assert!(longest.iter().all(|time| *time < Duration::from_millis(400)), "{longest:?}\n{}", ran.stderr);
    assert!(ran.stderr.contains(&format!("in the way: pid {pid} (slow-report)")), "{}", ran.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_stays_on_the_client_table_holds_up_nobody_else() {
    in_place_behind(
        "SELECT count(*) FROM hydra_client",
        &[
            "SELECT count(client_name) FROM hydra_client",
            "UPDATE hydra_client SET client_name = client_name WHERE pk = (SELECT min(pk) FROM hydra_client)",
        ],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_writer_that_stays_on_the_access_table_holds_up_nobody_else() {
    in_place_behind(
        "LOCK TABLE hydra_oauth2_access IN ROW EXCLUSIVE MODE",
        &[
            "SELECT count(request_id) FROM hydra_oauth2_access",
            "UPDATE hydra_oauth2_access SET requested_at = requested_at \
             WHERE signature = (SELECT min(signature) FROM hydra_oauth2_access)",
        ],
    )
    .await;
}

/// Each statement of a transaction may wait; the table of the first one is locked all that time.
#[tokio::test(flavor = "multi_thread")]
async fn waits_of_one_transaction_do_not_add_up() {
    let db = TestDb::empty().await;
    db.sql("CREATE TABLE t1 (a int); CREATE TABLE t2 (a int); CREATE TABLE t3 (a int)").await;
    let (second, third) = (holder(&db, "second", "SELECT FROM t2").await, holder(&db, "third", "SELECT FROM t3").await);
    let prober = Prober::start(&db, &["SELECT count(a) FROM t1"]).await;
    let text = "format = 1\nname = \"several\"\n[blue]\nurl_env = \"BLUE_DATABASE_URL\"\n[limits]\nlock_timeout = \"600ms\"\n\
                [[step]]\nid = \"three\"\nphase = \"expand\"\nkind = \"run_sql\"\nside = \"blue\"\n\
                sql = [\"ALTER TABLE t1 ADD b int\", \"ALTER TABLE t2 ADD b int\", \"ALTER TABLE t3 ADD b int\"]\n";
    let workspace = Workspace::new(text, &db, None);
    let child = workspace.command(&["run", "--execute"]).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    eventually("it waits for t2", async || waiting_for(&db, &second).await).await;
    tokio::time::sleep(Duration::from_millis(450)).await;
    second.batch_execute("COMMIT").await.unwrap();
    eventually("it waits for t3", async || waiting_for(&db, &third).await).await;
    tokio::time::sleep(Duration::from_millis(900)).await;
    third.batch_execute("COMMIT").await.unwrap();
    Ran::of(tokio::task::spawn_blocking(|| child.wait_with_output().unwrap()).await.unwrap()).exits(0);
    let longest = prober.finish().await;
    assert!(longest[0] < Duration::from_millis(800), "{longest:?}");
}
