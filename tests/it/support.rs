//! What the integration tests share: one throw-away cluster, a database of its own for each test, and the built binary.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};

use crossfade::pg::{Database, Session};
use crossfade::shadow::{Binaries, Cluster};

/// The runtime that keeps the shared cluster's start alive; tests have their own.
static CLUSTER: OnceLock<Arc<Cluster>> = OnceLock::new();
static NUMBER: AtomicU32 = AtomicU32::new(0);

/// The cluster all tests share. It stops when the test process ends.
pub fn cluster() -> &'static Arc<Cluster> {
    CLUSTER.get_or_init(|| {
        std::thread::spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(start(&Binaries::find().unwrap()))
        })
        .join()
        .unwrap()
    })
}

static LOGICAL: OnceLock<Arc<Cluster>> = OnceLock::new();

/// The cluster that tests of replication slots share. Its own: a slot that is made waits for the transactions of all databases.
pub fn logical_cluster() -> &'static Arc<Cluster> {
    LOGICAL.get_or_init(|| {
        std::thread::spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(start_logical(&Binaries::find().unwrap()))
        })
        .join()
        .unwrap()
    })
}

/// A cluster of its own from whose log slots can be read.
pub async fn start_logical(binaries: &Binaries) -> Arc<Cluster> {
    let settings = [("max_replication_slots", "50"), ("max_wal_senders", "50")];
    let settings = settings.map(|(name, value)| (name, value.to_owned()));
    Arc::new(Cluster::start(binaries, [vec![("shared_buffers", "128MB".to_owned())], settings.to_vec()].concat()).await.unwrap())
}

/// A cluster of its own.
pub async fn start(binaries: &Binaries) -> Arc<Cluster> {
    Arc::new(Cluster::start(binaries, vec![("shared_buffers", "128MB".to_owned())]).await.unwrap())
}

/// Whether the servers of the tests are of this major version or later. When not, says what goes untested.
pub fn since(major: u32, what: &str) -> bool {
    let found = Binaries::find().unwrap().major();
    if found < major {
        eprintln!("not tested: {what} needs PostgreSQL {major}, this is {found}");
    }
    found >= major
}

/// A database that belongs to one test; dropped when this is dropped.
pub struct TestDb {
    cluster: Arc<Cluster>,
    name: String,
}

impl TestDb {
    /// A new, empty database of the shared cluster.
    pub async fn empty() -> Self {
        Self::empty_on(cluster()).await
    }

    /// A new, empty database in this encoding.
    pub async fn in_encoding(encoding: &str) -> Self {
        Self::from_template(&format!("template0 ENCODING '{encoding}'")).await
    }

    /// A new, empty database of this cluster.
    pub async fn empty_on(cluster: &Arc<Cluster>) -> Self {
        Self::made(cluster, "template0").await
    }

    /// A copy of another database of the shared cluster, to which nobody may be connected.
    pub async fn from_template(template: &str) -> Self {
        Self::made(cluster(), template).await
    }

    /// A copy of a database, to which nobody may be connected, on its own cluster.
    pub async fn copy_of(template: &Self) -> Self {
        Self::made(&template.cluster, template.name()).await
    }

    async fn made(cluster: &Arc<Cluster>, template: &str) -> Self {
        let name = format!("t{}_{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        admin(cluster).await.batch_execute(&format!("CREATE DATABASE {name} TEMPLATE {template}")).await.unwrap();
        Self { cluster: Arc::clone(cluster), name }
    }

    /// Drops it and makes it again, empty.
    pub async fn make_anew(&self) {
        let admin = admin(&self.cluster).await;
        admin.batch_execute(&format!("DROP DATABASE {} WITH (FORCE)", self.name)).await.unwrap();
        admin.batch_execute(&format!("CREATE DATABASE {} TEMPLATE template0", self.name)).await.unwrap();
    }

    /// The server it is on.
    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// Removes everything that SQL made in its schemas: much faster than another database.
    pub async fn sweep(&self) {
        let schemas = "SELECT string_agg(format('DROP SCHEMA %I CASCADE', nspname), '; ') FROM pg_namespace \
                       WHERE nspname <> 'information_schema' AND nspname !~ '^pg_'";
        let session = self.session().await;
        let drop: Option<String> = session.query_one(schemas, &[]).await.unwrap().get(0);
        let quiet = "SET client_min_messages = warning";
        session.batch_execute(&format!("{quiet}; {}; CREATE SCHEMA public", drop.unwrap_or_default())).await.unwrap();
    }

    /// Its name in the cluster.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its connection string.
    pub fn url(&self) -> String {
        self.cluster.url(&self.name)
    }

    /// As the library takes it.
    pub fn database(&self) -> Database {
        self.cluster.database("test", &self.name).unwrap()
    }

    /// A session on it.
    pub async fn session(&self) -> Session {
        self.database().connect("test").await.unwrap()
    }

    /// Runs SQL.
    pub async fn sql(&self, sql: &str) {
        self.session().await.batch_execute(sql).await.unwrap();
    }

    /// One value of one row.
    pub async fn value(&self, sql: &str) -> String {
        let row = self.session().await.query_one(&format!("SELECT ({sql})::text"), &[]).await.unwrap();
        row.get::<_, Option<String>>(0).unwrap_or_default()
    }
}

impl Drop for TestDb {
    fn drop(&mut self) {
        let (cluster, name) = (Arc::clone(&self.cluster), std::mem::take(&mut self.name));
        let dropped = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let drop = format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)");
            runtime.block_on(async { admin(&cluster).await.batch_execute(&drop).await })
        });
        let _ = dropped.join();
    }
}

