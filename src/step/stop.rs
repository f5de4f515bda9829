//! The reasons why a run leaves before its end, each with its exit code.

use crate::terms::{Exit, Finding, StepId};

/// Why a run leaves before its end.
#[derive(Debug, thiserror::Error)]
pub enum Stop {
    /// Checks found something that blocks.
    #[error("{} finding{} that block", .0.len(), if .0.len() == 1 { "" } else { "s" })]
    Findings(Vec<Finding>),
    /// A comparison found divergence.
    #[error("divergence: {} finding{}", .0.len(), if .0.len() == 1 { "" } else { "s" })]
    Divergence(Vec<Finding>),
    /// A person's approval is needed.
    #[error("waiting for approval: {question} (approve with `--approve {step}`)")]
    Waiting {
        /// What the person is asked.
        question: String,
        /// The step that waits.
        step: StepId,
    },
    /// A signal asked to stop.
    #[error("interrupted")]
    Interrupted,
    /// An undo failed.
    #[error("the undo of step {step} failed: {reason}")]
    UndoFailed {
        /// The step.
        step: StepId,
        /// Why, without values.
        reason: String,
    },
    /// A server could not be reached before anything began; the same command takes it up.
    #[error("{0}")]
    Unreachable(String),
    /// The command or the plan cannot be used like this.
    #[error("{0}")]
    Usage(String),
}

impl Stop {
    /// The exit code of this reason.
    pub fn exit(&self) -> Exit {
        match self {
            Stop::Findings(_) => Exit::Findings,
            Stop::Divergence(_) => Exit::Divergence,
            Stop::Waiting { .. } => Exit::Waiting,
            Stop::Interrupted => Exit::Interrupted,
            Stop::UndoFailed { .. } => Exit::UndoFailed,
            Stop::Unreachable(_) => Exit::Stopped,
            Stop::Usage(_) => Exit::Usage,
        }
    }

    /// The findings it carries.
    pub fn findings(&self) -> &[Finding] {
        match self {
            Stop::Findings(findings) | Stop::Divergence(findings) => findings,
            _ => &[],
        }
    }
}
