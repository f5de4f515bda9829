//! Preflight beside a real streaming standby: asked itself, and left behind.

use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use crossfade::pg::Database;
use crossfade::shadow::{Binaries, Cluster};

use crate::support::{Process, Ran, crossfade, eventually};
use crate::told::told;

/// A streaming copy of a throw-away cluster.
pub struct Standby {
    _server: Process,
    folder: tempfile::TempDir,
}

impl Standby {
    pub async fn of(primary: &Cluster) -> Self {
        let binaries = Binaries::find().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let owner = primary.folder().metadata().unwrap();
        chown(folder.path(), Some(owner.uid()), Some(owner.gid())).unwrap();
        let data = folder.path().join("data");
        // Beside the server itself: PATH may know only links to some of its programs.
        let program = binaries.program("postgres").canonicalize().unwrap().with_file_name("pg_basebackup");
        let mut copy = owned(&program, &owner);
        let copied =
            copy.args(["-U", "postgres", "-R", "-X", "stream", "-c", "fast", "-h"]).arg(primary.folder()).arg("-D").arg(&data);
        let copied = copied.output().unwrap();
        assert!(copied.status.success(), "{}", String::from_utf8_lossy(&copied.stderr));
        let mut server = owned(Path::new("sh"), &owner);
        server.args(["-c", "exec \"$0\" \"$@\" >>\"$2/../log\" 2>&1"]).arg(binaries.program("postgres")).arg("-D").arg(&data);
        let sockets = format!("unix_socket_directories={}", folder.path().display());
        server.args([
            "-c",
            &sockets,
            "-c",
            "listen_addresses=",
            "-c",
            "port=5432",
            "-c",
            "fsync=off",
            "-c",
            "max_connections=200",
        ]);
        server.args(["-c", "max_prepared_transactions=20", "-c", "wal_level=logical"]);
        let standby = Self { _server: Process::spawn(&mut server), folder };
        eventually("the standby lets sessions in", async || standby.database().connect("test").await.is_ok()).await;
        standby
    }

    /// Its socket's folder.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    fn url(&self) -> String {
        format!("postgresql://postgres@:5432/postgres?host={}", self.folder.path().display())
    }

    pub fn database(&self) -> Database {
        Database::parse("standby", &self.url()).unwrap()
    }
}

/// A program that runs as the owner of the primary.
fn owned(program: &Path, owner: &std::fs::Metadata) -> Command {
    let mut command = Command::new(program);
    if owner.uid() != nix::unistd::geteuid().as_raw() {
        command.uid(owner.uid()).gid(owner.gid());
    }
    command.current_dir("/");
    command
}

const PLAN: &str = r#"
format = 1
name = "beside-a-standby"
[blue]
url_env = "BLUE_DATABASE_URL"
[[step]]
id = "index"
phase = "expand"
kind = "create_index"
side = "blue"
table = "t"
name = "t_s"
columns = ["s"]
unique = true
[[step]]
id = "check"
phase = "expand"
kind = "add_constraint"
side = "blue"
table = "t"
name = "positive"
check = "a > 0"
[[step]]
id = "fill"
phase = "expand"
kind = "set_not_null"
side = "blue"
table = "t"
column = "a"
"#;

fn preflight(url: &str) -> Ran {
    let folder = tempfile::tempdir().unwrap();
    let plan = folder.path().join("plan.toml");
    std::fs::write(&plan, PLAN).unwrap();
    let mut command = crossfade();
    command.arg("preflight").arg(plan).args(["--format", "json"]).env("BLUE_DATABASE_URL", url);
    Ran::of(command.env("CROSSFADE_STATE", folder.path()).output().unwrap())
}

