//! One view of a database for many sessions (PostgreSQL manual 9.27.5, snapshot synchronization).

use anyhow::Context;

use crate::pg::{Opener, Session};
use crate::sql::Literal;

/// A session in a read-only transaction whose snapshot others join. The snapshot lives as long as this.
pub struct Snapshot {
    session: Session,
    name: String,
    opener: Opener,
}

/// No compilation of the long expressions of projections: estimates make it look worth its while for each part anew.
/// Row-level security shall fail, not leave rows out.
const BEGIN: &str = "SET jit = off; SET row_security = off; BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";

/// What a session that reads large parts of tables gets: joins that pass through temporary files only where 64 MB do not do.
pub const READER: &str = "SET jit = off; SELECT set_config('work_mem', \
    greatest(pg_size_bytes(current_setting('work_mem')), 67108864) / 1024 || 'kB', false)";

impl Snapshot {
    /// Takes and exports a snapshot.
    ///
    /// # Errors
    /// When the server cannot be reached or refuses (a standby cannot export).
    pub async fn export(opener: Opener) -> anyhow::Result<Self> {
        let session = opener.open().await?;
        Self::export_in(session, opener).await
    }

    /// The same in a session that is in no transaction. One that has read the same tables before knows the catalog already.
    ///
    /// # Errors
    /// As [`Self::export`].
    pub async fn export_in(session: Session, opener: Opener) -> anyhow::Result<Self> {
        session.batch_execute(BEGIN).await?;
        let row = session
            .query_one("SELECT pg_export_snapshot()", &[])
            .await
            .with_context(|| format!("cannot export a snapshot of {}", opener.name()))?;
        Ok(Self { name: row.get(0), session, opener })
    }

    /// Its text as a `pg_snapshot`.
    ///
    /// # Errors
    /// When the session is gone.
    pub async fn text(&self) -> anyhow::Result<String> {
        Ok(self.session.query_one("SELECT pg_current_snapshot()::text", &[]).await?.get(0))
    }

    /// The name under which it is exported.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The session that holds the snapshot; it reads what the others read.
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// Lets the snapshot go and gives the session back, in no transaction.
    ///
    /// # Errors
    /// When the session is gone.
    pub async fn release(self) -> anyhow::Result<Session> {
        self.session.batch_execute("ROLLBACK").await?;
        Ok(self.session)
    }

    /// Whether the server reads a range of blocks without reading the whole table (TID range scans: PostgreSQL 14).
    ///
    /// # Errors
    /// When the session is gone.
    pub async fn reads_block_ranges(&self) -> anyhow::Result<bool> {
        reads_block_ranges(&self.session).await
    }

    /// What another session needs to join.
    pub fn ticket(&self) -> Ticket {
        Ticket { name: self.name.clone(), opener: self.opener.clone() }
    }
}

/// The right to open sessions in a [`Snapshot`], while it lives.
#[derive(Debug, Clone)]
pub struct Ticket {
    name: String,
    opener: Opener,
}

impl Ticket {
    /// For a snapshot that somebody else exported under this name.
    pub fn of(name: String, opener: Opener) -> Self {
        Self { name, opener }
    }

    /// The name under which it is exported.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Opens a session that does not see the snapshot yet; see [`Ticket::enter`].
    ///
    /// # Errors
    /// When the server cannot be reached.
    pub async fn outside(&self) -> anyhow::Result<Session> {
        self.opener.open().await
    }

    /// Opens a session that sees the snapshot.
    ///
    /// # Errors
    /// When the snapshot's holder is gone.
    pub async fn join(&self) -> anyhow::Result<Session> {
        let session = self.opener.open().await?;
        session.batch_execute(READER).await?;
        self.enter(&session).await?;
        Ok(session)
    }

    /// As [`Self::join`], where the snapshot's holder keeps locks on what is read: whoever waits here for somebody who waits for the holder
    /// (a TRUNCATE, an ALTER TABLE) would wait for ever and keep all writers of the table waiting, where no server sees it. So a
    /// wait of five seconds for a lock is an error (SQLSTATE 55P03).
    ///
    /// # Errors
    /// As [`Self::join`].
    pub async fn join_beside_locks(&self) -> anyhow::Result<Session> {
        let session = self.join().await?;
        session.batch_execute("SET LOCAL lock_timeout = '5s'").await?;
        Ok(session)
    }

    /// Makes an open session, which is in no transaction, see the snapshot.
    ///
    /// # Errors
    /// When the snapshot's holder or the session is gone.
    pub async fn enter(&self, session: &Session) -> anyhow::Result<()> {
        session
            .batch_execute(&format!("{BEGIN}; SET TRANSACTION SNAPSHOT {}", Literal::new(&self.name)))
            .await
            .with_context(|| format!("cannot join the snapshot of {}: the session that holds it ended", self.opener.name()))
    }
}

/// Whether the server reads a range of blocks without reading the whole table (TID range scans: PostgreSQL 14).
///
/// # Errors
/// When the session is gone.
pub async fn reads_block_ranges(session: &Session) -> anyhow::Result<bool> {
    let sql = "SELECT current_setting('server_version_num')::int >= 140000";
    Ok(session.query_one(sql, &[]).await?.get(0))
}
