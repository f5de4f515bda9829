//! Drives a run: the thin loop around [`super::next`].

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::Result;
use tokio_postgres::Row;

use super::{Driver, Next, Stop, next};
use crate::journal::{Direction, Event, Record, StepStatus};
use crate::pg::{Counters, end_orphans, explain};
use crate::report::Sampler;
use crate::step::{Cx, Notice, guarded};
use crate::terms::{Before, Exit, Extent, Finding, Severity, Side};

/// How long a server may take to answer when the command is to end now.
const ANSWER: Duration = Duration::from_secs(5);

/// How a run ended.
#[derive(Debug)]
pub enum Outcome {
    /// Every step is done.
    Done,
    /// Everything is undone.
    RolledBack,
    /// The run had already ended; nothing was done.
    AlreadyOver,
    /// It came as far as it was asked to ([`Driver::stop_after`]); more steps follow.
    FarEnough,
    /// It left before its end.
    Left {
        /// The exit code.
        exit: Exit,
        /// Why, for people.
        reason: String,
        /// What checks found.
        findings: Vec<Finding>,
    },
}

/// Drives the run to its end, or to the first reason to leave. Every reason is in the journal.
///
/// # Errors
/// Only when the journal itself cannot be written.
pub async fn drive(driver: &mut Driver) -> Result<Outcome> {
    loop {
        if driver.interrupt.soft.is_cancelled() {
            return leave(driver, Exit::Interrupted, "interrupted; the same command resumes".to_owned(), Vec::new());
        }
        let result = match next(&driver.plan, driver.journal.state()) {
            Next::Over => return Ok(Outcome::AlreadyOver),
            Next::Finish => {
                write(driver, Event::RunDone)?;
                return Ok(Outcome::Done);
            }
            Next::FinishBack => {
                write(driver, Event::RolledBack)?;
                return Ok(Outcome::RolledBack);
            }
            Next::Undo(index) | Next::CannotUndo(index, _) if is_given_up(driver, index) => write_off(driver, index),
            Next::CannotUndo(index, why) => match never_happened(driver, index).await {
                Ok(false) => {
                    let step = &driver.plan.steps()[index].id;
                    let reason =
                        format!("step {step} cannot be undone: {why}; steps after it are undone, it and those before it stay");
                    return leave(driver, Exit::UndoFailed, reason, Vec::new());
                }
                other => other.map(drop),
            },
            Next::Apply(index) if driver.last.is_some_and(|last| index > last) => return Ok(Outcome::FarEnough),
            Next::Apply(index) => match unless(&driver.interrupt.hard.clone(), keep_locks(driver)).await {
                Ok(()) => apply(driver, index).await,
                lost => lost,
            },
            Next::Undo(index) => match unless(&driver.interrupt.hard.clone(), keep_locks(driver)).await {
                Ok(()) => undo(driver, index).await,
                lost => lost,
            },
        };
        if let Err(error) = result {
            let hard = driver.interrupt.hard.is_cancelled();
            if hard {
                // A server that does not answer ends the queries when it finds the connections gone.
                soon(&driver.interrupt.hard, cancel_queries(driver)).await;
            }
            let stop = error.downcast_ref::<Stop>();
            let exit = match stop {
                _ if hard => Exit::Interrupted,
                Some(stop) => stop.exit(),
                None => Exit::Stopped,
            };
            let findings = stop.map_or(Vec::new(), |stop| stop.findings().to_vec());
            return leave(driver, exit, explain(&error), findings);
        }
    }
}

/// Turns a run round: from now on [`drive`] undoes it.
///
/// # Errors
/// When the journal cannot be written.
pub fn turn_back(driver: &mut Driver) -> Result<()> {
    if driver.journal.state().direction == Direction::Forward {
        write(driver, Event::RollbackStarted)?;
    }
    Ok(())
}

