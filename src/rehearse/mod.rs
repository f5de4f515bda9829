//! A rehearsal: the plan on scratch servers that hold a sample of the real rows, before it runs where it matters.
//!
//! The journey: [`Stage::build`] (definitions and rows, read in one snapshot of each side; or copies that were given) → the plan
//! undisturbed and timed, at a tenth of the sample and at all of it, in turns ([`Timed`]) → back to where it was, and forward again →
//! killed at moments of its steps and taken up again → every end compared with the undisturbed one ([`Ends`]) → [`predict`]: a line
//! through the sizes, at the real one. Each run is a process of its own ([`child`]). What is not one of the databases is neither asked nor told ([`outside`]).

pub mod child;
mod connections;
mod ends;
mod fit;
mod load;
mod outside;
mod predict;
mod sample;
mod server;
mod source;
mod stage;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use serde::Serialize;

pub use stage::Wanted;

use crate::pg::Database;
use crate::plan::Plan;
use crate::report::{Estimate, LeftOut, PREDICTION_FORMAT, Prediction, Size};
use crate::shadow::Folder;
use crate::step::Reversal;
use crate::terms::{Exit, Side, StepId};
use child::{Ended, Round, Way};
use connections::Peak;
use ends::{Ends, Volatile};
use predict::Timed;
use stage::{NAME, Portion, Stage};

/// Says how far it is.
pub type Say<'a> = &'a (dyn Fn(&str) + Send + Sync);

/// A run that takes longer than this many times the undisturbed one, and longer than [`LEAST`], is stuck.
const STUCK: f64 = 10.0;
const LEAST: Duration = Duration::from_secs(120);
/// Before it is known how long a run takes.
const FIRST: Duration = Duration::from_secs(24 * 3600);

/// What is rehearsed and how.
pub struct Setup<'a> {
    /// The plan file.
    pub plan: &'a Path,
    /// The real databases, which are only read.
    pub databases: BTreeMap<Side, Database>,
    /// On what.
    pub wanted: Wanted,
    /// How often each size is timed.
    pub rounds: usize,
    /// How often the plan is killed.
    pub crashes: usize,
    /// Of the moments at which it is killed.
    pub seed: u64,
    /// Whether it is taken back.
    pub rollback: bool,
    /// Whether the scratch servers stay.
    pub keep: bool,
    /// This program.
    pub program: PathBuf,
    /// Told how far it is.
    pub say: Say<'a>,
}

/// What came of it.
#[derive(Debug, Serialize)]
pub struct Rehearsal {
    /// The plan.
    pub plan: String,
    /// Steps that were not rehearsed, with the reason.
    pub left_out: Vec<LeftOut>,
    /// What people should know of the scratch servers and the sample.
    pub notes: Vec<String>,
    /// Rows that there really are, of all tables.
    pub real_rows: u64,
    /// What it was rehearsed on.
    pub sizes: Vec<Size>,
    /// Where the plan stopped, when it did.
    pub stopped: Option<Stopped>,
    /// Columns that are others in each run: random values, times.
    pub volatile: Vec<String>,
    /// Each crash.
    pub crashes: Vec<Crash>,
    /// The rollback; none when it was not asked for, or the plan stopped.
    pub rollback: Option<Rollback>,
    /// For the real sizes; none when the plan stopped.
    pub prediction: Option<Prediction>,
    /// Connection strings of the samples, where the servers were to stay.
    pub kept: Vec<(Side, String)>,
}

/// A plan that did not come to its end.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Stopped {
    /// The step.
    pub step: Option<StepId>,
    /// What the run said.
    pub why: String,
    /// The run's exit code.
    pub exit: Option<i32>,
}

/// A crash.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Crash {
    /// The step that was at work; none: between steps, or after the end.
    pub step: Option<StepId>,
    /// Seconds after the beginning of the step that was to be killed.
    pub after_seconds: f64,
    /// Why the run did not come to its end when it was taken up again.
    pub stuck: Option<String>,
    /// What it left that the undisturbed run did not leave.
    pub differences: Vec<String>,
}

