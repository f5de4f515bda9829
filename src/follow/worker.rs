//! What a follower does, on its own thread.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, bail};
use tokio_postgres::SimpleQueryMessage;

use super::Refused;
use super::apply::Apply;
use super::green::Green;
use super::path::Paths;
use super::pending::{Pending, Staged};
use crate::capture::{CapturedTable, Changed, Outbox, Piece, Reading};
use crate::pg::{Opener, Session, Snapshot};
use crate::projection::{Bound, Target, captured};
use crate::revocation::{self, Rules, ahead, stored_rules};
use crate::sql::Literal;
use crate::terms::{Finding, Fingerprint, RunId, Severity};

/// Where a batch is; for the tests' crash points.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// Every change that the batch's snapshot sees is known.
    Arrived,
    /// Revocations are being dealt with, ahead of everything else.
    Revocations(revocation::Moment),
    /// Rows are staged on green.
    Staged,
    /// Green's tables are changed, not committed.
    Applied,
    /// The batch is committed; the outbox is not purged.
    Committed,
}

impl Moment {
    /// What the crash point there is called.
    pub fn place(self) -> &'static str {
        match self {
            Moment::Arrived => "arrived",
            Moment::Revocations(moment) => moment.place(),
            Moment::Staged => "staged",
            Moment::Applied => "changed",
            Moment::Committed => "committed",
        }
    }
}

/// What a follower works on.
pub struct Setup {
    /// The run.
    pub run: RunId,
    /// Opens sessions on blue.
    pub blue: Opener,
    /// Opens sessions on green.
    pub green: Opener,
    /// What follows.
    pub bound: Vec<(Bound, Target)>,
    /// Who is told where a batch is.
    pub told: Arc<dyn Fn(Moment) + Send + Sync>,
}

/// Which rows a batch derives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Extent {
    /// Those that changes since the watermark may concern.
    Changed,
    /// All of them.
    Everything,
}

/// See [`super::Follower`].
pub(super) struct Worker {
    setup: Setup,
    bound: Vec<Bound>,
    outbox: Outbox,
    /// How revocations are told, when the run captures them.
    rules: Option<Rules>,
    paths: Paths,
    green: Option<OnGreen>,
    walker: Option<Session>,
    /// That of an earlier batch's snapshot.
    spare: Option<Session>,
}

/// The session that changes green. It holds the lock that keeps other followers of the run away.
struct OnGreen {
    session: Session,
    described: Green,
    since: String,
    staged: Staged,
}

/// One step of green.
pub struct Batch {
    /// The snapshot of blue that green now equals.
    pub at: Snapshot,
    /// Keys read from the outbox; 0: nothing had changed, and green was left alone.
    pub captured: u64,
    /// Rows inserted, updated and deleted on green.
    pub applied: u64,
    /// The age of the oldest change of the batch when green had it.
    pub lag: Duration,
    /// How long it took.
    pub took: Duration,
}

impl Worker {
    /// Makes sure that everything is captured that the projections need, and that the copy began after that.
    ///
    /// # Errors
    /// [`Refused`] with every reason; otherwise when a server cannot be reached or another follower of the run is at work.
    pub async fn open(setup: Setup) -> anyhow::Result<Self> {
        let bound: Vec<Bound> = setup.bound.iter().map(|(bound, _)| bound.clone()).collect();
        let Some(outbox) = Outbox::open(setup.blue.clone(), setup.green.clone(), &setup.run).await? else {
            return Err(refused("blue", "captures nothing for this run", "put a `start_capture` step before the copy").into());
        };
        let paths = Paths::new(&bound, &outbox)?;
        let blue = setup.blue.open().await?;
        let rules = stored_rules(&blue, &setup.run).await?;
        let mut follower = Self { setup, bound, outbox, rules, paths, green: None, walker: None, spare: None };
        let green = follower.connect().await?;
        let before = captured_before(&blue, &follower.setup.run, &green.since).await?;
        let left_out = uncovered(&green.session, &follower.setup.run, &follower.bound).await?;
        follower.green = Some(green);
        if !left_out.is_empty() {
            return Err(Refused { findings: left_out.iter().map(|table| left_out_finding(table)).collect() }.into());
        }
        if !before {
            let what = "began to capture after the copy's snapshot: changes between them are lost";
            return Err(refused("blue", what, "`crossfade rollback` the run, and let capture begin before the copy").into());
        }
        Ok(follower)
    }

