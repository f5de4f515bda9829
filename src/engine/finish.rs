//! What goes on after a run is done: which steps keep something going, and the end of that.

use anyhow::Result;

use super::Driver;
use super::drive::{unless, write};
use crate::journal::{Direction, Event, State, StepStatus};
use crate::plan::Plan;
use crate::step::{Projected, Until, figures_of, follow};
use crate::terms::{RunId, Side, StepId};

/// What the steps of a run that is done keep going, in the order of the plan: each as a clause.
pub fn kept(plan: &Plan, state: &State, run: &RunId) -> Vec<(StepId, String)> {
    if !state.finished || state.direction == Direction::Back {
        return Vec::new();
    }
    let switched = switched(plan, state);
    let going = plan.steps().iter().filter(|step| !state.ended.contains(&step.id));
    let ours = going.filter(|step| state.step(&step.id).status == StepStatus::Done);
    ours.filter_map(|step| Some((step.id.clone(), step.step.keeps(run, switched)?))).collect()
}

/// Whether a step of the plan has sent all traffic to green.
pub fn switched(plan: &Plan, state: &State) -> bool {
    let done = |id: &StepId| matches!(state.step(id).status, StepStatus::Done | StepStatus::Adopted);
    plan.steps().iter().any(|step| step.kind == "switch" && done(&step.id))
}

/// The rows that follow in a run of this plan.
pub fn followed(plan: &Plan) -> Vec<&Projected> {
    let over: Vec<&Projected> = plan.steps().iter().filter_map(|step| step.step.takes_over()).collect();
    match over.is_empty() {
        true => plan.steps().iter().filter_map(|step| step.step.brings()).collect(),
        false => over,
    }
}

/// Ends what the run keeps going, after a last batch where traffic was not switched by the plan. Gives the batch's figures.
///
/// # Errors
/// [`super::Stop::Findings`] when another follower is at work or green cannot follow: then nothing has ended. Otherwise when a server
/// is away: what had ended by then has; the same call goes on.
pub async fn finish(driver: &mut Driver) -> Result<Vec<(&'static str, u64)>> {
    let kept = kept(&driver.plan, driver.journal.state(), &driver.run);
    let hard = driver.interrupt.hard.clone();
    let mut figures = Vec::new();
    let begun = |step: &StepId| driver.journal.state().ending.contains(step);
    if let Some((first, _)) = kept.first().filter(|_| kept.iter().all(|(step, _)| !begun(step))) {
        if !switched(&driver.plan, driver.journal.state()) {
            let cx = driver.cx(first, 1);
            let last = unless(&hard, follow(&cx, &followed(&driver.plan), Side::Green, Until::CaughtUp)).await?;
            figures = figures_of(&last).to_vec();
            cx.crash_point("caught-up");
        }
        for (step, _) in &kept {
            write(driver, Event::Ending { step: step.clone() })?;
        }
    }
    for (id, _) in kept {
        let known = driver.journal.state().step(&id);
        let cx = driver.cx(&id, known.attempts + 1);
        for step in driver.plan.steps().iter().filter(|step| step.id == id) {
            unless(&hard, step.step.undo(&cx, &known.before)).await?;
        }
        cx.crash_point("ended");
        write(driver, Event::Ended { step: id })?;
    }
    Ok(figures)
}
