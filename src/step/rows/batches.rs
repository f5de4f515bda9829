//! Batches of rows: each one short transaction with its progress in it, sized towards `batch_target`, paused when the
//! database is under stress, tried again when somebody else holds the rows.

use std::time::{Duration, Instant};

use anyhow::Context;
use async_trait::async_trait;
use tokio_postgres::{IsolationLevel, Transaction};

use super::throttle::Throttle;
use crate::pg::{Blocker, Class, Heard, Session, blockers_of, set_class, sqlstate};
use crate::step::Cx;
use crate::step::Stop;
use crate::terms::Side;

/// How many rows a batch looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::step) struct BatchSize(i64);

impl BatchSize {
    const LEAST: i64 = 10;
    const MOST: i64 = 20_000;

    /// A first batch that is short on any table.
    pub const FIRST: BatchSize = BatchSize(200);

    /// After a batch of `took`: towards `target`, at most twice and at least half.
    pub fn after(self, took: Duration, target: Duration) -> Self {
        let factor = (target.as_secs_f64() / took.as_secs_f64().max(1e-6)).clamp(0.5, 2.0);
        Self(((self.0 as f64 * factor).round() as i64).clamp(Self::LEAST, Self::MOST))
    }

    /// After somebody else held a row: half, so that fewer rows are held next time.
    pub fn after_conflict(self) -> Self {
        Self((self.0 / 2).max(Self::LEAST))
    }
}

/// What one batch did.
pub(in crate::step) struct Moved<P> {
    /// Rows it wrote.
    pub written: u64,
    /// Rows it looked at.
    pub seen: u64,
    /// Where the next one begins; `None` when the walk is over.
    pub next: Option<P>,
}

/// The work of one batch, inside a transaction that the caller commits. Isolation is READ COMMITTED: each statement sees
/// what was committed before it.
#[async_trait]
pub(in crate::step) trait Batch: Send + Sync {
    /// Where a batch begins.
    type Position: Clone + Send + Sync;

    /// What it runs in each batch, for the record of the run.
    fn statement(&self) -> String {
        String::new()
    }

    /// Does the batch of at most `rows` rows that begins at `from`.
    async fn run(
        &self,
        transaction: &Transaction<'_>,
        from: Option<&Self::Position>,
        rows: i64,
    ) -> anyhow::Result<Moved<Self::Position>>;
}

/// What the batches of one walk took.
#[derive(Default)]
struct Tally {
    times: u64,
    took: Duration,
    longest: Duration,
    rows: u64,
}

impl Tally {
    fn add(&mut self, took: Duration, rows: u64) {
        self.times += 1;
        self.took += took;
        self.longest = self.longest.max(took);
        self.rows += rows;
    }
}

/// Runs batches on one side.
pub(in crate::step) struct Batches<'a> {
    cx: &'a Cx,
    /// The session the batches run in.
    pub session: Session,
    observer: Session,
    size: BatchSize,
    throttle: Throttle,
}

impl<'a> Batches<'a> {
    /// Opens the sessions.
    ///
    /// # Errors
    /// When the side cannot be reached.
    pub async fn open(cx: &'a Cx, side: Side) -> anyhow::Result<Self> {
        let (session, observer) = (cx.connect(side).await?, cx.connect(side).await?);
        Ok(Self { cx, session, observer, size: BatchSize::FIRST, throttle: Throttle::default() })
    }

    /// Runs batches from `from` to the end; returns the rows written. `total` is for the progress shown. Dies, in crash
    /// tests, at `<place>-open` before and at `<place>-closed` after a commit.
    ///
    /// # Errors
    /// [`Stop::Interrupted`] after a batch when asked to stop; a batch's own error; a lock timeout with the blockers when
    /// `lock_retry_for` is over. What is committed stays.
    pub async fn walk<B: Batch>(
        &mut self,
        batch: &B,
        mut from: Option<B::Position>,
        total: u64,
        place: &str,
    ) -> anyhow::Result<u64> {
        let mut tally = Tally::default();
        let walked = self.walk_on(batch, &mut from, total, place, &mut tally).await;
        let (statement, Tally { times, took, longest, rows }) = (batch.statement(), tally);
        if times > 0 && !statement.is_empty() {
            self.session.ran(Heard { statement: &statement, took, times, longest, rows });
        }
        walked.map(|()| rows)
    }

