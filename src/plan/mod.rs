//! From a plan file to a checked plan. All problems of a plan are found at once, each with file, line and step.

mod check;
mod file;
mod problem;
mod schema;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use check::load;
pub use problem::{Problem, Problems};
pub use schema::schema;

use crate::limits::Limits;
use crate::notify::Target;
use crate::step::{Guard, Step};
use crate::terms::{Fingerprint, Phase, Side, StepId};

/// A checked plan. Only [`load`] makes one.
pub struct Plan {
    name: String,
    description: String,
    path: PathBuf,
    blue: DatabaseRef,
    green: Option<DatabaseRef>,
    limits: Limits,
    guards: Arc<[Guard]>,
    notify: Vec<Target>,
    steps: Vec<PlannedStep>,
    fingerprint: Fingerprint,
}

/// Where a side's connection string comes from: the name of an environment variable, never the string itself.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DatabaseRef {
    /// Name of the environment variable that holds the connection string.
    pub url_env: String,
}

/// One step of a checked plan.
pub struct PlannedStep {
    /// Its name.
    pub id: StepId,
    /// Where it stands in the safety order.
    pub phase: Phase,
    /// The step kind's name, as in the plan file.
    pub kind: &'static str,
    /// The plan's own words about it.
    pub description: String,
    /// Fingerprint of the step as written and of every file it reads.
    pub fingerprint: Fingerprint,
    /// What it does.
    pub step: Box<dyn Step>,
}

impl Plan {
    /// The plan's name: the first part of its runs' directories.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What the plan is for.
    pub fn description(&self) -> &str {
        &self.description
    }

    /// The file it was read from.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where the connection string of a side comes from; `None` for a plan without green.
    pub fn database(&self, side: Side) -> Option<&DatabaseRef> {
        match side {
            Side::Blue => Some(&self.blue),
            Side::Green => self.green.as_ref(),
        }
    }

    /// The sides this plan connects to.
    pub fn sides(&self) -> impl Iterator<Item = Side> + '_ {
        [Side::Blue, Side::Green].into_iter().filter(|side| self.database(*side).is_some())
    }

    /// The sides where its steps keep notes in our own tables.
    pub fn notes(&self) -> BTreeSet<Side> {
        self.steps.iter().flat_map(|step| step.step.notes()).collect()
    }

    /// The safety limits.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The jobs that must be off between the copy and a clean audit.
    pub fn guards(&self) -> &Arc<[Guard]> {
        &self.guards
    }

    /// Who is told what a run comes to. Not part of the fingerprint: it decides nothing.
    pub fn notify(&self) -> &[Target] {
        &self.notify
    }

    /// The steps, in the order they run.
    pub fn steps(&self) -> &[PlannedStep] {
        &self.steps
    }

    /// The plan as a rehearsal runs it: without these steps, and nothing outside of the databases is asked or told: no guards, no
    /// notifications. It keeps its fingerprint.
    #[must_use]
    pub fn rehearsed(mut self, left_out: &[StepId]) -> Self {
        self.steps.retain(|step| !left_out.contains(&step.id));
        self.guards = Arc::new([]);
        self.notify.clear();
        self
    }

    /// Fingerprint of everything that decides what the plan does.
    pub fn fingerprint(&self) -> &Fingerprint {
        &self.fingerprint
    }
}
