//! What is told of a run. Names, times and reasons only: no row values, no connection strings.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::journal::{Event, Line};
use crate::terms::{Exit, RunId, StepId};

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Happened {
    /// A run began.
    RunStarted,
    /// A run was taken up again.
    RunResumed,
    /// A step is complete.
    StepDone,
    /// A step stopped.
    StepFailed,
    /// A person's approval is needed.
    RunWaiting,
    /// The run left before its end.
    RunStopped,
    /// Every step is done.
    RunDone,
    /// From now on steps are undone.
    RollbackStarted,
    /// An undo failed.
    UndoFailed,
    /// Everything is undone.
    RunRolledBack,
}

impl Happened {
    /// Those that are told where a plan does not say which.
    pub const USUAL: [Happened; 6] = [
        Happened::RunStarted,
        Happened::RunWaiting,
        Happened::RunStopped,
        Happened::RunDone,
        Happened::RollbackStarted,
        Happened::RunRolledBack,
    ];

    /// As plans and messages write it.
    pub fn name(self) -> &'static str {
        match self {
            Happened::RunStarted => "run-started",
            Happened::RunResumed => "run-resumed",
            Happened::StepDone => "step-done",
            Happened::StepFailed => "step-failed",
            Happened::RunWaiting => "run-waiting",
            Happened::RunStopped => "run-stopped",
            Happened::RunDone => "run-done",
            Happened::RollbackStarted => "rollback-started",
            Happened::UndoFailed => "undo-failed",
            Happened::RunRolledBack => "run-rolled-back",
        }
    }
}

/// One message.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Message {
    /// What happened.
    #[serde(rename = "event")]
    pub happened: Happened,
    /// The same for every try at the same message, and for no other one: run and position in its journal.
    pub delivery: String,
    /// The plan.
    pub plan: String,
    /// The run.
    pub run: RunId,
    /// When.
    pub at: Timestamp,
    /// The step, for what happens to one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step: Option<StepId>,
    /// Why, without values.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The exit code of a run that left.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit: Option<u8>,
    /// How long a step took.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seconds: Option<f64>,
}

impl Message {
    /// The message about a journal line; `None` for what is nobody's business. `failed` is the step that failed last, and why: a
    /// run that leaves does so because of it.
    pub fn of(plan: &str, run: &RunId, line: &Line, failed: Option<&(StepId, String)>) -> Option<Self> {
        let (happened, step) = match &line.event {
            Event::StepDone { step, .. } => (Happened::StepDone, Some(step)),
            Event::StepFailed { step, .. } => (Happened::StepFailed, Some(step)),
            Event::UndoFailed { step, .. } => (Happened::UndoFailed, Some(step)),
            Event::Stopped { exit: Exit::Waiting } => (Happened::RunWaiting, None),
            Event::Stopped { .. } => (Happened::RunStopped, None),
            Event::RunDone => (Happened::RunDone, None),
            Event::RollbackStarted => (Happened::RollbackStarted, None),
            Event::RolledBack => (Happened::RunRolledBack, None),
            _ => return None,
        };
        let mut message = Self::new(happened, plan, run, line.seq, line.at);
        message.step = step.cloned();
        match &line.event {
            Event::StepFailed { reason, .. } | Event::UndoFailed { reason, .. } => message.reason = Some(reason.clone()),
            Event::StepDone { seconds, .. } => message.seconds = Some(*seconds),
            Event::Stopped { exit } => {
                message.exit = Some(*exit as u8);
                (message.step, message.reason) = failed.cloned().unzip();
            }
            _ => {}
        }
        Some(message)
    }

    /// The message that a run began, or was taken up.
    pub(super) fn begun(plan: &str, run: &RunId, resumed: bool) -> Self {
        let at = Timestamp::now();
        match resumed {
            false => Self::new(Happened::RunStarted, plan, run, 1, at),
            true => Self {
                delivery: format!("{run}/resumed-{}", at.as_millisecond()),
                ..Self::new(Happened::RunResumed, plan, run, 1, at)
            },
        }
    }

    fn new(happened: Happened, plan: &str, run: &RunId, seq: u64, at: Timestamp) -> Self {
        Self {
            happened,
            delivery: format!("{run}/{seq}"),
            plan: plan.to_owned(),
            run: run.clone(),
            at,
            step: None,
            reason: None,
            exit: None,
            seconds: None,
        }
    }

    /// As it is sent.
    pub fn json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::terms::Before;

    fn line(event: Event) -> Line {
        Line { v: 1, seq: 7, at: Timestamp::UNIX_EPOCH, event }
    }

    #[test]
    fn events_become_messages_without_what_an_undo_needs() {
        let run = RunId::existing("r");
        let step = StepId::new("copy").unwrap();
        let failed =
            Event::StepFailed { step: step.clone(), reason: "no".to_owned(), findings: Vec::new(), figures: Default::default() };
        let message = Message::of("p", &run, &line(failed), None).unwrap();
        assert_eq!(
            message.json(),
            r#"{"event":"step-failed","delivery":"r/7","plan":"p","run":"r","at":"1970-01-01T00:00:00Z","step":"copy","reason":"no"}"#
        );
        let why = (step.clone(), "Go on?".to_owned());
        let waiting = Message::of("p", &run, &line(Event::Stopped { exit: Exit::Waiting }), Some(&why)).unwrap();
        assert_eq!((waiting.happened, waiting.exit, waiting.reason.as_deref()), (Happened::RunWaiting, Some(12), Some("Go on?")));
        let started = Event::StepStarted {
            step,
            attempt: 1,
            found: crate::terms::Extent::Absent,
            before: Before(serde_json::json!({"was": "something"})),
        };
        assert_eq!(Message::of("p", &run, &line(started), None), None);
    }

    #[test]
    fn names_are_those_of_the_messages() {
        for happened in Happened::USUAL {
            assert_eq!(serde_json::to_value(happened).unwrap(), happened.name());
        }
    }
}
