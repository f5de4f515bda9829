//! Two databases, a plan that captures, copies, follows and switches, and systems that take part in the switch.

use std::net::SocketAddr;
use std::process::Command;
use std::sync::{Arc, Mutex};

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;

use crate::support::{Ran, TestDb, Workspace};

/// The schema of both sides.
pub const SCHEMA: &str = "CREATE TABLE account (id bigint PRIMARY KEY, n bigint NOT NULL DEFAULT 0); \
    CREATE TABLE entry (id bigserial PRIMARY KEY, account bigint NOT NULL REFERENCES account ON DELETE CASCADE, tag text UNIQUE);";

/// Rows of blue.
const ROWS: &str = "INSERT INTO account SELECT n, 0 FROM generate_series(1, 100) AS n; \
    INSERT INTO entry (account, tag) SELECT 1 + n % 100, 'old ' || n FROM generate_series(1, 500) AS n; ANALYZE;";

/// The plan up to the switch's own participants.
pub const PLAN: &str = r#"
format = 1
name = "cutover"
[blue]
url_env = "BLUE_DATABASE_URL"
[green]
url_env = "GREEN_DATABASE_URL"
[limits]
lock_retry_for = "15s"
[[step]]
id = "capture"
phase = "capture"
kind = "start_capture"
tables = ["account", "entry"]
[[step]]
id = "copy"
phase = "copy"
kind = "copy"
tables = ["account", "entry"]
[[step]]
id = "follow"
phase = "follow"
kind = "follow"
tables = ["account", "entry"]
until = { lag = "5s", for = "100ms" }
[[step]]
id = "to-green"
phase = "cutover"
kind = "switch"
tables = ["account", "entry"]
back = { tables = ["account", "entry"] }
verify = true
max_lag = "20s"
"#;

/// The databases and the plan.
pub struct Stage {
    pub blue: TestDb,
    pub green: TestDb,
    pub workspace: Workspace,
}

impl Stage {
    /// Blue with rows, green without.
    pub async fn databases() -> (TestDb, TestDb) {
        let (blue, green) = (TestDb::empty().await, TestDb::empty().await);
        Self::fill(&blue, &green).await;
        (blue, green)
    }

    /// Blue gets rows, green its tables.
    pub async fn fill(blue: &TestDb, green: &TestDb) {
        blue.sql(&format!("{SCHEMA}{ROWS}")).await;
        green.sql(SCHEMA).await;
    }

    /// The plan over them; `switch` goes on with the switch's keys, its participants last.
    pub fn over(blue: TestDb, green: TestDb, switch: &str) -> Self {
        Self::with(&format!("{PLAN}{switch}"), blue, green)
    }

    /// Another plan over other databases.
    pub fn with(plan: &str, blue: TestDb, green: TestDb) -> Self {
        let workspace = Workspace::new(plan, &blue, Some(&green));
        Self { blue, green, workspace }
    }

    /// Runs a command on another thread, so that the tasks of the test go on.
    pub async fn run(&self, words: &[&str]) -> Ran {
        let mut command = self.workspace.command(words);
        Ran::of(tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap())
    }

    /// The steps before the switch: done; the switch itself waits for approval.
    pub async fn ready(&self) {
        let ran = self.run(&["run", "--execute", "--allow-hooks"]).await.exits(12);
        assert!(ran.stderr.contains("--approve to-green"), "{}", ran.stderr);
    }

    /// Whether a session of anybody may write to a side.
    pub async fn writable(db: &TestDb) -> bool {
        let session = db.session().await;
        let tried = session.batch_execute("BEGIN; INSERT INTO account (id) VALUES (-1); ROLLBACK").await;
        if let Err(error) = &tried {
            assert_eq!(error.code().map(|code| code.code()), Some(crossfade::cutover::fence::REFUSED), "{error:?}");
        }
        tried.is_ok()
    }

    /// Nothing of ours is left in the catalog outside of schema crossfade.
    pub async fn assert_no_triggers(db: &TestDb) {
        let left = db.value(
            "SELECT string_agg(tgname || ' on ' || tgrelid::regclass, ', ') FROM pg_trigger WHERE tgname LIKE 'crossfade%'",
        );
        assert_eq!(left.await, "");
    }

    /// The same rows on both sides.
    pub async fn assert_equal(&self) {
        let digest = "SELECT concat_ws(' ', (SELECT md5(string_agg(a::text, ',' ORDER BY a.id)) FROM account a), \
                                       (SELECT md5(string_agg(e::text, ',' ORDER BY e.id)) FROM entry e), (SELECT count(*) FROM entry))";
        assert_eq!(self.blue.value(digest).await, self.green.value(digest).await);
    }

