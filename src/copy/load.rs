//! The load: parts from blue's snapshot to green, several at a time, and what hangs on a table as soon as its rows are in.
//!
//! One queue for all of it, no barrier between rows and indexes: while one worker still loads a table, another builds the
//! indexes of the one before. The biggest tables come first, so that what is left in the end is small.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;

use anyhow::{Context, bail};
use bytes::{Bytes, BytesMut};
use futures_util::{SinkExt, TryStreamExt};
use tokio_postgres::SimpleQueryMessage;
use tokio_util::sync::CancellationToken;

use super::piece::{Piece, Rest};
use super::queue::Queue;
use crate::pg::{Heard, Opener, Session, Snapshot, Ticket, on_threads};
use crate::projection::{Bound, Part, cut};
use crate::sql::Literal;
use crate::terms::{RunId, StepId};

/// Rows are handed on in pieces of this many bytes.
const PIECE: usize = 128 << 10;

/// Up to this size a table's rows and everything else of it are one transaction.
const SMALL: u64 = 256 << 10;

/// From this size on an index build may use workers of the server that have nothing else to do.
const LARGE: u64 = 32 << 20;

/// What the load is doing; for progress and for the tests' crash points.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// A part's rows are sent, not committed.
    Sent,
    /// A part is committed; this many rows are, in all.
    Committed(u64),
    /// All rows are there, and the statements that say so are committed.
    Loaded,
    /// An index is there.
    Built,
    /// A constraint is there.
    Constrained,
}

/// What a load moved.
#[derive(Debug, Clone, Copy, Default)]
pub struct Loaded {
    /// Rows.
    pub rows: u64,
    /// Bytes, as they travelled.
    pub bytes: u64,
    /// Parts.
    pub parts: usize,
    /// Seconds until all rows were there; other work went on beside.
    pub seconds: f64,
}

/// A table, its rows unless they are there already, and the rest.
#[derive(Debug)]
pub struct Filling {
    /// Its projection, and per source the size of its driving table in blocks; `None` when the rows are there.
    pub rows: Option<(Bound, Vec<u32>)>,
    /// What comes after them.
    pub rest: Rest,
}

/// A load of all tables of a step.
pub struct Load {
    /// The run, for the part rows.
    pub run: RunId,
    /// The step, for the part rows.
    pub step: StepId,
    /// Opens sessions on green.
    pub green: Opener,
    /// Sessions per side.
    pub jobs: usize,
    /// The tables.
    pub tables: Vec<Filling>,
    /// Committed when the rows of all tables are there.
    pub loaded: Vec<String>,
    /// Whether something of the rest may be there already, and is asked for.
    pub ask: bool,
    /// Bytes of a block on blue.
    pub block_size: u32,
    /// Statements that set up each session on green.
    pub settings: String,
}

enum Task {
    Part(Part),
    Chain(usize, usize),
    Last(usize),
}

/// What the workers share.
struct Work<N> {
    load: Load,
    /// Per source that was cut: its table and its place there.
    places: Vec<(usize, usize)>,
    /// Per table: parts that are not in, and how many there were.
    parts: Vec<(AtomicUsize, usize)>,
    /// Per table: chains that are not there.
    chains: Vec<AtomicUsize>,
    /// Parts that are not in, of all tables.
    left: AtomicUsize,
    /// Parts that nobody has taken.
    untaken: AtomicUsize,
    rows: AtomicU64,
    bytes: AtomicU64,
    all_in: CancellationToken,
    queue: Queue<Task>,
    notice: N,
}

/// What a worker has in its hands.
struct Hands {
    blue: Option<Session>,
    green: Session,
    helpers: usize,
}

impl Load {
    /// Loads every part of every source, each in one green transaction together with its row in `crossfade.copy_part`, and
    /// brings the rest of each table. The snapshot is let go as soon as all rows are read.
    ///
    /// # Errors
    /// The first part or piece that fails: names table, source and part, or the piece.
    pub async fn run(self, snapshot: Snapshot, notice: impl Fn(Moment) + Send + Sync + 'static) -> anyhow::Result<Loaded> {
        let ranges = snapshot.reads_block_ranges().await?;
        let ticket = snapshot.ticket();
        self.work(Some((snapshot, ticket)), ranges, notice).await
    }

