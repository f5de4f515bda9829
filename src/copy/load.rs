//! The load: parts from blue's snapshot to green, several at a time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Context;
use bytes::{Bytes, BytesMut};
use futures_util::{SinkExt, TryStreamExt};

use crate::pg::{Opener, Session, Snapshot, Ticket, on_threads};
use crate::projection::{Bound, Part, cut, read_target};
use crate::terms::{RunId, StepId};

/// Rows are handed on in pieces of this many bytes.
const PIECE: usize = 128 << 10;

/// What the load is doing; for progress and for the tests' crash points.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// A part's rows are sent, not committed.
    Sent,
    /// A part is committed; this many rows are, in all.
    Committed(u64),
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
}

/// A load of all projections of a step.
pub struct Load {
    /// The run, for the part rows.
    pub run: RunId,
    /// The step, for the part rows.
    pub step: StepId,
    /// Opens sessions on green.
    pub green: Opener,
    /// Sessions per side.
    pub jobs: usize,
    /// What to load.
    pub bound: Vec<Bound>,
}

impl Load {
    /// Loads every part of every source, each in one green transaction together with its row in `crossfade.copy_part`.
    ///
    /// # Errors
    /// The first part that fails: names table, source and part.
    pub async fn run(self, snapshot: &Snapshot, notice: impl Fn(Moment) + Send + Sync + 'static) -> anyhow::Result<Loaded> {
        let (parts, sources) = plan(snapshot, &self.bound, self.jobs).await?;
        let count = parts.len();
        let (rows, bytes) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let shared = Arc::new((self, sources, notice));
        let (ticket, jobs) = (snapshot.ticket(), shared.0.jobs);
        let (all_rows, all_bytes) = (Arc::clone(&rows), Arc::clone(&bytes));
        on_threads(jobs, parts, move |tasks| {
            let (shared, ticket) = (Arc::clone(&shared), ticket.clone());
            let (all_rows, all_bytes) = (Arc::clone(&all_rows), Arc::clone(&all_bytes));
            async move {
                let (load, sources, notice) = &*shared;
                let (blue, mut green) = open(&ticket, &load.green).await?;
                while let Some(part) = tasks.take() {
                    let place = sources[part.of];
                    let (rows, bytes) = load.part(&blue, &mut green, &part, place, notice).await.with_context(|| {
                        let bound = &load.bound[place.0];
                        format!("table {}, source {}, part {}", bound.table.plain(), bound.sources[place.1].name, part.number)
                    })?;
                    all_bytes.fetch_add(bytes, Ordering::Relaxed);
                    notice(Moment::Committed(all_rows.fetch_add(rows, Ordering::Relaxed) + rows));
                }
                Ok(())
            }
        })
        .await?;
        Ok(Loaded { rows: rows.load(Ordering::Relaxed), bytes: bytes.load(Ordering::Relaxed), parts: count })
    }

    async fn part(
        &self,
        blue: &Session,
        green: &mut Session,
        part: &Part,
        (projection, source): (usize, usize),
        notice: &impl Fn(Moment),
    ) -> anyhow::Result<(u64, u64)> {
        let bound = &self.bound[projection];
        let source = &bound.sources[source];
        let transaction = green.transaction().await?;
        let mut bytes = 0;
        let rows = {
            let mut out = Box::pin(blue.copy_out(bound.copy_out(source, part.blocks).as_str()).await.context("read on blue")?);
            let mut sink = Box::pin(transaction.copy_in::<_, Bytes>(bound.copy_in().as_str()).await.context("write on green")?);
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
        transaction
            .execute(
                "INSERT INTO crossfade.copy_part (run, step, projection, source, part, rows, bytes) \
                 VALUES ($1, $2, $3, $4, $5, $6, $7)",
                &[
                    &self.run.as_str(),
                    &self.step.as_str(),
                    &bound.table.plain(),
                    &source.name,
                    &part.number,
                    &rows.cast_signed(),
                    &bytes.cast_signed(),
                ],
            )
            .await?;
        notice(Moment::Sent);
        transaction.commit().await?;
        Ok((rows, bytes))
    }
}

async fn open(ticket: &Ticket, green: &Opener) -> anyhow::Result<(Session, Session)> {
    let (blue, green) = (ticket.join().await?, green.open().await?);
    // What a crash loses is loaded again: the marker that ends the load is committed in the ordinary way, after all of it.
    green.batch_execute("SET synchronous_commit = off").await?;
    Ok((blue, green))
}

/// The parts, and for each table that was cut its (projection, source).
async fn plan(blue: &Snapshot, bound: &[Bound], jobs: usize) -> anyhow::Result<(Vec<Part>, Vec<(usize, usize)>)> {
    let (mut blocks, mut sources, mut block_size) = (Vec::new(), Vec::new(), 8192);
    for (projection, one) in bound.iter().enumerate() {
        for (source, from) in one.sources.iter().enumerate() {
            let table = read_target(blue.session(), &from.drives).await?;
            let table = table.with_context(|| format!("table {} is gone from blue", from.drives.plain()))?;
            blocks.push(table.blocks);
            sources.push((projection, source));
            block_size = table.block_size;
        }
    }
    Ok((cut(&blocks, block_size, jobs, blue.reads_block_ranges().await?), sources))
}