    async fn walk_on<B: Batch>(
        &mut self,
        batch: &B,
        from: &mut Option<B::Position>,
        total: u64,
        place: &str,
        tally: &mut Tally,
    ) -> anyhow::Result<()> {
        let mut seen = 0;
        loop {
            self.throttle.wait(self.cx, &self.observer).await?;
            if self.cx.interrupt.soft.is_cancelled() {
                return Err(Stop::Interrupted.into());
            }
            let began = Instant::now();
            let moved = self.patiently(batch, from.as_ref(), place).await?;
            tally.add(began.elapsed(), moved.written);
            self.cx.crash_point(&format!("{place}-closed"));
            seen += moved.seen;
            self.cx.progress(seen, total.max(seen), "rows");
            match moved.next {
                Some(next) => *from = Some(next),
                None => return Ok(()),
            }
        }
    }

    async fn patiently<B: Batch>(
        &mut self,
        batch: &B,
        from: Option<&B::Position>,
        place: &str,
    ) -> anyhow::Result<Moved<B::Position>> {
        let began = Instant::now();
        let mut pause = Duration::from_millis(50);
        set_class(&self.session, Class::Batch, &self.cx.limits).await?;
        loop {
            let (pid, attempt_began) = (self.session.pid(), Instant::now());
            let mut blockers = Vec::new();
            let outcome = {
                let attempt = attempt(self.cx, &mut self.session, batch, from, self.size.0, place);
                tokio::pin!(attempt);
                loop {
                    tokio::select! {
                        outcome = &mut attempt => break outcome,
                        () = tokio::time::sleep(self.cx.limits.lock_timeout / 2) => {
                            let now = blockers_of(&self.observer, pid).await?;
                            if !now.is_empty() {
                                blockers = now;
                            }
                        }
                    }
                }
            };
            let error = match outcome {
                Ok(moved) => {
                    self.size = self.size.after(attempt_began.elapsed(), self.cx.limits.batch_target);
                    return Ok(moved);
                }
                Err(error) => error,
            };
            if !is_conflict(&error) {
                return Err(error);
            }
            self.size = self.size.after_conflict();
            self.cx.waiting(&blockers);
            if began.elapsed() + pause > self.cx.limits.lock_retry_for {
                let who = match blockers.is_empty() {
                    true => "the blocker was gone when asked".to_owned(),
                    false => blockers.iter().map(Blocker::to_string).collect::<Vec<_>>().join("; "),
                };
                let tried = humantime::format_duration(self.cx.limits.lock_retry_for);
                return Err(error).with_context(|| format!("rows stayed locked for {tried} of tries; in the way: {who}"));
            }
            tokio::time::sleep(pause.mul_f64(0.75 + fastrand::f64() / 2.0)).await;
            pause = (pause * 2).min(Duration::from_secs(2));
        }
    }
}

/// Lock timeout, deadlock or serialization failure: somebody else was there first.
fn is_conflict(error: &anyhow::Error) -> bool {
    let code = error.chain().find_map(|cause| cause.downcast_ref::<tokio_postgres::Error>()).map(sqlstate);
    matches!(code, Some("55P03" | "40P01" | "40001"))
}

async fn attempt<B: Batch>(
    cx: &Cx,
    session: &mut Session,
    batch: &B,
    from: Option<&B::Position>,
    rows: i64,
    place: &str,
) -> anyhow::Result<Moved<B::Position>> {
    let transaction = session.build_transaction().isolation_level(IsolationLevel::ReadCommitted).start().await?;
    let moved = batch.run(&transaction, from, rows).await?;
    cx.crash_point(&format!("{place}-open"));
    transaction.commit().await?;
    Ok(moved)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_grow_and_shrink_towards_the_target() {
        let target = Duration::from_millis(300);
        assert_eq!(BatchSize(200).after(Duration::from_millis(1), target), BatchSize(400));
        assert_eq!(BatchSize(1000).after(Duration::from_millis(400), target), BatchSize(750));
        assert_eq!(BatchSize(1000).after(Duration::from_secs(9), target), BatchSize(500));
        assert_eq!(BatchSize(20_000).after(Duration::ZERO, target), BatchSize(20_000));
        assert_eq!(BatchSize(12).after(Duration::from_secs(9), target), BatchSize(10));
        assert_eq!(BatchSize(12).after_conflict(), BatchSize(10));
    }

    #[test]
    fn sizes_settle_where_a_batch_takes_the_target() {
        let target = Duration::from_millis(300);
        let mut size = BatchSize::FIRST;
        for _ in 0..20 {
            size = size.after(Duration::from_micros(100 * size.0 as u64), target); // 10,000 rows a second
        }
        assert!((2900..=3100).contains(&size.0), "{size:?}");
    }
}
