//! What a step has in its hands while it runs.

use std::collections::BTreeSet;
use std::sync::Arc;

use anyhow::Context as _;
use tokio::sync::mpsc::UnboundedSender;
use tokio_util::sync::CancellationToken;

use super::Guard;
use crate::limits::Limits;
use crate::pg::{Blocker, Database, Opener, Session};
use crate::terms::{RunId, Side, StepId};

/// What a run says while it goes on; the screen and the metrics listen.
#[derive(Debug, Clone)]
pub enum Notice {
    /// A journal line was written.
    Event(crate::journal::Line),
    /// A step is this far: `done` of `total` `unit`s (total 0: not known).
    Progress {
        /// The step.
        step: StepId,
        /// Units done.
        done: u64,
        /// Units in all, 0 when not known.
        total: u64,
        /// `rows`, `parts`, `statements`, `bytes`.
        unit: &'static str,
    },
    /// What the step has done to a database so far, by the server's own counters.
    Counters {
        /// The step.
        step: StepId,
        /// The side.
        side: Side,
        /// Since the step began.
        counters: crate::pg::Counters,
    },
    /// A step waits for a lock; these sessions are in the way.
    Waiting {
        /// The step.
        step: StepId,
        /// Who is in the way, as last seen.
        blockers: Vec<Blocker>,
    },
    /// One line for the person who watches.
    Remark {
        /// The step.
        step: StepId,
        /// The line.
        text: String,
    },
}

/// Where notices go.
pub type Outbound = UnboundedSender<Notice>;

/// The two requests to stop: the first ends the run after the step, the second cancels the query.
#[derive(Debug, Clone, Default)]
pub struct Interrupt {
    /// Stop after this step (long steps: after this batch, keeping what is done).
    pub soft: CancellationToken,
    /// Stop now.
    pub hard: CancellationToken,
}

/// What a step has in its hands while it runs.
#[derive(Clone)]
pub struct Cx {
    /// The run.
    pub run: RunId,
    /// The step.
    pub step: StepId,
    /// Which attempt at the step this is, from 1.
    pub attempt: u32,
    /// The plan's safety limits.
    pub limits: Limits,
    /// Step ids a person approved with `--approve`.
    pub approvals: Arc<BTreeSet<String>>,
    /// Whether a person allowed the plan's own programs with `--allow-hooks`.
    pub allow_hooks: bool,
    /// Jobs that must be off, for an audit.
    pub guards: Arc<[Guard]>,
    /// Of huge tables look only at this percentage of the blocks, where that tells something.
    pub sample: Option<f64>,
    /// Requests to stop.
    pub interrupt: Interrupt,
    /// Where progress and remarks go.
    pub notices: Outbound,
    databases: [Option<Database>; 2],
}

impl Cx {
    /// A context for one attempt at one step.
    pub fn new(run: RunId, step: StepId, limits: Limits, databases: [Option<Database>; 2], notices: Outbound) -> Self {
        Self {
            run,
            step,
            attempt: 1,
            limits,
            approvals: Arc::default(),
            allow_hooks: false,
            guards: Arc::default(),
            sample: None,
            interrupt: Interrupt::default(),
            notices,
            databases,
        }
    }

    /// The database of a side.
    ///
    /// # Errors
    /// When the plan has no such side (the plan check refuses steps that would ask).
    pub fn database(&self, side: Side) -> anyhow::Result<&Database> {
        self.databases[side as usize].as_ref().with_context(|| format!("this plan has no {side} database"))
    }

    /// Opens a session on a side. Its application name is `crossfade/<run>/<step>/<attempt>`, by which a later driver
    /// finds and ends it if this one dies.
    ///
    /// # Errors
    /// When the server cannot be reached.
    pub async fn connect(&self, side: Side) -> anyhow::Result<Session> {
        self.opener(side)?.open().await
    }

    /// What a worker on a thread of its own needs to open such sessions.
    ///
    /// # Errors
    /// When the plan has no such side.
    pub fn opener(&self, side: Side) -> anyhow::Result<Opener> {
        let name = format!("crossfade/{}/{}/{}", self.run, self.step, self.attempt);
        Ok(Opener::new(self.database(side)?.clone(), name))
    }

    /// Says how far the step is.
    pub fn progress(&self, done: u64, total: u64, unit: &'static str) {
        let _ = self.notices.send(Notice::Progress { step: self.step.clone(), done, total, unit });
    }

    /// Says who is in the way.
    pub fn waiting(&self, blockers: &[Blocker]) {
        let _ = self.notices.send(Notice::Waiting { step: self.step.clone(), blockers: blockers.to_vec() });
    }

    /// Says one line to the person who watches.
    pub fn remark(&self, text: impl Into<String>) {
        let _ = self.notices.send(Notice::Remark { step: self.step.clone(), text: text.into() });
    }

    /// Whether a person approved this step.
    pub fn approved(&self) -> bool {
        self.approvals.contains(self.step.as_str())
    }

    /// A named place where tests kill the process: see [`crate::crash`].
    pub fn crash_point(&self, place: &str) {
        crate::crash::point(&format!("{}/{place}", self.step));
    }
}