    /// The outbox.
    pub fn outbox(&self) -> &Outbox {
        &self.outbox
    }

    /// One batch: green becomes what the projections give at a new snapshot of blue.
    ///
    /// # Errors
    /// [`crate::capture::Changed`] when captured tables changed their form; when green refuses a row; when a session is gone.
    /// In each case green is as it was, or, where an answer was lost, at the new snapshot: the next batch asks.
    pub async fn batch(&mut self, extent: Extent) -> anyhow::Result<Batch> {
        let mut green = match self.green.take() {
            Some(green) if !green.session.is_closed() => green,
            _ => self.connect().await?,
        };
        let batch = self.work(&mut green, extent).await?;
        self.green = Some(green);
        Ok(batch)
    }

    /// Takes a snapshot's session back.
    pub async fn release(&mut self, at: Snapshot) {
        self.spare = at.release().await.ok(); // one that is gone is opened anew
    }

    async fn connect(&self) -> anyhow::Result<OnGreen> {
        let session = self.setup.green.open().await?;
        session.batch_execute("SET jit = off; SET row_security = off; SET statement_timeout = 0; SET lock_timeout = 0").await?;
        lock(&session, &self.setup.run).await?;
        let sql = "SELECT snapshot::text FROM crossfade.watermark WHERE run = $1";
        let Some(row) = session.query_opt(sql, &[&self.setup.run.as_str()]).await? else {
            return Err(refused("green", "has no watermark: no copy of this run is complete", "run the copy first").into());
        };
        let described = Green::read(&session, &self.setup.bound).await?;
        Ok(OnGreen { session, described, since: row.get(0), staged: Staged::new() })
    }

    async fn work(&mut self, green: &mut OnGreen, extent: Extent) -> anyhow::Result<Batch> {
        let began = Instant::now();
        let at = self.snapshot().await?;
        self.outbox.arrive(&at).await?;
        (self.setup.told)(Moment::Arrived);
        let row = at.session().query_one("SELECT pg_current_snapshot()::text, clock_timestamp()", &[]).await?;
        let (to, now): (String, SystemTime) = (row.get(0), row.get(1));
        let walker = match self.walker.take().filter(|session| !session.is_closed()) {
            Some(session) => session,
            None => self.setup.blue.open().await?,
        };
        at.ticket().enter(&walker).await?;
        walker.batch_execute("SET LOCAL plan_cache_mode = force_custom_plan").await?;
        let mut oldest: Option<SystemTime> = None;
        let OnGreen { session, described, since, staged } = green;
        if let Some(rules) = &self.rules {
            let told = |moment| (self.setup.told)(Moment::Revocations(moment));
            ahead(&at, session, &self.setup.run, rules, since, told).await?;
        }
        let mut pending = Pending::new(&self.bound, &self.paths, at.session(), &walker, session, described, staged);
        if extent == Extent::Everything {
            for table in 0..self.outbox.tables().len() {
                pending.truncated(table).await?;
            }
        }
        let unnamed: Vec<Option<Changed>> =
            self.outbox.tables().iter().map(|table| rows_unnamed(table, self.rules.as_ref())).collect();
        let captured = self
            .outbox
            .between(since, &at, async |piece| match piece {
                Piece::Rows { table, keys, moved, oldest: written } => {
                    oldest = Some(oldest.map_or(written, |oldest| oldest.min(written)));
                    pending.rows(table, keys, moved).await
                }
                Piece::Truncated { table } => {
                    if let Some(changed) = &unnamed[table] {
                        return Err(changed.clone().into());
                    }
                    pending.truncated(table).await
                }
            })
            .await?;
        let (mut applied, moves) = (0, captured > 0 || extent == Extent::Everything);
        if moves {
            let whole = pending.finish().await?;
            (self.setup.told)(Moment::Staged);
            let mut apply = Apply { green: described, session, used: whole };
            let counts = apply.run().await?;
            applied = counts.values().map(|count| count.touched).sum();
            let net = counts.iter().map(|(place, count)| (*place, count.net)).collect();
            self.move_watermark(session, described, since, &to, &net).await?;
            (self.setup.told)(Moment::Applied);
            session.batch_execute("COMMIT").await.context("committing a batch on green")?;
            (self.setup.told)(Moment::Committed);
            since.clone_from(&to);
        }
        walker.batch_execute("ROLLBACK").await?;
        self.walker = Some(walker);
        let took = began.elapsed();
        let age = oldest.and_then(|oldest| now.duration_since(oldest).ok()).unwrap_or_default();
        if moves {
            self.outbox.purge(&to).await?;
        }
        Ok(Batch { at, captured, applied, lag: age + if moves { took } else { Duration::ZERO }, took })
    }

