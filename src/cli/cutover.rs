//! `crossfade cutover PLAN`: the plan's `switch` step alone.

use std::collections::BTreeSet;

use anyhow::Result;
use clap::Args;

use super::databases::DatabaseArgs;
use super::notifications::{Listeners, NotifyArgs};
use super::preview::{Asked, preview};
use super::show::ShowArgs;
use super::{Format, PlanArgs};
use crate::engine::{self, Driver, Options, RunChoice, Stop};
use crate::journal::StepStatus;
use crate::plan::{self, Plan};
use crate::report::Screen;
use crate::step::Interrupt;
use crate::terms::Exit;

#[derive(Debug, Args)]
pub(super) struct CutoverArgs {
    #[command(flatten)]
    plan: PlanArgs,
    #[command(flatten)]
    databases: DatabaseArgs,
    /// Really do it; without this nothing is changed
    #[arg(long)]
    execute: bool,
    /// Approve it: `cutover`, or the id of the switch step
    #[arg(long, value_name = "cutover")]
    approve: Option<String>,
    /// Let participants run the plan's own programs
    #[arg(long)]
    allow_hooks: bool,
    #[command(flatten)]
    show: ShowArgs,
    #[command(flatten)]
    notify: NotifyArgs,
}

pub(super) async fn cutover(args: &CutoverArgs, format: Format, quiet: bool) -> Result<Exit> {
    let plan = plan::load(&args.plan.plan)?;
    let index = switch(&plan)?;
    let step = plan.steps()[index].id.clone();
    let databases = args.databases.resolve(&plan)?;
    if !args.execute {
        let (screen, notices) = Screen::start(quiet);
        let (plan_file, state_dir) = (args.plan.plan.as_path(), args.plan.state.as_path());
        let asked = Asked { plan_file, state_dir, databases, allow_hooks: args.allow_hooks, only: Some(step) };
        let exit = preview(&plan, asked, notices, format).await;
        screen.finish().await;
        return exit;
    }
    let interrupt = Interrupt::default();
    engine::listen(&interrupt)?;
    let approve: BTreeSet<String> = match args.approve.as_deref() {
        None => BTreeSet::new(),
        Some("cutover") => [step.to_string()].into(),
        Some(id) if id == step.as_str() => [id.to_owned()].into(),
        Some(other) => return Err(Stop::Usage(format!("--approve {other}: the switch is step {step}")).into()),
    };
    if engine::latest_run(&args.plan.state, plan.name())?.is_none() && index > 0 {
        return Err(first(&plan.steps()[0].id, &args.plan));
    }
    let (screen, notices) = Screen::with(args.show.open(quiet, &plan, None, &interrupt).await?);
    let (listeners, notices) = Listeners::start(&plan, &args.notify, args.allow_hooks, screen, notices)?;
    let options = Options {
        state_dir: args.plan.state.clone(),
        choice: RunChoice::Latest,
        approve,
        allow_hooks: args.allow_hooks,
        databases,
        interrupt,
        notices,
    };
    let mut driver = engine::prepare(plan, options).await?;
    super::run::not_taken_back(&driver)?;
    if let Some(before) = pending_before(&driver, index) {
        return Err(first(&driver.plan().steps()[before].id, &args.plan));
    }
    driver.stop_after(index);
    super::run::begin(&driver, &listeners, quiet);
    let outcome = engine::drive(&mut driver).await?;
    super::run::conclude(driver, listeners, outcome, &args.plan.plan, format).await
}

/// The position of the one switch.
fn switch(plan: &Plan) -> Result<usize> {
    let found: Vec<usize> =
        plan.steps().iter().enumerate().filter(|(_, step)| step.kind == "switch").map(|(index, _)| index).collect();
    match found[..] {
        [index] => Ok(index),
        [] => Err(Stop::Usage(format!("plan {} has no step of kind switch", plan.name())).into()),
        _ => Err(Stop::Usage(format!("plan {} has {} switches: use `crossfade run`", plan.name(), found.len())).into()),
    }
}

/// The first step before `index` that is not done.
fn pending_before(driver: &Driver, index: usize) -> Option<usize> {
    let state = driver.journal().state();
    let done = |status| matches!(status, StepStatus::Done | StepStatus::Adopted);
    driver.plan().steps()[..index].iter().position(|step| !done(state.step(&step.id).status))
}

fn first(step: &crate::terms::StepId, plan: &PlanArgs) -> anyhow::Error {
    Stop::Usage(format!("step {step} comes first and is not done: crossfade run {} --execute", plan.plan.display())).into()
}
