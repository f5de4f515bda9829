//! The ways to follow a database, each as an operator would set it up.

use std::collections::BTreeSet;
use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use crossfade::pg::Session;
use crossfade::shadow::Cluster;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use crate::family::family_rss;

/// One pair of databases, and a folder for files.
pub struct Pair<'a> {
    pub blue: &'a Cluster,
    pub green: &'a Cluster,
    /// What both databases are called.
    pub name: &'static str,
    pub folder: PathBuf,
}

/// A way to follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Way {
    /// crossfade, told by triggers what changed.
    Triggers,
    /// crossfade, told by a slot.
    Slot,
    Pgcopydb,
    Native,
}

/// Who writes nothing on green for so long has failed.
const STANDSTILL: Duration = Duration::from_secs(60);

/// What it took to bring green to the end.
#[derive(Debug, Clone, Copy)]
pub struct Cost {
    /// From the start of following to the moment when the last row is seen on green.
    pub seconds: f64,
    /// The most memory that the client programs held together, in bytes, sampled every 5 ms. Zero: the servers did it all.
    pub peak_rss: u64,
}

impl Way {
    const ALL: [Way; 4] = [Way::Triggers, Way::Slot, Way::Pgcopydb, Way::Native];
    /// Ours.
    pub const OURS: [Way; 2] = [Way::Triggers, Way::Slot];

