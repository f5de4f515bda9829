//! What to do next, given a plan and the state of its run. Pure.

use crate::journal::{Direction, State, StepStatus};
use crate::plan::Plan;
use crate::step::Reversal;

/// What to do next. Steps are named by their position in the plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// Apply this step.
    Apply(usize),
    /// Undo this step.
    Undo(usize),
    /// A rollback cannot go past this step.
    CannotUndo(usize, String),
    /// Every step is done: write that down.
    Finish,
    /// Everything is undone: write that down.
    FinishBack,
    /// Nothing; the run is over.
    Over,
}

/// Decides.
pub fn next(plan: &Plan, state: &State) -> Next {
    let statuses: Vec<StepStatus> = plan.steps().iter().map(|step| state.step(&step.id).status).collect();
    let reversals: Vec<Reversal> = plan.steps().iter().map(|step| step.step.reversal()).collect();
    decide(state.direction, state.finished, &statuses, &reversals)
}

fn decide(direction: Direction, finished: bool, statuses: &[StepStatus], reversals: &[Reversal]) -> Next {
    use StepStatus::{Adopted, Done, Pending, Started, Undoing, Undone};
    if finished {
        return Next::Over;
    }
    match direction {
        Direction::Forward => match statuses.iter().position(|status| !matches!(status, Done | Adopted)) {
            Some(index) => Next::Apply(index),
            None => Next::Finish,
        },
        Direction::Back => {
            let ours = |index: &usize| match statuses[*index] {
                Started | Done | Undoing => true,
                Pending | Adopted | Undone => false,
            };
            match (0..statuses.len()).rev().find(ours) {
                Some(index) => match &reversals[index] {
                    Reversal::Irreversible(why) => Next::CannotUndo(index, why.clone()),
                    Reversal::Reversible | Reversal::NothingToUndo(_) => Next::Undo(index),
                },
                None => Next::FinishBack,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use StepStatus::{Adopted, Done, Pending, Started, Undone};

    const BOTH: [Reversal; 3] = [Reversal::Reversible, Reversal::Reversible, Reversal::Reversible];

    #[test]
    fn forward_takes_the_first_step_that_is_not_done() {
        assert_eq!(decide(Direction::Forward, false, &[Done, Started, Pending], &BOTH), Next::Apply(1));
        assert_eq!(decide(Direction::Forward, false, &[Done, Adopted, Done], &BOTH), Next::Finish);
        assert_eq!(decide(Direction::Forward, true, &[Done, Adopted, Done], &BOTH), Next::Over);
    }

    #[test]
    fn back_takes_the_last_step_that_is_ours() {
        assert_eq!(decide(Direction::Back, false, &[Done, Adopted, Started], &BOTH), Next::Undo(2));
        assert_eq!(decide(Direction::Back, false, &[Done, Adopted, Undone], &BOTH), Next::Undo(0));
        assert_eq!(decide(Direction::Back, false, &[Undone, Adopted, Pending], &BOTH), Next::FinishBack);
    }

    #[test]
    fn back_stops_at_what_cannot_be_undone() {
        let reversals = [Reversal::Reversible, Reversal::Irreversible("dropped".to_owned()), Reversal::Reversible];
        assert_eq!(decide(Direction::Back, false, &[Done, Done, Undone], &reversals), Next::CannotUndo(1, "dropped".to_owned()));
    }
}