    /// Brings the rest of each table, whose rows are there.
    ///
    /// # Errors
    /// The first piece that fails.
    pub async fn rest(self, notice: impl Fn(Moment) + Send + Sync + 'static) -> anyhow::Result<()> {
        self.work(None, false, notice).await.map(drop)
    }

    async fn work(
        self,
        source: Option<(Snapshot, Ticket)>,
        ranges: bool,
        notice: impl Fn(Moment) + Send + Sync + 'static,
    ) -> anyhow::Result<Loaded> {
        let (mut places, mut blocks) = (Vec::new(), Vec::new());
        for (table, filling) in self.tables.iter().enumerate() {
            for (place, count) in filling.rows.iter().flat_map(|(_, blocks)| blocks).enumerate() {
                places.push((table, place));
                blocks.push(*count);
            }
        }
        let parts = cut(&blocks, self.block_size, self.jobs, ranges);
        let (count, jobs) = (parts.len(), self.jobs);
        let mut counts = vec![0; self.tables.len()];
        parts.iter().for_each(|part| counts[places[part.of].0] += 1);
        let work = Arc::new(Work {
            chains: self.tables.iter().map(|filling| AtomicUsize::new(filling.rest.chains.len())).collect(),
            parts: counts.iter().map(|count| (AtomicUsize::new(*count), *count)).collect(),
            left: AtomicUsize::new(count),
            untaken: AtomicUsize::new(count),
            rows: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            all_in: CancellationToken::new(),
            queue: Queue::new(),
            load: self,
            places,
            notice,
        });
        let began = std::time::Instant::now();
        for part in parts {
            let table = work.places[part.of].0;
            work.queue.add(work.cost(table, 3), Task::Part(part));
        }
        for (table, _) in counts.iter().enumerate().filter(|(_, count)| **count == 0) {
            work.table_in(table);
        }
        if source.is_some() && count == 0 {
            work.all_in(&work.load.green.open().await?).await?;
        }
        let (shared, ticket) = (Arc::clone(&work), source.as_ref().map(|(_, ticket)| ticket.clone()));
        let workers = on_threads(jobs, vec![(); jobs], move |_| {
            let (work, ticket) = (Arc::clone(&shared), ticket.clone());
            async move { work.worker(ticket.as_ref()).await }
        });
        tokio::pin!(workers);
        let mut seconds = 0.0;
        let ended = tokio::select! {
            ended = &mut workers => ended,
            () = work.all_in.cancelled() => {
                seconds = began.elapsed().as_secs_f64();
                drop(source); // blue need not keep old rows for us any more
                workers.await
            }
        };
        ended?;
        if seconds == 0.0 {
            seconds = began.elapsed().as_secs_f64();
        }
        let sum = |number: &AtomicU64| number.load(Ordering::Relaxed);
        Ok(Loaded { rows: sum(&work.rows), bytes: sum(&work.bytes), parts: count, seconds })
    }
}

impl<N: Fn(Moment)> Work<N> {
    fn rest(&self, table: usize) -> &Rest {
        &self.load.tables[table].rest
    }

    /// The biggest tables first; of one table rows before indexes before the rest.
    fn cost(&self, table: usize, sort: u64) -> u64 {
        self.rest(table).bytes.saturating_mul(4).saturating_add(sort)
    }

    async fn worker(&self, ticket: Option<&Ticket>) -> anyhow::Result<()> {
        let mut hands: Option<Hands> = None;
        while let Some(task) = self.queue.take().await {
            if hands.is_none() {
                hands = Some(Hands { blue: None, green: open(&self.load.green, &self.load.settings).await?, helpers: 0 });
            }
            if let Some(hands) = &mut hands {
                self.task(task, hands, ticket).await?;
            }
            self.queue.done();
        }
        Ok(())
    }

