//! How long others had to wait for locks because of us.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Result;
use tokio_util::sync::CancellationToken;

use crate::step::Cx;
use crate::terms::Side;

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
            let (longest, stop) = (Arc::clone(&watch.longest), watch.stop.clone());
            let prefix = format!("crossfade/{}/%", cx.run);
            tasks.push(tokio::spawn(async move {
                // Waits of others only; wait_event_type is a cheap filter before pg_blocking_pids, which takes lock-manager locks.
                let sql = "SELECT coalesce(max(extract(epoch FROM clock_timestamp() - a.query_start)), 0)::float8 \
                           FROM pg_stat_activity a \
                           WHERE a.wait_event_type = 'Lock' AND a.application_name NOT LIKE $1 \
                             AND EXISTS (SELECT 1 FROM pg_stat_activity b \
                                         WHERE b.pid = ANY (pg_blocking_pids(a.pid)) AND b.application_name LIKE $1)";
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
