//! The plan in a process of its own, as `crossfade run` would do it, so that it can be killed like one.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::process::{Child, Command};

use crate::engine::{self, Options, Outcome, RunChoice};
use crate::journal::{Journal, Line, State, StepStatus};
use crate::pg::Database;
use crate::plan::{self, Plan};
use crate::report::{JourneySummary, Screen, summarize};
use crate::step::Interrupt;
use crate::terms::{Exit, Finding, Side, StepId};

use super::outside::left_out;

/// The journal of a child is looked at so often.
const LOOK: Duration = Duration::from_millis(2);

/// Reads a plan and leaves out what a rehearsal leaves out.
///
/// # Errors
/// Every problem of the plan.
pub fn load(path: &Path) -> Result<(Plan, Vec<crate::report::LeftOut>)> {
    let plan = plan::load(path)?;
    let out = left_out(plan.steps().iter().map(|step| (&step.id, step.kind)));
    let steps: Vec<StepId> = out.iter().map(|one| one.step.clone()).collect();
    Ok((plan.rehearsed(&steps), out))
}

/// Which way a child drives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// To the end of the plan; takes a run up where it was left.
    Forward,
    /// Back to where it began.
    Back,
}

/// What the child itself does: drives the plan on scratch databases, every approval given. What blocks goes to stderr.
///
/// # Errors
/// As [`engine::prepare`] and [`engine::drive`].
pub async fn drive(path: &Path, state: &Path, databases: BTreeMap<Side, Database>, way: Way) -> Result<Exit> {
    let (plan, _) = load(path)?;
    let (screen, notices) = Screen::start(true);
    let options = Options {
        state_dir: state.to_owned(),
        choice: RunChoice::Latest,
        approve: plan.steps().iter().map(|step| step.id.as_str().to_owned()).collect(),
        allow_hooks: false,
        databases,
        interrupt: Interrupt::default(),
        notices,
    };
    let mut driver = engine::prepare(plan, options).await?;
    if way == Way::Back {
        engine::turn_back(&mut driver)?;
    }
    let outcome = engine::drive(&mut driver).await?;
    drop(driver);
    screen.finish().await;
    Ok(match outcome {
        Outcome::Left { exit, reason, findings } => {
            let findings = findings.iter().map(Finding::to_string);
            eprintln!("{}", [reason].into_iter().chain(findings).collect::<Vec<_>>().join("\n"));
            exit
        }
        _ => Exit::Done,
    })
}

/// Where and on what a child drives.
pub struct Round<'a> {
    /// The program: this one.
    pub program: &'a Path,
    /// The plan file.
    pub plan: &'a Path,
    /// The plan's name.
    pub name: &'a str,
    /// Directory of the round's journals and of what the child says.
    pub state: PathBuf,
    /// The scratch databases.
    pub databases: &'a BTreeMap<Side, Database>,
    /// The environment variables that the plan reads their connection strings from.
    pub variables: BTreeMap<Side, String>,
    /// Whether they are on throw-away servers; else the `PG*` variables of this process are meant for them.
    pub scratch: bool,
}

/// How a child ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Ended {
    /// Its exit code; none when a signal ended it.
    pub code: Option<i32>,
    /// What it said, the last lines.
    pub said: String,
    /// Seconds from its start to its end.
    pub seconds: f64,
}

impl Round<'_> {
    /// Drives to the end, at most for this long; `None`: it had to be killed.
    ///
    /// # Errors
    /// When the child cannot be started.
    pub async fn to_the_end(&self, way: Way, most: Duration) -> Result<Option<Ended>> {
        let (mut child, began) = self.start(way)?;
        match tokio::time::timeout(most, child.wait()).await {
            Ok(status) => Ok(Some(Ended { code: status?.code(), said: self.said(), seconds: began.elapsed().as_secs_f64() })),
            Err(_) => {
                end(&mut child).await;
                Ok(None)
            }
        }
    }

    /// Drives, and kills the process group this long after the step began. Says at which step that was; none: after the end.
    ///
    /// # Errors
    /// When the child cannot be started.
    pub async fn killed(&self, step: &StepId, after: Duration) -> Result<Option<StepId>> {
        let (mut child, _) = self.start(Way::Forward)?;
        while child.try_wait()?.is_none() && !self.stands().is_some_and(|state| begun(&state, step)) {
            tokio::time::sleep(LOOK).await;
        }
        if tokio::time::timeout(after, child.wait()).await.is_ok() {
            return Ok(None);
        }
        end(&mut child).await;
        let lines = self.lines();
        Ok(summarize(&lines).ok().and_then(|summary| at_work(&summary)))
    }

    /// What the journal of the round tells.
    pub fn summary(&self) -> Option<JourneySummary> {
        summarize(&self.lines()).ok()
    }

    fn lines(&self) -> Vec<Line> {
        let run = engine::latest_run(&self.state, self.name).ok().flatten();
        run.and_then(|run| Journal::read(&self.state.join(self.name).join(run.as_str())).ok()).unwrap_or_default()
    }

    fn stands(&self) -> Option<State> {
        State::of(&self.lines()).ok()
    }

    fn start(&self, way: Way) -> Result<(Child, Instant)> {
        std::fs::create_dir_all(&self.state).with_context(|| format!("cannot make {}", self.state.display()))?;
        // A file, not a pipe: the holder of a snapshot outlives its driver, and would keep a pipe open.
        let log = File::create(self.log())?;
        let mut command = Command::new(self.program);
        command.arg("drive-rehearsal").arg(self.plan).arg("--state").arg(&self.state);
        if way == Way::Back {
            command.arg("--back");
        }
        if self.scratch {
            // They are for the real databases.
            for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("PG")) {
                command.env_remove(name);
            }
        }
        // Where others cannot read it: it may hold a password.
        for (variable, database) in self.variables.iter().filter_map(|(side, name)| Some((name, self.databases.get(side)?))) {
            command.env(variable, database.conninfo());
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).process_group(0).kill_on_drop(true);
        let child = command.spawn().with_context(|| format!("cannot start {}", self.program.display()))?;
        Ok((child, Instant::now()))
    }

    fn log(&self) -> PathBuf {
        self.state.join("said")
    }

    fn said(&self) -> String {
        let text = std::fs::read_to_string(self.log()).unwrap_or_default();
        let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
        lines[lines.len().saturating_sub(8)..].join("\n")
    }
}

/// Ends a child as a crash does, with everything in its process group.
async fn end(child: &mut Child) {
    if let Some(id) = child.id().and_then(|id| i32::try_from(id).ok()) {
        let _ = killpg(Pid::from_raw(id), Signal::SIGKILL);
    }
    let _ = child.wait().await;
}

fn begun(state: &State, step: &StepId) -> bool {
    state.step(step).status != StepStatus::Pending
}

/// The step that was at work when the journal ended.
fn at_work(summary: &JourneySummary) -> Option<StepId> {
    summary.steps.iter().find(|step| step.status == StepStatus::Started).map(|step| step.step.clone())
}
