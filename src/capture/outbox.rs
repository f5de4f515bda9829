//! The outbox of one run: read between two snapshots, and emptied behind the reader.
//!
//! Triggers fill that on blue. What a slot gives comes into one on green, the inbox, in the same form.

use std::collections::HashSet;
use std::time::SystemTime;

use anyhow::Context;
use futures_util::TryStreamExt;
use tokio::sync::Mutex;
use tokio_postgres::types::ToSql;

use super::fence::Fence;
use super::seen::Seen;
use super::slot_state::SlotState;
use super::stream::Stream;
use super::table::{CapturedTable, installed};
use super::{Changed, Piece};
use crate::pg::{Opener, Session, Snapshot, sqlstate};
use crate::sql::Literal;
use crate::terms::RunId;

/// Rows of a [`Piece`], and rows that one statement of a purge removes.
const MANY: usize = 20_000;

/// Rows that a purge takes along the index; beyond them it goes block by block.
const WALL: u64 = 2 * MANY as u64;

/// Blocks of the outbox that one statement of such a purge reads: some ten thousand rows.
const BLOCKS: i64 = 256;

/// The changes of one run that are known and that nobody purged yet.
pub struct Outbox {
    blue: Opener,
    tables: Vec<CapturedTable>,
    kept: Kept,
    /// What fills it, where triggers do not.
    stream: Option<Mutex<Stream>>,
    /// Reads pieces; one connection serves all batches.
    reader: Mutex<Option<Session>>,
    purge: Mutex<Purge>,
}

/// Where the changes are.
struct Kept {
    opener: Opener,
    relation: &'static str,
    /// The condition for those of the run.
    mine: String,
}

/// Below this there is nothing left to purge.
#[derive(Default)]
struct Purge {
    session: Option<Session>,
    done: Option<Seen>,
}

/// How much waits in the outbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backlog {
    /// Rows, as the server's statistics estimate them.
    pub rows: u64,
    /// Bytes on disk, with indexes and space that vacuum has not freed yet, of all runs.
    pub bytes: u64,
    /// When the oldest change of this run that was not purged was written, by blue's clock.
    pub oldest: Option<SystemTime>,
    /// Bytes from which on somebody should look, as the plan says.
    pub alarm: u64,
    /// The slot, where one tells the changes.
    pub slot: Option<SlotState>,
}

/// Whether captured tables can be read as a snapshot sees them.
#[must_use]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reading {
    /// They can, for as long as the snapshot lives: its session holds ACCESS SHARE on them.
    Faithful,
    /// A TRUNCATE or a rewrite of a table was committed after the snapshot was taken. Such tables look empty to it
    /// (PostgreSQL manual 13.6, caveats): take a new snapshot.
    Overtaken,
}

impl Outbox {
    /// The outbox of a run; `None` when nothing is captured for it.
    ///
    /// # Errors
    /// When a server cannot be reached.
    pub async fn open(blue: Opener, green: Opener, run: &RunId) -> anyhow::Result<Option<Self>> {
        let tables = installed(&blue.open().await?, run).await?;
        let Some(first) = tables.first() else { return Ok(None) };
        let stream = first.slot.as_deref().map(|slot| Mutex::new(Stream::new(blue.clone(), green.clone(), run, slot)));
        let kept = match stream {
            None => {
                let ids: Vec<String> = tables.iter().map(|captured| captured.id.to_string()).collect();
                let mine = format!("captured = ANY ('{{{}}}'::integer[])", ids.join(","));
                Kept { opener: blue.clone(), relation: "crossfade.outbox", mine }
            }
            Some(_) => Kept { opener: green, relation: "crossfade.inbox", mine: format!("run = {}", Literal::new(run.as_str())) },
        };
        Ok(Some(Self { blue, tables, kept, stream, reader: Mutex::default(), purge: Mutex::default() }))
    }

