//! The contract every step kind keeps, and the table of kinds. One kind, one file.
//!
//! The engine does, for each step: [`Step::observe`] → [`Step::preconditions`] → [`Step::before`], written to the
//! journal → [`Step::apply`] → [`Step::observe`] again → [`Step::verify`] → journal. A step found complete before we tried
//! is adopted and never undone. After a crash the same sequence runs again with what is observed then, so `apply`
//! takes up from any extent, and `undo` may be called from any extent and twice.

mod add_constraint;
mod audit;
mod backfill;
mod clean_rows;
mod clone;
mod confirm;
mod context;
mod copy;
mod create_index;
mod ddl;
mod drop_index;
mod end_way_back;
mod explicit_columns;
mod follow;
mod guard;
mod live;
mod migrate;
mod projected;
mod prove_revocations;
mod recorded;
mod registry;
mod repair;
mod require;
mod rows;
mod rows_ahead;
mod run_hook;
mod run_sql;
mod set_lever;
mod set_not_null;
mod slot;
mod start_capture;
mod stop;
mod switch;
mod take_over;
mod touched;
mod verify;
mod watch;

use async_trait::async_trait;

pub use audit::Audited;
pub use context::{Cx, Interrupt, Notice, Outbound};
pub use follow::{Until, figures_of, follow};
// What `status` tells of a run that follows.
pub use crate::capture::{Alarm, SlotState, Telling, Waiting as Behind, own_slots, slot_name};
pub use crate::follow::distance;
pub use guard::{Guard, Written as GuardKeys, guarded};
pub use live::Records;
pub use projected::Projected;
pub use registry::{Fault, KINDS, Parsed, Surroundings, from_table, parse};
pub use rows::quarantine::{SetAside, Waiting};
pub use rows_ahead::{Becomes, RowChange};
pub use stop::Stop;
pub use touched::{Touched, Use};
pub use verify::compare_now;

use crate::sql::Demand;
use crate::terms::{Before, Extent, Finding, RunId, Severity, Side};

/// One line for the reviewer.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Summary {
    /// What it does, as an imperative sentence without a full stop.
    pub effect: String,
    /// The strongest lock it takes on an existing table and for how long, or `none`.
    pub lock: String,
}

/// Whether the effect can be taken back.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reversal {
    /// `undo` restores what was.
    Reversible,
    /// There is nothing to take back; the text says why.
    NothingToUndo(String),
    /// It cannot be taken back; the text says why. A rollback stops before such a step.
    Irreversible(String),
}

/// One thing a step would do, for a run without `--execute`.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Forecast {
    /// The object: a table, an index, a file.
    pub object: String,
    /// What would happen to it.
    pub what: String,
    /// Estimated rows it would read or write (`pg_class.reltuples`), when that is meaningful.
    pub rows: Option<i64>,
    /// The strongest lock and what it blocks, in words; empty for none.
    pub lock: String,
}

impl Forecast {
    /// What a run would do about a finding.
    fn of(finding: Finding) -> Self {
        let what = match finding.severity {
            Severity::Blocks => format!("would stop: {}", finding.what),
            Severity::Note | Severity::Warning => finding.what,
        };
        Self { object: finding.object, what, rows: None, lock: String::new() }
    }
}

/// One step of a plan, of some kind.
#[async_trait]
pub trait Step: Send + Sync {
    /// One line for the reviewer.
    fn describe(&self) -> Summary;

    /// The sides it works on.
    fn sides(&self) -> Vec<Side>;

    /// The sides where it keeps notes in our own tables; on others nothing of ours is made. Default: those of a step that
    /// changes something.
    fn notes(&self) -> Vec<Side> {
        if self.reads_only() { Vec::new() } else { self.sides() }
    }

    /// The tables it works on and how, as far as its keys and statements say; what it creates itself is left out.
    fn touches(&self) -> Vec<Touched> {
        Vec::new()
    }

    /// The rows it sets aside in `crossfade.quarantine`, by table in the order in which they go back. `before` is what
    /// [`Step::before`] gave.
    ///
    /// # Errors
    /// When `before` has another form.
    fn set_aside(&self, before: &Before) -> anyhow::Result<Vec<SetAside>> {
        let _ = before;
        Ok(Vec::new())
    }

    /// Whether and how it can be taken back.
    fn reversal(&self) -> Reversal;

    /// True for a step that only reads: it has no extent to observe and runs whenever the journal does not say it is done.
    fn reads_only(&self) -> bool {
        false
    }

    /// What a run without `--execute` says it would do. Changes nothing.
    async fn forecast(&self, cx: &Cx) -> anyhow::Result<Vec<Forecast>>;

    /// Everything that must be true before `apply`. Changes nothing; a finding that blocks stops the run with exit code 10.
    async fn preconditions(&self, cx: &Cx) -> anyhow::Result<Vec<Finding>> {
        let _ = cx;
        Ok(Vec::new())
    }

    /// What the servers lack for it, warnings too: for preflight, before there is a run. Changes nothing.
    async fn lacks(&self, cx: &Cx) -> anyhow::Result<Vec<Finding>> {
        let _ = cx;
        Ok(Vec::new())
    }

    /// What it demands of the rows that are already on its side.
    fn demands(&self) -> Vec<Demand> {
        Vec::new()
    }

    /// How it changes rows that are already on its side, before the steps that follow.
    fn row_changes(&self) -> Vec<RowChange> {
        Vec::new()
    }

    /// The rows it brings to green, for a kind that does.
    fn brings(&self) -> Option<&Projected> {
        None
    }

    /// What green is from this step on, for a kind that takes it over from whatever filled it.
    fn takes_over(&self) -> Option<&Projected> {
        None
    }

    /// What blue must hold once green serves, from green, for a kind that keeps a way back.
    fn leads_back(&self) -> Option<&Projected> {
        None
    }

    /// What it audits, for a kind that does.
    fn audited(&self) -> Option<&Audited> {
        None
    }

    /// What it keeps going when the run is over, until its undo or `crossfade finish`, as a clause without a full stop. `switched`: all
    /// traffic goes to green.
    fn keeps(&self, run: &RunId, switched: bool) -> Option<String> {
        let _ = (run, switched);
        None
    }

    /// How much of the effect is there, asked of the systems.
    async fn observe(&self, cx: &Cx) -> anyhow::Result<Extent>;

    /// What an undo will need; journaled before `apply` is first called.
    async fn before(&self, cx: &Cx) -> anyhow::Result<Before>;

    /// Brings about the effect, from whatever extent was found.
    async fn apply(&self, cx: &Cx, found: &Extent, before: &Before) -> anyhow::Result<()>;

    /// Checks the effect beyond its being there.
    async fn verify(&self, cx: &Cx) -> anyhow::Result<Vec<Finding>> {
        let _ = cx;
        Ok(Vec::new())
    }

    /// Takes the effect back, from any extent; safe to call twice.
    async fn undo(&self, cx: &Cx, before: &Before) -> anyhow::Result<()>;
}
