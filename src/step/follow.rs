//! `follow`: brings blue's changes to green, batch by batch, until green is close behind.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use async_trait::async_trait;
use serde::Deserialize;

use super::projected::{Keys, Projected};
use super::registry::{Fault, Kind, KindResult, Surroundings, keys_of};
use super::rows::throttle::Throttle;
use super::{Cx, Forecast, Reversal, Step, Summary, Touched, Use, from_table};
use crate::capture::{Alarm, Changed, installed};
use crate::copy::Sequence;
use crate::follow::{Figures, Follower, Moment, Passed, Refused, Setup, obstacles, uncaptured};
use crate::limits::{Size, Span};
use crate::pg::{
    ConnectFailure, Session, StreamEnded, control_present, explain, is_connection_loss, mark, marked, sqlstate, unmark,
};
use crate::projection::{Binding, Bound, Target};
use crate::sql::QualifiedName;
use crate::step::Stop;
use crate::terms::{Before, Extent, Finding, Severity, Side};

/// The table entry of this kind.
pub(super) const KIND: Kind =
    Kind { name: "follow", about: "bring blue's changes to green, until green is close behind", parse, keys: keys_of::<Config> };

const CAUGHT_UP: &str = "caught-up";

/// Between batches that found nothing.
const IDLE: Duration = Duration::from_millis(100);
/// Between reports of the lag, and between looks at the sequences.
const REPORT: Duration = Duration::from_secs(10);

#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct Config {
    projections: Option<String>,
    #[serde(default)]
    tables: Vec<QualifiedName>,
    until: Option<UntilFile>,
}

#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct UntilFile {
    lag: Option<Span>,
    #[serde(rename = "for")]
    during: Option<Span>,
}

/// When following ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// The lag stayed within the first for as long as the second.
    Close(Duration, Duration),
    /// Everything that was committed on blue before the beginning is on green.
    CaughtUp,
    /// It is interrupted.
    Interrupted,
}

struct Follow {
    projected: Projected,
    lag: Duration,
    during: Duration,
}

fn parse(table: toml::Table, around: &Surroundings) -> KindResult {
    let Config { projections, tables, until } = from_table(table)?;
    let (projected, files) = Keys::new(projections, tables).read(around)?;
    let until = until.unwrap_or(UntilFile { lag: None, during: None });
    let (lag, during) =
        (until.lag.map_or(Duration::from_secs(1), |span| span.0), until.during.map_or(Duration::from_secs(5), |span| span.0));
    if lag.is_zero() {
        return Err(vec![Fault::key("until", "`lag` must be longer than nothing: green is never at no distance from blue")]);
    }
    Ok((Box::new(Follow { projected, lag, during }), files))
}

#[async_trait]
impl Step for Follow {
    fn describe(&self) -> Summary {
        let span = |span: Duration| humantime::format_duration(span).to_string();
        Summary {
            effect: format!(
                "bring blue's changes to {} tables of green, until it is within {} of blue for {}",
                self.projected.len(),
                span(self.lag),
                span(self.during)
            ),
            lock: "ACCESS SHARE on blue while a batch is read: no reader or writer waits".to_owned(),
        }
    }

    fn sides(&self) -> Vec<Side> {
        vec![Side::Blue, Side::Green]
    }

    fn touches(&self) -> Vec<Touched> {
        self.projected.touches(Use::Writes)
    }

    fn reversal(&self) -> Reversal {
        Reversal::NothingToUndo("the undo of the copy empties green's tables".to_owned())
    }

    async fn forecast(&self, cx: &Cx) -> anyhow::Result<Vec<Forecast>> {
        let blue = cx.connect(Side::Blue).await?;
        let mut lines = self.projected.forecast(&blue, 1, "follows").await?;
        for line in &mut lines {
            line.rows = None; // how much will have changed is not known
            line.what = "follows".to_owned();
        }
        Ok(lines)
    }

    async fn preconditions(&self, cx: &Cx) -> anyhow::Result<Vec<Finding>> {
        follow_conditions(cx, &self.projected).await
    }

    async fn observe(&self, cx: &Cx) -> anyhow::Result<Extent> {
        let green = cx.connect(Side::Green).await?;
        Ok(match control_present(&green).await? && marked(&green, &cx.run, &cx.step, CAUGHT_UP).await? {
            true => Extent::Complete,
            false => Extent::Absent,
        })
    }

    async fn before(&self, _: &Cx) -> anyhow::Result<Before> {
        Ok(Before::default())
    }

    async fn apply(&self, cx: &Cx, _: &Extent, _: &Before) -> anyhow::Result<()> {
        let figures = follow(cx, &[&self.projected], Side::Green, Until::Close(self.lag, self.during)).await?;
        for (name, value) in figures_of(&figures) {
            cx.figure(name, value);
        }
        let green = cx.connect(Side::Green).await?;
        Ok(green.batch_execute(&mark(&cx.run, &cx.step, CAUGHT_UP)).await?)
    }

    async fn undo(&self, cx: &Cx, _: &Before) -> anyhow::Result<()> {
        let green = cx.connect(Side::Green).await?;
        Ok(green.batch_execute(&unmark(&cx.run, &cx.step)).await?)
    }
}

