//! How a run stands, looked at from another process: its journal, its record, and both databases.

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write, stdout};
use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;

use super::show::outline;
use super::{Format, text};
use crate::journal::{Journal, read_record};
use crate::pg::{Database, Reading, Session, explain};
use crate::plan::Plan;
use crate::report::{Driven, Key, Lag, Picture, Scene, Tui, whole};
use crate::step::distance;
use crate::terms::{Exit, RunId, Side};

/// So long the databases may take: the rest is known without them.
const PATIENCE: Duration = Duration::from_secs(10);

/// Looks at one run again and again.
pub(super) struct Watching<'a> {
    plan: &'a Plan,
    run: RunId,
    directory: PathBuf,
    databases: BTreeMap<Side, Database>,
    sessions: BTreeMap<Side, Session>,
    /// What could not be asked the last time, by side.
    away: BTreeMap<Side, String>,
}

impl<'a> Watching<'a> {
    pub(super) fn new(plan: &'a Plan, run: RunId, directory: PathBuf, databases: BTreeMap<Side, Database>) -> Self {
        Self { plan, run, directory, databases, sessions: BTreeMap::new(), away: BTreeMap::new() }
    }

    /// How it stands now. A database that is away is left out, and named in the remarks.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub(super) async fn look(&mut self) -> anyhow::Result<Picture> {
        let lines = Journal::read(&self.directory)?;
        let record = read_record(&self.directory);
        let scene = Scene::of(outline(self.plan, Some(self.run.clone())), &lines, &record);
        let mut scene = scene.map_err(|why| anyhow::anyhow!(why))?;
        let (mut readings, mut driven) = (BTreeMap::new(), Driven::Unknown);
        for (side, database) in self.databases.clone() {
            match tokio::time::timeout(PATIENCE, self.ask(side, &database)).await {
                Ok(Ok((reading, lock))) => {
                    self.away.remove(&side);
                    readings.insert(side, reading);
                    driven = if lock || driven == Driven::Yes { Driven::Yes } else { Driven::No };
                }
                Ok(Err(error)) => self.lost(side, explain(&error)),
                Err(_) => self.lost(side, format!("no answer within {} s", PATIENCE.as_secs())),
            }
        }
        scene.readings(Timestamp::now(), readings);
        scene.driven(driven);
        scene.behind(self.behind().await);
        for (side, why) in &self.away {
            scene.remark(format!("{side} cannot be asked: {why}"));
        }
        Ok(scene.picture(Timestamp::now()))
    }

    fn lost(&mut self, side: Side, why: String) {
        self.sessions.remove(&side);
        self.away.insert(side, why);
    }

    /// What a database says, and whether a driver of the run holds its lock there.
    async fn ask(&mut self, side: Side, database: &Database) -> anyhow::Result<(Reading, bool)> {
        if self.sessions.get(&side).is_none_or(|session| session.is_closed()) {
            self.sessions.insert(side, database.connect("crossfade/status").await?);
        }
        let session = &self.sessions[&side];
        let reading = Reading::take(session, &format!("crossfade/%{}%", self.run)).await?;
        let lock = "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE application_name = $1)";
        let locked = session.query_one(lock, &[&format!("crossfade/{}/lock", self.run)]).await?.get(0);
        Ok((reading, locked))
    }

    /// How far green is behind, while the run captures changes and both sides answer.
    async fn behind(&self) -> Option<Lag> {
        let (Some(blue), Some(green)) = (self.sessions.get(&Side::Blue), self.sessions.get(&Side::Green)) else { return None };
        let behind = tokio::time::timeout(PATIENCE, distance(blue, green, &self.run)).await.ok()?.ok()??;
        Some(Lag { seconds: behind.age.as_secs_f64(), rows: Some(behind.rows), bytes: behind.bytes })
    }
}

/// Shows a run until it is over or somebody looks no more: on a whole terminal, on a part of it, as lines, or as JSON documents.
pub(super) async fn watch(
    mut watching: Watching<'_>,
    format: Format,
    whole_terminal: bool,
    every: Duration,
) -> anyhow::Result<Exit> {
    let mut tui = if whole_terminal && format != Format::Json { Tui::open()? } else { None };
    let mut interrupted = std::pin::pin!(tokio::signal::ctrl_c());
    loop {
        let picture = watching.look().await?;
        let over = matches!(picture.standing, "done" | "rolled back");
        match &mut tui {
            Some(tui) => tui.draw(&picture)?,
            None if format == Format::Json => text::print(&format!("{}\n", serde_json::to_string(&picture)?))?,
            None => print(&picture)?,
        }
        if over && tui.is_none() {
            return Ok(Exit::Done);
        }
        let key = async {
            match &mut tui {
                Some(tui) => tui.key().await,
                None => std::future::pending::<Key>().await,
            }
        };
        tokio::select! {
            () = tokio::time::sleep(every) => {}
            _ = &mut interrupted => return Ok(Exit::Done),
            _ = key => return Ok(Exit::Done),
        }
    }
}

fn print(picture: &Picture) -> anyhow::Result<()> {
    let run = picture.run.as_ref().map(ToString::to_string).unwrap_or_default();
    let remarks: String = picture.remarks.iter().map(|remark| format!("{remark}\n")).collect();
    let at = picture.at.strftime("%Y-%m-%d %H:%M:%S");
    let clear = if stdout().is_terminal() { "\x1b[H\x1b[J" } else { "" };
    text::print(&format!("{clear}{at} UTC: run {run} of {}: {}\n{}{remarks}", picture.plan, picture.standing, whole(picture)))?;
    Ok(stdout().flush()?)
}