async fn admin(cluster: &Cluster) -> Session {
    cluster.database("admin", "postgres").unwrap().connect("test").await.unwrap()
}

/// The built `crossfade`, with nothing of this machine's PostgreSQL environment.
pub fn crossfade() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_crossfade"));
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("PG")) {
        command.env_remove(name);
    }
    command
}

/// A folder with a plan in it and room for journals.
pub struct Workspace {
    /// The folder.
    pub folder: tempfile::TempDir,
    /// Environment of every command: the databases.
    pub env: Vec<(String, String)>,
}

impl Workspace {
    /// A workspace with this plan file, for these databases.
    pub fn new(plan: &str, blue: &TestDb, green: Option<&TestDb>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("plan.toml"), plan).unwrap();
        Self::at(folder, blue, green)
    }

    /// A workspace around an existing folder.
    pub fn at(folder: tempfile::TempDir, blue: &TestDb, green: Option<&TestDb>) -> Self {
        let mut env = vec![("BLUE_DATABASE_URL".to_owned(), blue.url())];
        env.extend(green.map(|green| ("GREEN_DATABASE_URL".to_owned(), green.url())));
        Self { folder, env }
    }

    /// The plan file.
    pub fn plan(&self) -> PathBuf {
        self.folder.path().join("plan.toml")
    }

    /// A command on the plan, with the state directory in this folder.
    pub fn command(&self, words: &[&str]) -> Command {
        self.command_on(words, &self.plan())
    }

    /// A command on another plan.
    pub fn command_on(&self, words: &[&str], plan: &Path) -> Command {
        let mut command = crossfade();
        command.arg(words[0]).arg(plan).args(&words[1..]).envs(self.env.iter().cloned());
        command.env("CROSSFADE_STATE", self.folder.path().join("state"));
        command
    }

    /// Runs a command to its end.
    pub fn run(&self, words: &[&str]) -> Ran {
        Ran::of(self.command(words).output().unwrap())
    }
}

/// A command that has ended.
#[derive(Debug)]
pub struct Ran {
    /// Its exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// What it printed.
    pub stdout: String,
    /// What it said.
    pub stderr: String,
}

impl Ran {
    /// Of a finished process.
    pub fn of(output: Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Checks the exit code; shows everything when it is another.
    #[track_caller]
    pub fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self
    }
}

/// A command that is running; killed when the test that started it ends without waiting for it.
pub struct Process(Option<Child>);

impl Process {
    /// Starts it; what it prints and says is kept.
    pub fn spawn(command: &mut Command) -> Self {
        Self(Some(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()))
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.0.as_ref().unwrap().id()
    }

    /// Whether it goes on.
    pub fn is_running(&mut self) -> bool {
        self.0.as_mut().unwrap().try_wait().unwrap().is_none()
    }

    /// Waits for its end.
    pub fn finish(mut self) -> Ran {
        Ran::of(self.0.take().unwrap().wait_with_output().unwrap())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(mut child) = self.0.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Asks until it holds, at most twenty seconds.
#[track_caller]
pub fn eventually<'a>(what: &'a str, mut holds: impl AsyncFnMut() -> bool + 'a) -> impl Future<Output = ()> + 'a {
    let place = std::panic::Location::caller();
    async move {
        for _ in 0..1000 {
            if holds().await {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        panic!("{place}: waited twenty seconds for: {what}");
    }
}

/// What is in a folder; nothing when it is gone.
pub fn entries(folder: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}

/// Waits until a folder is empty and no process names it.
#[track_caller]
pub fn nothing_left<'a>(folder: &'a Path, after: &'a str) -> impl Future<Output = ()> + 'a {
    let place = std::panic::Location::caller();
    async move {
        let mut left = Vec::new();
        for _ in 0..300 {
            let files = entries(folder).into_iter().map(|path| path.display().to_string());
            left = files.chain(processes_that_name(folder.to_str().unwrap())).collect::<Vec<_>>();
            if left.is_empty() {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        }
        panic!("{place}: {after} leaves, for a minute:\n{}", left.join("\n"));
    }
}

/// The processes with this text in their command line.
fn processes_that_name(text: &str) -> Vec<String> {
    let output = Command::new("ps").args(["-A", "-ww", "-o", "pid=,args="]).output().unwrap();
    let lines = String::from_utf8_lossy(&output.stdout).into_owned();
    lines.lines().filter(|line| line.contains(text)).map(str::to_owned).collect()
}