/// What stands in the way of following.
pub(super) async fn follow_conditions(cx: &Cx, projected: &Projected) -> anyhow::Result<Vec<Finding>> {
    let (blue, green) = (cx.connect(Side::Blue).await?, cx.connect(Side::Green).await?);
    let Binding { bound, mut findings, following } = projected.bind(&blue, &green, true).await?;
    findings.extend(following);
    findings.extend(obstacles(&green, &bound).await?);
    let bound: Vec<Bound> = bound.into_iter().map(|(bound, _)| bound).collect();
    match installed(&blue, &cx.run).await? {
        tables if !tables.is_empty() => findings.extend(uncaptured(&bound, &tables)),
        _ => findings.push(Finding {
            severity: Severity::Blocks,
            object: "capture on blue".to_owned(),
            what: "nothing is captured for this run".to_owned(),
            next: "put a `start_capture` step before the copy".to_owned(),
        }),
    }
    Ok(findings)
}

/// What following did, under the names of the journal.
pub fn figures_of(figures: &Figures) -> [(&'static str, u64); 6] {
    let ms = |lag: Duration| u64::try_from(lag.as_millis()).unwrap_or(u64::MAX);
    [
        ("batches", figures.batches),
        ("changes_captured", figures.captured),
        ("changes_applied", figures.applied),
        ("catch_up_ms", ms(figures.catch_up)),
        ("lag_p50_ms", ms(figures.lag(0.5))),
        ("lag_p99_ms", ms(figures.lag(0.99))),
    ]
}

/// A follower for these projections of the run, which bring changes to the side `to`.
///
/// # Errors
/// [`Stop::Findings`] when something stands in the way; otherwise when a server cannot be reached.
pub async fn open(cx: &Cx, projected: &[&Projected], to: Side) -> anyhow::Result<(Follower, Vec<(Bound, Target)>)> {
    let (from_session, to_session) = (cx.connect(to.other()).await?, cx.connect(to).await?);
    let mut bound = Vec::new();
    for projected in projected {
        let binding = projected.bind(&from_session, &to_session, true).await?;
        let blocking = binding.blocks_following();
        if !blocking.is_empty() {
            return Err(Stop::Findings(blocking).into());
        }
        bound.extend(binding.bound);
    }
    let told = cx.clone();
    let told = Arc::new(move |moment: Moment| told.crash_point(moment.place()));
    let setup = Setup { run: cx.run.clone(), blue: cx.opener(to.other())?, green: cx.opener(to)?, bound: bound.clone(), told };
    Ok((Follower::open(setup).await.map_err(as_stop)?, bound))
}

/// Findings as the reason to stop.
pub(super) fn as_stop(error: anyhow::Error) -> anyhow::Error {
    if let Some(changed) = error.downcast_ref::<Changed>() {
        return Stop::Findings(changed.findings.clone()).into();
    }
    match error.downcast_ref::<Refused>() {
        Some(refused) => Stop::Findings(refused.findings.clone()).into(),
        None => error,
    }
}

/// Follows: brings to the side `to` what is written on the other. A server that is away is waited for, as long as the plan's
/// `lock_retry_for`.
///
/// # Errors
/// [`Stop::Findings`] when green cannot follow, [`Stop::Interrupted`] when asked to stop and `until` is not reached; otherwise when
/// green refuses a row or a server stays away.
pub async fn follow(cx: &Cx, projected: &[&Projected], to: Side, until: Until) -> anyhow::Result<Figures> {
    let mut following = Following {
        cx,
        to,
        figures: Figures::default(),
        throttle: Throttle::default(),
        close_since: None,
        reported: Instant::now(),
        carried: Instant::now(),
        unreported: Duration::ZERO,
    };
    let (mut away, mut pause): (Option<Instant>, Duration) = (None, Duration::from_millis(100));
    loop {
        let ended = following.attend(projected, until, &mut away).await;
        match ended {
            Ok(()) => return Ok(following.figures),
            Err(error) if passes(&error) => {
                let since = *away.get_or_insert_with(|| {
                    cx.remark(format!("waits for a server: {}", explain(&error)));
                    pause = Duration::from_millis(100);
                    Instant::now()
                });
                if since.elapsed() > cx.limits.lock_retry_for {
                    return Err(error);
                }
                tokio::select! {
                    () = cx.interrupt.soft.cancelled() => {
                        return if until == Until::Interrupted { Ok(following.figures) } else { Err(Stop::Interrupted.into()) };
                    }
                    () = tokio::time::sleep(pause) => {}
                }
                pause = (pause * 2).min(Duration::from_secs(5));
            }
            Err(error) => return Err(as_stop(error)),
        }
    }
}

struct Following<'a> {
    cx: &'a Cx,
    to: Side,
    figures: Figures,
    throttle: Throttle,
    close_since: Option<Instant>,
    reported: Instant,
    carried: Instant,
    unreported: Duration,
}

