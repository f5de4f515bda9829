//! How a run is watched while it goes on: from another terminal, on a whole terminal, and as metrics.

use std::io::{Read, Write};
use std::process::Stdio;
use std::time::Duration;

use nix::pty::{Winsize, openpty};
use serde_json::Value;

use crate::support::{Process, Ran, TestDb, Workspace, eventually};

const PLAN: &str = r#"
format = 1
name = "watched"
blue = { url_env = "BLUE_DATABASE_URL" }
[limits]
lock_timeout = "50ms"
[[step]]
id = "first"
phase = "expand"
kind = "run_sql"
side = "blue"
sql = ["CREATE TABLE first (a int)"]
undo_sql = ["DROP TABLE first"]
[[step]]
id = "blocked"
phase = "expand"
kind = "run_sql"
side = "blue"
sql = ["ALTER TABLE t ADD COLUMN b int"]
undo_sql = ["ALTER TABLE t DROP COLUMN b"]
[[step]]
id = "drop"
phase = "contract"
kind = "run_sql"
side = "blue"
sql = ["DROP TABLE first"]
"#;

/// A run that waits for a lock on `t`, which this session holds until it commits.
pub async fn stage() -> (Workspace, TestDb, crossfade::pg::Session) {
    let blue = TestDb::empty().await;
    blue.sql("CREATE TABLE t (a int)").await;
    let holder = blue.session().await;
    holder
        .batch_execute(
            "SET application_name = 'nightly report'; BEGIN; UPDATE t SET a = 7712345; SELECT 1 FROM t WHERE a = 7712345",
        )
        .await
        .unwrap();
    (Workspace::new(PLAN, &blue, None), blue, holder)
}

#[tokio::test(flavor = "multi_thread")]
async fn another_terminal_sees_who_is_in_the_way_and_when_the_driver_dies() {
    let (workspace, _blue, holder) = stage().await;
    let run = Process::spawn(&mut workspace.command(&["run", "--execute"]));
    let mut command = workspace.command(&["status", "--follow", "--every", "100ms", "--format", "json"]);
    eventually("a run", async || workspace.run(&["status", "--format", "json"]).stdout.contains("\"started\"")).await;
    let mut status = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut pictures = std::io::BufRead::lines(std::io::BufReader::new(status.stdout.take().unwrap()));
    let mut until = |what: &str, holds: &dyn Fn(&Value) -> bool| -> Value {
        for _ in 0..400 {
            let picture: Value = serde_json::from_str(&pictures.next().unwrap().unwrap()).unwrap();
            if holds(&picture) {
                return picture;
            }
        }
        panic!("no picture with {what}");
    };
    let picture = until("a blocker", &|picture| picture["blockers"].as_array().is_some_and(|all| !all.is_empty()));
    let blocker = &picture["blockers"][0][1];
    assert_eq!((&blocker["pid"], &blocker["application"]), (&holder.pid().into(), &"nightly report".into()), "{picture}");
    assert!(blocker["seconds"].as_f64().unwrap() > 0.0 && !picture.to_string().contains("7712345"), "{picture}");
    assert_eq!((&picture["standing"], &picture["now"]["step"]), (&"running".into(), &"blocked".into()));
    assert_eq!(picture["no_return"][0], "drop");
    assert!(picture["interrupt"].as_str().unwrap().contains("after this step"));
    drop(run); // killed
    let picture = until("a dead driver", &|picture| picture["driven"] == "no");
    assert_eq!(picture["standing"], "stopped: its driver died");
    holder.batch_execute("COMMIT").await.unwrap();
    workspace.run(&["run", "--execute"]).exits(0);
    let picture = until("the end", &|picture| picture["standing"] == "done");
    assert!(picture["now"].is_null());
    assert!(status.wait().unwrap().success(), "it ends with the run");
    let text = workspace.run(&["status", "--follow"]).exits(0).stdout;
    assert!(text.contains("watched: done") && text.contains("a rollback stops at drop"), "{text}");
}

const ROWS: u16 = 30;
const COLUMNS: u16 = 120;