    /// A figure of the switch, from the journal.
    pub fn figure(&self, name: &str) -> Option<u64> {
        let report = self.workspace.run(&["report", "--format", "json"]).exits(0).stdout;
        let report: serde_json::Value = serde_json::from_str(&report).unwrap();
        let text = report.to_string();
        let steps = report.pointer("/summary/steps").or(report.pointer("/steps")).unwrap_or_else(|| panic!("{text}"));
        let step = steps.as_array().unwrap().iter().find(|step| step["step"] == "to-green").unwrap();
        step["figures"][name].as_u64()
    }
}

/// A system that is switched over HTTP: `GET /side`, `POST /side/<side>`.
pub struct Switchboard {
    pub address: SocketAddr,
    side: Arc<Mutex<String>>,
    broken: Arc<Mutex<bool>>,
}

impl Switchboard {
    pub async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (side, broken) = (Arc::new(Mutex::new("blue".to_owned())), Arc::new(Mutex::new(false)));
        let (shared, fails) = (Arc::clone(&side), Arc::clone(&broken));
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let (shared, fails) = (Arc::clone(&shared), Arc::clone(&fails));
                let service = service_fn(move |request: Request<Incoming>| {
                    let (shared, fails) = (Arc::clone(&shared), Arc::clone(&fails));
                    async move {
                        let mut side = shared.lock().unwrap();
                        let mut status = StatusCode::OK;
                        if request.method() == Method::POST {
                            match *fails.lock().unwrap() && request.uri().path().ends_with("green") {
                                true => status = StatusCode::INTERNAL_SERVER_ERROR,
                                false => *side = request.uri().path().trim_start_matches("/side/").to_owned(),
                            }
                        }
                        let body = Full::new(Bytes::from(format!("{{\"serves\": \"{side}\"}}")));
                        Ok::<_, std::convert::Infallible>(Response::builder().status(status).body(body).unwrap())
                    }
                });
                tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(socket), service));
            }
        });
        Self { address, side, broken }
    }

    pub fn side(&self) -> String {
        self.side.lock().unwrap().clone()
    }

    pub fn breaks(&self, broken: bool) {
        *self.broken.lock().unwrap() = broken;
    }

    pub fn participant(&self) -> String {
        let at = self.address;
        format!(
            "[[step.participant]]\nkind = \"http\"\nname = \"board\"\n\
             to_blue = {{ url = \"http://{at}/side/blue\", method = \"POST\" }}\n\
             to_green = {{ url = \"http://{at}/side/green\", method = \"POST\" }}\n\
             probe = {{ url = \"http://{at}/side\", json = \"/serves\", blue = \"blue\", green = \"green\" }}\n"
        )
    }
}

/// A system that programs switch: a symbolic link, as balancers have it.
pub struct Link {
    pub folder: tempfile::TempDir,
}

impl Link {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("blue", folder.path().join("now")).unwrap();
        Self { folder }
    }

    pub fn side(&self) -> String {
        std::fs::read_link(self.folder.path().join("now")).unwrap().display().to_string()
    }

    pub fn participant(&self) -> String {
        let at = self.folder.path().display();
        format!(
            "[[step.participant]]\nkind = \"command\"\nname = \"link\"\n\
             to_blue = [\"ln\", \"-sfn\", \"blue\", \"{at}/now\"]\n\
             to_green = [\"sh\", \"-c\", \"test ! -e {at}/broken && ln -sfn green {at}/now\"]\n\
             probe = [\"sh\", \"-c\", \"test $(readlink {at}/now) = green\"]\n"
        )
    }
}

/// A program that reads its configuration when it is told to, as servers do on SIGHUP.
pub struct Server {
    pub folder: tempfile::TempDir,
    child: std::process::Child,
}

impl Server {
    pub async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        for (name, side) in [("conf", "blue"), ("conf.blue", "blue"), ("conf.green", "green")] {
            std::fs::write(folder.path().join(name), format!("database = {side}\n")).unwrap();
        }
        let script = "read_it() { cp conf loaded; }; trap read_it HUP; read_it; echo $$ > pid; while :; do sleep 0.05; done";
        // A shell cannot trap what was ignored when it started, as SIGHUP is under nohup.
        let words = ["--default-signal=HUP", "sh", "-c", script];
        let child = Command::new("env").args(words).current_dir(folder.path()).spawn().unwrap();
        let server = Self { folder, child };
        crate::support::eventually("the server runs", async || server.folder.path().join("pid").exists()).await;
        server
    }

    /// The side of the configuration that the program has read.
    pub fn side(&self) -> String {
        let text = std::fs::read_to_string(self.folder.path().join("loaded")).unwrap_or_default();
        text.trim().trim_start_matches("database = ").to_owned()
    }

    pub fn participant(&self) -> String {
        let at = self.folder.path().display();
        format!(
            "[[step.participant]]\nkind = \"file\"\nname = \"server\"\npath = \"{at}/conf\"\nblue = \"{at}/conf.blue\"\n\
             green = \"{at}/conf.green\"\nsignal = {{ pid_file = \"{at}/pid\" }}\n"
        )
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
