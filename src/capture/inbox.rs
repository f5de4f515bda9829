//! The inbox on green: what a slot gave, kept until green's watermark has passed it.

use std::pin::Pin;

use anyhow::Context;
use bytes::{BufMut, Bytes, BytesMut};
use futures_util::SinkExt;
use tokio_postgres::CopyInSink;

use super::change::Kept;
use crate::pg::{Opener, Session};
use crate::terms::RunId;

/// Rows are handed on in pieces of this many bytes.
const PIECE: usize = 128 << 10;

/// `text` (`pg_type.oid`).
const TEXT: u32 = 25;

/// Puts changes into the inbox, in transactions that also say how far the log is read.
pub(super) struct Inbox {
    green: Opener,
    run: RunId,
    session: Option<Session>,
    /// Open while a transaction of green is.
    sink: Option<Pin<Box<CopyInSink<Bytes>>>>,
    buffer: BytesMut,
    /// Rows in the open transaction.
    rows: u64,
}

/// Whose changes come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Transaction {
    /// Its whole id.
    pub id: u64,
    /// When it was committed, in microseconds since 2000-01-01.
    pub at: i64,
}

impl Inbox {
    pub fn new(green: Opener, run: RunId) -> Self {
        Self { green, run, session: None, sink: None, buffer: BytesMut::new(), rows: 0 }
    }

    /// Up to where in the log everything is here; 0: nothing yet.
    ///
    /// # Errors
    /// When green cannot be reached.
    pub async fn position(&mut self) -> anyhow::Result<u64> {
        self.sink = None;
        self.buffer.clear();
        (self.rows, self.session) = (0, None);
        let session = self.green.open().await?;
        let sql = "SELECT (position - '0/0')::text FROM crossfade.inbox_position WHERE run = $1";
        let row = session.query_opt(sql, &[&self.run.as_str()]).await.context("reading the inbox on green")?;
        let position = row.map(|row| row.get::<_, String>(0).parse()).transpose().context("the position in blue's log")?;
        self.session = Some(session);
        Ok(position.unwrap_or_default())
    }

    /// Rows that are not committed.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Adds a change of the captured table with this number.
    ///
    /// # Errors
    /// When green cannot be written.
    pub async fn add(&mut self, of: Transaction, captured: i32, kept: &Kept) -> anyhow::Result<()> {
        if self.sink.is_none() {
            let session = self.session.as_ref().context("the inbox was not opened")?;
            session.batch_execute("BEGIN").await.context(WRITING)?;
            let copy =
                "COPY crossfade.inbox (run, transaction, captured, operation, keys, written_at) FROM STDIN (FORMAT binary)";
            self.sink = Some(Box::pin(session.copy_in(copy).await.context(WRITING)?));
            self.buffer.put_slice(b"PGCOPY\n\xff\r\n\0");
            self.buffer.put_i64(0); // flags, length of the header's extension
        }
        put(&mut self.buffer, self.run.as_str(), of, captured, kept)?;
        self.rows += 1;
        if self.buffer.len() >= PIECE {
            self.send().await?;
        }
        Ok(())
    }

    /// Commits what was added, if anything was, and that the log is read up to `position`, which was `before`.
    ///
    /// # Errors
    /// When green cannot be written, or somebody else read the log meanwhile.
    pub async fn commit(&mut self, before: u64, position: u64) -> anyhow::Result<()> {
        if self.sink.is_none() {
            return Ok(());
        }
        self.buffer.put_i16(-1);
        self.send().await?;
        let (Some(mut sink), Some(session)) = (self.sink.take(), self.session.as_ref()) else { return Ok(()) };
        sink.as_mut().finish().await.context(WRITING)?;
        self.rows = 0;
        let sql = "INSERT INTO crossfade.inbox_position AS p (run, position) VALUES ($1, '0/0'::pg_lsn + $3::text::numeric) \
                   ON CONFLICT (run) DO UPDATE SET position = excluded.position WHERE p.position = '0/0'::pg_lsn + $2::text::numeric";
        let moved = session.execute(sql, &[&self.run.as_str(), &before.to_string(), &position.to_string()]).await?;
        anyhow::ensure!(moved == 1, "the inbox on green is not where this follower left it: somebody else fills it; run again");
        session.batch_execute("COMMIT").await.context(WRITING)
    }

    async fn send(&mut self) -> anyhow::Result<()> {
        if let Some(sink) = &mut self.sink {
            sink.send(self.buffer.split().freeze()).await.context(WRITING)?;
        }
        Ok(())
    }
}

const WRITING: &str = "filling the inbox on green";

/// A row of binary COPY (PostgreSQL manual, COPY).
fn put(buffer: &mut BytesMut, run: &str, of: Transaction, captured: i32, (operation, keys): &Kept) -> anyhow::Result<()> {
    buffer.put_i16(6);
    put_bytes(buffer, run.as_bytes())?;
    put_bytes(buffer, &of.id.to_be_bytes())?;
    put_bytes(buffer, &captured.to_be_bytes())?;
    put_bytes(buffer, &[*operation])?;
    match keys {
        None => buffer.put_i32(-1),
        Some(keys) => {
            let values: usize = keys.iter().map(|key| 4 + key.as_ref().map_or(0, String::len)).sum();
            buffer.put_i32(i32::try_from(20 + values)?);
            buffer.put_i32(1); // dimensions
            buffer.put_i32(i32::from(keys.iter().any(Option::is_none)));
            buffer.put_u32(TEXT);
            buffer.put_i32(i32::try_from(keys.len())?);
            buffer.put_i32(1); // the first place
            for key in keys {
                match key {
                    None => buffer.put_i32(-1),
                    Some(key) => put_bytes(buffer, key.as_bytes())?,
                }
            }
        }
    }
    put_bytes(buffer, &of.at.to_be_bytes())
}

fn put_bytes(buffer: &mut BytesMut, bytes: &[u8]) -> anyhow::Result<()> {
    buffer.put_i32(i32::try_from(bytes.len())?);
    buffer.put_slice(bytes);
    Ok(())
}
