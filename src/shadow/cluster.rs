//! One throw-away cluster: its own folder, a Unix socket and nothing else. It goes away with the process that started it,
//! even when that one is killed.

use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::unistd::{Gid, Uid, User};

use super::Binaries;
use crate::pg::{Database, Environment};

/// Server settings beside the ones every throw-away cluster has, `("shared_buffers", "256MB")`.
pub type Settings = Vec<(&'static str, String)>;

/// A running throw-away cluster. Dropping it stops the server and removes its folder.
#[derive(Debug)]
pub struct Cluster {
    folder: PathBuf,
    port: u16,
    guardian: Child,
    lifeline: Option<ChildStdin>,
}

/// Starts the server, waits for its own standard input to end, which happens when the process that started it is gone,
/// and cleans up. The word `keep` on standard input lets everything stand. A server that is only just starting still ignores
/// QUIT (the shell's background processes do) and would live on: TERM ends that one.
const GUARDIAN: &str = r#"
postgres=$1; folder=$2; shift 2
"$postgres" -D "$folder/data" "$@" >"$folder/log" 2>&1 </dev/null &
pid=$!
word=
read -r word
if [ "$word" != keep ]; then
    kill -TERM "$pid" 2>/dev/null
    kill -QUIT "$pid" 2>/dev/null
    wait "$pid"
    rm -rf "$folder"
fi
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
        let folder = tempfile::Builder::new()
            .prefix("crossfade-")
            .tempdir()
            .context("cannot make a folder for a throw-away server")?
            .keep();
        if let Some((uid, gid)) = owner {
            chown(&folder, Some(uid.as_raw()), Some(gid.as_raw()))?;
        }
        let mut command = as_owner(Command::new("sh"), owner);
        command.arg("-c").arg(GUARDIAN).arg("crossfade-guardian").arg(binaries.program("postgres")).arg(&folder);
        let mut all: Settings = vec![
            ("listen_addresses", String::new()),
            ("port", port.to_string()),
            ("unix_socket_directories", folder.display().to_string()),
            ("fsync", "off".to_owned()),
            ("full_page_writes", "off".to_owned()),
            ("max_connections", "200".to_owned()),
            ("wal_level", "logical".to_owned()),
            ("max_prepared_transactions", "20".to_owned()),
            ("logging_collector", "off".to_owned()),
        ];
        all.extend(settings);
        for (name, value) in all {
            command.arg("-c").arg(format!("{name}={value}"));
        }
        initdb(binaries, &folder, owner).inspect_err(|_| drop(std::fs::remove_dir_all(&folder)))?;
        let mut guardian = command
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .current_dir("/")
            .process_group(0)
            .spawn()
            .context("cannot start a throw-away server")?;
        let lifeline = guardian.stdin.take();
        let cluster = Self { folder, port, guardian, lifeline };
        cluster.ready().await?;
        Ok(cluster)
    }

    async fn ready(&self) -> Result<()> {
        let database = self.database("throw-away server", "postgres")?;
        let began = Instant::now();
        while let Err(error) = database.connect("crossfade/shadow").await {
            let log = std::fs::read_to_string(self.folder.join("log")).unwrap_or_default();
            if began.elapsed() > Duration::from_secs(60) || log.contains("FATAL:  could not") {
                let last: Vec<&str> = log.lines().rev().take(5).collect();
                return Err(error).with_context(|| {
                    format!("the throw-away server did not start: {}", last.into_iter().rev().collect::<Vec<_>>().join(" | "))
                });
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    /// The connection string of one of its databases.
    pub fn url(&self, database: &str) -> String {
        format!("postgresql://postgres@:{}/{database}?host={}", self.port, self.folder.display())
    }

    /// One of its databases, called `name` in messages. The `PG*` variables around us have no say in it.
    ///
    /// # Errors
    /// Never for a plain database name.
    pub fn database(&self, name: &str, database: &str) -> Result<Database> {
        Database::parse_in(name, &self.url(database), &Environment::default())
    }

    /// Its folder: socket, data and log.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Lets the server run on when this process ends.
    ///
    /// # Errors
    /// When its guardian is gone.
    pub fn keep(&mut self) -> Result<()> {
        use std::io::Write;
        match self.lifeline.take() {
            Some(mut lifeline) => Ok(lifeline.write_all(b"keep\n")?),
            None => bail!("the throw-away server is already let go"),
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if self.lifeline.take().is_some() {
            let _ = self.guardian.wait();
        }
    }
}

fn initdb(binaries: &Binaries, folder: &Path, owner: Option<(Uid, Gid)>) -> Result<()> {
    let output = as_owner(Command::new(binaries.program("initdb")), owner)
        .args(["-U", "postgres", "--auth=trust", "--no-sync", "--encoding=UTF8", "--locale=C", "-D"])
        .arg(folder.join("data"))
        .current_dir("/")
        .stdin(Stdio::null())
        .output()
        .context("cannot run initdb")?;
    if !output.status.success() {
        bail!("initdb failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

fn as_owner(mut command: Command, owner: Option<(Uid, Gid)>) -> Command {
    if let Some((uid, gid)) = owner {
        command.uid(uid.as_raw()).gid(gid.as_raw());
    }
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
