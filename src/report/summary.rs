//! What a run did, from its journal alone. Pure.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::journal::{Event, Line, State, StepStatus};
use crate::pg::Counters;
use crate::terms::{Finding, Side, StepId};

/// What a run did.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct JourneySummary {
    /// The plan.
    pub plan: String,
    /// `done`, `rolled_back` or `unfinished`.
    pub outcome: &'static str,
    /// Net seconds of all steps: pauses between attempts do not count.
    pub seconds: f64,
    /// What it did to each database.
    pub counters: BTreeMap<Side, Counters>,
    /// Longest wait for a lock that others had to make because of the run, in milliseconds.
    pub longest_lock_wait_ms: f64,
    /// Each step in the order of its first event.
    pub steps: Vec<StepSummary>,
}

/// What one step did.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StepSummary {
    /// The step.
    pub step: StepId,
    /// Where it stands.
    pub status: StepStatus,
    /// Net seconds of the attempt that completed it.
    pub seconds: f64,
    /// Attempts begun.
    pub attempts: u32,
    /// What it did to each database.
    pub counters: BTreeMap<Side, Counters>,
    /// Longest wait for a lock that others had to make because of it, in milliseconds.
    pub longest_lock_wait_ms: f64,
    /// What its verification found.
    pub findings: Vec<Finding>,
    /// Numbers of its own, each name with its unit.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub figures: BTreeMap<String, u64>,
    /// Why it stopped last, when it did.
    pub failure: Option<String>,
}

impl JourneySummary {
    /// All databases together.
    pub fn total(&self) -> Counters {
        self.counters.values().fold(Counters::default(), |sum, counters| sum.plus(counters))
    }
}

/// Reads a run's journal.
///
/// # Errors
/// When the journal is not one driver's work.
pub fn summarize(lines: &[Line]) -> Result<JourneySummary, String> {
    let state = State::of(lines)?;
    let mut steps: Vec<StepSummary> = state.steps_as_begun.iter().map(|(step, _)| empty(step, &state)).collect();
    let mut rolled_back = false;
    for line in lines {
        match &line.event {
            Event::StepDone { step, seconds, counters, longest_lock_wait_ms, findings, figures } => {
                if let Some(summary) = steps.iter_mut().find(|summary| summary.step == *step) {
                    summary.seconds = *seconds;
                    summary.counters.clone_from(counters);
                    summary.longest_lock_wait_ms = *longest_lock_wait_ms;
                    summary.findings.clone_from(findings);
                    summary.figures.clone_from(figures);
                }
            }
            Event::StepFailed { step, findings, .. } => {
                if let Some(summary) = steps.iter_mut().find(|summary| summary.step == *step) {
                    summary.findings.clone_from(findings);
                }
            }
            Event::RolledBack => rolled_back = true,
            _ => {}
        }
    }
    let mut counters: BTreeMap<Side, Counters> = BTreeMap::new();
    for (side, more) in steps.iter().flat_map(|step| &step.counters) {
        let sum = counters.entry(*side).or_default();
        *sum = sum.plus(more);
    }
    Ok(JourneySummary {
        plan: state.plan.clone(),
        outcome: match (state.finished, rolled_back) {
            (true, true) => "rolled_back",
            (true, false) => "done",
            (false, _) => "unfinished",
        },
        seconds: steps.iter().map(|step| step.seconds).sum(),
        longest_lock_wait_ms: steps.iter().map(|step| step.longest_lock_wait_ms).fold(0.0, f64::max),
        counters,
        steps,
    })
}

fn empty(step: &StepId, state: &State) -> StepSummary {
    let known = state.step(step);
    StepSummary {
        step: step.clone(),
        status: known.status,
        seconds: 0.0,
        attempts: known.attempts,
        counters: BTreeMap::new(),
        longest_lock_wait_ms: 0.0,
        findings: Vec::new(),
        figures: BTreeMap::new(),
        failure: known.failure,
    }
}
