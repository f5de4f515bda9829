//! How long others had to wait for locks because of us.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Result;
use tokio_util::sync::CancellationToken;

use crate::step::Cx;
use crate::terms::Side;

/// The longest wait of a session of others that one of ours blocks. The ungranted locks come first: they are few, and
/// `pg_blocking_pids` briefly stops the lock manager (PostgreSQL manual 9.27).
const WAITS: &str = "SELECT coalesce(max(extract(epoch FROM clock_timestamp() - w.since)), 0)::float8 \
     FROM (SELECT pid, min(waitstart) AS since FROM pg_locks WHERE NOT granted GROUP BY pid) w \
     JOIN pg_stat_activity a USING (pid) \
     WHERE a.application_name NOT LIKE $1 \
       AND EXISTS (SELECT 1 FROM pg_stat_activity b WHERE b.pid = ANY (pg_blocking_pids(a.pid)) AND b.application_name LIKE $1)";

/// The same before PostgreSQL 14, which does not say since when a session waits: since its query began at the latest.
const WAITS_13: &str = "SELECT coalesce(max(extract(epoch FROM clock_timestamp() - a.query_start)), 0)::float8 \
     FROM (SELECT DISTINCT pid FROM pg_locks WHERE NOT granted) w \
     JOIN pg_stat_activity a USING (pid) \
     WHERE a.application_name NOT LIKE $1 \
       AND EXISTS (SELECT 1 FROM pg_stat_activity b WHERE b.pid = ANY (pg_blocking_pids(a.pid)) AND b.application_name LIKE $1)";

/// Samples, every 20 ms, the sessions that wait for a lock one of ours holds or queues for.
pub struct LockWatch {
    longest: Arc<Mutex<Duration>>,
    stop: CancellationToken,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl LockWatch {
    /// Starts watching the given sides.
    ///
    /// # Errors
    /// When a side cannot be reached.
    pub async fn start(cx: &Cx, sides: Vec<Side>) -> Result<Self> {
        let watch = Self { longest: Arc::default(), stop: CancellationToken::new(), tasks: Vec::new() };
        let mut tasks = Vec::new();
        for side in sides {
            let session = cx.database(side)?.connect(&format!("crossfade/{}/watch", cx.run)).await?;
            let version: i32 = session.query_one("SELECT current_setting('server_version_num')::int", &[]).await?.get(0);
            let sql = if version >= 140_000 { WAITS } else { WAITS_13 };
            let (longest, stop) = (Arc::clone(&watch.longest), watch.stop.clone());
            let prefix = format!("crossfade/{}/%", cx.run);
            tasks.push(tokio::spawn(async move {
                while !stop.is_cancelled() {
                    match session.query_one(sql, &[&prefix]).await {
                        Ok(row) => {
                            let seen = Duration::from_secs_f64(row.get::<_, f64>(0).max(0.0));
                            if let Ok(mut longest) = longest.lock() {
                                *longest = (*longest).max(seen);
                            }
                        }
                        Err(_) => return, // the server went away: the step itself will say so
                    }
                    tokio::select! {
                        () = stop.cancelled() => {}
                        () = tokio::time::sleep(Duration::from_millis(20)) => {}
                    }
                }
            }));
        }
        Ok(Self { tasks, ..watch })
    }

    /// Stops watching; the longest wait seen.
    pub async fn finish(self) -> Duration {
        self.stop.cancel();
        for task in self.tasks {
            let _ = task.await;
        }
        self.longest.lock().map_or(Duration::ZERO, |longest| *longest)
    }
}
