//! `crossfade status PLAN`.

use clap::Args;

use super::{Format, PlanArgs, print_json, text};
use crate::engine;
use crate::journal::{Direction, Journal, State};
use crate::plan;
use crate::terms::Exit;

#[derive(Debug, Args)]
pub(super) struct StatusArgs {
    #[command(flatten)]
    plan: PlanArgs,
}

pub(super) fn status(args: &StatusArgs, format: Format) -> anyhow::Result<Exit> {
    let plan = plan::load(&args.plan.plan)?;
    let Some(run) = engine::latest_run(&args.plan.state, plan.name())? else {
        match format {
            Format::Json => print_json(&serde_json::json!({"run": null, "plan": plan.name()}))?,
            Format::Text | Format::Sarif | Format::Github => text::print(&format!(
                "plan {} has no run in {}\nnext: crossfade run {}\n",
                plan.name(),
                args.plan.state.display(),
                args.plan.plan.display()
            ))?,
        }
        return Ok(Exit::Done);
    };
    let lines = Journal::read(&args.plan.state.join(plan.name()).join(run.as_str()))?;
    let state = State::of(&lines).map_err(|why| anyhow::anyhow!(why))?;
    if format == Format::Json {
        let steps: Vec<_> = plan
            .steps()
            .iter()
            .map(|step| {
                let known = state.step(&step.id);
                serde_json::json!({"step": step.id, "phase": step.phase, "kind": step.kind, "status": known.status, "attempts": known.attempts, "failure": known.failure})
            })
            .collect();
        print_json(&serde_json::json!({
            "run": run, "plan": plan.name(), "direction": state.direction, "finished": state.finished,
            "plan_changes": engine::plan_changes(&state, &plan), "steps": steps,
        }))?;
        return Ok(Exit::Done);
    }
    let ended = match (state.finished, state.direction) {
        (true, Direction::Forward) => "done",
        (true, Direction::Back) => "rolled back",
        (false, Direction::Forward) => "not finished",
        (false, Direction::Back) => "rolling back",
    };
    let mut out = format!("run {run} of {}: {ended}\n", plan.name());
    for step in plan.steps() {
        let known = state.step(&step.id);
        out += &format!("  {:9} {} ({}, {})\n", format!("{:?}", known.status).to_lowercase(), step.id, step.phase, step.kind);
        if let Some(failure) = &known.failure {
            out += &format!("            stopped: {failure}\n");
        }
    }
    for change in engine::plan_changes(&state, &plan) {
        out += &format!("the plan has changed since: {change}\n");
    }
    out += &match (state.finished, state.direction) {
        (false, Direction::Forward) => {
            let plan = args.plan.plan.display();
            format!("next: crossfade run {plan} --execute; to take back what was done: crossfade rollback {plan}\n")
        }
        (false, Direction::Back) => format!("next: crossfade rollback {} --execute\n", args.plan.plan.display()),
        (true, _) => String::new(),
    };
    text::print(&out)?;
    Ok(Exit::Done)
}
