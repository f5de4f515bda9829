//! What a step does to its databases while it runs: how things stand, about once a second, and how long others wait for locks
//! because of us.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::Result;
use tokio_postgres::Statement;
use tokio_util::sync::CancellationToken;

use crate::journal::{Entry, Record};
use crate::pg::{Reading, Session};
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

/// How often lock waits are looked for, and how often a sample is taken and shown.
const LOOK_EVERY: Duration = Duration::from_millis(20);
const SAMPLE_EVERY: Duration = Duration::from_secs(1);
/// So long a last reading may take.
const ANSWER: Duration = Duration::from_secs(3);

/// Samples the databases of a step until it is told to stop.
pub struct Sampler {
    longest: Arc<Mutex<Duration>>,
    stop: CancellationToken,
    sides: Vec<tokio::task::JoinHandle<()>>,
    over: CancellationToken,
    samples: tokio::task::JoinHandle<()>,
}

impl Sampler {
    /// Starts watching the given sides.
    ///
    /// # Errors
    /// When a side cannot be reached.
    pub async fn start(cx: &Cx, sides: impl IntoIterator<Item = Side>) -> Result<Self> {
        let (longest, stop) = (Arc::<Mutex<Duration>>::default(), CancellationToken::new());
        let readings = Arc::<Mutex<BTreeMap<Side, Reading>>>::default();
        let mut all = Vec::new();
        for side in sides {
            let session = cx.database(side)?.connect(&cx.watcher()).await?;
            let version: i32 = session.query_one("SELECT current_setting('server_version_num')::int", &[]).await?.get(0);
            let question = if version >= 140_000 { WAITS } else { WAITS_13 };
            let watched = Watched {
                waits: session.prepare(question).await?,
                question,
                ours: cx.ours(),
                session,
                side,
                longest: Arc::clone(&longest),
                readings: Arc::clone(&readings),
            };
            watched.read().await?;
            all.push(watched);
        }
        // Not before every side has answered: a task that nobody ends would keep the notices open for ever.
        let watch = |mut watched: Watched| {
            let (stop, cx) = (stop.clone(), cx.clone());
            tokio::spawn(async move {
                let mut read = Instant::now();
                while !stop.is_cancelled() {
                    // When the server goes away the step itself will say so.
                    let pause = if watched.look(&mut read).await.is_ok() { LOOK_EVERY } else { watched.again(&cx).await };
                    tokio::select! {
                        () = stop.cancelled() => {}
                        () = tokio::time::sleep(pause) => {}
                    }
                }
                let _ = watched.read().await;
            })
        };
        let sides = all.into_iter().map(watch).collect();
        let (over, cx) = (CancellationToken::new(), cx.clone());
        let ended = over.clone();
        let samples = tokio::spawn(async move {
            let (began, mut kept) = (Instant::now(), Instant::now());
            let sample = || cx.sampled(readings.lock().map(|readings| readings.clone()).unwrap_or_default());
            cx.keep(&sample());
            loop {
                tokio::select! {
                    () = ended.cancelled() => return cx.keep(&sample()),
                    () = tokio::time::sleep(SAMPLE_EVERY) => {}
                }
                let entry = sample();
                let urgent = Duration::from_secs(if blocked(&entry) { 2 } else { u64::MAX });
                if kept.elapsed() >= pace(began.elapsed()).min(urgent) {
                    kept = Instant::now();
                    cx.keep(&entry);
                }
            }
        });
        Ok(Self { longest, stop, sides, over, samples })
    }

    /// Stops watching; the longest wait seen.
    pub async fn finish(self) -> Duration {
        self.stop.cancel();
        for mut side in self.sides {
            // A server that is away keeps nobody, and what waits for it no notices open.
            if tokio::time::timeout(ANSWER, &mut side).await.is_err() {
                side.abort();
            }
        }
        self.over.cancel(); // the last sample has the last readings
        let _ = self.samples.await;
        self.longest.lock().map_or(Duration::ZERO, |longest| *longest)
    }
}

/// Whether somebody is in the way: whoever looks from another terminal is to see that soon.
fn blocked(entry: &Entry) -> bool {
    match &entry.what {
        Record::Sample(sample) => sample.sides.values().any(|reading| !reading.hindrances.is_empty()),
        _ => false,
    }
}

/// Between two samples of the record, so long after the step began: about sixty of each order of magnitude, and not fewer than one
/// a minute, so that whoever looks from another terminal sees how things stand.
fn pace(elapsed: Duration) -> Duration {
    (elapsed / 60).clamp(SAMPLE_EVERY - LOOK_EVERY, Duration::from_secs(60))
}

struct Watched {
    session: Session,
    side: Side,
    question: &'static str,
    /// The question, which the server reads once: it is asked fifty times a second.
    waits: Statement,
    ours: String,
    longest: Arc<Mutex<Duration>>,
    readings: Arc<Mutex<BTreeMap<Side, Reading>>>,
}

impl Watched {
    async fn look(&self, read: &mut Instant) -> Result<()> {
        let row = self.session.query_one(&self.waits, &[&self.ours]).await?;
        let seen = Duration::from_secs_f64(row.get::<_, f64>(0).max(0.0));
        if let Ok(mut longest) = self.longest.lock() {
            *longest = (*longest).max(seen);
        }
        if read.elapsed() >= SAMPLE_EVERY {
            *read = Instant::now();
            self.read().await?;
        }
        Ok(())
    }

    /// Without an answer there is no reading; a server that comes back is asked again. Gives the pause until then.
    async fn again(&mut self, cx: &Cx) -> Duration {
        if let Ok(mut readings) = self.readings.lock() {
            readings.remove(&self.side);
        }
        if let Ok(database) = cx.database(self.side)
            && let Ok(session) = database.connect(&cx.watcher()).await
            && let Ok(waits) = session.prepare(self.question).await
        {
            (self.session, self.waits) = (session, waits);
        }
        SAMPLE_EVERY
    }

    async fn read(&self) -> Result<()> {
        let reading = Reading::take(&self.session, &self.ours).await?;
        if let Ok(mut readings) = self.readings.lock() {
            readings.insert(self.side, reading);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_step_is_sampled_seldom_and_never_less_than_once_a_minute() {
        let (mut now, mut samples) = (Duration::ZERO, 0);
        while now < Duration::from_secs(24 * 3600) {
            now += pace(now);
            samples += 1;
        }
        assert!((1000..2000).contains(&samples), "{samples}");
        assert_eq!(pace(Duration::from_secs(86_400)), Duration::from_secs(60));
    }
}
