//! `crossfade follow PLAN`: goes on following for a run, beside whatever else is done. Until the switch it keeps green close to blue,
//! after it blue close to green.

use std::sync::{Arc, Mutex};

use anyhow::Context;
use clap::Args;

use super::databases::DatabaseArgs;
use super::show::ShowArgs;
use super::{Format, PlanArgs, print_json, text};
use crate::engine;
use crate::journal::{Journal, Recorder, State, StepStatus};
use crate::plan::{self, Plan};
use crate::report::{Sampler, Screen};
use crate::step::{Cx, Interrupt, Notice, Projected, Stop, Until, figures_of, follow as follow_on};
use crate::terms::{Exit, Side, StepId};

#[derive(Debug, Args)]
pub(super) struct FollowArgs {
    #[command(flatten)]
    plan: PlanArgs,
    #[command(flatten)]
    databases: DatabaseArgs,
    /// End when everything that was committed before the start is on the other side
    #[arg(long)]
    until_caught_up: bool,
    #[command(flatten)]
    show: ShowArgs,
}

pub(super) async fn follow(args: &FollowArgs, format: Format, quiet: bool) -> anyhow::Result<Exit> {
    let plan = plan::load(&args.plan.plan)?;
    let Some(run) = engine::latest_run(&args.plan.state, plan.name())? else {
        let next = format!("crossfade run {} --execute", args.plan.plan.display());
        return Err(Stop::Usage(format!("plan {} has no run: there is nothing to follow; next: {next}", plan.name())).into());
    };
    let directory = args.plan.state.join(plan.name()).join(run.as_str());
    let lines = Journal::read(&directory)?;
    let state = State::of(&lines).map_err(|why| anyhow::anyhow!(why))?;
    let changes = engine::plan_changes(&state, &plan);
    if !changes.is_empty() {
        return Err(Stop::Usage(format!("the plan has changed since run {run} began: {}; restore it", changes.join("; "))).into());
    }
    let (projected, to) = way(&plan, &state).map_err(Stop::Usage)?;
    let databases = args.databases.resolve(&plan)?;
    let databases = [databases.get(&Side::Blue).cloned(), databases.get(&Side::Green).cloned()];
    let interrupt = Interrupt::default();
    engine::listen(&interrupt)?;
    let (screen, notices) = Screen::with(args.show.open(quiet, &plan, Some(run.clone()), &interrupt).await?);
    let _ = notices.send(Notice::Run { run: run.clone(), lines });
    let step = StepId::new("follow").map_err(anyhow::Error::msg)?;
    let mut cx = Cx::new(run.clone(), step, plan.limits().clone(), databases, notices).beside();
    cx.interrupt = interrupt.clone();
    let recorder = Recorder::open(&directory).with_context(|| format!("cannot write the record of run {run}"))?;
    let cx = cx.recorded(Arc::new(Mutex::new(recorder)));
    // A server that is away is waited for; then there is nothing to sample.
    let sampler = Sampler::start(&cx, [Side::Blue, Side::Green]).await.ok();
    let until = if args.until_caught_up { Until::CaughtUp } else { Until::Interrupted };
    let outcome = tokio::select! {
        outcome = follow_on(&cx, &projected, to, until) => outcome,
        () = interrupt.hard.cancelled() => Err(Stop::Interrupted.into()),
    };
    if let Some(sampler) = sampler {
        sampler.finish().await;
    }
    drop(cx);
    screen.finish().await;
    let figures = figures_of(&outcome?);
    match format {
        Format::Json => {
            let figures: std::collections::BTreeMap<&str, u64> = figures.into_iter().collect();
            print_json(&serde_json::json!({ "run": run, "to": to, "figures": figures }))?;
        }
        _ => {
            let figures = figures.map(|(name, value)| format!("{name} {value}"));
            text::print(&format!("run {run} of {}, to {to}: {}\n", plan.name(), figures.join(", ")))?;
        }
    }
    Ok(Exit::Done)
}

/// What is followed, and to which side: blue's changes until the switch, green's after it, so that the way back stays short. The
/// error says why there is nothing to follow.
fn way<'a>(plan: &'a Plan, state: &State) -> Result<(Vec<&'a Projected>, Side), String> {
    let status = |step: &StepId| state.step(step).status;
    if let Some(switch) = plan.steps().iter().find(|step| step.kind == "switch") {
        let next = format!("crossfade run {} --execute", plan.path().display());
        match (status(&switch.id), switch.step.leads_back()) {
            (StepStatus::Started | StepStatus::Undoing, _) => {
                return Err(format!("step {} is under way: nobody follows beside it; next: {next}", switch.id));
            }
            (StepStatus::Done, None) => {
                return Err(format!("step {} has no `back`: blue cannot be kept close to green", switch.id));
            }
            (StepStatus::Done, Some(back)) => {
                let ended = plan.steps().iter().find(|step| step.kind == "end_way_back");
                return match ended.filter(|step| matches!(status(&step.id), StepStatus::Started | StepStatus::Done)) {
                    Some(step) => Err(format!("step {} gave up the way back: there is nothing to follow any more", step.id)),
                    None => Ok((vec![back], Side::Blue)),
                };
            }
            _ => {}
        }
    }
    let projected = engine::followed(plan);
    match projected.is_empty() {
        true => Err(format!("plan {} copies nothing: there is nothing to follow", plan.name())),
        false => Ok((projected, Side::Green)),
    }
}