/// Runs a command on a terminal of its own; gives what it wrote there and lets keys be pressed.
struct OnTerminal {
    child: std::process::Child,
    keys: std::fs::File,
    screen: std::sync::Arc<std::sync::Mutex<String>>,
}

impl OnTerminal {
    fn start(command: &mut std::process::Command) -> Self {
        let size = Winsize { ws_row: ROWS, ws_col: COLUMNS, ws_xpixel: 0, ws_ypixel: 0 };
        let pty = openpty(&size, None).unwrap();
        let side = || Stdio::from(pty.slave.try_clone().unwrap());
        let child = command.env("TERM", "xterm-256color").stdin(side()).stdout(Stdio::piped()).stderr(side()).spawn().unwrap();
        let mut reads = std::fs::File::from(pty.master.try_clone().unwrap());
        let screen = std::sync::Arc::<std::sync::Mutex<String>>::default();
        let seen = std::sync::Arc::clone(&screen);
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = reads.read(&mut bytes) {
                seen.lock().unwrap().push_str(&String::from_utf8_lossy(&bytes[..count]));
            }
        });
        Self { child, keys: std::fs::File::from(pty.master), screen }
    }

    /// What stands on it.
    fn text(&self) -> String {
        let mut terminal = vt100::Parser::new(ROWS, COLUMNS, 0);
        terminal.process(self.screen.lock().unwrap().as_bytes());
        terminal.screen().contents()
    }

    /// Waits until it stands there; blanks and the ends of lines aside.
    async fn shows(&self, words: &str) {
        let packed = |text: &str| text.split_whitespace().collect::<String>();
        for _ in 0..1000 {
            if packed(&self.text()).contains(&packed(words)) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("`{words}` is not shown:\n{}", self.text());
    }
}