fn find<'a>(findings: &'a serde_json::Value, object: &str, words: &str) -> Option<&'a serde_json::Value> {
    let all = findings["findings"].as_array().unwrap();
    all.iter().find(|f| f["object"] == object && f["what"].as_str().unwrap().contains(words))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standby_answers_for_blue_and_one_that_is_behind_is_named() {
    let primary = crate::support::start(&Binaries::find().unwrap()).await;
    let on_primary = primary.database("test", "postgres").unwrap().connect("test").await.unwrap();
    on_primary
        .batch_execute(
            "CREATE TABLE t (id int PRIMARY KEY, a int, s text); INSERT INTO t SELECT n, n, 's' || n FROM generate_series(1, 500) AS n; \
             UPDATE t SET a = NULL WHERE id % 25 = 0; UPDATE t SET a = -a WHERE id % 100 = 3; \
             CREATE UNIQUE INDEX t_s ON t (s); ALTER TABLE t ADD CONSTRAINT positive CHECK (a > 0) NOT VALID",
        )
        .await
        .unwrap();
    let standby = Standby::of(&primary).await;
    // Index and check are there already: whether they are the plan's would take a trial, which a standby refuses.
    let said = preflight(&standby.url()).exits(10);
    let findings: serde_json::Value = serde_json::from_str(&said.stdout).unwrap();
    assert!(find(&findings, "the server on blue", "is a standby in recovery").is_some(), "{findings:#}");
    assert_eq!(find(&findings, "table public.t on blue", "NULL in a").unwrap()["count"], 20);
    assert_eq!(find(&findings, "table public.t on blue", "positive").unwrap()["count"], 5);
    assert!(!said.stdout.contains("could not be checked"), "{findings:#}");

    standby.database().connect("test").await.unwrap().batch_execute("SELECT pg_wal_replay_pause()").await.unwrap();
    let far = "SELECT pg_logical_emit_message(false, 'far', repeat('x', 1000000)) FROM generate_series(1, 80)";
    on_primary.batch_execute(far).await.unwrap();
    let url = primary.url("postgres");
    eventually("the standby is behind", async || {
        let said = preflight(&url).exits(10);
        let findings: serde_json::Value = serde_json::from_str(&said.stdout).unwrap();
        find(&findings, "standby walreceiver on blue", "row batches pause")
            .is_some_and(|finding| finding["severity"] == "warning")
    })
    .await;
    a_copy_waits_for_it(&primary, &standby).await;
}

/// A copy of the standby's primary, slow enough for the driver to see that nothing is replayed.
async fn a_copy_waits_for_it(primary: &Cluster, standby: &Standby) {
    let blue = primary.database("test", "postgres").unwrap().connect("test").await.unwrap();
    let rows =
        "CREATE TABLE many (id int, pad text); INSERT INTO many SELECT n, repeat('x', 1000) FROM generate_series(1, 3000) AS n";
    blue.batch_execute(rows).await.unwrap();
    blue.batch_execute("CREATE DATABASE green").await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mut copy = crossfade();
    copy.args(["copy", "--execute", "--tables", "many", "--max-rate", "1 MB", "--max-replication-lag", "1s"]);
    copy.env("BLUE_DATABASE_URL", primary.url("postgres")).env("GREEN_DATABASE_URL", primary.url("green"));
    let copy = Process::spawn(copy.env("CROSSFADE_STATE", folder.path()));
    let green = primary.database("test", "green").unwrap().connect("test").await.unwrap();
    eventually("the copy waits", async || {
        let waits = "SELECT waits FROM crossfade.copy_snapshot WHERE waits LIKE 'pauses: a standby is%'";
        green.query_opt(waits, &[]).await.is_ok_and(|row| row.is_some())
    })
    .await;
    standby.database().connect("test").await.unwrap().batch_execute("SELECT pg_wal_replay_resume()").await.unwrap();
    let ran = copy.finish().exits(0);
    for words in ["everything: pauses: a standby is", "everything: goes on"] {
        assert!(ran.stderr.contains(words), "`{words}` is not in:\n{}", ran.stderr);
    }
    assert_eq!(green.query_one("SELECT count(*) FROM many", &[]).await.unwrap().get::<_, i64>(0), 3000);
    told("replication lag", "a real standby with replay paused, crossfade copy", 1, "it waited, said why, and went on by itself");
}
