//! Throw-away servers go away, however the process that started them ends.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use crossfade::shadow::{Binaries, Cluster};
use nix::sys::signal::kill;
use nix::unistd::Pid;

use crate::support::{TestDb, cluster, eventually};

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

#[tokio::test]
async fn a_killed_process_leaves_no_server_and_no_folder() {
    let mut starter = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "shadow::starter", "--ignored", "--nocapture"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(starter.stdout.take().unwrap()).lines();
    let folder = lines.map_while(Result::ok).find_map(|line| line.strip_prefix("folder: ").map(str::to_owned)).unwrap();
    let server = server_of(Path::new(&folder));
    assert!(kill(server, None).is_ok(), "the server runs");
    starter.kill().unwrap(); // SIGKILL
    starter.wait().unwrap();
    eventually("the server's end", async || kill(server, None).is_err()).await;
    eventually("the folder's end", async || !Path::new(&folder).exists()).await;
}

/// Not a test: the process that the test above kills. Alone, it ends with its standard input.
#[tokio::test]
#[ignore = "run by a_killed_process_leaves_no_server_and_no_folder"]
async fn starter() {
    let cluster = Cluster::start(&Binaries::find().unwrap(), Vec::new()).await.unwrap();
    println!("\nfolder: {}", cluster.folder().display());
    std::io::stdout().flush().unwrap();
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
}

/// The process id of the server, from its first lock file line (PostgreSQL manual 73.1).
fn server_of(folder: &Path) -> Pid {
    let text = std::fs::read_to_string(folder.join("data/postmaster.pid")).unwrap();
    Pid::from_raw(text.lines().next().unwrap().parse().unwrap())
}
