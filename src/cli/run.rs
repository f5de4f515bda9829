//! `crossfade run PLAN`.

use std::collections::BTreeSet;

use anyhow::Result;
use clap::Args;
use comfy_table::{Table, presets};

use super::databases::DatabaseArgs;
use super::{Format, PlanArgs, print_json, text};
use crate::engine::{self, Driver, Options, Outcome, RunChoice, Stop};
use crate::journal::{Direction, Journal, State};
use crate::plan;
use crate::report::{Screen, summarize};
use crate::step::{Cx, Interrupt, Reversal};
use crate::terms::{Exit, Extent, RunId, Side};

#[derive(Debug, Args)]
pub(super) struct RunArgs {
    #[command(flatten)]
    plan: PlanArgs,
    #[command(flatten)]
    databases: DatabaseArgs,
    /// Really do it; without this nothing is changed
    #[arg(long)]
    execute: bool,
    /// Approve a step that waits for a person (may be given several times)
    #[arg(long, value_name = "STEP")]
    approve: Vec<String>,
    /// Let the plan run its own programs (steps of kind run_hook)
    #[arg(long)]
    allow_hooks: bool,
    /// Begin a new run even if the latest one is not finished
    #[arg(long)]
    new: bool,
}

pub(super) async fn run(args: &RunArgs, format: Format, quiet: bool) -> Result<Exit> {
    let plan = plan::load(&args.plan.plan)?;
    let databases = args.databases.resolve(&plan)?;
    let interrupt = Interrupt::default();
    let (screen, notices) = Screen::start(quiet);
    if !args.execute {
        let exit = preview(args, &plan, databases, notices, format).await;
        screen.finish().await;
        return exit;
    }
    engine::listen(&interrupt)?;
    let options = Options {
        state_dir: args.plan.state.clone(),
        choice: if args.new { RunChoice::New } else { RunChoice::Latest },
        approve: args.approve.iter().cloned().collect::<BTreeSet<_>>(),
        allow_hooks: args.allow_hooks,
        databases,
        interrupt,
        notices,
    };
    let mut driver = engine::prepare(plan, options).await?;
    not_taken_back(&driver)?;
    let outcome = engine::drive(&mut driver).await?;
    conclude(driver, screen, outcome, format).await
}

/// A run that goes back, or went back, does not go forward again: its end is not what `run` is asked for.
fn not_taken_back(driver: &Driver) -> Result<(), Stop> {
    let (run, state) = (driver.run(), driver.journal().state());
    match (state.direction, state.finished) {
        (Direction::Forward, _) => Ok(()),
        (Direction::Back, true) => Err(Stop::Usage(format!("run {run} was rolled back; nothing was done: --new begins another"))),
        (Direction::Back, false) => Err(Stop::Usage(format!(
            "run {run} is being rolled back; `crossfade rollback {} --execute` goes on with that, --new begins another run",
            driver.plan().path().display()
        ))),
    }
}

/// Prints what a run did and gives its exit code; shared with `rollback`.
pub(super) async fn conclude(driver: Driver, screen: Screen, outcome: Outcome, format: Format) -> Result<Exit> {
    let (run, plan) = (driver.run().clone(), driver.plan().name().to_owned());
    let summary = summarize(driver.journal().lines()).map_err(|why| anyhow::anyhow!(why))?;
    let path = driver.journal().path().to_owned();
    drop(driver);
    screen.finish().await;
    let exit = match &outcome {
        Outcome::Left { exit, .. } => *exit,
        _ => Exit::Done,
    };
    match format {
        Format::Json => {
            let (reason, findings) = match &outcome {
                Outcome::Left { reason, findings, .. } => (Some(reason.clone()), findings.clone()),
                _ => (None, Vec::new()),
            };
            print_json(&serde_json::json!({
                "run": run, "journal": path, "exit": exit as u8, "reason": reason, "findings": findings, "summary": summary,
            }))?;
        }
        Format::Text => match &outcome {
            Outcome::Left { reason, findings, .. } => {
                eprintln!("run {run} of {plan} stopped: {reason}");
                for finding in findings {
                    eprintln!("{finding}");
                }
                eprintln!("journal: {}", path.display());
            }
            Outcome::AlreadyOver => {
                text::print(&format!("run {run} of {plan} was already over; nothing was done (--new begins another)\n"))?;
                text::print(&super::report::render(&summary))?;
            }
            Outcome::Done | Outcome::RolledBack => text::print(&super::report::render(&summary))?,
        },
    }
    Ok(exit)
}

async fn preview(
    args: &RunArgs,
    plan: &plan::Plan,
    databases: std::collections::BTreeMap<Side, crate::pg::Database>,
    notices: crate::step::Outbound,
    format: Format,
) -> Result<Exit> {
    let mut identities = std::collections::BTreeMap::new();
    for (side, database) in &databases {
        let session = database.connect("crossfade/preview").await?;
        let identity = crate::pg::identify(&session).await?;
        crate::pg::check_server(&session, &identity).await.map_err(|e| Stop::Usage(e.to_string()))?;
        identities.insert(*side, identity);
    }
    engine::distinct(&identities).map_err(Stop::Usage)?;
    let latest = engine::latest_run(&args.plan.state, plan.name())?;
    let state = match &latest {
        Some(run) => {
            State::of(&Journal::read(&args.plan.state.join(plan.name()).join(run.as_str()))?).map_err(|e| anyhow::anyhow!(e))?
        }
        None => State::default(),
    };
    let run = latest.unwrap_or_else(|| RunId::existing("preview"));
    let by_side = [databases.get(&Side::Blue).cloned(), databases.get(&Side::Green).cloned()];
    let cx = |step: &crate::terms::StepId| {
        let mut cx = Cx::new(run.clone(), step.clone(), plan.limits().clone(), by_side.clone(), notices.clone());
        cx.allow_hooks = args.allow_hooks;
        cx
    };
    let previews = engine::preview(plan, &state, cx).await?;
    if format == Format::Json {
        print_json(&serde_json::json!({"plan": plan.name(), "executed": false, "steps": previews}))?;
        return Ok(Exit::Done);
    }
    let mut out = format!("Plan {}: {}\nNothing is changed without --execute. It would do:\n\n", plan.name(), plan.description());
    for (number, step) in previews.iter().enumerate() {
        let state = match &step.extent {
            Some(Extent::Complete) => " [already complete]".to_owned(),
            Some(Extent::Partial(what)) => format!(" [partly there: {what}]"),
            _ => String::new(),
        };
        out += &format!("{}. {} ({}, {}): {}{state}\n", number + 1, step.step, step.phase, step.kind, step.summary.effect);
        out += &format!("   lock: {}\n", step.summary.lock);
        match &step.reversal {
            Reversal::Reversible => {}
            Reversal::NothingToUndo(_) => {}
            Reversal::Irreversible(why) => out += &format!("   cannot be undone: {why}\n"),
        }
        if let Some(why) = &step.unknown {
            out += &format!("   not known yet: {why}\n");
        }
        if !step.forecast.is_empty() {
            let mut table = Table::new();
            table.load_style(presets::NOTHING).set_header(["   object", "what", "rows (est.)", "lock"]);
            for line in &step.forecast {
                let rows = line.rows.map_or(String::new(), |rows| rows.to_string());
                table.add_row([format!("   {}", line.object), line.what.clone(), rows, line.lock.clone()]);
            }
            out += &format!("{table}\n");
        }
    }
    out += "\nnext: the same command with --execute\n";
    text::print(&out)?;
    Ok(Exit::Done)
}
