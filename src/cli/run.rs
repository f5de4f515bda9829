//! `crossfade run PLAN`.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::Result;
use clap::Args;

use super::databases::DatabaseArgs;
use super::notifications::{Listeners, NotifyArgs};
use super::preview::{Asked, preview};
use super::show::ShowArgs;
use super::{Format, PlanArgs, print_json, text};
use crate::engine::{self, Driver, Options, Outcome, RunChoice, Stop};
use crate::explain;
use crate::journal::Direction;
use crate::plan;
use crate::report::{Screen, outline, summarize};
use crate::step::Interrupt;
use crate::terms::Exit;

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
    #[command(flatten)]
    show: ShowArgs,
    #[command(flatten)]
    notify: NotifyArgs,
}

impl RunArgs {
    /// For a command that made its plan itself.
    pub(super) fn of(plan: PlanArgs, databases: DatabaseArgs, execute: bool, new: bool) -> Self {
        Self {
            plan,
            databases,
            execute,
            approve: Vec::new(),
            allow_hooks: false,
            new,
            show: ShowArgs::default(),
            notify: NotifyArgs::default(),
        }
    }
}

pub(super) async fn run(args: &RunArgs, format: Format, quiet: bool) -> Result<Exit> {
    let plan = plan::load(&args.plan.plan)?;
    let databases = args.databases.resolve(&plan)?;
    let interrupt = Interrupt::default();
    if !args.execute {
        let (screen, notices) = Screen::start(quiet);
        let asked = Asked {
            plan_file: &args.plan.plan,
            state_dir: &args.plan.state,
            databases,
            allow_hooks: args.allow_hooks,
            only: None,
        };
        let exit = preview(&plan, asked, notices, format).await;
        screen.finish().await;
        return exit;
    }
    let (screen, notices) = Screen::with(args.show.open(quiet, &plan, None, &interrupt).await?);
    let (listeners, notices) = Listeners::start(&plan, &args.notify, args.allow_hooks, screen, notices)?;
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
    begin(&driver, &listeners, quiet);
    let outcome = engine::drive(&mut driver).await?;
    conclude(driver, listeners, outcome, &args.plan.plan, format).await
}

/// Tells everybody who listens that the run is there; shared with `rollback`.
pub(super) fn begin(driver: &Driver, listeners: &Listeners, quiet: bool) {
    listeners.begun(driver);
    announce(driver, quiet);
}

/// Says which run it is and where its journal is.
pub(super) fn announce(driver: &Driver, quiet: bool) {
    if !quiet {
        eprintln!("run {} of {}; its journal: {}", driver.run(), driver.plan().name(), driver.journal().path().display());
    }
}

/// A run that goes back, or went back, does not go forward again: its end is not what `run` is asked for.
pub(super) fn not_taken_back(driver: &Driver) -> Result<(), Stop> {
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
pub(super) async fn conclude(
    driver: Driver,
    listeners: Listeners,
    outcome: Outcome,
    plan_file: &Path,
    format: Format,
) -> Result<Exit> {
    let direction = driver.journal().state().direction;
    let (run, plan) = (driver.run().clone(), driver.plan().name().to_owned());
    let summary = summarize(driver.journal().lines()).map_err(|why| anyhow::anyhow!(why))?;
    let path = driver.journal().path().to_owned();
    let goes_on = super::finish::goes_on(driver.plan(), plan_file, &run, driver.journal().state());
    drop(driver);
    listeners.finish().await;
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
        _ => match &outcome {
            Outcome::Left { reason, findings, .. } => {
                eprintln!("run {run} of {plan} stopped: {reason}");
                for finding in findings {
                    eprintln!("{finding}");
                }
                if let Some(advice) = explain::advice(reason) {
                    eprintln!("{advice}");
                }
                eprintln!("next: {}", next(exit, direction, plan_file));
            }
            Outcome::AlreadyOver => {
                text::print(&format!("run {run} of {plan} was already over; nothing was done (--new begins another)\n"))?;
                text::print(&outline(&summary))?;
                eprint!("{goes_on}");
            }
            Outcome::FarEnough => {
                text::print(&outline(&summary))?;
                eprintln!("next: crossfade run {} --execute, for the steps that follow", plan_file.display());
            }
            Outcome::Done | Outcome::RolledBack => {
                text::print(&outline(&summary))?;
                eprint!("{goes_on}");
                let file = plan_file.display();
                match direction {
                    Direction::Forward if goes_on.is_empty() => {
                        eprintln!("next: crossfade report {file}; to take it back: crossfade rollback {file}");
                    }
                    Direction::Forward => {}
                    Direction::Back => eprintln!("next: crossfade run {file} --execute --new begins another run"),
                }
            }
        },
    }
    Ok(exit)
}

/// What comes after a run that left before its end.
fn next(exit: Exit, direction: Direction, plan_file: &Path) -> String {
    let plan = plan_file.display();
    let command = match direction {
        Direction::Forward => format!("crossfade run {plan} --execute"),
        Direction::Back => format!("crossfade rollback {plan} --execute"),
    };
    let undo = match direction {
        Direction::Forward => format!("; to take back what was done: crossfade rollback {plan}"),
        Direction::Back => String::new(),
    };
    match exit {
        Exit::Waiting => format!("{command} --approve STEP, when a person agrees{undo}"),
        Exit::Findings => format!("do what the findings say, then: {command}{undo}"),
        Exit::Divergence => format!("look at the keys that differ, mend their cause, then: {command}{undo}"),
        Exit::UndoFailed => format!("a person has to look: crossfade status {plan}; when the cause is gone: {command}"),
        _ => format!("{command}{undo}"),
    }
}
