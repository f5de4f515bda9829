//! One throw-away cluster: its own folder, a Unix socket and nothing else. It goes away with the process that started it,
//! even when that one is killed.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::unistd::{Gid, Uid, User};

use super::{Binaries, Folder};
use crate::pg::{Database, Environment};

/// Server settings beside the ones every throw-away cluster has, `("shared_buffers", "256MB")`.
pub type Settings = Vec<(&'static str, String)>;

/// A running throw-away cluster. Dropping it stops the server and removes its folder.
#[derive(Debug)]
pub struct Cluster {
    port: u16,
    guardian: Child,
    lifeline: Option<ChildStdin>,
    folder: Folder,
}

/// Starts the server, waits for its own standard input to end, which happens when the process that started it is gone,
/// and stops the server. The word `keep` lets it run on, `stop` ends it at once, `start` starts it again. A server that is only just starting still ignores QUIT (the shell's
/// background processes do) and would live on: TERM ends that one. Both come again until it has ended: one that arrives while
/// the shell becomes the server is lost.
const GUARDIAN: &str = r#"
trap : HUP INT TERM
postgres=$1; folder=$2; shift 2
start() {
    "$postgres" -D "$folder/data" "$@" >>"$folder/log" 2>&1 </dev/null &
    pid=$!
}
start "$@"
while read -r word; do
    case $word in
    keep) exit ;;
    stop) while kill -QUIT "$pid" 2>/dev/null; do wait "$pid"; done ;;
    start) start "$@" ;;
    esac
done
while kill -TERM "$pid" 2>/dev/null && kill -QUIT "$pid" 2>/dev/null; do sleep 0.2; done &
wait "$pid"
wait
"#;

impl Cluster {
    /// Makes and starts a cluster. As root it belongs to an unprivileged user, since PostgreSQL refuses to run as root.
    ///
    /// # Errors
    /// With the server's own words when it does not start.
    pub async fn start(binaries: &Binaries, settings: Settings) -> Result<Self> {
        let port = settings.iter().rev().find(|(name, _)| *name == "port").map_or(Ok(5432), |(_, port)| port.parse());
        let port = port.context("the port of a throw-away server is no number")?;
        let owner = unprivileged()?;
        let folder = Folder::make("crossfade-")?;
        if let Some((uid, gid)) = owner {
            chown(folder.path(), Some(uid.as_raw()), Some(gid.as_raw()))?;
        }
        initdb(binaries, &folder, owner)?;
        let mut guardian = guard(binaries, &folder, owner, port, settings)?;
        let lifeline = guardian.stdin.take();
        let cluster = Self { port, guardian, lifeline, folder };
        cluster.ready(0).await?;
        Ok(cluster)
    }