    /// What it is called in `WAYS`.
    pub fn word(self) -> &'static str {
        match self {
            Way::Triggers => "triggers",
            Way::Slot => "slot",
            Way::Pgcopydb => "pgcopydb",
            Way::Native => "native",
        }
    }

    /// Those of these words that can be had on this machine; says what is missing.
    pub async fn found(blue: &Session, words: &str) -> Result<Vec<Way>> {
        let mut found = Vec::new();
        for word in words.split(',') {
            let way = Way::ALL.into_iter().find(|way| way.word() == word);
            let way = way.with_context(|| format!("WAYS={words}: `{word}` is none of triggers, slot, pgcopydb, native"))?;
            match way.missing(blue).await {
                None => found.push(way),
                Some(what) => println!("{}: left out, {what}", way.name()),
            }
        }
        Ok(found)
    }

    async fn missing(self, blue: &Session) -> Option<String> {
        if self != Way::Pgcopydb {
            return None;
        }
        if !Command::new("pgcopydb").arg("--version").output().is_ok_and(|output| output.status.success()) {
            return Some("pgcopydb is not on this machine".to_owned());
        }
        let try_slot = "SELECT pg_create_logical_replication_slot('probe', 'wal2json', true)";
        blue.batch_execute(try_slot).await.err().map(|error| format!("wal2json is not usable here: {error}"))
    }

    pub fn name(self) -> &'static str {
        match self {
            Way::Triggers => "crossfade follow (triggers)",
            Way::Slot => "crossfade follow (slot)",
            Way::Pgcopydb => "pgcopydb follow",
            Way::Native => "native logical replication",
        }
    }

    /// Whether green must hold blue's rows before.
    pub fn begins_filled(self) -> bool {
        !Way::OURS.contains(&self)
    }

    /// Everything that must be there before blue changes.
    pub async fn set_up(self, pair: &Pair<'_>) -> Result<()> {
        let (blue, green) = (pair.blue.url(pair.name), pair.green.url(pair.name));
        match self {
            Way::Triggers | Way::Slot => {
                let step = |id: &str, phase: &str, kind: &str| {
                    let source = if self == Way::Slot && kind == "start_capture" { "source = \"slot\"\n" } else { "" };
                    format!(
                        "[[step]]\nid = \"{id}\"\nphase = \"{phase}\"\nkind = \"{kind}\"\n{source}tables = [\"access\", \"refresh\", \"ended\"]\n"
                    )
                };
                let plan = format!(
                    "format = 1\nname = \"bench\"\n[blue]\nurl_env = \"BLUE_DATABASE_URL\"\n[green]\nurl_env = \"GREEN_DATABASE_URL\"\n{}{}",
                    step("capture", "capture", "start_capture"),
                    step("copy", "copy", "copy")
                );
                std::fs::write(pair.folder.join("plan.toml"), plan)?;
                run(self.crossfade(pair, &["run", "--execute"]))
            }
            Way::Pgcopydb => {
                let mut command = Command::new("pgcopydb");
                command.args(["stream", "setup", "--slot-name", "bench", "--origin", "bench", "--dir"]);
                run(command.arg(pair.folder.join("work")).args(["--source", &blue, "--target", &green]))
            }
            Way::Native => {
                session(pair.blue, pair.name).await?.batch_execute("CREATE PUBLICATION bench FOR ALL TABLES").await?;
                let subscribe = format!(
                    "CREATE SUBSCRIPTION bench CONNECTION 'host={} dbname={} user=postgres' PUBLICATION bench \
                     WITH (copy_data = false, enabled = false, slot_name = bench)",
                    pair.blue.folder().display(),
                    pair.name
                );
                Ok(session(pair.green, pair.name).await?.batch_execute(&subscribe).await?)
            }
        }
    }

    /// Follows until the last row is on green.
    pub async fn follow(self, pair: &Pair<'_>) -> Result<Cost> {
        let (blue, green) = (session(pair.blue, pair.name).await?, session(pair.green, pair.name).await?);
        let log = pair.folder.join("log");
        let began = Instant::now();
        let mut child = match self {
            Way::Triggers | Way::Slot => Some(start(self.crossfade(pair, &["follow", "--until-caught-up"]), &log)?),
            Way::Pgcopydb => {
                let row = blue.query_one("SELECT pg_current_wal_flush_lsn()::text", &[]).await?;
                let end: String = row.get(0);
                blue.batch_execute(&format!("UPDATE pgcopydb.sentinel SET apply = true, endpos = '{end}'")).await?;
                let mut command = Command::new("pgcopydb");
                command.args([
                    "follow",
                    "--resume",
                    "--not-consistent",
                    "--slot-name",
                    "bench",
                    "--origin",
                    "bench",
                    "--endpos",
                    &end,
                ]);
                command.args(["--source", &pair.blue.url(pair.name), "--target", &pair.green.url(pair.name), "--dir"]);
                Some(start(command.arg(pair.folder.join("work")), &log)?)
            }
            Way::Native => {
                green.batch_execute("ALTER SUBSCRIPTION bench ENABLE").await?;
                None
            }
        };
        let (mut peak_rss, mut known, mut moved) = (0, BTreeSet::new(), (Instant::now(), 0));
        while !green.query_one("SELECT EXISTS (SELECT FROM ended)", &[]).await?.get::<_, bool>(0) {
            if let Some(child) = &mut child {
                if child.try_wait()?.is_some_and(|status| !status.success()) {
                    bail!("{} ended: {}", self.name(), end_of(&log));
                }
                peak_rss = peak_rss.max(family_rss(child.id(), &mut known));
            }
            let written: i64 = green.query_one("SELECT (pg_current_wal_insert_lsn() - '0/0')::bigint", &[]).await?.get(0);
            if written > moved.1 + 64_000 {
                moved = (Instant::now(), written);
            }
            if moved.0.elapsed() > STANDSTILL {
                if let Some(mut child) = child {
                    let _ = killpg(Pid::from_raw(child.id().cast_signed()), Signal::SIGTERM);
                    child.wait()?;
                }
                bail!("wrote nothing on green for {} s: {}", STANDSTILL.as_secs(), end_of(&log));
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let seconds = began.elapsed().as_secs_f64();
        if let Some(mut child) = child {
            if self == Way::Pgcopydb {
                // It sleeps 10 s between looks at its end: nothing is left to do.
                let _ = killpg(Pid::from_raw(child.id().cast_signed()), Signal::SIGTERM);
            }
            child.wait()?;
        }
        Ok(Cost { seconds, peak_rss })
    }

    /// Takes back what outlives the databases.
    pub async fn clear(self, pair: &Pair<'_>) -> Result<()> {
        match self {
            Way::Triggers => Ok(()),
            Way::Slot => {
                let drop = "DO $$ BEGIN WHILE EXISTS (SELECT FROM pg_replication_slots WHERE active) LOOP PERFORM pg_sleep(0.1); END LOOP; \
                            PERFORM pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name LIKE 'crossfade%'; END $$";
                Ok(session(pair.blue, pair.name).await?.batch_execute(drop).await?)
            }
            Way::Pgcopydb => {
                let drop = "DO $$ BEGIN WHILE EXISTS (SELECT FROM pg_replication_slots WHERE active) LOOP PERFORM pg_sleep(0.1); END LOOP; \
                            PERFORM pg_drop_replication_slot('bench'); END $$";
                session(pair.blue, pair.name).await?.batch_execute(drop).await?;
                Ok(session(pair.green, pair.name).await?.batch_execute("SELECT pg_replication_origin_drop('bench')").await?)
            }
            Way::Native => Ok(session(pair.green, pair.name).await?.batch_execute("DROP SUBSCRIPTION bench").await?),
        }
    }

    fn crossfade(self, pair: &Pair<'_>, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_crossfade"));
        command.arg(words[0]).arg(pair.folder.join("plan.toml")).args(&words[1..]).arg("--state").arg(pair.folder.join("state"));
        command.arg("--quiet");
        command.env("BLUE_DATABASE_URL", pair.blue.url(pair.name)).env("GREEN_DATABASE_URL", pair.green.url(pair.name));
        command
    }
}

/// Runs a command to its end.
fn run(mut command: impl std::borrow::BorrowMut<Command>) -> Result<()> {
    let command = command.borrow_mut();
    let output = command.output().context("cannot run")?;
    ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// Starts a command as a process group of its own.
fn start(mut command: impl std::borrow::BorrowMut<Command>, log: &std::path::Path) -> Result<Child> {
    let said = File::create(log)?;
    let command = command.borrow_mut();
    command.process_group(0).stdin(Stdio::null()).stdout(said.try_clone()?).stderr(said).spawn().context("cannot start")
}

pub fn end_of(log: &std::path::Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(6)..].join("\n")
}

pub async fn session(cluster: &Cluster, database: &str) -> Result<Session> {
    cluster.database("bench", database)?.connect("bench").await
}
