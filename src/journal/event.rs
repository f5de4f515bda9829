//! The events of a run. Every field is metadata: no row values, no connection strings.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::pg::{Counters, Identity};
use crate::terms::{Account, Before, Exit, Extent, Finding, Fingerprint, Side, StepId};

/// Version of the line format, on every line.
pub const FORMAT: u32 = 1;

/// One line of the journal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Line {
    /// [`FORMAT`].
    pub v: u32,
    /// Position, from 1 without gaps.
    pub seq: u64,
    /// When it was written, by the driver's clock.
    pub at: jiff::Timestamp,
    /// What happened.
    #[serde(flatten)]
    pub event: Event,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// A run began. Always the first line.
    RunStarted {
        /// Name of the plan.
        plan: String,
        /// The plan's fingerprint.
        fingerprint: Fingerprint,
        /// Fingerprint of each step, in order.
        steps: Vec<(StepId, Fingerprint)>,
        /// Which databases it works on.
        databases: BTreeMap<Side, Identity>,
        /// Version of crossfade.
        version: String,
    },
    /// A driver took the run up again.
    RunResumed {
        /// How many orphan backends it ended.
        orphans: u64,
    },
    /// A person approved a step.
    Approved {
        /// The step.
        step: StepId,
    },
    /// A step was found complete before we tried it. It will never be undone.
    StepAdopted {
        /// The step.
        step: StepId,
    },
    /// A step is about to be applied.
    StepStarted {
        /// The step.
        step: StepId,
        /// Which attempt, from 1.
        attempt: u32,
        /// What was there.
        found: Extent,
        /// What an undo will need.
        before: Before,
    },
    /// A step counted where every row is.
    Accounted {
        /// The step.
        step: StepId,
        /// One for each green table.
        accounts: Vec<Account>,
    },
    /// A person put rows back that a step had set aside (`crossfade quarantine restore`): it begins.
    Restoring {
        /// The step.
        step: StepId,
        /// The side.
        side: Side,
        /// The table.
        table: String,
        /// Rows that were set aside and not put back.
        waiting: u64,
    },
    /// What came of it.
    Restored {
        /// The step.
        step: StepId,
        /// The side.
        side: Side,
        /// The table.
        table: String,
        /// Rows that went back.
        rows: u64,
        /// Rows that stay set aside.
        left: u64,
    },
    /// A step is complete and verified.
    StepDone {
        /// The step.
        step: StepId,
        /// Net seconds of all attempts that this driver made.
        seconds: f64,
        /// What it did to each database.
        counters: BTreeMap<Side, Counters>,
        /// Longest wait for a lock that others had to make because of us, in milliseconds.
        longest_lock_wait_ms: f64,
        /// Findings of the step's own verification.
        findings: Vec<Finding>,
        /// Numbers of the step's own, each name with its unit.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        figures: BTreeMap<String, u64>,
    },
    /// A step stopped; the run resumes here.
    StepFailed {
        /// The step.
        step: StepId,
        /// The reason, without values.
        reason: String,
        /// What checks found, when that is the reason.
        findings: Vec<Finding>,
        /// Numbers of the step's own, each name with its unit.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        figures: BTreeMap<String, u64>,
    },
    /// The driver left; the run is not finished.
    Stopped {
        /// The exit code.
        exit: Exit,
    },
    /// Every step is done.
    RunDone,
    /// What a step keeps going after the run was done ends (`crossfade finish`): green has everything up to here.
    Ending {
        /// The step.
        step: StepId,
    },
    /// It has ended.
    Ended {
        /// The step.
        step: StepId,
    },
    /// A rollback was asked for: from here on steps are undone, last first.
    RollbackStarted,
    /// A step is about to be undone.
    UndoStarted {
        /// The step.
        step: StepId,
    },
    /// A step is undone.
    UndoDone {
        /// The step.
        step: StepId,
    },
    /// An undo failed; a person is needed.
    UndoFailed {
        /// The step.
        step: StepId,
        /// The reason, without values.
        reason: String,
    },
    /// Everything that can be undone is.
    RolledBack,
}

impl Event {
    /// The event's name and, where it has one, its step: `step_done/copy-rows`.
    pub fn label(&self) -> String {
        let value = serde_json::to_value(self).unwrap_or_default();
        let text = |key: &str| value.get(key).and_then(|v| v.as_str()).unwrap_or_default().to_owned();
        match text("step").as_str() {
            "" => text("event"),
            step => format!("{}/{step}", text("event")),
        }
    }
}

#[cfg(test)]
impl Event {
    /// The first line of a journal, for the tests of this module.
    pub(super) fn run_started_example() -> Self {
        Event::RunStarted {
            plan: "p".to_owned(),
            fingerprint: Fingerprint::of([b"p".as_slice()]),
            steps: Vec::new(),
            databases: BTreeMap::new(),
            version: "0".to_owned(),
        }
    }
}