impl Drop for OnTerminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_whole_picture_on_a_terminal_and_its_keys() {
    let (workspace, _blue, holder) = stage().await;
    let mut run = OnTerminal::start(&mut workspace.command(&["run", "--execute", "--tui"]));
    run.shows("(nightly report)").await;
    run.shows("blocked").await;
    let mut status = OnTerminal::start(&mut workspace.command(&["status", "--follow", "--tui", "--every", "100ms"]));
    status.shows("cannot be undone from here on: drop").await;
    status.keys.write_all(b"q").unwrap();
    assert!(status.child.wait().unwrap().success());
    // One look, without a terminal, knows the same.
    let mut once = Value::Null;
    // Between two tries for the lock nobody is in the way.
    crate::support::eventually("one look names who is in the way", async || {
        once = serde_json::from_str(&workspace.run(&["status", "--format", "json"]).exits(0).stdout).unwrap();
        once["picture"]["blockers"][0][1]["application"] == "nightly report"
    })
    .await;
    let picture = &once["picture"];
    assert_eq!((&picture["standing"], &picture["now"]["step"]), (&"running".into(), &"blocked".into()), "{once:#}");
    assert_eq!(picture["steps"][0]["status"], "done");
    let mut alone = workspace.command(&["status", "--format", "json"]);
    let alone: Value =
        serde_json::from_str(&Ran::of(alone.env_remove("BLUE_DATABASE_URL").output().unwrap()).exits(0).stdout).unwrap();
    assert_eq!((&alone["picture"]["driven"], &alone["picture"]["now"]["step"]), (&"unknown".into(), &"blocked".into()));
    assert!(alone["picture"]["remarks"].to_string().contains("set BLUE_DATABASE_URL"), "{alone:#}");
    run.keys.write_all(&[3]).unwrap(); // Ctrl-C: the terminal is raw, so this is a key
    run.shows("stopping after this step").await;
    holder.batch_execute("COMMIT").await.unwrap();
    assert_eq!(run.child.wait().unwrap().code(), Some(130));
    let raw = run.screen.lock().unwrap().clone();
    assert!(raw.contains("\x1b[?1049h") && raw.contains("\x1b[?1049l"), "the terminal is given back");
    let after = raw.split("\x1b[?1049l").nth(1).unwrap();
    assert!(after.contains("blocked: done in"), "what was said meanwhile is said again: {after}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_is_shown_and_measured_as_a_run_is() {
    let (workspace, _blue, holder) = stage().await;
    holder.batch_execute("COMMIT").await.unwrap();
    let never: Value = serde_json::from_str(&workspace.run(&["status", "--format", "json"]).exits(0).stdout).unwrap();
    assert_eq!((&never["run"], &never["picture"]["standing"]), (&Value::Null, &"not begun".into()));
    let plan = std::fs::read_to_string(workspace.plan()).unwrap();
    std::fs::write(workspace.plan(), plan.split("[[step]]\nid = \"drop\"").next().unwrap()).unwrap();
    workspace.run(&["run", "--execute"]).exits(0);
    holder.batch_execute("BEGIN; LOCK TABLE t").await.unwrap();
    let file = workspace.folder.path().join("back.prom");
    let mut command = workspace.command(&["rollback", "--execute", "--tui", "--metrics-addr", "127.0.0.1:0"]);
    let mut back = OnTerminal::start(command.arg("--metrics-file").arg(&file));
    back.shows("watched rolling back").await;
    back.shows("in the way on blue").await;
    assert!(std::fs::read_to_string(&file).unwrap().contains("standing=\"rolling back\""));
    holder.batch_execute("COMMIT").await.unwrap();
    assert_eq!(back.child.wait().unwrap().code(), Some(0));
    assert!(std::fs::read_to_string(&file).unwrap().contains("standing=\"rolled back\""));
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_have_the_names_of_opentelemetry() {
    let (workspace, _blue, holder) = stage().await;
    holder.batch_execute("COMMIT").await.unwrap();
    let ran = workspace.run(&["run", "--execute", "--log-format", "json"]).exits(0);
    let lines: Vec<Value> =
        ran.stderr.lines().filter(|line| line.starts_with('{')).map(|line| serde_json::from_str(line).unwrap()).collect();
    let done: Vec<&Value> = lines.iter().filter(|line| line["body"] == "step done").collect();
    assert_eq!(done.len(), 3, "{}", ran.stderr);
    for line in &lines {
        assert!(line["timestamp"].as_str().unwrap().parse::<jiff::Timestamp>().is_ok(), "{line}");
        assert_eq!((&line["severity_text"], &line["severity_number"]), (&"INFO".into(), &9.into()), "{line}");
        assert_eq!(line["resource"]["service.name"], "crossfade");
    }
    assert_eq!(done[1]["attributes"]["step"], "blocked");
    assert!(done[1]["attributes"]["seconds"].is_f64());
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_are_served_and_written() {
    let (workspace, _blue, holder) = stage().await;
    let file = workspace.folder.path().join("crossfade.prom");
    let address = {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        free.local_addr().unwrap()
    };
    let mut command = workspace.command(&["run", "--execute", "--metrics-addr", &address.to_string()]);
    let run = Process::spawn(command.arg("--metrics-file").arg(&file));
    let page = || {
        let mut stream = std::net::TcpStream::connect(address).ok()?;
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        Some(answer)
    };
    let blocked = "crossfade_blockers{plan=\"watched\",side=\"blue\"} 1\n";
    eventually("a blocker among the metrics", async || page().is_some_and(|page| page.contains(blocked))).await;
    let page = page().unwrap();
    assert!(page.starts_with("HTTP/1.1 200 OK\r\n") && page.contains("text/plain; version=0.0.4"), "{page}");
    assert!(page.contains("crossfade_run_steps{plan=\"watched\",status=\"done\"} 1\n"), "{page}");
    assert!(std::fs::read_to_string(&file).unwrap().contains(blocked));
    holder.batch_execute("COMMIT").await.unwrap();
    run.finish().exits(0);
    let last = std::fs::read_to_string(&file).unwrap();
    assert!(last.contains("standing=\"done\"") && last.contains("status=\"done\"} 3\n"), "{last}");
    assert!(!file.with_extension("prom.next").exists());
}
