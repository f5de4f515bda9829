//! The rows of one part, from blue's snapshot to green.

use std::time::Instant;

use anyhow::{Context, bail};
use bytes::{Bytes, BytesMut};
use futures_util::{SinkExt, TryStreamExt};
use tokio_postgres::SimpleQueryMessage;

use super::gate::Gate;
use super::missing::{Form, Missing};
use crate::pg::{Heard, Session};
use crate::terms::{RunId, StepId};

/// Rows are handed on in pieces of this many bytes.
const PIECE: usize = 128 << 10;

/// Where a part travels.
pub(super) struct Transfer<'a> {
    pub run: &'a RunId,
    pub step: &'a StepId,
    /// A session that sees the snapshot.
    pub blue: &'a Session,
    /// A session whose transaction has taken the part.
    pub green: &'a Session,
    pub gate: &'a Gate,
}

/// What of a part was brought.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Amount {
    pub rows: u64,
    pub bytes: u64,
}

impl Transfer<'_> {
    /// Brings the rows and commits them. Otherwise as [`Transfer::rows`].
    ///
    /// # Errors
    /// Likewise.
    pub async fn bring(&self, part: &Missing, sent: impl FnOnce()) -> anyhow::Result<Amount> {
        let brought = self.rows(part).await?;
        sent();
        self.commit(&part.done(self.run, self.step, brought), &[]).await?;
        Ok(brought)
    }

    /// Brings the rows; they are not committed. After an error the transaction is still open: the session is good for nothing else.
    ///
    /// # Errors
    /// When a side refuses; names no row.
    pub async fn rows(&self, part: &Missing) -> anyhow::Result<Amount> {
        if part.form == Form::Frozen {
            self.empty(part).await?;
        }
        let (mut bytes, began) = (0, Instant::now());
        let mut out = Box::pin(self.blue.copy_out(part.read.as_str()).await.context("read on blue")?);
        let mut sink = Box::pin(self.green.copy_in::<_, Bytes>(part.write.as_str()).await.context("write on green")?);
        let mut piece = BytesMut::with_capacity(PIECE * 2);
        while let Some(row) = out.try_next().await.context("read on blue")? {
            piece.extend_from_slice(&row);
            if piece.len() >= PIECE {
                bytes += piece.len() as u64;
                self.gate.pass(piece.len()).await?;
                sink.send(piece.split().freeze()).await.context("write on green")?;
            }
        }
        bytes += piece.len() as u64;
        self.gate.pass(piece.len()).await?;
        sink.send(piece.freeze()).await.context("write on green")?;
        let rows =
            sink.as_mut().finish().await.context("green refuses a row; correct the rows or the projection, then run again")?;
        let took = began.elapsed();
        self.green.ran(Heard { statement: &part.write, took, times: 1, longest: took, rows });
        Ok(Amount { rows, bytes })
    }

    /// Commits what was brought, with the statements that say of it that it is in, and those that `also` belong to it.
    ///
    /// # Errors
    /// When green refuses.
    pub async fn commit(&self, done: &[String], also: &[String]) -> anyhow::Result<()> {
        let began = Instant::now();
        let statements: Vec<&str> = done.iter().chain(also).map(String::as_str).collect();
        self.green.batch_execute(&format!("{}\n;COMMIT", statements.join("\n;"))).await.context("after the rows")?;
        if !also.is_empty() {
            let took = began.elapsed();
            self.green.ran(Heard { statement: &also.join("; "), took, times: 1, longest: took, rows: 0 });
        }
        Ok(())
    }

    /// In the transaction that makes the table's file rows may be frozen at once: no later pass over them.
    async fn empty(&self, part: &Missing) -> anyhow::Result<()> {
        let table = &part.table;
        let look = format!("LOCK TABLE ONLY {table} IN ACCESS EXCLUSIVE MODE; SELECT 1 FROM ONLY {table} LIMIT 1");
        let found = self.green.simple_query(&look).await?;
        if found.iter().any(|message| matches!(message, SimpleQueryMessage::Row(_))) {
            bail!("the table holds rows that this load did not bring: somebody else writes to it");
        }
        Ok(self.green.batch_execute(&format!("TRUNCATE ONLY {table}")).await?)
    }
}
