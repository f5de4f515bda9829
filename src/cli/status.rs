//! `crossfade status PLAN`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use jiff::Timestamp;

use super::databases::DatabaseArgs;
use super::show::outline;
use super::slots::{self, Slot, owners};
use super::watching::{Watching, watch};
use super::{Format, PlanArgs, print_json, text};
use crate::copy::Standing;
use crate::engine;
use crate::journal::{Direction, Journal, State};
use crate::plan::{self, Plan};
use crate::report::{Picture, Scene};
use crate::step::{Alarm, Behind, Telling, distance, own_slots};
use crate::terms::{Exit, RunId, Side};

#[derive(Debug, Args)]
pub(super) struct StatusArgs {
    #[command(flatten)]
    plan: PlanArgs,
    #[command(flatten)]
    databases: DatabaseArgs,
    /// Go on showing what is going on, until the run is over or Ctrl-C (which ends the showing alone)
    #[arg(long)]
    follow: bool,
    /// With --follow: on the whole terminal
    #[arg(long, requires = "follow")]
    tui: bool,
    /// With --follow: how often
    #[arg(long, value_name = "SPAN", default_value = "1s", value_parser = humantime::parse_duration)]
    every: Duration,
}

/// So long the databases may take to say how far green is behind: the rest is known without them.
const PATIENCE: Duration = Duration::from_secs(10);