/// A rollback.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case", tag = "outcome")]
pub enum Rollback {
    /// The plan says itself that a step cannot be undone.
    NotPossible {
        /// The step.
        step: StepId,
        /// Why.
        why: String,
    },
    /// It went back, and forward again.
    CameBack {
        /// Seconds back.
        seconds: f64,
        /// What was other than before the run.
        differences: Vec<String>,
        /// What was other after the second run than after an undisturbed one.
        differences_again: Vec<String>,
    },
    /// It stopped on the way, back or forward again.
    Stopped {
        /// What it said.
        why: String,
    },
}

impl Rehearsal {
    /// The exit code of what came of it.
    pub fn exit(&self) -> Exit {
        let stuck = self.crashes.iter().any(|crash| crash.stuck.is_some());
        if self.stopped.is_some() || stuck {
            return Exit::Stopped;
        }
        let back = match &self.rollback {
            None | Some(Rollback::NotPossible { .. }) => true,
            Some(Rollback::CameBack { differences, differences_again, .. }) => {
                differences.is_empty() && differences_again.is_empty()
            }
            Some(Rollback::Stopped { .. }) => false,
        };
        if back && self.crashes.iter().all(|crash| crash.differences.is_empty()) { Exit::Done } else { Exit::Divergence }
    }
}

/// Rehearses. The real databases are only read; what is on the scratch servers goes with them, and what was made beside given copies
/// is taken away.
///
/// # Errors
/// When the plan or a database cannot be read, or the scratch servers do not work. A plan that stops is no error.
pub async fn rehearse(setup: Setup<'_>) -> Result<Rehearsal> {
    let (plan, left_out) = child::load(setup.plan)?;
    let mut folder = Folder::make("crossfade-rehearse-")?;
    let stage = Stage::build(&setup.databases, setup.wanted, &folder, setup.say).await?;
    let mut outcome = Rehearsal {
        plan: plan.name().to_owned(),
        left_out,
        notes: stage.notes.clone(),
        real_rows: stage.sampled.all,
        sizes: Vec::new(),
        stopped: None,
        volatile: Vec::new(),
        crashes: Vec::new(),
        rollback: None,
        prediction: None,
        kept: Vec::new(),
    };
    let mut act = Act { setup: &setup, plan: &plan, stage, state: folder.path().to_owned(), runs: 0 };
    let performed = act.perform(&mut outcome).await;
    let cleared = act.stage.clear().await;
    performed.and(cleared)?;
    if setup.keep {
        outcome.kept = act.stage.keep()?;
        folder.keep()?;
    }
    Ok(outcome)
}

/// What a rehearsal works with.
struct Act<'a> {
    setup: &'a Setup<'a>,
    plan: &'a Plan,
    stage: Stage,
    state: PathBuf,
    runs: usize,
}

/// The undisturbed end that others are compared with.
struct Measure {
    ends: Ends,
    volatile: Volatile,
    /// Of the whole sample.
    timed: Timed,
    /// A run that takes longer is stuck.
    most: Duration,
}

