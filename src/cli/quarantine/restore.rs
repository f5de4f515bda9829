//! `crossfade quarantine restore PLAN`.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{Chosen, counted};
use crate::cli::{Format, print_json, text};
use crate::engine::{self, Stop};
use crate::journal::{Event, Journal, State, StepStatus};
use crate::pg::{Database, DriverLock, explain, identify, sqlstate};
use crate::plan::{self, Plan};
use crate::step::{Cx, SetAside, Waiting};
use crate::terms::{Exit, RunId, Side, StepId};

/// What went back, or could, of one step and table.
#[derive(Debug, Serialize)]
struct Restored {
    side: Side,
    step: StepId,
    table: String,
    restored: u64,
    /// Why the server refused a batch, without values: a constraint that was added since.
    refused: Option<String>,
    #[serde(flatten)]
    left: Waiting,
}

pub(super) async fn restore(chosen: &Chosen, execute: bool, format: Format) -> anyhow::Result<Exit> {
    let plan = plan::load(&chosen.plan.plan)?;
    let databases = chosen.databases.resolve(&plan)?;
    let (run, state) = known(chosen, &plan)?;
    let work = due(chosen, &plan, &run, &state)?;
    let _locks = ours(&run, &state, &databases, execute).await?;
    let mut journal = match execute {
        true => Some(Journal::open(&chosen.plan.state.join(plan.name()).join(run.as_str()))?),
        false => None,
    };
    let mut told = Vec::new();
    for (step, set_aside) in &work {
        let cx = cx(&run, step, &plan, &databases);
        let mut left = set_aside.waiting(&cx).await?;
        let due = left.rows;
        let mut refused = None;
        if execute && due > 0 {
            let (side, table) = (set_aside.side(), set_aside.table().plain());
            if let Some(journal) = &mut journal {
                journal.append(Event::Restoring { step: step.clone(), side, table, waiting: due })?;
            }
            match set_aside.put_back(&cx).await {
                Ok(_) => {}
                Err(error) if breaks_a_constraint(&error) => refused = Some(explain(&error)),
                Err(error) => return Err(error),
            }
            left = set_aside.waiting(&cx).await?;
            let (table, rows) = (set_aside.table().plain(), due.saturating_sub(left.rows));
            if let Some(journal) = &mut journal {
                journal.append(Event::Restored { step: step.clone(), side, table, rows, left: left.rows })?;
            }
        }
        let (table, restored) = (set_aside.table().plain(), due.saturating_sub(left.rows));
        told.push(Restored { side: set_aside.side(), step: step.clone(), table, restored, refused, left });
    }
    if format == Format::Json {
        print_json(&serde_json::json!({ "run": run, "executed": execute, "tables": told }))?;
    } else {
        text::print(&tell(&run, execute, &told))?;
    }
    let stays = told.iter().any(|told| if execute { told.left.rows > 0 } else { told.left.barred > 0 });
    Ok(if stays { Exit::Findings } else { Exit::Done })
}

/// Class 23: integrity constraint violation.
fn breaks_a_constraint(error: &anyhow::Error) -> bool {
    error.chain().filter_map(|cause| cause.downcast_ref::<tokio_postgres::Error>()).any(|error| sqlstate(error).starts_with("23"))
}

fn tell(run: &RunId, execute: bool, told: &[Restored]) -> String {
    let mut out = match execute {
        true => format!("run {run}\n"),
        false => format!("run {run}: nothing is changed without --execute\n"),
    };
    for Restored { side, step, table, restored, refused, left } in told {
        out += &format!("  {step}, {table} on {side}: ");
        out += &match execute {
            true => format!("{} restored, {} left\n", counted(*restored), left.rows),
            false => format!("{} would be restored\n", counted(left.rows - left.barred)),
        };
        if left.barred > 0 {
            let digests = left.barred_digests.join(", ");
            let more = if left.barred > left.barred_digests.len() as u64 { ", ..." } else { "" };
            out += &format!(
                "    {} cannot go back: the key is taken, or the row was changed or removed since (key digests {digests}{more})\n    \
                 next: `crossfade quarantine show --rows` prints them; decide by hand which version is right\n",
                counted(left.barred)
            );
        }
        if let Some(why) = refused {
            out += &format!(
                "    the server refuses a batch of them: {why}\n    \
                 next: drop that constraint, or undo the step that added it (`crossfade rollback`); then restore again\n"
            );
        } else if execute && left.rows > left.barred {
            out += &format!(
                "    {} did not go back: another unique key of {table} refuses them\n    \
                 next: `crossfade quarantine show --rows` prints them; free the value first\n",
                counted(left.rows - left.barred)
            );
        }
    }
    if told.is_empty() {
        out += "  no step of this run has set rows aside there\n";
    }
    out
}