    /// Waits until the server lets us in; what its log says after this byte tells why it does not.
    async fn ready(&self, from: usize) -> Result<()> {
        let database = self.database("throw-away server", "postgres")?;
        let began = Instant::now();
        while let Err(error) = database.connect("crossfade/shadow").await {
            let log = self.folder().join("log");
            let refused = std::fs::read(&log).is_ok_and(|said| {
                let said = said.get(from..).unwrap_or_default();
                String::from_utf8_lossy(said).contains("FATAL:  could not")
            });
            if refused || began.elapsed() > Duration::from_secs(60) {
                return Err(error).with_context(|| format!("the throw-away server did not start: {}", last_lines(&log)));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    /// Stops the server at once, as `pg_ctl stop -m immediate` does: every session is cut off, nothing is written back, and nobody is let in
    /// until [`Self::start_again`], after which it recovers from its log. For those who ask what a crash does.
    ///
    /// # Errors
    /// When its guardian is gone, or the server does not end within a minute.
    pub async fn stop_at_once(&self) -> Result<()> {
        self.tell("stop\n")?;
        let (there, began) = (self.folder().join("data").join("postmaster.pid"), Instant::now());
        while there.try_exists()? {
            if began.elapsed() > Duration::from_secs(60) {
                bail!("the throw-away server does not stop");
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    }

    /// Starts the server again after [`Self::stop_at_once`], and waits until it lets us in.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub async fn start_again(&self) -> Result<()> {
        let said = std::fs::metadata(self.folder().join("log"))?.len();
        self.tell("start\n")?;
        self.ready(usize::try_from(said)?).await
    }

    /// Says a word to the guardian.
    fn tell(&self, word: &str) -> Result<()> {
        let mut lifeline = self.lifeline.as_ref().context("the throw-away server is already let go")?;
        Ok(lifeline.write_all(word.as_bytes())?)
    }

    /// The connection string of one of its databases.
    pub fn url(&self, database: &str) -> String {
        format!("postgresql://postgres@:{}/{database}?host={}", self.port, self.folder().display())
    }

    /// One of its databases, called `name` in messages. The `PG*` variables around us have no say in it.
    ///
    /// # Errors
    /// Never for a plain database name.
    pub fn database(&self, name: &str, database: &str) -> Result<Database> {
        Database::parse_in(name, &self.url(database), &Environment::default())
    }

    /// Loads an SQL file as `pg_dump` writes it: it may hold COPY data and lines for psql, so psql reads it.
    ///
    /// # Errors
    /// When there is no psql, or with its first words when the file cannot be loaded.
    pub async fn load(&self, database: &str, file: &Path, binaries: &Binaries) -> Result<()> {
        let beside = binaries.program("psql");
        let program = if beside.exists() { beside } else { "psql".into() };
        let mut command = tokio::process::Command::new(program);
        command.args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-d"]).arg(self.url(database)).arg("-f").arg(file);
        let output = command
            .stdin(Stdio::null())
            .output()
            .await
            .context("psql does not start; install PostgreSQL's client programs (postgresql-client)")?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            bail!("{} cannot be loaded: {}", file.display(), said.lines().take(3).collect::<Vec<_>>().join("; "));
        }
        Ok(())
    }

    /// Its folder: socket, data and log.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Lets the server run on when this process ends.
    ///
    /// # Errors
    /// When its guardian is gone.
    pub fn keep(&mut self) -> Result<()> {
        self.folder.keep()?;
        let mut lifeline = self.lifeline.take().context("the throw-away server is already let go")?;
        Ok(lifeline.write_all(b"keep\n")?)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.lifeline = None;
        let _ = self.guardian.wait();
    }
}

/// Makes the data directory. When we are killed meanwhile it goes on to its end, and holds the folder until then.
fn initdb(binaries: &Binaries, folder: &Folder, owner: Option<(Uid, Gid)>) -> Result<()> {
    let log = folder.path().join("initdb.log");
    let said = File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
    let status = as_owner(Command::new(binaries.program("initdb")), owner)
        .args(["-U", "postgres", "--auth=trust", "--no-sync", "--encoding=UTF8", "--locale=C", "-D"])
        .arg(folder.path().join("data"))
        .stdin(folder.hold()?)
        .stdout(said.try_clone()?)
        .stderr(said)
        .status()
        .context("cannot run initdb")?;
    if !status.success() {
        bail!("initdb failed: {}", last_lines(&log));
    }
    Ok(())
}

/// Starts the server with its guardian.
fn guard(binaries: &Binaries, folder: &Folder, owner: Option<(Uid, Gid)>, port: u16, settings: Settings) -> Result<Child> {
    let mut command = as_owner(Command::new("sh"), owner);
    command.args(["-c", GUARDIAN, "crossfade-guardian"]).arg(binaries.program("postgres")).arg(folder.path());
    let mut all: Settings = vec![
        ("listen_addresses", String::new()),
        ("port", port.to_string()),
        ("unix_socket_directories", folder.path().display().to_string()),
        ("fsync", "off".to_owned()),
        ("full_page_writes", "off".to_owned()),
        ("max_connections", "200".to_owned()),
        ("wal_level", "logical".to_owned()),
        ("max_prepared_transactions", "20".to_owned()),
        ("logging_collector", "off".to_owned()),
        // Queries over many catalogs count as dear and are short.
        ("jit", "off".to_owned()),
        // In the data directory, so that nothing is left elsewhere when the server is killed.
        ("dynamic_shared_memory_type", "mmap".to_owned()),
    ];
    all.extend(settings);
    for (name, value) in all {
        command.arg("-c").arg(format!("{name}={value}"));
    }
    // The guardian never writes: its standard output is its hold on the folder, which stands until the server has ended. The
    // command has the hold too: it must not outlive this function, or the folder would wait for itself.
    command.stdin(Stdio::piped()).stdout(folder.hold()?).spawn().context("cannot start a throw-away server")
}

/// The end of a log, as one line.
fn last_lines(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().filter(|line| !line.is_empty()).collect();
    lines[lines.len().saturating_sub(5)..].join(" | ")
}

/// A program that runs as the owner, out of the terminal's reach: Ctrl-C is ours alone.
fn as_owner(mut command: Command, owner: Option<(Uid, Gid)>) -> Command {
    if let Some((uid, gid)) = owner {
        command.uid(uid.as_raw()).gid(gid.as_raw());
    }
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).current_dir("/").process_group(0);
    command
}

/// The user a server of ours runs as when we are root: `postgres`, else `nobody`. `None` when we are not root.
fn unprivileged() -> Result<Option<(Uid, Gid)>> {
    if !nix::unistd::geteuid().is_root() {
        return Ok(None);
    }
    for name in ["postgres", "nobody"] {
        if let Some(user) = User::from_name(name)? {
            return Ok(Some((user.uid, user.gid)));
        }
    }
    bail!("PostgreSQL refuses to run as root, and this machine has neither a user postgres nor nobody")
}
