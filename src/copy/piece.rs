//! One thing that must be on green when its rows are: how to find out, and how to bring it.

use std::time::Instant;

use anyhow::Context;

use crate::pg::{Heard, Session};
use crate::sql::QualifiedName;

/// An index, a constraint, or another definition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// What messages call it.
    pub object: String,
    /// An expression that is true when it is there.
    pub there: String,
    /// The statements that bring it; they are one transaction.
    pub statements: Vec<String>,
    /// A statement in the same transaction that says so, where `there` asks for that.
    pub done: Option<String>,
}

/// What comes after the rows of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rest {
    /// The table on green.
    pub table: QualifiedName,
    /// Bytes of its rows, as far as known: the biggest come first.
    pub bytes: u64,
    /// What may be built at the same time; the pieces of one chain come one after the other.
    pub chains: Vec<Vec<Piece>>,
    /// What comes when all chains are there: constraints, which nobody else may hold the table for.
    pub last: Vec<Piece>,
    /// Whether the table gets statistics of its own.
    pub analyze: bool,
    /// One statement that says of all pieces what theirs say of each.
    pub done: Option<String>,
}

/// What comes next when the loaded rows are in the way: they stay loaded as long as the step is not undone.
pub(super) const AGAIN: &str =
    "if rows are in the way: `crossfade rollback --execute`, correct them on blue or the projection, run with --new";

impl Piece {
    /// Brings it if it is not there; says whether it did.
    pub(super) async fn bring(&self, session: &Session) -> anyhow::Result<bool> {
        let there: bool = session.query_one(&format!("SELECT coalesce({}, false)", self.there), &[]).await?.get(0);
        if !there {
            self.build(session).await?;
        }
        Ok(!there)
    }

    /// Brings it, which is not there.
    pub(super) async fn build(&self, session: &Session) -> anyhow::Result<()> {
        let statements: Vec<&str> = self.statements.iter().chain(&self.done).map(String::as_str).collect();
        let text = format!("BEGIN;\n{}\n;COMMIT", statements.join("\n;"));
        let began = Instant::now();
        let built = session.batch_execute(&text).await;
        if built.is_err() && !session.is_closed() {
            session.batch_execute("ROLLBACK").await?;
        }
        built.with_context(|| format!("{} on green: {AGAIN}", self.object))?;
        let took = began.elapsed();
        session.ran(Heard { statement: &self.statements.join("; "), took, times: 1, longest: took, rows: 0 });
        Ok(())
    }
}

impl Rest {
    /// The statement that gives the table statistics.
    pub(super) fn statistics(&self) -> Option<String> {
        self.analyze.then(|| format!("ANALYZE {}", self.table))
    }

    /// All statements, as one transaction may run them.
    pub(super) fn statements(&self) -> Vec<String> {
        let pieces = self.chains.iter().flatten().chain(&self.last).flat_map(|piece| piece.statements.iter().cloned());
        pieces.chain(self.done.clone()).chain(self.statistics()).collect()
    }
}