    /// A snapshot in which captured tables can be read.
    async fn snapshot(&mut self) -> anyhow::Result<Snapshot> {
        for _ in 0..50 {
            let at = match self.spare.take().filter(|session| !session.is_closed()) {
                Some(session) => Snapshot::export_in(session, self.setup.blue.clone()).await?,
                None => Snapshot::export(self.setup.blue.clone()).await?,
            };
            at.session().batch_execute("SET LOCAL plan_cache_mode = force_custom_plan").await?;
            if self.outbox.check(&at).await? == Reading::Faithful {
                return Ok(at);
            }
        }
        bail!(
            "captured tables of blue are truncated or rewritten all the time: no snapshot sees them; run again when that is over"
        )
    }

    /// The watermark, and the rows that the copy's undo must know, in the batch's transaction.
    async fn move_watermark(
        &self,
        session: &Session,
        described: &Green,
        since: &str,
        to: &str,
        net: &BTreeMap<usize, i64>,
    ) -> anyhow::Result<()> {
        let run = Literal::new(self.setup.run.as_str());
        let mut statements = vec![format!(
            "UPDATE crossfade.watermark SET snapshot = {}, moved_at = clock_timestamp() WHERE run = {run} AND snapshot::text = {}",
            Literal::new(to),
            Literal::new(since)
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
}

/// The numbers of rows that the statements of a simple query changed or gave.
pub(super) fn counts(messages: &[SimpleQueryMessage]) -> Vec<u64> {
    let complete = |message: &SimpleQueryMessage| match message {
        SimpleQueryMessage::CommandComplete(count) => Some(*count),
        _ => None,
    };
    messages.iter().filter_map(complete).collect()
}

fn refused(side: &str, what: &str, next: &str) -> Refused {
    let object = format!("database {side}");
    Refused { findings: vec![Finding { severity: Severity::Blocks, object, what: what.to_owned(), next: next.to_owned() }] }
}

/// The tables that the run copied, that green still has and these projections leave out.
///
/// # Errors
/// When the session is gone.
pub async fn uncovered(green: &Session, run: &RunId, bound: &[Bound]) -> anyhow::Result<Vec<String>> {
    let sql = "SELECT DISTINCT projection FROM crossfade.copy_part WHERE run = $1 AND projection <> '*' \
               AND EXISTS (SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
                           WHERE n.nspname || '.' || c.relname = projection AND c.relkind IN ('r', 'p')) ORDER BY 1";
    let copied = green.query(sql, &[&run.as_str()]).await?;
    let follows = |table: &String| bound.iter().any(|bound| bound.table.plain() == *table);
    Ok(copied.iter().map(|row| row.get(0)).filter(|table| !follows(table)).collect())
}

fn left_out_finding(table: &str) -> Finding {
    Finding {
        severity: Severity::Blocks,
        object: format!("table {table} on green"),
        what: "was copied in this run and does not follow: its changes would be taken for done".to_owned(),
        next: "name every projection and table of the run's copies in the step that follows".to_owned(),
    }
}

/// Makes this session of green the only one that moves it for the run, until it ends. Waits up to two seconds for the session of a
/// killed follower to end.
///
/// # Errors
/// [`Refused`] when another crossfade follows; otherwise when the session is gone.
pub async fn lock(session: &Session, run: &RunId) -> anyhow::Result<()> {
    let digest = Fingerprint::of([b"follow".as_slice(), run.as_str().as_bytes()]);
    let key = i64::from_str_radix(&digest.as_str()[..15], 16)?;
    for _ in 0..20 {
        if session.query_one("SELECT pg_try_advisory_lock($1)", &[&key]).await?.get(0) {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let what = format!("is being followed by another crossfade: run {run} has one follower at a time");
    Err(refused("green", &what, "stop the other one (`crossfade follow`, or the run's own step), or wait for it").into())
}

/// Whether the snapshot `watermark` sees that every table was captured. A row of `crossfade.captured` is committed with its triggers.
async fn captured_before(blue: &Session, run: &RunId, watermark: &str) -> anyhow::Result<bool> {
    let row = blue
        .query_one(
            "SELECT coalesce(bool_and(pg_visible_in_snapshot( \
                        (CASE WHEN low > current % 4294967296 THEN current - current % 4294967296 - 4294967296 \
                              ELSE current - current % 4294967296 END + low)::text::xid8, $2::text::pg_snapshot)), false) \
             FROM (SELECT xmin::text::numeric AS low, pg_snapshot_xmax(pg_current_snapshot())::text::numeric AS current \
                   FROM crossfade.captured WHERE run = $1) AS c",
            &[&run.as_str(), &watermark],
        )
        .await?;
    Ok(row.get(0))
}

/// What the projections need and these captured tables do not give. Changes nothing.
pub fn uncaptured(bound: &[Bound], tables: &[CapturedTable]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for wanted in captured(bound) {
        let has = tables.iter().find(|table| table.table == wanted.table);
        let what = match has {
            None => "is not captured for this run".to_owned(),
            Some(table) => {
                let columns: Vec<&str> =
                    wanted.columns.iter().filter(|column| !table.columns.contains(column)).map(|c| c.as_str()).collect();
                let watched = match (&table.watch, &wanted.watch) {
                    (None, _) => true,
                    (Some(_), None) => false,
                    (Some(has), Some(wants)) => wants.iter().all(|column| has.contains(column) || table.columns.contains(column)),
                };
                match (columns.is_empty(), watched) {
                    (true, true) => continue,
                    (false, _) => format!("is captured without the columns {}", columns.join(", ")),
                    (true, false) => "is captured, but not every UPDATE that matters".to_owned(),
                }
            }
        };
        findings.push(Finding {
            severity: Severity::Blocks,
            object: format!("table {} on blue", wanted.table.plain()),
            what,
            next: "give `start_capture` the same projections and tables; `crossfade rollback` the run and begin anew".to_owned(),
        });
    }
    findings
}

/// A TRUNCATE in blue's log names no row; where the rules of revocations read the table, nobody knows what was revoked. Triggers record
/// each row.
fn rows_unnamed(truncated: &CapturedTable, rules: Option<&Rules>) -> Option<Changed> {
    let read = rules.is_some_and(|rules| rules.wanted.iter().any(|wanted| wanted.table.name() == truncated.table.name()));
    if truncated.slot.is_none() || !read {
        return None;
    }
    let finding = Finding {
        severity: Severity::Blocks,
        object: format!("table {} on blue", truncated.table.plain()),
        what: "was truncated, and its revocations are told from its rows, which a slot does not name: what was revoked is not known".to_owned(),
        next: "`crossfade rollback PLAN --execute`, then run the plan again; capture with `source = \"trigger\"` tells each row of a TRUNCATE"
            .to_owned(),
    };
    Some(Changed { findings: vec![finding] })
}
