//! `crossfade pause PLAN` and `crossfade resume PLAN`.

use clap::Args;

use super::databases::DatabaseArgs;
use super::{Format, PlanArgs, print_json, text};
use crate::copy::Standing;
use crate::engine;
use crate::plan;
use crate::step::Stop;
use crate::terms::{Exit, Side};

#[derive(Debug, Args)]
pub(super) struct PauseArgs {
    #[command(flatten)]
    plan: PlanArgs,
    #[command(flatten)]
    databases: DatabaseArgs,
}

/// Pauses the rows of the latest run's copies, or lets them go on: its driver and all workers hear of it within a second.
pub(super) async fn pause(args: &PauseArgs, pause: bool, format: Format) -> anyhow::Result<Exit> {
    let plan = plan::load(&args.plan.plan)?;
    let Some(run) = engine::latest_run(&args.plan.state, plan.name())? else {
        return Err(Stop::Usage(format!("plan {} has no run in {}", plan.name(), args.plan.state.display())).into());
    };
    let databases = args.databases.resolve_only(&plan, Side::Green)?;
    let Some(green) = databases.get(&Side::Green) else {
        return Err(Stop::Usage(format!("plan {} has no green: no rows are copied", plan.name())).into());
    };
    let green = engine::reach(green, "crossfade/pause").await?;
    let steps = Standing::pause(&green, &run, pause).await?;
    if steps.is_empty() {
        return Err(Stop::Usage(format!("run {run} loads no rows now: there is nothing to pause")).into());
    }
    let (what, next) = match pause {
        true => ("paused", format!("next: crossfade resume {}\n", args.plan.plan.display())),
        false => ("goes on", String::new()),
    };
    match format {
        Format::Json => print_json(&serde_json::json!({ "run": run, "steps": steps, "paused": pause }))?,
        _ => text::print(&format!("run {run}: {} {what}\n{next}", steps.join(", ")))?,
    }
    Ok(Exit::Done)
}
