//! Revocations over a real NATS server with JetStream: nothing is lost and nothing has its effect twice, whoever is killed.

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::SystemTime;

use crossfade::pg::ensure_control;
use crossfade::revocation::{Event, Source, record};
use crossfade::terms::RunId;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::proxy::{At, Blow, Fault, Proxy};
use crate::support::{Process, Ran, TestDb, Workspace, crossfade, eventually};
use crate::told::told;

/// A server of its own, which keeps its streams in a folder.
struct Nats {
    folder: tempfile::TempDir,
    port: u16,
    process: Option<Child>,
}

impl Nats {
    fn start() -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut nats = Self { folder: tempfile::tempdir().unwrap(), port, process: None };
        nats.run();
        nats
    }

    fn run(&mut self) {
        let found = ["/usr/sbin/nats-server", "/usr/bin/nats-server", "/usr/local/bin/nats-server"].map(PathBuf::from);
        let program = found.into_iter().find(|path| path.exists()).unwrap_or_else(|| PathBuf::from("nats-server"));
        let mut command = Command::new(program);
        command.args(["-js", "-a", "127.0.0.1", "-p", &self.port.to_string(), "--user", "someone", "--pass", "hunter2", "-sd"]);
        let child = command.arg(self.folder.path()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        self.process = Some(child.expect("nats-server runs; tests/run installs it (Debian: apt-get install nats-server)"));
    }

    fn url(&self) -> String {
        format!("nats://someone:hunter2@127.0.0.1:{}", self.port)
    }

    /// As a machine that loses power does it, but for the disk.
    fn die(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

impl Drop for Nats {
    fn drop(&mut self) {
        self.die();
    }
}

/// A run with recorded revocations, a server, and the files of a service.
struct Scene {
    green: TestDb,
    workspace: Workspace,
    nats: Nats,
    recorded: u64,
}

const RUN: &str = "a-run";

impl Scene {
    async fn new() -> Self {
        let (blue, green) = (TestDb::empty().await, TestDb::empty().await);
        ensure_control(&mut green.session().await).await.unwrap();
        let plan = "format = 1\nname = \"told\"\nblue = { url_env = \"BLUE_DATABASE_URL\" }\ngreen = { url_env = \"GREEN_DATABASE_URL\" }\n\
                    [[step]]\nid = \"a\"\nphase = \"expand\"\nkind = \"confirm\"\nquestion = \"go on?\"\n";
        let mut workspace = Workspace::new(plan, &blue, Some(&green));
        let nats = Nats::start();
        workspace.env.push(("NATS_URL".to_owned(), nats.url()));
        Self { green, workspace, nats, recorded: 0 }
    }

    /// So many more revocations on green.
    async fn record(&mut self, count: u64) {
        let event = |number: u64| Event {
            what: if number.is_multiple_of(3) { "consent" } else { "token" }.to_owned(),
            id: format!("request-{number}"),
            client: Some("client-x".to_owned()),
            subject: number.is_multiple_of(2).then(|| format!("user-{number}")),
            transaction: 1000 + number,
            revoked_at: SystemTime::now(),
        };
        let events: Vec<Event> = (self.recorded..self.recorded + count).map(event).collect();
        record(&self.green.session().await, &RunId::existing(RUN), Source::Capture, &events).await.unwrap();
        self.recorded += count;
    }

    fn publish(&self, words: &[&str]) -> Command {
        let mut command = crossfade();
        command.args(["revocations", "publish"]).arg(self.workspace.plan()).args(["--run", RUN]).args(words);
        command.envs(self.workspace.env.iter().cloned());
        command
    }

    fn inbox(&self) -> PathBuf {
        self.workspace.folder.path().join("revoked.jsonl")
    }

    fn consume(&self, words: &[&str]) -> Command {
        let mut command = crossfade();
        command.args(["revocations", "consume", "--into"]).arg(self.inbox()).args(words).env("NATS_URL", self.nats.url());
        command
    }
}

/// Runs it to its end.
fn ran(mut command: impl std::borrow::BorrowMut<Command>) -> Ran {
    Ran::of(command.borrow_mut().output().unwrap())
}

fn json(ran: Ran) -> serde_json::Value {
    for secret in ["hunter2", "request-", "user-", "client-x"] {
        assert!(
            !ran.stdout.contains(secret) && !ran.stderr.contains(secret),
            "{secret} is shown:\n{}\n{}",
            ran.stdout,
            ran.stderr
        );
    }
    serde_json::from_str(&ran.exits(0).stdout).unwrap()
}

/// The identities in a file, each of which may be there once only.
fn events(path: &Path) -> BTreeSet<String> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let whole = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
    let mut all = BTreeSet::new();
    for line in whole {
        let notice: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(all.insert(notice["event"].as_str().unwrap().to_owned()), "an event is there twice");
    }
    all
}

fn stop(process: Process) -> Ran {
    kill(Pid::from_raw(process.id().cast_signed()), Signal::SIGTERM).unwrap();
    process.finish().exits(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn revocations_are_told_once_whoever_dies() {
    let mut scene = Scene::new().await;
    scene.record(1200).await;
    // The publisher dies between the stream's acknowledgement and its own mark, each time after one page more or not.
    let mut dying = scene.publish(&[]);
    let died = Ran::of(dying.env("CROSSFADE_CRASH_AT", "nats:acknowledged").output().unwrap());
    assert_eq!(died.code, None);
    let told = json(ran(scene.publish(&["--format", "json"])));
    assert_eq!(told["published"], 1200, "from the mark, which had not moved");
    assert_eq!(json(ran(scene.publish(&["--format", "json"])))["published"], 0);

    // The consumer dies between writing and acknowledging.
    let mut dying = scene.consume(&[]);
    let died = Ran::of(dying.env("CROSSFADE_CRASH_AT", "nats:written").output().unwrap());
    assert_eq!(died.code, None);
    let written = events(&scene.inbox()).len();
    assert!(written > 0 && written < 1200, "{written}");
    let taken = json(ran(scene.consume(&["--format", "json"])));
    assert_eq!(taken["events"], 1200);
    assert_eq!(taken["messages"], 1200, "the page that was published twice is in the stream once");
    assert_eq!(taken["new"], 1200 - written);
    assert_eq!(events(&scene.inbox()).len(), 1200);

    // Replays make no second event: within the stream's window it drops them, beyond it (here: another stream) the file does.
    assert_eq!(json(ran(scene.publish(&["--from-start", "--format", "json"])))["published"], 1200);
    assert_eq!(json(ran(scene.consume(&["--format", "json"])))["messages"], 0);
    ran(scene.publish(&["--stream", "other", "--subjects", "others"])).exits(0);
    let again = json(ran(scene.consume(&["--stream", "other", "--format", "json"])));
    assert_eq!((again["messages"].as_u64(), again["new"].as_u64()), (Some(1200), Some(0)));
    let text = std::fs::read_to_string(scene.inbox()).unwrap();
    assert!(!text.contains("request-") && !text.contains("user-") && !text.contains("client-x"));
    assert!(text.contains("\"digests\":true"));

    // Unless they are asked for.
    ran(scene.publish(&["--stream", "clear", "--subjects", "clear", "--show-ids"])).exits(0);
    let clear = scene.workspace.folder.path().join("clear.jsonl");
    let mut command = crossfade();
    command.args(["revocations", "consume", "--stream", "clear", "--into"]).arg(&clear).env("NATS_URL", scene.nats.url());
    ran(command).exits(0);
    assert!(std::fs::read_to_string(clear).unwrap().contains("\"id\":\"request-7\""));
}

/// The publisher's own mark on green: the answer to its commit is lost, or it never arrives.
#[tokio::test(flavor = "multi_thread")]
async fn a_mark_whose_commit_is_cut_tells_nothing_twice() {
    let mut scene = Scene::new().await;
    scene.record(700).await;
    let proxy = Proxy::before(&scene.green);
    for blow in [Blow::LoseAnswer, Blow::Reset] {
        proxy.arm(Fault { at: At::Commit(1), blow, everywhere: false });
        let cut = ran(scene.publish(&[]).env("GREEN_DATABASE_URL", proxy.url(&scene.green)));
        assert!(matches!(cut.code, Some(0 | 1 | 11)), "{:?}: {}", cut.code, cut.stderr);
        scene.record(50).await;
    }
    assert_eq!(proxy.struck(), 2);
    ran(scene.publish(&[])).exits(0);
    assert_eq!(json(ran(scene.consume(&["--format", "json"])))["events"], 800);
    assert_eq!(events(&scene.inbox()).len(), 800, "each once");
    told(
        "commit of a publisher's mark cut",
        "proxy in front of green, revocations publish: answer lost, or reset before it",
        2,
        "the same command told every event once",
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_dies_in_the_middle_is_waited_for() {
    let mut scene = Scene::new().await;
    // Nobody is there yet.
    scene.nats.die();
    scene.record(100).await;
    let publisher = Process::spawn(&mut scene.publish(&["--follow"]));
    let consumer = Process::spawn(&mut scene.consume(&["--follow"]));
    scene.nats.run();
    let inbox = scene.inbox();
    eventually("the first are there", async || events(&inbox).len() == 100).await;
    for _ in 0..3 {
        scene.record(700).await;
        scene.nats.die();
        scene.record(50).await;
        scene.nats.run();
        scene.record(50).await;
    }
    let all = usize::try_from(scene.recorded).unwrap();
    for _ in 0..6 {
        // Up to two minutes: a client tries again in growing steps.
        if events(&inbox).len() == all {
            break;
        }
        let _ = tokio::time::timeout(std::time::Duration::from_secs(20), async {
            while events(&inbox).len() < all {
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
        })
        .await;
    }
    assert_eq!(events(&inbox).len(), all);
    for process in [publisher, consumer] {
        let ran = stop(process);
        assert!(!ran.stderr.contains("hunter2") && !ran.stderr.contains("request-"), "{}", ran.stderr);
    }
    // What the marks say holds: nothing is left to publish, nothing new to take.
    assert_eq!(json(ran(scene.publish(&["--format", "json"])))["published"], 0);
    assert_eq!(json(ran(scene.consume(&["--format", "json"])))["new"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_missing_is_said() {
    let mut scene = Scene::new().await;
    let mut command = scene.publish(&[]);
    let unset = Ran::of(command.env_remove("NATS_URL").output().unwrap()).exits(2);
    assert!(unset.stderr.contains("environment variable NATS_URL is not set"), "{}", unset.stderr);
    let mut command = scene.publish(&[]);
    let odd = Ran::of(command.env("NATS_URL", "http://:hunter2").output().unwrap());
    assert!(!odd.stderr.contains("hunter2"), "{}", odd.stderr);
    scene.record(1).await;
    scene.nats.die();
    let away = ran(scene.publish(&["--retry-for", "1s"])).exits(1);
    assert!(away.stderr.contains("tries again") && !away.stderr.contains("hunter2"), "{}", away.stderr);
    std::fs::write(scene.inbox(), "no notice\n").unwrap();
    let file = ran(scene.consume(&[])).exits(1);
    assert!(file.stderr.contains("holds a line that is no notice"), "{}", file.stderr);
}
