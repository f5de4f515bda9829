//! What a step does to its databases while it runs: the server's counters, and how long others wait for locks because of us.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::Result;
use tokio_util::sync::CancellationToken;

use crate::pg::{Counters, Session};
use crate::step::{Cx, Notice};
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

/// How often lock waits are looked for, and how often the counters are read and shown.
const LOOK_EVERY: Duration = Duration::from_millis(20);
const SHOW_EVERY: Duration = Duration::from_secs(1);

/// Samples the databases of a step until it is told to stop.
pub struct Sampler {
    longest: Arc<Mutex<Duration>>,
    stop: CancellationToken,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl Sampler {
    /// Starts watching the given sides, each with the counters read before the step.
    ///
    /// # Errors
    /// When a side cannot be reached.
    pub async fn start(cx: &Cx, before: &BTreeMap<Side, Counters>) -> Result<Self> {
        let (longest, stop) = (Arc::<Mutex<Duration>>::default(), CancellationToken::new());
        let mut tasks = Vec::new();
        for (side, before) in before {
            let session = cx.database(*side)?.connect(&format!("crossfade/{}/watch", cx.run)).await?;
            let version: i32 = session.query_one("SELECT current_setting('server_version_num')::int", &[]).await?.get(0);
            let watched = Watched {
                waits: if version >= 140_000 { WAITS } else { WAITS_13 },
                ours: format!("crossfade/{}/%", cx.run),
                session,
                side: *side,
                before: *before,
                longest: Arc::clone(&longest),
                cx: cx.clone(),
            };
            let stop = stop.clone();
            tasks.push(tokio::spawn(async move {
                let mut shown = Instant::now();
                // When the server goes away this just ends: the step itself will say so.
                while !stop.is_cancelled() && watched.look(&mut shown).await.is_ok() {
                    tokio::select! {
                        () = stop.cancelled() => {}
                        () = tokio::time::sleep(LOOK_EVERY) => {}
                    }
                }
            }));
        }
        Ok(Self { longest, stop, tasks })
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

struct Watched {
    session: Session,
    side: Side,
    waits: &'static str,
    ours: String,
    before: Counters,
    longest: Arc<Mutex<Duration>>,
    cx: Cx,
}

impl Watched {
    async fn look(&self, shown: &mut Instant) -> Result<()> {
        let row = self.session.query_one(self.waits, &[&self.ours]).await?;
        let seen = Duration::from_secs_f64(row.get::<_, f64>(0).max(0.0));
        if let Ok(mut longest) = self.longest.lock() {
            *longest = (*longest).max(seen);
        }
        if shown.elapsed() >= SHOW_EVERY {
            *shown = Instant::now();
            let counters = Counters::read(&self.session).await?.since(&self.before);
            let _ = self.cx.notices.send(Notice::Counters { step: self.cx.step.clone(), side: self.side, counters });
        }
        Ok(())
    }
}
