//! Blue's end of a follower: a batch is read at a new snapshot, and its rows are staged on green.

use std::time::{Duration, Instant, SystemTime};

use anyhow::bail;

use super::Moment;
use super::followed::Followed;
use super::green::Green;
use super::landing::Lane;
use super::pending::{Pending, Used};
use crate::capture::{Piece, Reading};
use crate::pg::{Session, Snapshot};

/// How long a snapshot that sees the captured tables is tried for.
const PATIENCE: Duration = Duration::from_secs(60);

/// Which rows a batch derives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Extent {
    /// Those that changes since the watermark may concern.
    Changed,
    /// All of them.
    Everything,
}

/// A batch of which every change is known.
pub(super) struct Begun {
    /// Its snapshot.
    pub at: Snapshot,
    /// Another session that sees it.
    walker: Session,
    /// The snapshot as the watermark that it leads to.
    pub to: String,
    /// When it began, by blue's clock and by ours.
    now: SystemTime,
    began: Instant,
}

/// A batch whose rows are staged.
pub(super) struct Read {
    /// Where: the session is in the transaction of the batch when `used` is there.
    pub lane: Lane,
    /// The watermark it goes on from, and the one it leads to.
    pub from: String,
    pub to: String,
    /// When its snapshot was about to be taken.
    pub began: Instant,
    /// Keys read from the outbox.
    pub captured: u64,
    /// How old the oldest change was when the snapshot was taken.
    pub age: Duration,
    /// What is staged; `None`: nothing had changed.
    pub used: Option<Used>,
    /// Whether staging tables were made in the transaction of the batch: they go with it when it is rolled back.
    pub made: bool,
}

/// The sessions of blue that read.
#[derive(Default)]
pub(super) struct Reader {
    walker: Option<Session>,
    /// Those of earlier batches' snapshots.
    spare: Vec<Session>,
}

impl Reader {
    /// Takes a snapshot's session back.
    pub async fn release(&mut self, at: Snapshot) {
        self.spare.extend(at.release().await.ok()); // one that is gone is opened anew
    }

    /// Takes a snapshot, and sees to it that every change is known that it sees.
    ///
    /// # Errors
    /// [`crate::capture::Changed`] when captured tables changed their form; otherwise when a session is gone.
    pub async fn begin(&mut self, followed: &Followed) -> anyhow::Result<Begun> {
        let began = Instant::now();
        let (at, walker) = self.snapshot(followed).await?;
        followed.outbox.arrive(&at).await?;
        (followed.told)(Moment::Arrived);
        let row = at.session().query_one("SELECT pg_current_snapshot()::text, clock_timestamp()", &[]).await?;
        Ok(Begun { at, walker, to: row.get(0), now: row.get(1), began })
    }

    /// Derives the rows that changes since the watermark `from` may concern, and stages them. Gives the snapshot back too.
    ///
    /// # Errors
    /// When blue cannot derive a row or green refuses a value; when a session is gone.
    pub async fn read(
        &mut self,
        followed: &Followed,
        begun: Begun,
        lane: Lane,
        described: &Green,
        from: String,
        extent: Extent,
    ) -> anyhow::Result<(Snapshot, Read)> {
        let Begun { at, walker, to, now, began } = begun;
        let Lane { session, mut staged } = lane;
        let before = staged.len();
        let mut oldest: Option<SystemTime> = None;
        let mut pending = Pending::new(&followed.bound, &followed.paths, at.session(), &walker, &session, described, &mut staged);
        if extent == Extent::Everything {
            for table in 0..followed.outbox.tables().len() {
                pending.truncated(table).await?;
            }
        }
        let captured = followed
            .outbox
            .between(&from, &at, async |piece| match piece {
                Piece::Rows { table, keys, moved, oldest: written } => {
                    oldest = Some(oldest.map_or(written, |oldest| oldest.min(written)));
                    pending.rows(table, keys, moved).await
                }
                Piece::Truncated { table } => {
                    if let Some(changed) = &followed.unnamed[table] {
                        return Err(changed.clone().into());
                    }
                    pending.truncated(table).await
                }
            })
            .await?;
        let used = match captured > 0 || extent == Extent::Everything {
            true => Some(pending.finish().await?),
            false => None,
        };
        if used.is_some() {
            (followed.told)(Moment::Staged);
        }
        walker.batch_execute("ROLLBACK").await?;
        self.walker = Some(walker);
        let age = oldest.and_then(|oldest| now.duration_since(oldest).ok()).unwrap_or_default();
        let made = staged.len() > before;
        Ok((at, Read { lane: Lane { session, staged }, from, to, began, captured, age, used, made }))
    }

    /// A snapshot in which captured tables can be read, and the session that walks from changes to rows.
    async fn snapshot(&mut self, followed: &Followed) -> anyhow::Result<(Snapshot, Session)> {
        let began = Instant::now();
        for tried in 0u32.. {
            if began.elapsed() > PATIENCE {
                break;
            }
            // Whoever truncates needs a moment; the first tries need none.
            tokio::time::sleep(Duration::from_millis(u64::from(tried.saturating_sub(5)).min(10) * 5)).await;
            self.spare.retain(|session| !session.is_closed());
            let at = match self.spare.pop() {
                Some(session) => Snapshot::export_in(session, followed.blue.clone()).await?,
                None => Snapshot::export(followed.blue.clone()).await?,
            };
            at.session().batch_execute("SET LOCAL plan_cache_mode = force_custom_plan").await?;
            if followed.outbox.check(&at).await? != Reading::Faithful {
                continue;
            }
            let walker = match self.walker.take().filter(|session| !session.is_closed()) {
                Some(session) => session,
                None => followed.blue.open().await?,
            };
            at.ticket().enter(&walker).await?;
            walker.batch_execute("SET LOCAL plan_cache_mode = force_custom_plan").await?;
            if followed.outbox.share(&walker).await? {
                return Ok((at, walker));
            }
            walker.batch_execute("ROLLBACK").await?;
            self.walker = Some(walker);
            self.release(at).await; // at its end: whoever waits for it goes first
        }
        bail!(
            "captured tables of blue are truncated or rewritten all the time: no snapshot sees them; run again when that is over"
        )
    }
}
