//! Which database is this, may we work on it, and is nobody else working on it.

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};
use tokio_postgres::Client;

use crate::pg::Session;

/// What makes a database the same one after a restart of everything: cluster and database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// `system_identifier` of the cluster (`pg_control_system()`), as text.
    pub cluster: String,
    /// `pg_database.oid` of the database.
    pub database: u32,
    /// Its name, for messages.
    pub name: String,
    /// `server_version_num`, 150018 for 15.18.
    pub version: i32,
}

impl Identity {
    /// Whether both are the same database of the same cluster.
    pub fn same_database(&self, other: &Identity) -> bool {
        self.cluster == other.cluster && self.database == other.database
    }
}

/// Asks a server which database this is.
///
/// # Errors
/// When the session is gone.
pub async fn identify(client: &Client) -> anyhow::Result<Identity> {
    let row = client
        .query_one(
            "SELECT (SELECT system_identifier::text FROM pg_control_system()), \
                    (SELECT oid FROM pg_database WHERE datname = current_database()), \
                    current_database()::text, current_setting('server_version_num')::int",
            &[],
        )
        .await
        .context("cannot ask the server which database this is")?;
    Ok(Identity { cluster: row.get(0), database: row.get(1), name: row.get(2), version: row.get(3) })
}

/// Refuses servers older than 13 (no `pg_visible_in_snapshot` for the watermark), servers in recovery and read-only ones.
///
/// # Errors
/// Names the database, its state and what to do.
pub async fn check_server(session: &Session, identity: &Identity) -> anyhow::Result<()> {
    check_version(session, identity)?;
    let name = session.database().name();
    let row =
        session.query_one("SELECT pg_is_in_recovery(), current_setting('default_transaction_read_only') = 'on'", &[]).await?;
    if row.get(0) {
        bail!("{name} is a standby in recovery: connect to its primary");
    }
    if row.get(1) {
        bail!("{name} is read-only (default_transaction_read_only is on): connect as a role or to a server that may write");
    }
    Ok(())
}

/// Whether its version is one crossfade works with: enough for what only reads.
///
/// # Errors
/// When it is older than PostgreSQL 13.
pub fn check_version(session: &Session, identity: &Identity) -> anyhow::Result<()> {
    if identity.version < 130_000 {
        bail!("{} is PostgreSQL {}: crossfade needs 13 or later", session.database().name(), identity.version / 10_000);
    }
    Ok(())
}

/// Holds "one driver per database": a session advisory lock that ends with its session (PostgreSQL manual 13.3.5).
pub struct DriverLock {
    session: Session,
}

/// "crossfade" in ASCII, cut to the 8 bytes of an advisory lock key.
const DRIVER_KEY: i64 = i64::from_be_bytes(*b"crossfad");

impl DriverLock {
    /// Takes the lock, or says who holds it. Waits up to two seconds for the backend of a killed driver to end.
    ///
    /// # Errors
    /// When another driver holds it: names its backend and application.
    pub async fn take(session: Session) -> anyhow::Result<Self> {
        for _ in 0..20 {
            if session.query_one("SELECT pg_try_advisory_lock($1)", &[&DRIVER_KEY]).await?.get(0) {
                return Ok(Self { session });
            }
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
        let holder = session
            .query_opt(
                "SELECT a.pid, a.application_name FROM pg_locks l JOIN pg_stat_activity a USING (pid) \
                 WHERE l.locktype = 'advisory' AND l.granted AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database()) \
                   AND (l.classid::bigint << 32) | l.objid::bigint = $1 AND l.objsubid = 1",
                &[&DRIVER_KEY],
            )
            .await?;
        let (who, end) = holder.map_or(("another session".to_owned(), String::new()), |row| {
            let pid = row.get::<_, i32>(0);
            let end =
                format!(" (one whose machine is gone: SELECT pg_terminate_backend({pid}), or wait until the server notices)");
            (format!("backend {pid} ({})", row.get::<_, String>(1)), end)
        });
        bail!(
            "{} is being driven by another crossfade: {who} holds the driver lock; wait for it, or stop it{end}, and run again",
            session.database().name()
        )
    }

    /// Ends the backends that drivers of any run left on this database when they were killed; gives their number.
    ///
    /// # Errors
    /// When they do not end (see [`crate::pg::end_orphans`]).
    pub async fn end_strays(&self) -> anyhow::Result<u64> {
        crate::pg::orphan::end_strays(&self.session).await
    }

    /// Makes sure of the lock: where its session is gone (a restart, an administrator), takes it again.
    ///
    /// # Errors
    /// When the server cannot be reached, or another driver took the lock meanwhile.
    pub async fn keep(&mut self, application_name: &str) -> anyhow::Result<()> {
        if self.session.simple_query("").await.is_err() {
            *self = Self::take(self.session.database().connect(application_name).await?).await?;
        }
        Ok(())
    }
}