    /// Sees to it that every change is here that `at` sees. Belongs after [`Outbox::check`] and before anything that reads
    /// the changes.
    ///
    /// # Errors
    /// [`Changed`] when changes are not to be had any more; otherwise when a server is away.
    pub async fn arrive(&self, at: &Snapshot) -> anyhow::Result<()> {
        match &self.stream {
            Some(stream) => stream.lock().await.arrive(&self.tables, &at.text().await?).await,
            None => Ok(()),
        }
    }

    /// The captured tables, in the order [`Piece`] counts them.
    pub fn tables(&self) -> &[CapturedTable] {
        &self.tables
    }

    /// Asks whether captured tables and our triggers are, as `at` sees them, what they were when capture began, and keeps
    /// them from being truncated or rewritten while `at` lives. Belongs before anything is read at `at`.
    ///
    /// # Errors
    /// [`Changed`] when somebody altered or dropped a table or touched a trigger; otherwise when the session is gone.
    pub async fn check(&self, at: &Snapshot) -> anyhow::Result<Reading> {
        let findings = Fence::compare(at.session(), &self.tables).await?;
        if !findings.is_empty() {
            return Err(Changed { findings }.into());
        }
        match at.session().batch_execute(&self.lock()).await {
            // Dropped; or in a circle with writers and somebody who truncates, which the server has ended here.
            Err(error) if matches!(sqlstate(&error), "42P01" | "3F000" | "40P01") => return Ok(Reading::Overtaken),
            locked => locked.context("locking captured tables on blue against a rewrite")?,
        }
        let oids: Vec<u32> = self.tables.iter().map(|captured| captured.oid).collect();
        // The catalog as the snapshot sees it, against the present that the function tells.
        let moved =
            "SELECT count(*) FROM pg_class WHERE oid = ANY ($1) AND relfilenode IS DISTINCT FROM pg_relation_filenode(oid)";
        let moved: i64 = at.session().query_one(moved, &[&oids]).await?.get(0);
        Ok(if moved == 0 { Reading::Faithful } else { Reading::Overtaken })
    }

    /// Lets another session of the snapshot read what [`Outbox::check`] keeps from being rewritten; false: somebody waits to truncate or
    /// alter a table, which waits for the snapshot. Who waited for them in turn would wait for himself, where no server sees it: let
    /// the snapshot go, and take another.
    ///
    /// # Errors
    /// When the session is gone.
    pub async fn share(&self, session: &Session) -> anyhow::Result<bool> {
        match session.batch_execute(&format!("{} NOWAIT", self.lock())).await {
            Err(error) if matches!(sqlstate(&error), "55P03" | "42P01" | "3F000") => Ok(false),
            locked => locked.map(|()| true).context("locking captured tables on blue against a rewrite"),
        }
    }

    fn lock(&self) -> String {
        let names: Vec<String> = self.tables.iter().map(|captured| captured.table.to_string()).collect();
        format!("LOCK TABLE ONLY {} IN ACCESS SHARE MODE", names.join(", ONLY "))
    }

