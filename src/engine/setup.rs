//! Everything before the first step: which run, which databases, and nobody else at work.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use anyhow::{Context, Result};

use super::Stop;
use super::drive::unless;
use super::settle::{distinct, is_another, other_databases, plan_changes};
use crate::journal::{Event, Journal, Recorder, State, StepStatus};
use crate::pg::{
    Database, DriverLock, Identity, Relay, Session, check_control, check_server, end_orphans, ensure_control, explain, identify,
    is_loss,
};
use crate::plan::Plan;
use crate::step::{Cx, Interrupt, Notice, Outbound, Records};
use crate::terms::{RunId, Side, StepId};

/// Which run of a plan to take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunChoice {
    /// The latest one, or a new one when there is none.
    Latest,
    /// A new one, whatever there is.
    New,
    /// The latest one, to undo it. Before a switch green may have been made anew since, empty: it is a copy.
    Back,
}

/// How to run.
pub struct Options {
    /// Directory of all runs.
    pub state_dir: PathBuf,
    /// Which run.
    pub choice: RunChoice,
    /// Steps a person approves now.
    pub approve: BTreeSet<String>,
    /// Whether a person allows the plan's own programs.
    pub allow_hooks: bool,
    /// The databases, by side.
    pub databases: BTreeMap<Side, Database>,
    /// Requests to stop.
    pub interrupt: Interrupt,
    /// Where notices go.
    pub notices: Outbound,
}

/// A run that is ready to be driven: journal locked, databases locked, orphans ended.
pub struct Driver {
    pub(super) plan: Plan,
    pub(super) run: RunId,
    pub(super) journal: Journal,
    pub(super) databases: [Option<Database>; 2],
    pub(super) interrupt: Interrupt,
    pub(super) notices: Outbound,
    pub(super) approvals: Arc<BTreeSet<String>>,
    pub(super) allow_hooks: bool,
    pub(super) locks: Vec<DriverLock>,
    pub(super) records: Records,
    pub(super) last: Option<usize>,
    /// Green is empty and another database than the run's: what only it had is gone.
    pub(super) green_anew: bool,
}

impl Driver {
    /// The run.
    pub fn run(&self) -> &RunId {
        &self.run
    }

    /// The plan.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The journal.
    pub fn journal(&self) -> &Journal {
        &self.journal
    }

    /// Makes [`super::drive`] stop when the step at this position of the plan is done.
    pub fn stop_after(&mut self, index: usize) {
        self.last = Some(index);
    }

    pub(super) fn cx(&self, step: &StepId, attempt: u32) -> Cx {
        let mut cx =
            Cx::new(self.run.clone(), step.clone(), self.plan.limits().clone(), self.databases.clone(), self.notices.clone());
        cx.attempt = attempt;
        cx.approvals = Arc::clone(&self.approvals);
        cx.allow_hooks = self.allow_hooks;
        cx.guards = Arc::clone(self.plan.guards());
        cx.interrupt = self.interrupt.clone();
        cx.recorded(Arc::clone(&self.records))
    }
}

/// The runs of a plan, oldest first.
///
/// # Errors
/// When the directory exists and cannot be read.
pub fn list_runs(state_dir: &Path, plan: &str) -> Result<Vec<RunId>> {
    let directory = state_dir.join(plan);
    if !directory.exists() {
        return Ok(Vec::new());
    }
    let entries = std::fs::read_dir(&directory).with_context(|| format!("cannot read {}", directory.display()))?;
    let mut runs: Vec<RunId> = entries
        .flatten()
        .filter(|entry| entry.path().join("journal.jsonl").exists())
        .filter_map(|entry| entry.file_name().into_string().ok())
        .map(|name| RunId::existing(&name))
        .collect();
    runs.sort();
    Ok(runs)
}

/// The latest run of a plan.
///
/// # Errors
/// When the directory exists and cannot be read.
pub fn latest_run(state_dir: &Path, plan: &str) -> Result<Option<RunId>> {
    Ok(list_runs(state_dir, plan)?.pop())
}