async fn apply(driver: &mut Driver, index: usize) -> Result<()> {
    let id = driver.plan.steps()[index].id.clone();
    let known = driver.journal.state().step(&id);
    let attempt = known.attempts + 1;
    let cx = driver.cx(&id, attempt);
    let began = Instant::now();
    let hard = driver.interrupt.hard.clone();
    let counters_before = unless(&hard, counters(&cx, driver)).await?;
    let watch = unless(&hard, Sampler::start(&cx, counters_before.keys().copied())).await?;
    let outcome = attempt_step(driver, index, &cx, known.status, known.before).await;
    let longest_wait = watch.finish().await;
    soon(&hard, keep_set_aside(driver, index, &cx)).await;
    cx.keep_statements();
    let accounts = cx.accounts();
    if !accounts.is_empty() {
        write(driver, Event::Accounted { step: id.clone(), accounts })?;
    }
    match outcome {
        Ok(Some(findings)) => {
            let counters_after = unless(&hard, counters(&cx, driver)).await?;
            let counters = counters_after.iter().map(|(side, now)| (*side, now.since(&counters_before[side]))).collect();
            let seconds = began.elapsed().as_secs_f64();
            let (longest_lock_wait_ms, figures) = (longest_wait.as_secs_f64() * 1e3, cx.figures());
            write(driver, Event::StepDone { step: id, seconds, counters, longest_lock_wait_ms, findings, figures })
        }
        Ok(None) => Ok(()),
        Err(error) => {
            let findings = error.downcast_ref::<Stop>().map_or(Vec::new(), |stop| stop.findings().to_vec());
            write(driver, Event::StepFailed { step: id, reason: explain(&error), findings, figures: cx.figures() })?;
            Err(error)
        }
    }
}

/// One attempt. `Some(findings)` when the step was applied, `None` when it was adopted.
async fn attempt_step(
    driver: &mut Driver,
    index: usize,
    cx: &Cx,
    status: StepStatus,
    known: Before,
) -> Result<Option<Vec<Finding>>> {
    let hard = driver.interrupt.hard.clone();
    let step = &driver.plan.steps()[index].step;
    let reads_only = step.reads_only();
    let found = unless(&hard, step.observe(cx)).await?;
    if status == StepStatus::Pending && found == Extent::Complete && !reads_only {
        write(driver, Event::StepAdopted { step: cx.step.clone() })?;
        return Ok(None);
    }
    if guarded(driver.plan.steps()[index].phase) {
        for guard in cx.guards.iter() {
            refuse_blocking(unless(&hard, async { Ok(guard.findings(cx, Severity::Blocks).await) }).await?)?;
        }
    }
    refuse_blocking(unless(&hard, step.preconditions(cx)).await?)?;
    let before = match status {
        StepStatus::Pending => unless(&hard, step.before(cx)).await?,
        _ => known,
    };
    let started = Event::StepStarted { step: cx.step.clone(), attempt: cx.attempt, found: found.clone(), before: before.clone() };
    write(driver, started)?;
    let step = &driver.plan.steps()[index].step;
    if reads_only || found != Extent::Complete {
        unless(&hard, step.apply(cx, &found, &before)).await?;
        cx.crash_point("applied");
    }
    if !reads_only {
        let after = unless(&hard, step.observe(cx)).await?;
        if after != Extent::Complete {
            anyhow::bail!("the step ended without an error, but its effect is {after}");
        }
    }
    let findings = unless(&hard, step.verify(cx)).await?;
    refuse_blocking(findings.clone())?;
    Ok(Some(findings))
}

async fn undo(driver: &mut Driver, index: usize) -> Result<()> {
    let id = driver.plan.steps()[index].id.clone();
    let known = driver.journal.state().step(&id);
    write(driver, Event::UndoStarted { step: id.clone() })?;
    let cx = driver.cx(&id, known.attempts + 1);
    let hard = driver.interrupt.hard.clone();
    // A side that is away is for the undo to tell: it may not need it.
    let sides: Vec<Side> = driver.plan.sides().collect();
    let watch = unless(&hard, Sampler::start(&cx, sides)).await.ok();
    let undone = unless(&hard, driver.plan.steps()[index].step.undo(&cx, &known.before)).await;
    if let Some(watch) = watch {
        watch.finish().await;
    }
    cx.keep_statements();
    match undone {
        Ok(()) => {
            cx.crash_point("undone");
            write(driver, Event::UndoDone { step: id })
        }
        Err(error) if hard.is_cancelled() || error.is::<Stop>() => Err(error),
        Err(error) => {
            let reason = explain(&error);
            write(driver, Event::UndoFailed { step: id.clone(), reason: reason.clone() })?;
            Err(Stop::UndoFailed { step: id, reason }.into())
        }
    }
}

/// Puts into the record how many rows the step has set aside so far, by table and reason. What cannot be asked is left out: the
/// tables themselves are the truth (`crossfade quarantine list`).
async fn keep_set_aside(driver: &Driver, index: usize, cx: &Cx) {
    for side in driver.plan.steps()[index].step.notes() {
        match set_aside(cx, side).await {
            Ok(groups) => groups.into_iter().for_each(|group| cx.record(group)),
            Err(error) => tracing::debug!(error = explain(&error), "cannot count the rows that were set aside"),
        }
    }
}

