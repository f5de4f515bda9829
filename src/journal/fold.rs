//! From events to the state of a run, with one transition table. Pure.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::{Event, Line};
use crate::pg::Identity;
use crate::terms::{Before, Fingerprint, Side, StepId};

/// Which way a run goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// Applying steps.
    #[default]
    Forward,
    /// Undoing steps.
    Back,
}

/// Where a step stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum StepStatus {
    /// Not begun.
    #[default]
    Pending,
    /// Begun and not known to be complete.
    Started,
    /// Complete and verified.
    Done,
    /// Found complete before we tried.
    Adopted,
    /// Its undo has begun.
    Undoing,
    /// Taken back.
    Undone,
}

/// What the journal knows about a step.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct StepState {
    /// Where it stands.
    pub status: StepStatus,
    /// Attempts begun.
    pub attempts: u32,
    /// What an undo needs: from the first attempt, which alone saw the state before us.
    pub before: Before,
    /// Why it stopped last, when it did.
    pub failure: Option<String>,
}

/// The state of a run.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct State {
    /// Name of the plan.
    pub plan: String,
    /// Fingerprint of the plan the run began with.
    pub fingerprint: Option<Fingerprint>,
    /// Fingerprints of its steps.
    pub steps_as_begun: Vec<(StepId, Fingerprint)>,
    /// The databases it works on.
    pub databases: BTreeMap<Side, Identity>,
    /// Which way it goes.
    pub direction: Direction,
    /// All done, or all undone.
    pub finished: bool,
    /// Steps a person approved.
    pub approvals: BTreeSet<String>,
    /// Steps that kept something going after the run was done, which has ended or begun to.
    pub ending: BTreeSet<StepId>,
    /// Those of them of which nothing goes on any more.
    pub ended: BTreeSet<StepId>,
    steps: HashMap<StepId, StepState>,
}

impl State {
    /// Folds the lines of a journal.
    ///
    /// # Errors
    /// Names the line that cannot follow those before it: such a journal was not written by one driver at a time.
    pub fn of<'a>(lines: impl IntoIterator<Item = &'a Line>) -> Result<Self, String> {
        let mut state = State::default();
        for line in lines {
            state.take(&line.event).map_err(|why| format!("line {}: {why}", line.seq))?;
        }
        Ok(state)
    }

    /// Where a step stands.
    pub fn step(&self, id: &StepId) -> StepState {
        self.steps.get(id).cloned().unwrap_or_default()
    }

    /// Adds one event.
    ///
    /// # Errors
    /// When the event cannot follow the state.
    pub fn take(&mut self, event: &Event) -> Result<(), String> {
        use StepStatus::{Adopted, Done, Pending, Started, Undoing, Undone};
        match event {
            Event::RunStarted { plan, fingerprint, steps, databases, .. } => {
                if self.fingerprint.is_some() {
                    return Err("a run starts once".to_owned());
                }
                self.plan.clone_from(plan);
                self.fingerprint = Some(fingerprint.clone());
                self.steps_as_begun.clone_from(steps);
                self.databases.clone_from(databases);
            }
            _ if self.fingerprint.is_none() => return Err("the first event is run_started".to_owned()),
            Event::RunResumed { .. } | Event::Stopped { .. } | Event::Restoring { .. } | Event::Restored { .. } => {}
            Event::Accounted { step, .. } => self.go(step, &[StepStatus::Started], StepStatus::Started)?,
            Event::Approved { step } => {
                self.approvals.insert(step.to_string());
            }
            Event::StepAdopted { step } => self.go(step, &[Pending], Adopted)?,
            Event::StepStarted { step, attempt, before, .. } => {
                self.go(step, &[Pending, Started], Started)?;
                let known = self.steps.entry(step.clone()).or_default();
                if known.attempts == 0 {
                    known.before = before.clone();
                }
                known.attempts = *attempt;
                known.failure = None;
            }
            Event::StepDone { step, .. } => self.go(step, &[Started], Done)?,
            Event::StepFailed { step, reason, .. } => {
                self.go(step, &[Pending, Started], self.step(step).status)?;
                self.steps.entry(step.clone()).or_default().failure = Some(reason.clone());
            }
            Event::RunDone => self.finished = true,
            Event::Ending { step } | Event::Ended { step } => {
                if !self.finished || self.direction == Direction::Back {
                    return Err(format!("step {step} ends when the run is done"));
                }
                self.ending.insert(step.clone());
                if matches!(event, Event::Ended { .. }) {
                    self.ended.insert(step.clone());
                }
            }
            Event::RollbackStarted => {
                self.direction = Direction::Back;
                self.finished = false;
            }
            Event::UndoStarted { step } => self.go(step, &[Started, Done, Undoing], Undoing)?,
            Event::UndoDone { step } => self.go(step, &[Undoing], Undone)?,
            Event::UndoFailed { step, reason } => {
                self.go(step, &[Undoing], Undoing)?;
                self.steps.entry(step.clone()).or_default().failure = Some(reason.clone());
            }
            Event::RolledBack => self.finished = true,
        }
        Ok(())
    }

    fn go(&mut self, step: &StepId, from: &[StepStatus], to: StepStatus) -> Result<(), String> {
        let known = self.steps.entry(step.clone()).or_default();
        if !from.contains(&known.status) {
            return Err(format!("step {step} cannot go from {:?} to {to:?}", known.status));
        }
        known.status = to;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::terms::Extent;

    fn started(step: &StepId, attempt: u32, before: i32) -> Event {
        Event::StepStarted { step: step.clone(), attempt, found: Extent::Absent, before: Before::of(&before).unwrap() }
    }

    #[test]
    fn the_first_attempt_alone_says_what_was_before() {
        let step = StepId::new("a").unwrap();
        let mut state = State::default();
        for event in [Event::run_started_example(), started(&step, 1, 1), started(&step, 2, 2)] {
            state.take(&event).unwrap();
        }
        let known = state.step(&step);
        assert_eq!((known.status, known.attempts, known.before), (StepStatus::Started, 2, Before::of(&1).unwrap()));
    }

    #[test]
    fn an_adopted_step_is_never_undone() {
        let step = StepId::new("a").unwrap();
        let mut state = State::default();
        state.take(&Event::run_started_example()).unwrap();
        state.take(&Event::StepAdopted { step: step.clone() }).unwrap();
        assert!(state.take(&Event::UndoStarted { step }).is_err());
    }

    #[test]
    fn what_goes_on_ends_when_the_run_is_done() {
        let step = StepId::new("a").unwrap();
        let mut state = State::default();
        state.take(&Event::run_started_example()).unwrap();
        assert!(state.take(&Event::Ending { step: step.clone() }).is_err());
        for event in [Event::RunDone, Event::Ending { step: step.clone() }] {
            state.take(&event).unwrap();
        }
        assert_eq!((state.ending.len(), state.ended.len()), (1, 0));
        state.take(&Event::Ended { step: step.clone() }).unwrap();
        assert!(state.ended.contains(&step));
        state.take(&Event::RollbackStarted).unwrap();
        assert!(state.take(&Event::Ended { step }).is_err());
    }

    #[test]
    fn nothing_comes_before_the_start() {
        assert!(State::default().take(&Event::RunDone).is_err());
        let mut state = State::default();
        state.take(&Event::run_started_example()).unwrap();
        assert!(state.take(&Event::run_started_example()).is_err());
    }
}