    /// Gives the changes that `at` sees and the snapshot `since` (the text of a `pg_snapshot`) does not, in pieces of at most
    /// 20,000 rows, each key once per piece. Returns the rows read. Memory holds one piece, whatever the number of changes.
    ///
    /// # Errors
    /// When a session is gone, or the error of `each`.
    pub async fn between(
        &self,
        since: &str,
        at: &Snapshot,
        mut each: impl AsyncFnMut(Piece) -> anyhow::Result<()>,
    ) -> anyhow::Result<u64> {
        let mut reader = self.reader.lock().await;
        let session = match reader.take().filter(|session| !session.is_closed()) {
            Some(session) => session,
            None => self.kept.opener.open().await?,
        };
        let mut seen = "true".to_owned();
        match &self.stream {
            // What the snapshot sees of the outbox is what it should give.
            None => at.ticket().enter(&session).await?,
            Some(_) => {
                session.batch_execute("BEGIN READ ONLY").await?;
                seen = Seen::parse(&at.text().await?)?.seen();
            }
        }
        session.batch_execute("SET LOCAL enable_seqscan = off").await?; // statistics lag behind a table that fills and empties
        let Kept { relation, mine, .. } = &self.kept;
        let branch = |unseen: &String| {
            format!("SELECT captured, operation, keys, written_at FROM {relation} WHERE {mine} AND {unseen} AND {seen}")
        };
        let query = Seen::parse(since)?.unseen().iter().map(branch).collect::<Vec<_>>().join(" UNION ALL ");
        let ids: Vec<i32> = self.tables.iter().map(|captured| captured.id).collect();
        let none: [&(dyn ToSql + Sync); 0] = [];
        let rows = session.query_raw(&query, none).await.with_context(|| format!("reading {relation}"))?;
        futures_util::pin_mut!(rows);
        let (mut gathered, mut held, mut count) = (Gathered::new(self.tables.len()), 0, 0);
        while let Some(row) = rows.try_next().await.with_context(|| format!("reading {relation}"))? {
            let (id, operation): (i32, i8) = (row.get(0), row.get(1));
            let moved = operation != i8::try_from(b'u')?;
            let table = ids.iter().position(|known| *known == id).context("the outbox gave a table that was not asked for")?;
            count += 1;
            match row.get::<_, Option<Vec<Option<String>>>>(2) {
                Some(keys) => gathered.add(table * 2 + usize::from(moved), keys, row.get(3)),
                None if operation == i8::try_from(b't')? => gathered.truncated[table] = true,
                None => anyhow::bail!("{relation} holds a row without keys; next: roll the run back and capture anew"),
            }
            held += 1;
            if held == MANY {
                gathered.give(&mut each).await?;
                held = 0;
            }
        }
        gathered.give(&mut each).await?;
        session.batch_execute("ROLLBACK").await?;
        *reader = Some(session);
        Ok(count)
    }

    /// Removes the rows that `watermark` (the text of a `pg_snapshot`) sees: what it sees must be durable on green. Each
    /// statement removes a bounded number. Returns the rows removed.
    ///
    /// # Errors
    /// When the session is gone.
    pub async fn purge(&self, watermark: &str) -> anyhow::Result<u64> {
        let to = Seen::parse(watermark)?;
        let mut purge = self.purge.lock().await;
        let session = match purge.session.take().filter(|session| !session.is_closed()) {
            Some(session) => session,
            None => self.kept.opener.open().await?,
        };
        let Kept { relation, mine, .. } = &self.kept;
        session.batch_execute("SET enable_seqscan = off").await?;
        // What an earlier call removed may still be there as dead rows: they are not walked over again.
        let mut ranges = match &purge.done {
            Some(done) => done.unseen().map(|unseen| format!("{unseen} AND {}", to.seen())).to_vec(),
            None => vec![to.seen()],
        };
        let mut removed = 0;
        while let Some(range) = ranges.pop() {
            let mut from = String::new();
            loop {
                let statement = format!(
                    "WITH old AS (SELECT ctid FROM {relation} WHERE {mine} AND {range}{from} ORDER BY transaction LIMIT {MANY}), \
                          gone AS (DELETE FROM {relation} WHERE ctid = ANY (ARRAY(SELECT ctid FROM old)) RETURNING transaction) \
                     SELECT count(*), (SELECT transaction::text FROM gone ORDER BY gone.transaction DESC LIMIT 1) FROM gone"
                );
                let row = session.query_one(&statement, &[]).await.with_context(|| format!("purging {relation}"))?;
                let (count, last): (i64, Option<String>) = (row.get(0), row.get(1));
                removed += count.unsigned_abs();
                match last {
                    Some(last) if count.unsigned_abs() == MANY as u64 => from = format!(" AND transaction >= '{last}'"),
                    _ => break,
                }
                if removed >= WALL {
                    removed += self.purge_by_blocks(&session, &range).await?;
                    break;
                }
            }
        }
        *purge = Purge { session: Some(session), done: Some(to) };
        Ok(removed)
    }