/// The first session on a database.
///
/// # Errors
/// [`Stop::Unreachable`], which names the servers tried, why, and the next command.
pub async fn reach(database: &Database, application_name: &str) -> Result<Session> {
    database.connect(application_name).await.map_err(|error| Stop::Unreachable(explain(&error)).into())
}

/// Chooses or creates the run, takes every lock, ends orphan backends, creates our own tables, and begins or resumes the journal.
///
/// # Errors
/// [`Stop::Usage`] when plan, databases and run do not fit together or somebody else is driving; other errors as they come.
/// Nothing is changed before all of that is checked.
/// [`Stop::Unreachable`] when a connection breaks meanwhile, [`Stop::Interrupted`] by the second signal.
pub async fn prepare(plan: Plan, options: Options) -> Result<Driver> {
    let hard = options.interrupt.hard.clone();
    unless(&hard, take_up(plan, options)).await.map_err(|error| match is_loss(&error) {
        true => Stop::Unreachable(format!("while the run was taken up: {}; the same command goes on", explain(&error))).into(),
        false => error,
    })
}

async fn take_up(plan: Plan, options: Options) -> Result<Driver> {
    let Options { state_dir, choice, approve, allow_hooks, databases, interrupt, notices } = options;
    let mut sessions = BTreeMap::new();
    let mut identities = BTreeMap::new();
    let existing = match choice {
        RunChoice::Latest | RunChoice::Back => latest_run(&state_dir, plan.name())?,
        RunChoice::New => None,
    };
    let mut run = existing.clone().unwrap_or_else(RunId::fresh);
    for side in plan.sides() {
        let database = databases.get(&side).with_context(|| format!("no connection string for {side}"))?;
        let session = reach(database, &format!("crossfade/{run}/lock")).await?;
        let identity = identify(&session).await?;
        check_server(&session, &identity).await.map_err(refused)?;
        if plan.notes().contains(&side) {
            check_control(&session).await.map_err(refused)?;
        }
        identities.insert(side, identity);
        sessions.insert(side, session);
    }
    distinct(&identities).map_err(usage)?;
    unknown_approvals(&plan, &approve)?;

    let (mut journal, mut green_anew) = (None, false);
    if let Some(found) = &existing {
        let opened = open(&state_dir, &plan, found)?;
        if let (RunChoice::Back, Some(green)) = (choice, sessions.get(&Side::Green))
            && is_another(opened.state(), &identities, Side::Green)
            && !switch_begun(opened.state(), &plan)
        {
            green_anew = is_empty(green).await?;
            if green_anew {
                tracing::warn!("green is another database than the run's, and empty: what only green had is written off");
            }
        }
        if fits(opened.state(), &plan, &identities, found, green_anew)? {
            journal = Some(opened);
        } else {
            run = RunId::fresh();
        }
    }

    // Orphans of a killed driver may still hold its advisory lock for a moment: end them first. The file lock
    // says that no living driver of this run is at work.
    Relay::sweep();
    let mut orphans = 0;
    let mut locks = Vec::new();
    for (_, session) in sessions {
        if journal.is_some() {
            orphans += end_orphans(&session, &run).await?;
        }
        let lock = DriverLock::take(session).await.map_err(refused)?;
        orphans += lock.end_strays().await?;
        locks.push(lock);
    }

    let mut journal = match journal {
        Some(mut journal) => {
            if !journal.state().finished {
                journal.append(Event::RunResumed { orphans })?;
            }
            journal
        }
        None => begin(open(&state_dir, &plan, &run)?, &plan, identities)?,
    };
    for database in plan.notes().iter().filter_map(|side| databases.get(side)) {
        ensure_control(&mut database.connect(&format!("crossfade/{run}/setup")).await?).await?;
    }
    for step in approve.into_iter().filter_map(|step| StepId::new(&step).ok()) {
        if !journal.state().approvals.contains(step.as_str()) {
            journal.append(Event::Approved { step })?;
        }
    }
    let approvals = Arc::new(journal.state().approvals.clone());
    let _ = notices.send(Notice::Run { run: run.clone(), lines: journal.lines().to_vec() });
    let databases = [databases.get(&Side::Blue).cloned(), databases.get(&Side::Green).cloned()];
    let folder = journal.path().parent().context("a journal lies in a directory")?;
    let recorder =
        Recorder::open(folder).with_context(|| format!("cannot write the record of the run in {}", folder.display()))?;
    let records = Arc::new(Mutex::new(recorder));
    Ok(Driver {
        plan,
        run,
        journal,
        databases,
        interrupt,
        notices,
        approvals,
        allow_hooks,
        locks,
        records,
        last: None,
        green_anew,
    })
}

