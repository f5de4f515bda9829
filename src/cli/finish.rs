//! `crossfade finish PLAN`: ends what a run that is done keeps going on blue.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use clap::Args;

use super::databases::DatabaseArgs;
use super::{Format, PlanArgs, print_json, text};
use crate::engine::{self, Options, RunChoice, Stop};
use crate::journal::{Direction, Journal, State};
use crate::plan::{self, Plan};
use crate::report::Screen;
use crate::step::Interrupt;
use crate::terms::{Exit, RunId, StepId};

#[derive(Debug, Args)]
pub(super) struct FinishArgs {
    #[command(flatten)]
    plan: PlanArgs,
    #[command(flatten)]
    databases: DatabaseArgs,
    /// Really do it; without this nothing is changed
    #[arg(long)]
    execute: bool,
}

pub(super) async fn finish(args: &FinishArgs, format: Format, quiet: bool) -> anyhow::Result<Exit> {
    let plan = plan::load(&args.plan.plan)?;
    let (file, name) = (args.plan.plan.display(), plan.name().to_owned());
    let Some(run) = engine::latest_run(&args.plan.state, &name)? else {
        return Err(Stop::Usage(format!("plan {name} has no run in {}: nothing goes on", args.plan.state.display())).into());
    };
    let lines = Journal::read(&args.plan.state.join(&name).join(run.as_str()))?;
    let state = State::of(&lines).map_err(|why| anyhow::anyhow!(why))?;
    if !state.finished {
        let next = match state.direction {
            Direction::Forward => {
                format!("`crossfade run {file} --execute` goes on, `crossfade rollback {file} --execute` takes it back")
            }
            Direction::Back => format!("`crossfade rollback {file} --execute` goes on with its rollback"),
        };
        return Err(Stop::Usage(format!("run {run} is not over: nothing was ended; {next}")).into());
    }
    let changes = engine::plan_changes(&state, &plan);
    if !changes.is_empty() {
        return Err(Stop::Usage(format!("the plan has changed since run {run} began: {}; restore it", changes.join("; "))).into());
    }
    let kept = engine::kept(&plan, &state, &run);
    if kept.is_empty() {
        if format == Format::Json {
            print_json(&serde_json::json!({"run": run, "ended": [], "figures": {}}))?;
        } else {
            text::print(&format!("run {run} of {name} keeps nothing going; nothing was done\n"))?;
        }
        return Ok(Exit::Done);
    }
    if !args.execute {
        text::print(&announce(&plan, &args.plan.plan, &run, &state, &kept))?;
        return Ok(Exit::Done);
    }
    let databases = args.databases.resolve(&plan)?;
    let interrupt = Interrupt::default();
    engine::listen(&interrupt)?;
    let (screen, notices) = Screen::start(quiet);
    let options = Options {
        state_dir: args.plan.state.clone(),
        choice: RunChoice::Latest,
        approve: BTreeSet::new(),
        allow_hooks: false,
        databases,
        interrupt,
        notices,
    };
    let mut driver = engine::prepare(plan, options).await?;
    super::run::announce(&driver, quiet);
    let outcome = engine::finish(&mut driver).await;
    drop(driver);
    screen.finish().await;
    let figures: BTreeMap<&str, u64> = outcome?.into_iter().collect();
    if format == Format::Json {
        let steps: Vec<&StepId> = kept.iter().map(|(step, _)| step).collect();
        print_json(&serde_json::json!({"run": run, "ended": steps, "figures": figures}))?;
        return Ok(Exit::Done);
    }
    let mut out = String::new();
    if let Some(applied) = figures.get("changes_applied") {
        out += &format!("a last batch changed {applied} rows of green\n");
    }
    for (step, _) in &kept {
        out += &format!("{step} ended: blue is as it was before it, green stays as it is\n");
    }
    text::print(&out)?;
    Ok(Exit::Done)
}

fn announce(plan: &Plan, file: &Path, run: &RunId, state: &State, kept: &[(StepId, String)]) -> String {
    let mut out = format!("Nothing is changed without --execute. Run {run} is done, and keeps going on blue:\n");
    for (step, what) in kept {
        out += &format!("  {step}: {what}\n");
    }
    if engine::switched(plan, state) {
        out += "It would end that. Green stays as it is.\n";
    } else {
        out += "It would bring to green what blue has committed by then, and end that. Green stays as it is; what is written on blue afterwards does not\n\
                reach it any more, so the writers should have left blue before.\n";
    }
    out + &format!("next: crossfade finish {} --execute\n", file.display())
}

/// What a run that is done keeps going, and the commands that end it; nothing when it does not.
pub(super) fn goes_on(plan: &Plan, file: &Path, run: &RunId, state: &State) -> String {
    let kept = engine::kept(plan, state, run);
    let (Some(_), file) = (kept.first(), file.display()) else { return String::new() };
    let what: Vec<&str> = kept.iter().map(|(_, what)| what.as_str()).collect();
    let follow = match engine::switched(plan, state) {
        true => String::new(),
        false => format!("crossfade follow {file}, which brings further changes to green; "),
    };
    format!(
        "{}; next: {follow}crossfade finish {file} --execute, which ends that and leaves green as it is; or crossfade rollback {file}\n",
        what.join("; ")
    )
}