impl Following<'_> {
    /// With one follower, until the end or the first error.
    async fn attend(&mut self, projected: &[&Projected], until: Until, away: &mut Option<Instant>) -> anyhow::Result<()> {
        let cx = self.cx;
        let (mut follower, bound) = open(cx, projected, self.to).await?;
        let observer = cx.connect(self.to.other()).await?;
        let mut hurries = false;
        loop {
            if cx.interrupt.soft.is_cancelled() {
                self.sequences(&bound, &observer).await?;
                return if until == Until::Interrupted { Ok(()) } else { Err(Stop::Interrupted.into()) };
            }
            self.throttle.wait(cx, &observer).await?;
            let passed = match hurries {
                true => follower.next().await?,
                false => {
                    let batch = follower.batch().await?;
                    follower.release(batch.at);
                    batch.passed
                }
            };
            if away.take().is_some() {
                cx.remark("follows again");
            }
            let Passed { captured, applied, lag, took } = passed;
            cx.lag(lag);
            if captured > 0 {
                self.figures.add(captured, applied, lag);
                cx.progress(self.figures.applied, 0, "rows");
            }
            self.unreported = self.unreported.max(lag);
            self.report(&mut follower).await?;
            let over = match until {
                Until::Interrupted => false,
                Until::CaughtUp => true,
                Until::Close(within, during) => {
                    if lag > within {
                        self.close_since = None;
                    }
                    let since = *self.close_since.get_or_insert_with(Instant::now);
                    lag <= within && since.elapsed() >= during
                }
            };
            if over || self.carried.elapsed() > REPORT {
                self.sequences(&bound, &observer).await?;
                self.carried = Instant::now();
            }
            if over {
                return Ok(());
            }
            let rest = rest(captured, took, cx.limits.follow_batch_time);
            hurries = rest.is_zero();
            tokio::select! {
                () = cx.interrupt.soft.cancelled() => {}
                () = tokio::time::sleep(rest) => {}
            }
        }
    }

    async fn sequences(&self, bound: &[(Bound, Target)], from: &Session) -> anyhow::Result<()> {
        let to = self.cx.connect(self.to).await?;
        let oids: Vec<u32> = bound.iter().map(|(_, target)| target.oid).collect();
        let same: Vec<QualifiedName> =
            bound.iter().filter(|(bound, _)| bound.identity).map(|(bound, _)| bound.table.clone()).collect();
        Sequence::carry(&to, from, &oids, &same).await.with_context(|| format!("carrying sequences to {}", self.to))
    }

    /// Says now and then how far the side is behind, in rows, bytes and seconds.
    async fn report(&mut self, follower: &mut Follower) -> anyhow::Result<()> {
        if self.reported.elapsed() < REPORT {
            return Ok(());
        }
        self.reported = Instant::now();
        let lag = std::mem::take(&mut self.unreported).as_secs_f64();
        let backlog = follower.backlog().await?;
        self.cx.remark(format!(
            "{} rows applied in {} batches; {} was at most {lag:.1} s behind, {} changed keys wait ({} bytes of outbox)",
            self.figures.applied, self.figures.batches, self.to, backlog.rows, backlog.bytes
        ));
        if let Some(slot) = &backlog.slot {
            let bytes = |bytes: u64| String::from(Size(bytes));
            let room = slot.room.map_or_else(String::new, |room| format!(", lost after {} more", bytes(room)));
            self.cx.remark(format!("the slot on blue keeps {} of log for this run{room}", bytes(slot.behind)));
            if slot.alarming(backlog.alarm) {
                self.cx.remark(
                    "warning: the slot keeps more of blue's log than outbox_alarm, or comes near max_slot_wal_keep_size, after which \
                     it is lost: green cannot keep up; raise that setting (a reload is enough), or find out what holds green up",
                );
            }
        }
        if let Some(text) = Alarm::of(backlog.bytes, backlog.alarm).text(backlog.bytes, backlog.alarm) {
            self.cx.remark(text);
        }
        Ok(())
    }
}

/// How long to wait after a batch of so many keys. None: blue changes faster than green follows, and the next batch is read while this one
/// is applied.
fn rest(captured: u64, took: Duration, room: Duration) -> Duration {
    if captured == 0 { IDLE } else { took.min(room.saturating_sub(took)).min(room / 2) }
}

/// Whether an error ends by itself: a server that is away, a deadlock.
fn passes(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause.is::<ConnectFailure>()
            || cause.is::<std::io::Error>()
            || cause.downcast_ref::<StreamEnded>().is_some_and(|ended| ended.passes)
            || cause
                .downcast_ref::<tokio_postgres::Error>()
                .is_some_and(|error| is_connection_loss(error) || matches!(sqlstate(error), "40P01" | "40001"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_rest_while_they_are_short() {
        let ms = Duration::from_millis;
        let of = |captured, took| rest(captured, ms(took), ms(500)).as_millis();
        assert_eq!([of(0, 3), of(7, 3), of(7, 200), of(7, 300), of(7, 499)], [100, 3, 200, 200, 1]);
        assert_eq!([of(7, 500), of(7, 5_000)], [0, 0], "it hurries");
    }
}