fn open(state_dir: &Path, plan: &Plan, run: &RunId) -> Result<Journal> {
    Journal::open(&state_dir.join(plan.name()).join(run.as_str())).map_err(usage)
}

fn begin(mut journal: Journal, plan: &Plan, databases: BTreeMap<Side, Identity>) -> Result<Journal> {
    journal.append(Event::RunStarted {
        plan: plan.name().to_owned(),
        fingerprint: plan.fingerprint().clone(),
        steps: plan.steps().iter().map(|step| (step.id.clone(), step.fingerprint.clone())).collect(),
        databases,
        version: env!("CARGO_PKG_VERSION").to_owned(),
    })?;
    Ok(journal)
}

/// Whether the run `found` is to be taken up; false when it is over and belongs to other databases.
fn fits(state: &State, plan: &Plan, databases: &BTreeMap<Side, Identity>, found: &RunId, green_anew: bool) -> Result<bool> {
    if state.fingerprint.is_none() {
        return Ok(false);
    }
    let asked = databases.iter().filter(|(side, _)| !(green_anew && **side == Side::Green));
    let elsewhere = other_databases(state, asked);
    if !elsewhere.is_empty() {
        if state.finished {
            return Ok(false);
        }
        return Err(usage(format!(
            "run {found} of this plan is not finished and belongs to other databases: {}; connect to those, or begin another with --new",
            elsewhere.join("; ")
        )));
    }
    let changes = plan_changes(state, plan);
    if !changes.is_empty() && !state.finished {
        return Err(usage(format!(
            "the plan has changed since run {found} began: {}; restore it to go on, undo the run with the plan as it was (`crossfade rollback`), or begin another with --new",
            changes.join("; ")
        )));
    }
    Ok(true)
}

/// Whether green may serve, so that it is no copy any more.
fn switch_begun(state: &State, plan: &Plan) -> bool {
    let begun = |step: &StepId| !matches!(state.step(step).status, StepStatus::Pending | StepStatus::Undone);
    plan.steps().iter().any(|step| step.kind == "switch" && begun(&step.id))
}

/// Whether a database has no relation but those of crossfade's schema.
async fn is_empty(session: &Session) -> Result<bool> {
    let sql = "SELECT NOT EXISTS (SELECT FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace \
               WHERE n.nspname NOT IN ('crossfade', 'information_schema') AND n.nspname !~ '^pg_')";
    Ok(session.query_one(sql, &[]).await?.get(0))
}

fn unknown_approvals(plan: &Plan, approve: &BTreeSet<String>) -> Result<()> {
    match approve.iter().find(|step| !plan.steps().iter().any(|known| known.id.as_str() == *step)) {
        Some(step) => Err(usage(format!("--approve {step}: the plan has no such step"))),
        None => Ok(()),
    }
}

/// What a server answered is for the person who asked; that it answered nothing is not.
fn refused(error: anyhow::Error) -> anyhow::Error {
    if is_loss(&error) { error } else { usage(error) }
}

fn usage(why: impl std::fmt::Display) -> anyhow::Error {
    Stop::Usage(why.to_string()).into()
}
