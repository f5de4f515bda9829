//! Statements whose waits block nobody: they run without a lock timeout, saying how far they are and whom they wait for.

use std::time::Duration;

use crate::pg::{Class, Patience, Session, blockers_of, set_class};
use crate::step::Cx;
use crate::terms::Side;

/// How often progress is asked for.
const TICK: Duration = Duration::from_millis(500);
/// Every how many ticks whoever is in the way is named.
const NAME_EVERY: u32 = 6;

/// Runs one statement outside a transaction: `CREATE INDEX CONCURRENTLY`, `DROP INDEX CONCURRENTLY`, `VALIDATE CONSTRAINT`.
/// Old transactions it waits for are named every three seconds.
///
/// # Errors
/// The server's error.
pub(in crate::step) async fn patiently(cx: &Cx, side: Side, statement: &str) -> anyhow::Result<()> {
    let mut session = cx.connect(side).await?;
    let observer = cx.connect(side).await?;
    let pid = session.pid();
    let mut patience = Patience { session: &mut session, observer: &observer, limits: &cx.limits };
    let work = patience.alone(statement);
    tokio::pin!(work);
    for tick in 1u32.. {
        tokio::select! {
            result = &mut work => return result,
            () = tokio::time::sleep(TICK) => {
                index_progress(cx, &observer, pid).await?;
                if tick.is_multiple_of(NAME_EVERY) {
                    let blockers = blockers_of(&observer, pid).await?;
                    if !blockers.is_empty() {
                        cx.waiting(&blockers);
                    }
                }
            }
        }
    }
    work.await
}

/// Runs statements in one transaction under the short lock timeout, again and again until the lock is there.
///
/// # Errors
/// The server's error, or who was in the way all the time.
pub(in crate::step) async fn in_turn(cx: &Cx, side: Side, statements: &[String]) -> anyhow::Result<()> {
    let mut session = cx.connect(side).await?;
    let observer = cx.connect(side).await?;
    let mut patience = Patience { session: &mut session, observer: &observer, limits: &cx.limits };
    patience.transaction(statements, &mut |blockers| cx.waiting(blockers)).await.map(drop)
}

/// Counts rows on a session without a lock timeout: a reader's waits block nobody for longer than the writer it waits for.
///
/// # Errors
/// The server's error.
pub(in crate::step) async fn count(cx: &Cx, session: &Session, query: &str) -> anyhow::Result<i64> {
    set_class(session, Class::Patient, &cx.limits).await?;
    Ok(session.query_one(&format!("SELECT count(*) {query}"), &[]).await?.get(0))
}

/// Blocks of the table that an index build has read (`pg_stat_progress_create_index`, PostgreSQL manual 28.4.4).
async fn index_progress(cx: &Cx, observer: &Session, pid: i32) -> anyhow::Result<()> {
    let row = observer
        .query_opt(
            "SELECT blocks_done, blocks_total FROM pg_stat_progress_create_index WHERE pid = $1 AND blocks_total > 0",
            &[&pid],
        )
        .await?;
    if let Some(row) = row {
        let (done, total): (i64, i64) = (row.get(0), row.get(1));
        cx.progress(done.max(0).unsigned_abs(), total.max(0).unsigned_abs(), "blocks");
    }
    Ok(())
}