pub(super) async fn status(args: &StatusArgs, format: Format) -> anyhow::Result<Exit> {
    let plan = plan::load(&args.plan.plan)?;
    let runs = engine::list_runs(&args.plan.state, plan.name())?;
    let Some(run) = runs.last() else {
        let slots = slots_left(args, &plan, &runs).await;
        match format {
            Format::Json => {
                let picture = Scene::new(outline(&plan, None)).picture(Timestamp::now());
                print_json(&serde_json::json!({
                    "run": null, "plan": plan.name(), "slots": slots_document(&slots), "picture": picture,
                }))?;
            }
            _ => text::print(&format!(
                "plan {} has no run in {}\n{}next: crossfade run {}\n",
                plan.name(),
                args.plan.state.display(),
                slots_lines(&slots, u64::MAX),
                args.plan.plan.display()
            ))?,
        }
        return Ok(Exit::Done);
    };
    let directory = args.plan.state.join(plan.name()).join(run.as_str());
    if args.follow {
        let watching = Watching::new(&plan, run.clone(), directory, args.databases.resolve(&plan)?);
        return watch(watching, format, args.tui, args.every).await;
    }
    let lines = Journal::read(&directory)?;
    let state = State::of(&lines).map_err(|why| anyhow::anyhow!(why))?;
    let mut following = following(args, &plan, run).await;
    let gone = |waiting: &Behind| waiting.slot.as_ref().is_some_and(|slot| slot.state.is_none());
    if engine::switched(&plan, &state) && following.as_ref().is_ok_and(|waiting| waiting.as_ref().is_some_and(gone)) {
        following = Ok(None); // the switch took the slot away: green serves
    }
    let slots = slots_left(args, &plan, &runs).await;
    let copies = if state.finished { Ok(Vec::new()) } else { copies(args, &plan, run).await };
    if format == Format::Json {
        let steps: Vec<_> = plan
            .steps()
            .iter()
            .map(|step| {
                let known = state.step(&step.id);
                serde_json::json!({"step": step.id, "phase": step.phase, "kind": step.kind, "status": known.status, "attempts": known.attempts, "failure": known.failure})
            })
            .collect();
        let picture = picture(args, &plan, run, directory).await?;
        print_json(&serde_json::json!({
            "run": run, "plan": plan.name(), "direction": state.direction, "finished": state.finished,
            "plan_changes": engine::plan_changes(&state, &plan), "steps": steps, "follow": document(&following),
            "copies": copies_document(&copies), "slots": slots_document(&slots), "goes_on": engine::kept(&plan, &state, run).into_iter().map(|(_, what)| what).collect::<Vec<_>>(),
            "picture": picture,
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
    out += &copies_lines(&copies);
    out += &line(&following);
    let limit = following.as_ref().ok().and_then(Option::as_ref).map_or(u64::MAX, |waiting| waiting.limit);
    out += &slots_lines(&slots, limit);
    out += &super::finish::goes_on(&plan, &args.plan.plan, run, &state);
    for change in engine::plan_changes(&state, &plan) {
        out += &format!("the plan has changed since: {change}\n");
    }
    out += &match (state.finished, state.direction) {
        (false, Direction::Forward) => {
            let plan = args.plan.plan.display();
            format!("next: crossfade run {plan} --execute; to take back what was done: crossfade rollback {plan}\n")
        }
        (false, Direction::Back) => format!("next: crossfade rollback {} --execute\n", args.plan.plan.display()),
        (true, Direction::Forward) => format!("next: crossfade report {}\n", args.plan.plan.display()),
        (true, Direction::Back) => {
            format!("next: crossfade run {} --execute --new begins another run\n", args.plan.plan.display())
        }
    };
    text::print(&out)?;
    Ok(Exit::Done)
}

/// What `status --follow` would show now. Without databases it is what the journal and the record tell.
async fn picture(args: &StatusArgs, plan: &Plan, run: &RunId, directory: PathBuf) -> anyhow::Result<Picture> {
    let (databases, away) = match args.databases.resolve(plan) {
        Ok(databases) => (databases, None),
        Err(error) => (BTreeMap::new(), Some(format!("the databases cannot be asked: {error}"))),
    };
    let mut picture = Watching::new(plan, run.clone(), directory, databases).look().await?;
    picture.remarks.extend(away);
    Ok(picture)
}

/// The slots of runs on blue, for a plan that captures.
async fn slots_left(args: &StatusArgs, plan: &Plan, runs: &[RunId]) -> anyhow::Result<Vec<Slot>> {
    if !plan.steps().iter().any(|step| step.kind == "start_capture") {
        return Ok(Vec::new());
    }
    let databases = args.databases.resolve(plan)?;
    let Some(blue) = databases.get(&Side::Blue) else { return Ok(Vec::new()) };
    let asked = async { own_slots(&blue.connect("crossfade/status").await?).await };
    let states =
        tokio::time::timeout(PATIENCE, asked).await.with_context(|| format!("no answer within {} s", PATIENCE.as_secs()))??;
    Ok(owners(states, runs))
}

fn slots_document(slots: &anyhow::Result<Vec<Slot>>) -> serde_json::Value {
    match slots {
        Ok(slots) => slots::document(slots),
        Err(error) => serde_json::json!({ "unknown": crate::pg::explain(error) }),
    }
}

fn slots_lines(slots: &anyhow::Result<Vec<Slot>>, limit: u64) -> String {
    match slots {
        Ok(slots) => slots::lines(slots, limit),
        Err(error) => format!("slots: unknown: {}\n", crate::pg::explain(error)),
    }
}

/// The copies that load rows, or can be taken up again.
async fn copies(args: &StatusArgs, plan: &Plan, run: &RunId) -> anyhow::Result<Vec<Standing>> {
    if !plan.steps().iter().any(|step| matches!(step.kind, "copy" | "clone")) {
        return Ok(Vec::new());
    }
    let databases = args.databases.resolve_only(plan, Side::Green)?;
    let Some(green) = databases.get(&Side::Green) else { return Ok(Vec::new()) };
    let asked = async { Standing::read(&green.connect("crossfade/status").await?, run).await };
    tokio::time::timeout(PATIENCE, asked).await.with_context(|| format!("no answer within {} s", PATIENCE.as_secs()))?
}

fn copies_document(copies: &anyhow::Result<Vec<Standing>>) -> serde_json::Value {
    match copies {
        Ok(copies) => serde_json::json!(copies),
        Err(error) => serde_json::json!({ "unknown": crate::pg::explain(error) }),
    }
}

fn copies_lines(copies: &anyhow::Result<Vec<Standing>>) -> String {
    match copies {
        Ok(copies) => copies.iter().map(|copy| copy.line() + "\n").collect(),
        Err(error) => format!("copy: unknown: {}\n", crate::pg::explain(error)),
    }
}

/// How far green is behind; `None` when nothing is captured.
async fn following(args: &StatusArgs, plan: &Plan, run: &RunId) -> anyhow::Result<Option<Behind>> {
    if !plan.steps().iter().any(|step| step.kind == "start_capture") {
        return Ok(None);
    }
    let databases = args.databases.resolve(plan)?;
    let (Some(blue), Some(green)) = (databases.get(&Side::Blue), databases.get(&Side::Green)) else { return Ok(None) };
    let asked = async {
        let (blue, green) = (blue.connect("crossfade/status").await?, green.connect("crossfade/status").await?);
        distance(&blue, &green, run).await
    };
    tokio::time::timeout(PATIENCE, asked).await.with_context(|| format!("no answer within {} s", PATIENCE.as_secs()))?
}

fn document(following: &anyhow::Result<Option<Behind>>) -> serde_json::Value {
    match following {
        Ok(None) => serde_json::Value::Null,
        Ok(Some(waiting)) => serde_json::json!({
            "lag_rows": waiting.rows, "lag_rows_estimated": waiting.bytes.is_none(), "lag_bytes": waiting.bytes,
            "lag_seconds": waiting.age.as_secs_f64(), "outbox_bytes": waiting.outbox, "outbox_alarm_bytes": waiting.limit,
            "outbox_alarm": Alarm::of(waiting.outbox, waiting.limit),
            "slot": waiting.slot.as_ref().map(|slot| serde_json::json!({"name": slot.name, "state": slot.state})),
        }),
        Err(error) => serde_json::json!({ "unknown": crate::pg::explain(error) }),
    }
}

fn line(following: &anyhow::Result<Option<Behind>>) -> String {
    let waiting = match following {
        Ok(None) => return String::new(),
        Ok(Some(waiting)) => waiting,
        Err(error) => return format!("follow: unknown: {}\n", crate::pg::explain(error)),
    };
    let rows = match waiting.bytes {
        Some(bytes) => format!("{} changed rows ({bytes} bytes)", waiting.rows),
        None => format!("about {} changed rows", waiting.rows),
    };
    if let Some(Telling { name, state }) = &waiting.slot {
        let mut out = format!("follow: green is {rows} and {:.1} s behind what slot {name} told", waiting.age.as_secs_f64());
        out += &match state {
            Some(state) => format!("; {} bytes of blue's log are not told yet\n", state.behind),
            None => "\nwarning: the slot is gone: changes since then are not known, and the run cannot follow; next: crossfade rollback\n".to_owned(),
        };
        return out;
    }
    let mut out = format!(
        "follow: green is {rows} and {:.1} s behind blue; the outbox takes {} bytes on disk, outbox_alarm is {}\n",
        waiting.age.as_secs_f64(),
        waiting.outbox,
        waiting.limit
    );
    if let Some(text) = Alarm::of(waiting.outbox, waiting.limit).text(waiting.outbox, waiting.limit) {
        out += &format!("{text}\n");
    }
    out
}
