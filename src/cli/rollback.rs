//! `crossfade rollback PLAN`.

use std::collections::BTreeSet;

use clap::Args;

use super::databases::DatabaseArgs;
use super::notifications::{Listeners, NotifyArgs};
use super::show::ShowArgs;
use super::{Format, PlanArgs, text};
use crate::engine::{self, Options, RunChoice, Stop};
use crate::journal::{Journal, State, StepStatus};
use crate::plan;
use crate::report::Screen;
use crate::step::{Interrupt, Reversal};
use crate::terms::{Exit, RunId, Side};

#[derive(Debug, Args)]
pub(super) struct RollbackArgs {
    #[command(flatten)]
    plan: PlanArgs,
    #[command(flatten)]
    databases: DatabaseArgs,
    /// Really do it; without this nothing is changed
    #[arg(long)]
    execute: bool,
    /// Let the plan run its own programs (steps of kind run_hook)
    #[arg(long)]
    allow_hooks: bool,
    #[command(flatten)]
    show: ShowArgs,
    #[command(flatten)]
    notify: NotifyArgs,
}

pub(super) async fn rollback(args: &RollbackArgs, format: Format, quiet: bool) -> anyhow::Result<Exit> {
    let plan = plan::load(&args.plan.plan)?;
    let databases = args.databases.resolve(&plan)?;
    let Some(run) = engine::latest_run(&args.plan.state, plan.name())? else {
        return Err(Stop::Usage(format!(
            "plan {} has no run in {}: there is nothing to undo",
            plan.name(),
            args.plan.state.display()
        ))
        .into());
    };
    if !args.execute {
        let lines = Journal::read(&args.plan.state.join(plan.name()).join(run.as_str()))?;
        let state = State::of(&lines).map_err(|why| anyhow::anyhow!(why))?;
        let next = format!("next: crossfade rollback {} --execute\n", args.plan.plan.display());
        return text::print(&(announce(&plan, &run, &state) + &next)).map(|()| Exit::Done);
    }
    let interrupt = Interrupt::default();
    engine::listen(&interrupt)?;
    let (screen, notices) = Screen::with(args.show.open(quiet, &plan, None, &interrupt).await?);
    let (listeners, notices) = Listeners::start(&plan, &args.notify, args.allow_hooks, screen, notices)?;
    let options = Options {
        state_dir: args.plan.state.clone(),
        choice: RunChoice::Back,
        approve: BTreeSet::new(),
        allow_hooks: args.allow_hooks,
        databases,
        interrupt,
        notices,
    };
    let mut driver = engine::prepare(plan, options).await?;
    super::run::begin(&driver, &listeners, quiet);
    engine::turn_back(&mut driver)?;
    let outcome = engine::drive(&mut driver).await?;
    super::run::conclude(driver, listeners, outcome, &args.plan.plan, format).await
}

fn announce(plan: &plan::Plan, run: &RunId, state: &State) -> String {
    let mut out = format!("Nothing is changed without --execute. It would undo run {run}, in this order:\n");
    for step in plan.steps().iter().rev() {
        match (state.step(&step.id).status, step.step.reversal()) {
            (StepStatus::Pending | StepStatus::Undone, _) => {}
            (StepStatus::Adopted, _) => out += &format!("  {}: stays, it was there before the run\n", step.id),
            (_, Reversal::Reversible) => out += &format!("  {}: undone\n", step.id),
            (_, Reversal::NothingToUndo(why)) => out += &format!("  {}: nothing to undo, {why}\n", step.id),
            (StepStatus::Started, Reversal::Irreversible(why)) => {
                out += &format!("  {}: begun; CANNOT be undone ({why}) unless nothing of it is there\n", step.id);
            }
            (_, Reversal::Irreversible(why)) => {
                let unless = if step.step.sides() == [Side::Green] { ", unless green is made anew, empty" } else { "" };
                out += &format!("  {}: CANNOT be undone ({why}); it and everything before it stay{unless}\n", step.id);
                break;
            }
        }
    }
    out
}