/// The journal of the run: it knows how the tables were when their rows were set aside.
fn known(chosen: &Chosen, plan: &Plan) -> anyhow::Result<(RunId, State)> {
    let runs = engine::list_runs(&chosen.plan.state, plan.name())?;
    let run = match &chosen.run {
        Some(wanted) => runs.into_iter().find(|run| run.as_str() == wanted),
        None => runs.into_iter().next_back(),
    };
    let Some(run) = run else {
        let what = chosen.run.as_ref().map_or("no run".to_owned(), |run| format!("no run {run}"));
        let state = chosen.plan.state.display();
        let why = format!("plan {} has {what} in {state}; give the directory of its journals with --state", plan.name());
        return Err(Stop::Usage(why).into());
    };
    let lines = Journal::read(&chosen.plan.state.join(plan.name()).join(run.as_str()))?;
    let state = State::of(&lines).map_err(|why| anyhow::anyhow!(why))?;
    Ok((run, state))
}

/// What the chosen steps set aside, last step first as an undo goes.
fn due(chosen: &Chosen, plan: &Plan, run: &RunId, state: &State) -> anyhow::Result<Vec<(StepId, SetAside)>> {
    let usage = |why: String| anyhow::Error::from(Stop::Usage(why));
    if let Some(wanted) = &chosen.step
        && !plan.steps().iter().any(|step| step.id.as_str() == wanted)
    {
        return Err(usage(format!("--step {wanted}: the plan has no such step")));
    }
    let mut work = Vec::new();
    for step in plan.steps().iter().rev() {
        let known = state.step(&step.id);
        let wanted = chosen.step.as_ref().is_none_or(|wanted| step.id.as_str() == wanted);
        if !wanted || known.attempts == 0 || known.status == StepStatus::Adopted {
            continue;
        }
        let as_begun = state.steps_as_begun.iter().find(|(id, _)| *id == step.id).map(|(_, print)| print);
        let set_aside = step.step.set_aside(&known.before).map_err(|error| error.context(format!("step {}", step.id)))?;
        if !set_aside.is_empty() && as_begun != Some(&step.fingerprint) {
            let id = &step.id;
            return Err(usage(format!(
                "step {id} has changed since run {run} began: restore the plan as it was to put its rows back"
            )));
        }
        let chosen_tables = set_aside.into_iter().filter(|set_aside| chosen.has_table(&set_aside.table().plain()));
        work.extend(chosen_tables.map(|set_aside| (step.id.clone(), set_aside)));
    }
    Ok(work)
}

/// Makes sure that these are the run's databases; to write, also that nobody drives them.
async fn ours(
    run: &RunId,
    state: &State,
    databases: &BTreeMap<Side, Database>,
    execute: bool,
) -> anyhow::Result<Vec<DriverLock>> {
    let mut locks = Vec::new();
    for (side, database) in databases {
        let session = database.connect(&format!("crossfade/{run}/quarantine")).await?;
        let identity = identify(&session).await?;
        if state.databases.get(side).is_some_and(|then| !then.same_database(&identity)) {
            return Err(Stop::Usage(format!("run {run} belongs to another {side} database than {}", identity.name)).into());
        }
        if execute {
            locks.push(DriverLock::take(session).await.map_err(|why| Stop::Usage(why.to_string()))?);
        }
    }
    Ok(locks)
}

fn cx(run: &RunId, step: &StepId, plan: &Plan, databases: &BTreeMap<Side, Database>) -> Cx {
    let (notices, _) = tokio::sync::mpsc::unbounded_channel();
    let databases = [databases.get(&Side::Blue).cloned(), databases.get(&Side::Green).cloned()];
    Cx::new(run.clone(), step.clone(), plan.limits().clone(), databases, notices)
}