    async fn task(&self, task: Task, hands: &mut Hands, ticket: Option<&Ticket>) -> anyhow::Result<()> {
        match task {
            Task::Part(part) => {
                self.untaken.fetch_sub(1, Ordering::Relaxed);
                let blue = match (hands.blue.take(), ticket) {
                    (Some(blue), _) => blue,
                    (None, Some(ticket)) => ticket.join().await?,
                    (None, None) => bail!("a part without a snapshot"),
                };
                let (table, source) = self.places[part.of];
                let whole = self.part(&blue, &mut hands.green, &part, table, source).await.with_context(|| {
                    let name = self.load.tables[table].rows.as_ref().map(|(bound, _)| bound.sources[source].name.as_str());
                    let (table, name) = (self.rest(table).table.plain(), name.unwrap_or_default());
                    format!("table {table}, source {name}, part {}", part.number)
                })?;
                hands.blue = Some(blue);
                if self.parts[table].0.fetch_sub(1, Ordering::AcqRel) == 1 && !whole {
                    self.table_in(table);
                }
                if self.left.fetch_sub(1, Ordering::AcqRel) == 1 {
                    self.all_in(&hands.green).await?;
                }
            }
            Task::Chain(table, chain) => {
                self.no_more_reading(hands);
                self.helpers(hands, table).await?;
                for piece in &self.rest(table).chains[chain] {
                    self.bring(&hands.green, piece, Moment::Built).await?;
                }
                if self.chains[table].fetch_sub(1, Ordering::AcqRel) == 1 {
                    self.queue.add(self.cost(table, 1), Task::Last(table));
                }
            }
            Task::Last(table) => {
                self.no_more_reading(hands);
                for piece in &self.rest(table).last {
                    self.bring(&hands.green, piece, Moment::Constrained).await?;
                }
                if let Some(analyze) = self.rest(table).statistics() {
                    hands.green.run(&analyze).await?;
                }
            }
        }
        Ok(())
    }

    /// The rows of a table are in.
    fn table_in(&self, table: usize) {
        let count = self.rest(table).chains.len();
        for chain in 0..count {
            self.queue.add(self.cost(table, 2), Task::Chain(table, chain));
        }
        if count == 0 {
            self.queue.add(self.cost(table, 1), Task::Last(table));
        }
    }

    /// All rows are in. This commit outlasts a crash of the server, and with it every earlier one.
    async fn all_in(&self, green: &Session) -> anyhow::Result<()> {
        let text = format!("BEGIN; SET LOCAL synchronous_commit = local; {}; COMMIT", self.load.loaded.join("; "));
        green.batch_execute(&text).await?;
        self.all_in.cancel();
        (self.notice)(Moment::Loaded);
        Ok(())
    }

    async fn bring(&self, green: &Session, piece: &Piece, moment: Moment) -> anyhow::Result<()> {
        let brought = match self.load.ask {
            true => piece.bring(green).await?,
            false => piece.build(green).await.map(|()| true)?,
        };
        if brought {
            (self.notice)(moment);
        }
        Ok(())
    }

    /// Lets blue forget the snapshot as soon as this worker will read no more.
    fn no_more_reading(&self, hands: &mut Hands) {
        if self.untaken.load(Ordering::Relaxed) == 0 {
            hands.blue = None;
        }
    }

    /// A build of a large index may use the cores of workers that have nothing to do; otherwise none, whose sorted runs would
    /// pass through temporary files for nothing.
    async fn helpers(&self, hands: &mut Hands, table: usize) -> anyhow::Result<()> {
        let helpers = if self.rest(table).bytes < LARGE { 0 } else { self.queue.waiting() };
        if helpers != hands.helpers {
            hands.green.batch_execute(&format!("SET max_parallel_maintenance_workers = {helpers}")).await?;
            hands.helpers = helpers;
        }
        Ok(())
    }