async fn set_aside(cx: &Cx, side: Side) -> Result<Vec<Record>> {
    let session = cx.connect(side).await?;
    let sql = "SELECT table_name, reason, count(*) FROM crossfade.quarantine WHERE run = $1 AND step = $2 \
               GROUP BY table_name, reason ORDER BY table_name, reason LIMIT 200";
    let rows = session.query(sql, &[&cx.run.as_str(), &cx.step.as_str()]).await?;
    let group =
        |row: &Row| Record::SetAside { side, table: row.get(0), reason: row.get(1), rows: row.get::<_, i64>(2).unsigned_abs() };
    Ok(rows.iter().map(group).collect())
}

/// Another driver may have come while the session of a lock was gone: each step begins only under every lock.
async fn keep_locks(driver: &mut Driver) -> Result<()> {
    let application = format!("crossfade/{}/lock", driver.run);
    for lock in &mut driver.locks {
        lock.keep(&application).await?;
    }
    Ok(())
}

/// Whether a step did nothing but to a green that is not there any more.
fn is_given_up(driver: &Driver, index: usize) -> bool {
    driver.green_anew && driver.plan.steps()[index].step.sides() == [Side::Green]
}

/// Undone without an undo.
fn write_off(driver: &mut Driver, index: usize) -> Result<()> {
    let step = driver.plan.steps()[index].id.clone();
    write(driver, Event::UndoStarted { step: step.clone() })?;
    write(driver, Event::UndoDone { step })
}

/// A step that was begun and has no effect needs no undo, whatever its kind; says whether this one is now undone.
async fn never_happened(driver: &mut Driver, index: usize) -> Result<bool> {
    let step = &driver.plan.steps()[index];
    let (id, known) = (step.id.clone(), driver.journal.state().step(&step.id));
    if known.status != StepStatus::Started {
        return Ok(false);
    }
    let cx = driver.cx(&id, known.attempts + 1);
    let hard = driver.interrupt.hard.clone();
    if unless(&hard, step.step.observe(&cx)).await? != Extent::Absent {
        return Ok(false);
    }
    write(driver, Event::UndoStarted { step: id.clone() })?;
    write(driver, Event::UndoDone { step: id })?;
    Ok(true)
}

/// Runs `work` unless the second signal comes first.
pub(super) async fn unless<T>(hard: &tokio_util::sync::CancellationToken, work: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::select! {
        result = work => result,
        () = hard.cancelled() => Err(Stop::Interrupted.into()),
    }
}

/// Runs `work`, for a few seconds at most from the second signal on.
async fn soon(hard: &tokio_util::sync::CancellationToken, work: impl Future<Output = ()>) {
    let too_late = async {
        hard.cancelled().await;
        tokio::time::sleep(ANSWER).await;
    };
    tokio::select! {
        () = work => {}
        () = too_late => {}
    }
}

/// Ends what our own sessions still run. Dropping a connection alone would let a long statement go on.
async fn cancel_queries(driver: &Driver) {
    for database in driver.databases.iter().flatten() {
        let ended = match database.connect(&format!("crossfade/{}/cancel", driver.run)).await {
            Ok(session) => end_orphans(&session, &driver.run).await,
            Err(error) => Err(error),
        };
        if let Err(error) = ended {
            tracing::warn!(database = database.name(), error = explain(&error), "could not cancel running queries");
        }
    }
}

fn refuse_blocking(findings: Vec<Finding>) -> Result<()> {
    let blocking: Vec<Finding> = findings.into_iter().filter(|finding| finding.severity == Severity::Blocks).collect();
    if blocking.is_empty() { Ok(()) } else { Err(Stop::Findings(blocking).into()) }
}

async fn counters(cx: &Cx, driver: &Driver) -> Result<BTreeMap<Side, Counters>> {
    let mut read = BTreeMap::new();
    for side in driver.plan.sides() {
        read.insert(side, Counters::read(&cx.connect(side).await?).await?);
    }
    Ok(read)
}

pub(super) fn write(driver: &mut Driver, event: Event) -> Result<()> {
    let line = driver.journal.append(event)?.clone();
    let _ = driver.notices.send(Notice::Event(line));
    Ok(())
}

fn leave(driver: &mut Driver, exit: Exit, reason: String, findings: Vec<Finding>) -> Result<Outcome> {
    write(driver, Event::Stopped { exit })?;
    Ok(Outcome::Left { exit, reason, findings })
}