impl Act<'_> {
    async fn perform(&mut self, outcome: &mut Rehearsal) -> Result<()> {
        let mut timed = Vec::new();
        let mut ends = Vec::new();
        // The first one warms up: what the machine has not read yet, it reads now.
        let sampled = self.stage.sampled.share(Portion::Whole) < 1.0;
        let sizes = if sampled { vec![Portion::Tenth, Portion::Whole] } else { vec![Portion::Whole] };
        let rounds = self.setup.rounds.max(1);
        let turns = std::iter::repeat_n(sizes.clone(), rounds).flatten();
        for (number, size) in [sizes[0]].into_iter().chain(turns).enumerate() {
            (self.setup.say)(&format!("undisturbed, {}", self.named(size, number)));
            let databases = self.stage.fresh(size).await?;
            match self.undisturbed(size, &databases).await? {
                Err(stopped) => {
                    outcome.stopped = Some(stopped);
                    return Ok(());
                }
                Ok(round) if number > 0 => timed.push(round),
                Ok(_) => {}
            }
            if size == Portion::Whole {
                ends.push(Ends::read(&databases).await?);
            }
            self.stage.clear().await?;
        }
        outcome.sizes = sizes.iter().map(|size| self.size(*size, rounds)).collect();
        outcome.prediction = Some(self.prediction(&timed, outcome));
        // What two undisturbed runs leave different is chance or the clock. One run alone is compared with another for that.
        let last = if ends.len() > 1 { ends.pop() } else { None };
        let wanted = ends.into_iter().next().context("no round")?;
        let volatile = if let Some(last) = last {
            wanted.volatile(&last)
        } else {
            let databases = self.stage.fresh(Portion::Whole).await?;
            match self.undisturbed(Portion::Whole, &databases).await? {
                Ok(_) => wanted.volatile(&Ends::read(&databases).await?),
                Err(stopped) => {
                    outcome.stopped = Some(stopped);
                    return Ok(());
                }
            }
        };
        outcome.volatile = ends::names(&volatile);
        let whole = timed.into_iter().rfind(|round| round.share >= self.stage.sampled.share(Portion::Whole));
        let timed = whole.context("no round at the whole sample")?;
        let most = Duration::from_secs_f64(timed.summary.seconds * STUCK).max(LEAST);
        let measure = Measure { ends: wanted, volatile, timed, most };
        if self.setup.rollback {
            (self.setup.say)("back to where it was, and forward again");
            outcome.rollback = Some(self.rollback(&measure).await?);
            self.stage.clear().await?;
        }
        // Every step has its turn, in an order of chance.
        let mut moments = fastrand::Rng::with_seed(self.setup.seed);
        let mut steps: Vec<(StepId, f64)> =
            measure.timed.summary.steps.iter().map(|step| (step.step.clone(), step.seconds)).collect();
        moments.shuffle(&mut steps);
        for (number, (step, seconds)) in steps.iter().cycle().take(self.setup.crashes).enumerate() {
            (self.setup.say)(&format!("crash {} of {}", number + 1, self.setup.crashes));
            let crash = self.crash(step, Duration::from_secs_f64(seconds * moments.f64()), &measure).await?;
            outcome.crashes.push(crash);
            self.stage.clear().await?;
        }
        Ok(())
    }

    fn named(&self, size: Portion, number: usize) -> String {
        let rows = self.stage.sampled.sizes.get(&size).map_or(0, |(_, rows)| *rows);
        if number == 0 { format!("{rows} rows, to warm up") } else { format!("{rows} rows") }
    }

    fn size(&self, size: Portion, rounds: usize) -> Size {
        let rows = self.stage.sampled.sizes.get(&size).map_or(0, |(_, rows)| *rows);
        Size { share: self.stage.sampled.share(size), rows, rounds }
    }

    fn round<'b>(&'b mut self, databases: &'b BTreeMap<Side, Database>) -> Round<'b> {
        self.runs += 1;
        Round {
            program: &self.setup.program,
            plan: self.setup.plan,
            name: self.plan.name(),
            state: self.state.join(format!("state-{}", self.runs)),
            databases,
            variables: databases.keys().filter_map(|side| Some((*side, self.plan.database(*side)?.url_env.clone()))).collect(),
            scratch: self.stage.scratch(),
        }
    }

    /// One run that nobody disturbs.
    async fn undisturbed(&mut self, size: Portion, databases: &BTreeMap<Side, Database>) -> Result<Result<Timed, Stopped>> {
        let share = self.stage.sampled.share(size);
        let before = disk(databases).await?;
        let round = self.round(databases);
        let peak = Peak::watch(databases).await?;
        let ended = round.to_the_end(Way::Forward, FIRST).await?;
        let connections = peak.finish().await;
        let after = disk(databases).await?;
        let summary = round.summary();
        match (ended, summary) {
            (Some(Ended { code: Some(0), .. }), Some(summary)) => {
                let disk = before.into_iter().map(|(side, was)| (side, (was, after.get(&side).copied().unwrap_or(was))));
                Ok(Ok(Timed { share, summary, disk: disk.collect(), connections }))
            }
            (ended, summary) => {
                let step = summary.and_then(|summary| summary.steps.into_iter().find(|step| step.failure.is_some()));
                let (exit, why) = ended.map_or((None, "it takes more than a day".to_owned()), |ended| (ended.code, ended.said));
                Ok(Err(Stopped { step: step.map(|step| step.step), why, exit }))
            }
        }
    }

    async fn rollback(&mut self, measure: &Measure) -> Result<Rollback> {
        for step in self.plan.steps() {
            if let Reversal::Irreversible(why) = step.step.reversal() {
                return Ok(Rollback::NotPossible { step: step.id.clone(), why });
            }
        }
        let began = Ends::read(&self.stage.templates(Portion::Whole)?).await?;
        let databases = self.stage.fresh(Portion::Whole).await?;
        let round = self.round(&databases);
        let mut seconds = 0.0;
        for way in [Way::Forward, Way::Back] {
            match end(round.to_the_end(way, measure.most).await?) {
                Ok(ended) => seconds = ended.seconds,
                Err(why) => return Ok(Rollback::Stopped { why }),
            }
        }
        let differences = Ends::read(&databases).await?.differences(&began, &Volatile::new());
        if let Err(why) = end(self.round(&databases).to_the_end(Way::Forward, measure.most).await?) {
            return Ok(Rollback::Stopped { why: format!("forward again: {why}") });
        }
        let differences_again = Ends::read(&databases).await?.differences(&measure.ends, &measure.volatile);
        Ok(Rollback::CameBack { seconds, differences, differences_again })
    }

    /// One run that is killed this long after a step began, and taken up again.
    async fn crash(&mut self, step: &StepId, after: Duration, measure: &Measure) -> Result<Crash> {
        let databases = self.stage.fresh(Portion::Whole).await?;
        let round = self.round(&databases);
        let at = round.killed(step, after).await?;
        let stuck = end(round.to_the_end(Way::Forward, measure.most).await?).err();
        let differences = match stuck {
            Some(_) => Vec::new(),
            None => Ends::read(&databases).await?.differences(&measure.ends, &measure.volatile),
        };
        Ok(Crash { step: at, after_seconds: after.as_secs_f64(), stuck, differences })
    }

    fn prediction(&self, rounds: &[Timed], outcome: &Rehearsal) -> Prediction {
        let growth = predict::growth(rounds);
        #[expect(clippy::cast_precision_loss, reason = "bytes")]
        let taken = |(side, grows): (&Side, &Estimate)| {
            (*side, Estimate { value: self.stage.real_bytes(*side) as f64 + grows.value, error: grows.error })
        };
        Prediction {
            format: PREDICTION_FORMAT,
            plan: self.plan.name().to_owned(),
            fingerprint: self.plan.fingerprint().clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            made: jiff::Timestamp::now(),
            sizes: outcome.sizes.clone(),
            steps: predict::steps(rounds, self.stage.sampled.real),
            total: predict::total(rounds, self.stage.sampled.real),
            disk_bytes: growth.iter().map(taken).collect(),
            disk_growth_bytes: growth,
            peak_connections: predict::connections(rounds),
            left_out: outcome.left_out.clone(),
        }
    }
}

/// The end of a run that had to come to its end; why it did not.
fn end(ended: Option<Ended>) -> Result<Ended, String> {
    match ended {
        Some(ended) if ended.code == Some(0) => Ok(ended),
        Some(Ended { code: Some(code), said, .. }) => Err(format!("exit code {code}: {said}")),
        Some(Ended { said, .. }) => Err(format!("ended by a signal: {said}")),
        None => Err("it went on much longer than the undisturbed run and had to be killed".to_owned()),
    }
}

/// Bytes that each database takes.
async fn disk(databases: &BTreeMap<Side, Database>) -> Result<BTreeMap<Side, i64>> {
    let mut sizes = BTreeMap::new();
    for (side, database) in databases {
        let session = database.connect(NAME).await?;
        sizes.insert(*side, session.query_one("SELECT pg_database_size(current_database())", &[]).await?.get(0));
    }
    Ok(sizes)
}