    /// One part; true when the rest of its table came with it.
    async fn part(&self, blue: &Session, green: &mut Session, part: &Part, table: usize, source: usize) -> anyhow::Result<bool> {
        let Some((bound, _)) = &self.load.tables[table].rows else { bail!("the rows are there already") };
        let rest = self.rest(table);
        let alone = self.parts[table].1 == 1;
        let freeze = alone && rest.bytes > SMALL;
        let transaction = green.transaction().await?;
        if freeze {
            // In the transaction that makes the table's file rows may be frozen at once: no later pass over them.
            transaction.batch_execute(&format!("LOCK TABLE ONLY {} IN ACCESS EXCLUSIVE MODE", rest.table)).await?;
            let found = transaction.simple_query(&format!("SELECT 1 FROM ONLY {} LIMIT 1", rest.table)).await?;
            if found.iter().any(|message| matches!(message, SimpleQueryMessage::Row(_))) {
                bail!("the table holds rows that this load did not bring: somebody else writes to it");
            }
            transaction.batch_execute(&format!("TRUNCATE ONLY {}", rest.table)).await?;
        }
        let from = &bound.sources[source];
        let (mut bytes, began) = (0, Instant::now());
        let write = if freeze { bound.copy_in_frozen() } else { bound.copy_in() };
        let rows = {
            let read = bound.copy_out(from, part.blocks);
            let mut out = Box::pin(blue.copy_out(read.as_str()).await.context("read on blue")?);
            let mut sink = Box::pin(transaction.copy_in::<_, Bytes>(write.as_str()).await.context("write on green")?);
            let mut piece = BytesMut::with_capacity(PIECE * 2);
            while let Some(row) = out.try_next().await.context("read on blue")? {
                piece.extend_from_slice(&row);
                if piece.len() >= PIECE {
                    bytes += piece.len() as u64;
                    sink.send(piece.split().freeze()).await.context("write on green")?;
                }
            }
            bytes += piece.len() as u64;
            sink.send(piece.freeze()).await.context("write on green")?;
            sink.as_mut().finish().await.context("green refuses a row; correct the rows or the projection, then run again")?
        };
        let mut statements = vec![format!(
            "INSERT INTO crossfade.copy_part (run, step, projection, source, part, rows, bytes) VALUES ({}, {}, {}, {}, {}, {rows}, {bytes})",
            Literal::new(self.load.run.as_str()),
            Literal::new(self.load.step.as_str()),
            Literal::new(bound.table.plain()),
            Literal::new(from.name.as_str()),
            part.number
        )];
        let copied = began.elapsed();
        let whole = alone && rest.bytes <= SMALL && !self.load.ask;
        let after = if whole { rest.statements() } else { Vec::new() };
        statements.extend_from_slice(&after);
        (self.notice)(Moment::Sent);
        transaction.batch_execute(&statements.join("\n;")).await.context("after the rows")?;
        transaction.commit().await?;
        green.ran(Heard { statement: &write, took: copied, times: 1, longest: copied, rows });
        if !after.is_empty() {
            let took = began.elapsed() - copied;
            green.ran(Heard { statement: &after.join("; "), took, times: 1, longest: took, rows: 0 });
        }
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        let all = self.rows.fetch_add(rows, Ordering::Relaxed) + rows;
        (self.notice)(Moment::Committed(all));
        Ok(whole)
    }
}

/// What a crash loses is loaded again: the statements that end the load are committed in the ordinary way, after all of it.
const SETTINGS: &str = "SET synchronous_commit = off; SET max_parallel_maintenance_workers = 0; \
    SELECT set_config('maintenance_work_mem', \
    greatest(pg_size_bytes(current_setting('maintenance_work_mem')), 268435456) / 1024 || 'kB', false)";

async fn open(green: &Opener, settings: &str) -> anyhow::Result<Session> {
    let green = green.open().await?;
    green.batch_execute(&format!("{SETTINGS};\n{settings}")).await?;
    Ok(green)
}