    /// Removes the rest of a range block by block: a walk along the index would pass again and again over rows that are dead and
    /// that a snapshot still keeps.
    async fn purge_by_blocks(&self, session: &Session, range: &str) -> anyhow::Result<u64> {
        let Kept { relation, mine, .. } = &self.kept;
        let size = format!(
            "SELECT pg_relation_size({}) / current_setting('block_size')::bigint, \
                    current_setting('server_version_num')::int >= 140000",
            Literal::new(relation.to_string())
        );
        let row = session.query_one(&size, &[]).await?;
        let (blocks, by_range): (i64, bool) = (row.get(0), row.get(1));
        // Before PostgreSQL 14 a range of blocks is read by reading the whole table: one statement does it then.
        let step = if by_range { BLOCKS } else { blocks.max(1) };
        let (mut removed, mut first) = (0, 0);
        while first < blocks {
            let [from, to] = [first, first + step].map(|block| Literal::new(format!("({block},0)")).to_string());
            let statement =
                format!("DELETE FROM {relation} WHERE ctid >= {from}::tid AND ctid < {to}::tid AND {mine} AND {range}");
            removed += session.execute(&statement, &[]).await.with_context(|| format!("purging {relation}"))?;
            first += step;
        }
        Ok(removed)
    }

    /// How much waits. The age is that of the lowest transaction that was not purged.
    ///
    /// # Errors
    /// When a server cannot be reached.
    pub async fn backlog(&self) -> anyhow::Result<Backlog> {
        let session = self.kept.opener.open().await?;
        let Kept { relation, mine, .. } = &self.kept;
        session.batch_execute("SET enable_seqscan = off").await?;
        let sql = format!(
            "SELECT pg_stat_get_live_tuples(c.oid), pg_total_relation_size(c.oid), \
                    (SELECT written_at FROM {relation} WHERE {mine} ORDER BY transaction LIMIT 1) \
             FROM pg_class c WHERE c.oid = {}::regclass",
            Literal::new(relation.to_string())
        );
        let row = session.query_one(&sql, &[]).await?;
        let backlog = Backlog {
            rows: row.get::<_, i64>(0).unsigned_abs(),
            bytes: row.get::<_, i64>(1).unsigned_abs(),
            oldest: row.get(2),
            alarm: self.tables.iter().map(|captured| captured.alarm).min().unwrap_or(u64::MAX),
            slot: None,
        };
        match &self.stream {
            Some(stream) => stream.lock().await.backlog(&self.blue.open().await?, backlog).await,
            None => Ok(backlog),
        }
    }
}

/// The pieces that grow, two per table: keys of which only other columns changed, and those that moved.
struct Gathered {
    keys: Vec<HashSet<Vec<Option<String>>>>,
    oldest: Vec<Option<SystemTime>>,
    truncated: Vec<bool>,
}

impl Gathered {
    fn new(tables: usize) -> Self {
        Self { keys: vec![HashSet::new(); tables * 2], oldest: vec![None; tables * 2], truncated: vec![false; tables] }
    }

    fn add(&mut self, place: usize, keys: Vec<Option<String>>, written: SystemTime) {
        self.keys[place].insert(keys);
        let oldest = self.oldest[place].get_or_insert(written);
        *oldest = written.min(*oldest);
    }

    async fn give(&mut self, each: &mut impl AsyncFnMut(Piece) -> anyhow::Result<()>) -> anyhow::Result<()> {
        for place in 0..self.keys.len() {
            let (table, moved) = (place / 2, place % 2 == 1);
            if std::mem::take(&mut self.truncated[table]) {
                each(Piece::Truncated { table }).await?;
            }
            let mut keys = std::mem::take(&mut self.keys[place]);
            if !moved {
                keys.retain(|key| !self.keys[place + 1].contains(key)); // said there, and more
            }
            if let Some(oldest) = self.oldest[place].take().filter(|_| !keys.is_empty()) {
                each(Piece::Rows { table, keys: keys.into_iter().collect(), moved, oldest }).await?;
            }
        }
        Ok(())
    }
}
