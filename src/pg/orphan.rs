//! Backends that a killed driver left behind.

use std::time::Duration;

use anyhow::bail;

use crate::pg::Session;
use crate::terms::RunId;

/// Ends every backend whose application name says it belongs to `run`, except this session and those whose application
/// name ends in `/lock`, and waits until they are gone. Returns how many there were.
///
/// # Errors
/// When they do not end within ten seconds (a privilege is missing, or a backend does not react).
pub async fn end_orphans(session: &Session, run: &RunId) -> anyhow::Result<u64> {
    let prefix = format!("crossfade/{run}/%");
    let count = async |sql: &str| session.query(sql, &[&prefix]).await.map(|rows| rows.len() as u64);
    let ended = count(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
         WHERE application_name LIKE $1 AND application_name NOT LIKE '%/lock' AND pid <> pg_backend_pid()",
    )
    .await?;
    for _ in 0..200 {
        let left = count(
            "SELECT 1 FROM pg_stat_activity \
             WHERE application_name LIKE $1 AND application_name NOT LIKE '%/lock' AND pid <> pg_backend_pid()",
        )
        .await?;
        if left == 0 {
            return Ok(ended);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    bail!("backends of run {run} on {} do not end; see pg_stat_activity and end them by hand", session.database().name())
}
