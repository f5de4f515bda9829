//! Green's end of a follower: the sessions in which batches are staged and applied, and the watermark between them.
//!
//! Each batch has a session of its own, because its rows wait in temporary tables, and because the next one may be staged while
//! this one is applied. They are applied one after the other: a batch moves the watermark only from where the one before left it.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, bail};

use super::Refused;
use super::apply::counts;
use super::coverage::refused;
use super::green::Green;
use super::pending::Staged;
use crate::pg::{Opener, Session};
use crate::projection::{Bound, Target};
use crate::sql::Literal;
use crate::terms::{Fingerprint, RunId};

/// Green's end of a follower.
pub(super) struct Landing {
    /// The tables that follow.
    pub described: Green,
    /// The watermark: the snapshot of blue that green equals.
    pub since: String,
    /// Holds the lock that keeps other followers of the run away, and replays revocations.
    pub keeper: Session,
    run: RunId,
    opener: Opener,
    free: Vec<Lane>,
}

/// A session for one batch at a time.
pub(super) struct Lane {
    /// The session.
    pub session: Session,
    /// The staging tables that it has.
    pub staged: Staged,
}

const SETTINGS: &str = "SET jit = off; SET row_security = off; SET statement_timeout = 0; SET lock_timeout = 0";

impl Landing {
    /// # Errors
    /// [`Refused`] when another follower of the run is at work or no copy is complete; otherwise when green is away.
    pub async fn open(opener: &Opener, run: &RunId, bound: &[(Bound, Target)]) -> anyhow::Result<Self> {
        let keeper = opener.open().await?;
        keeper.batch_execute(SETTINGS).await?;
        lock(&keeper, run).await?;
        // Every session of a former follower has ended. From here on ours hold this one.
        keeper.query_one("SELECT pg_advisory_unlock($1)", &[&Keys::of(run)?.lanes]).await?;
        let sql = "SELECT snapshot::text FROM crossfade.watermark WHERE run = $1";
        let Some(row) = keeper.query_opt(sql, &[&run.as_str()]).await? else {
            return Err(refused("green", "has no watermark: no copy of this run is complete", "run the copy first").into());
        };
        let described = Green::read(&keeper, bound).await?;
        let mut landing =
            Self { described, since: row.get(0), keeper, run: run.clone(), opener: opener.clone(), free: Vec::new() };
        let lane = landing.lane().await?;
        landing.free.push(lane);
        Ok(landing)
    }

    /// Whether it still keeps others away.
    pub fn stands(&self) -> bool {
        !self.keeper.is_closed()
    }

    /// A session for a batch, in no transaction.
    ///
    /// # Errors
    /// When green is away.
    pub async fn lane(&mut self) -> anyhow::Result<Lane> {
        while let Some(lane) = self.free.pop() {
            if !lane.session.is_closed() {
                return Ok(lane);
            }
        }
        let session = self.opener.open().await?;
        session.batch_execute(SETTINGS).await?;
        let shared = "SELECT pg_try_advisory_lock_shared($1)";
        if !session.query_one(shared, &[&Keys::of(&self.run)?.lanes]).await?.get::<_, bool>(0) {
            return Err(taken(&self.run).into()); // our keeper is gone, and somebody took its place
        }
        Ok(Lane { session, staged: Staged::new() })
    }

    /// Takes a session back that is in no transaction.
    pub fn give_back(&mut self, lane: Lane) {
        self.free.push(lane);
    }
}

/// Moves the watermark, and counts the rows that the copy's undo must know, in the batch's transaction. `net` is how many rows more
/// than before each table has.
///
/// # Errors
/// When it is not at `from`: somebody else moved it.
pub(super) async fn move_watermark(
    session: &Session,
    run: &RunId,
    described: &Green,
    [from, to]: [&str; 2],
    net: &BTreeMap<usize, i64>,
) -> anyhow::Result<()> {
    let run = Literal::new(run.as_str());
    let mut statements = vec![format!(
        "UPDATE crossfade.watermark SET snapshot = {}, moved_at = clock_timestamp() WHERE run = {run} AND snapshot::text = {}",
        Literal::new(to),
        Literal::new(from)
    )];
    for (place, rows) in net.iter().filter(|(_, rows)| **rows != 0) {
        let table = Literal::new(described.tables[*place].table.plain());
        statements.push(format!(
            "INSERT INTO crossfade.copy_part AS p (run, step, projection, source, part, rows, bytes) \
             SELECT {run}, step, {table}, '*follow', 0, {rows}, 0 FROM crossfade.copy_part \
             WHERE run = {run} AND projection = {table} AND source <> '*follow' GROUP BY step \
             ON CONFLICT (run, step, projection, source, part) DO UPDATE SET rows = p.rows + excluded.rows"
        ));
    }
    let moved = counts(&session.simple_query(&statements.join("; ")).await.context("moving the watermark on green")?);
    if moved.first() != Some(&1) {
        bail!("green's watermark is not where this follower left it: somebody else moved it; run again");
    }
    Ok(())
}

/// The advisory locks of a run's followers.
struct Keys {
    /// Whoever may follow has this one.
    follower: i64,
    /// Every session that applies batches shares this one: it outlives its follower when that is killed.
    lanes: i64,
}

impl Keys {
    fn of(run: &RunId) -> anyhow::Result<Self> {
        let key = |word: &[u8]| i64::from_str_radix(&Fingerprint::of([word, run.as_str().as_bytes()]).as_str()[..15], 16);
        Ok(Self { follower: key(b"follow")?, lanes: key(b"follow lanes")? })
    }
}

/// Makes this session of green the only one that lets it be moved for the run, until it ends. Waits up to two seconds for the
/// sessions of a killed follower to end.
///
/// # Errors
/// [`Refused`] when another crossfade follows; otherwise when the session is gone.
pub async fn lock(session: &Session, run: &RunId) -> anyhow::Result<()> {
    let Keys { follower, lanes } = Keys::of(run)?;
    let mut wanted = vec![lanes, follower];
    for _ in 0..20 {
        while let Some(key) = wanted.last() {
            if !session.query_one("SELECT pg_try_advisory_lock($1)", &[key]).await?.get::<_, bool>(0) {
                break;
            }
            wanted.pop();
        }
        if wanted.is_empty() {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Err(taken(run).into())
}

fn taken(run: &RunId) -> Refused {
    let what = format!("is being followed by another crossfade: run {run} has one follower at a time");
    refused("green", &what, "stop the other one (`crossfade follow`, or the run's own step), or wait for it")
}
