//! Backends that a killed driver left behind.

use std::time::Duration;

use anyhow::{Context, bail};

use crate::pg::Session;
use crate::terms::RunId;

/// Which backends are meant.
const OF_RUN: &str = "application_name LIKE $1";
const OF_ANY_RUN: &str = "application_name ~ $1 AND datname = current_database()";
const ANY_RUN: &str = "^crossfade/[0-9]{8}t[0-9]{9}-[0-9a-f]{4}/";

/// Ends every backend whose application name says it belongs to `run`, except this session and those whose application
/// name ends in `/lock`, and waits until they are gone. Returns how many there were.
///
/// # Errors
/// When they do not end within ten seconds (a privilege is missing, or a backend does not react).
pub async fn end_orphans(session: &Session, run: &RunId) -> anyhow::Result<u64> {
    end(session, OF_RUN, &format!("crossfade/{run}/%")).await
}

/// The same for those of workers that load for `run` on other machines: they are no orphans, but what they do is no longer wanted.
///
/// # Errors
/// As [`end_orphans`].
pub async fn end_workers(session: &Session, run: &RunId) -> anyhow::Result<u64> {
    end(session, OF_RUN, &format!("crossfade/worker/{run}")).await
}

/// The same for backends of any run on this database, whatever journal they belong to. Only the holder of the
/// [`crate::pg::DriverLock`] may ask: then no driver of theirs is at work.
///
/// # Errors
/// As [`end_orphans`].
pub(super) async fn end_strays(session: &Session) -> anyhow::Result<u64> {
    end(session, OF_ANY_RUN, ANY_RUN).await
}

async fn end(session: &Session, whose: &str, pattern: &str) -> anyhow::Result<u64> {
    let count = async |what: &str| {
        let sql = format!(
            "SELECT {what} FROM pg_stat_activity WHERE {whose} AND application_name NOT LIKE '%/lock' AND pid <> pg_backend_pid()"
        );
        session.query(&sql, &[&pattern]).await.map(|rows| rows.len() as u64)
    };
    let name = session.database().name();
    let ended = count("pg_terminate_backend(pid)")
        .await
        .with_context(|| format!("cannot end what a killed crossfade left at work on {name}: run as the role it ran as"))?;
    for _ in 0..200 {
        if count("1").await? == 0 {
            return Ok(ended);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    bail!("backends that a killed crossfade left on {name} do not end; see pg_stat_activity and end them by hand")
}
