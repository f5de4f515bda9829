//! Throw-away servers go away, however the process that started them ends.

use std::fs::Permissions;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crossfade::shadow::{Binaries, Cluster};
use nix::sys::signal::kill;
use nix::unistd::Pid;

use crate::support::{TestDb, cluster, entries, eventually, nothing_left};

#[tokio::test]
async fn a_throw_away_server_serves() {
    let db = TestDb::empty().await;
    assert_eq!(db.value("1 + 1").await, "2");
    assert!(cluster().folder().exists());
}

#[tokio::test]
async fn a_dropped_server_is_gone() {
    let cluster = Cluster::start(&Binaries::find().unwrap(), Vec::new()).await.unwrap();
    let (folder, server) = (cluster.folder().to_owned(), server_of(cluster.folder()));
    drop(cluster);
    assert!(!folder.exists(), "{} is left", folder.display());
    eventually("the server's end", async || kill(server, None).is_err()).await;
}

/// Killed at any moment, from before there is a data directory to when the server serves.
#[tokio::test]
async fn a_killed_process_leaves_no_process_and_no_folder() {
    let stages = ["initdb.log", "data/PG_VERSION", "data/base/1", "data/global/pg_control", "log", ".s.PGSQL.5432"];
    for stage in std::iter::once(None).chain(stages.map(Some)) {
        let room = tempfile::Builder::new().permissions(Permissions::from_mode(0o755)).tempdir().unwrap();
        let mut starter = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "shadow::starter", "--ignored"])
            .env("TMPDIR", room.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let reached = || entries(room.path()).iter().any(|folder| stage.is_none_or(|stage| folder.join(stage).exists()));
        // No pause between two looks: the first stages pass quickly.
        let began = Instant::now();
        while !reached() {
            assert!(began.elapsed() < Duration::from_secs(60), "{stage:?} is not reached");
            std::thread::yield_now();
        }
        starter.kill().unwrap(); // SIGKILL
        starter.wait().unwrap();
        nothing_left(room.path(), &format!("a kill at {stage:?}")).await;
    }
}

/// Not a test: the process that the test above kills. Alone, it ends with its standard input.
#[tokio::test]
#[ignore = "run by a_killed_process_leaves_no_process_and_no_folder"]
async fn starter() {
    let _cluster = Cluster::start(&Binaries::find().unwrap(), Vec::new()).await.unwrap();
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
}

/// The process id of the server, from its first lock file line (PostgreSQL manual 73.1).
fn server_of(folder: &Path) -> Pid {
    let text = std::fs::read_to_string(folder.join("data/postmaster.pid")).unwrap();
    Pid::from_raw(text.lines().next().unwrap().parse().unwrap())
}
