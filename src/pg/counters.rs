//! The server's own counters for what a step did to a database.

use serde::{Deserialize, Serialize};

use crate::pg::Session;

/// Cumulative counters of one database (PostgreSQL manual 28.2, `pg_stat_database`), or the difference of two readings.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// Rows updated.
    pub rows_updated: i64,
    /// Rows inserted (COPY counts here).
    pub rows_inserted: i64,
    /// Rows deleted.
    pub rows_deleted: i64,
    /// Bytes written to temporary files.
    pub temp_bytes: i64,
    /// Transactions committed.
    pub transaction_commits: i64,
    /// Bytes of write-ahead log, of the whole cluster.
    pub wal_bytes: i64,
}

impl Counters {
    /// Reads the counters now. Other sessions report theirs at the end of their transactions, at most about a second late.
    ///
    /// # Errors
    /// When the session is gone.
    pub async fn read(session: &Session) -> anyhow::Result<Self> {
        let row = session
            .query_one(
                "SELECT tup_updated, tup_inserted, tup_deleted, temp_bytes, xact_commit, \
                        (pg_current_wal_lsn() - '0/0'::pg_lsn)::bigint \
                 FROM pg_stat_database WHERE datname = current_database()",
                &[],
            )
            .await?;
        Ok(Self {
            rows_updated: row.get(0),
            rows_inserted: row.get(1),
            rows_deleted: row.get(2),
            temp_bytes: row.get(3),
            transaction_commits: row.get(4),
            wal_bytes: row.get(5),
        })
    }

    /// What happened between an `earlier` reading and this one.
    pub fn since(&self, earlier: &Counters) -> Counters {
        self.combine(earlier, |now, then| (now - then).max(0))
    }

    /// Both together.
    pub fn plus(&self, other: &Counters) -> Counters {
        self.combine(other, |a, b| a + b)
    }

    fn combine(&self, other: &Counters, with: impl Fn(i64, i64) -> i64) -> Counters {
        Counters {
            rows_updated: with(self.rows_updated, other.rows_updated),
            rows_inserted: with(self.rows_inserted, other.rows_inserted),
            rows_deleted: with(self.rows_deleted, other.rows_deleted),
            temp_bytes: with(self.temp_bytes, other.temp_bytes),
            transaction_commits: with(self.transaction_commits, other.transaction_commits),
            wal_bytes: with(self.wal_bytes, other.wal_bytes),
        }
    }
}
