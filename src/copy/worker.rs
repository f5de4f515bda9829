//! A process that takes parts of a copy which another one drives, on this or on another machine. It may come and go: a part in its
//! hands is locked, and free again when it dies.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, bail};
use tokio_util::sync::CancellationToken;

use super::gate::{Gate, Pace};
use super::hold::Held;
use super::load::open;
use super::missing::{of, take};
use super::monitor::Wish;
use super::transfer::{Amount, Transfer};
use crate::pg::{Database, Opener, Session, on_threads};
use crate::terms::{RunId, StepId};

/// A worker looks around so often.
const LOOK: Duration = Duration::from_millis(500);

/// A driver that was not there for so long may be gone: nobody holds the limits then.
const DRIVEN: &str = "15 seconds";

/// Parts of one copy are taken by this process.
pub struct Worker {
    green: Database,
    jobs: usize,
    run: RunId,
    step: StepId,
    settings: String,
    held: Held,
}

/// What a worker brought.
#[derive(Debug, Default, serde::Serialize)]
pub struct Brought {
    /// Parts.
    pub parts: u64,
    /// Rows.
    pub rows: u64,
    /// Bytes, as they travelled.
    pub bytes: u64,
}

impl Worker {
    /// Joins the copy that goes on between these databases, of this run if it is named; `None` when there is none.
    ///
    /// # Errors
    /// When a server cannot be reached, or blue is not the one that the copy reads.
    pub async fn join(blue: Database, green: Database, run: Option<&str>, jobs: usize) -> anyhow::Result<Option<Self>> {
        let session = green.connect("crossfade/copy-worker").await?;
        if !session.query_one("SELECT to_regclass('crossfade.copy_snapshot') IS NOT NULL", &[]).await?.get::<_, bool>(0) {
            return Ok(None);
        }
        let sql = "SELECT run, step, settings, name, seen::text FROM crossfade.copy_snapshot \
                   WHERE planned AND coalesce(run = $1, true) AND clock_timestamp() < driven_at + held_for ORDER BY driven_at DESC LIMIT 1";
        let Some(row) = session.query_opt(sql, &[&run]).await? else { return Ok(None) };
        let (run, step) = (RunId::existing(row.get(0)), StepId::new(row.get(1)).map_err(|why| anyhow::anyhow!(why))?);
        let held = Held::of(row.get(3), row.get(4), Opener::new(blue, application(&run)));
        let joined = held.join().await.map(drop);
        joined.context("the copy's snapshot is not on this blue, or it ended")?;
        Ok(Some(Self { green, jobs, run, step, settings: row.get(2), held }))
    }

    /// The run it works for.
    pub fn run(&self) -> &RunId {
        &self.run
    }

    /// Takes parts until none is left, or the first signal comes; then those in hand are the last. `say` hears why it pauses, or that
    /// it goes on.
    ///
    /// # Errors
    /// When a part fails or a session is gone, unless the copy itself is over or was taken back.
    pub async fn work(self, stop: CancellationToken, wish: Wish, say: impl Fn(Option<&str>)) -> anyhow::Result<Brought> {
        let gate = Arc::new(Gate::new(stop));
        let sums = Arc::new([const { AtomicU64::new(0) }; 3]);
        let green = self.green.connect(&format!("crossfade/copy-worker/{}", self.run)).await?;
        let opener = Opener::new(self.green.clone(), application(&self.run));
        let worker = Arc::new(self);
        let (shared, passed, counted) = (Arc::clone(&worker), Arc::clone(&gate), Arc::clone(&sums));
        let jobs = worker.jobs;
        let threads = on_threads(jobs, vec![(); jobs], move |_| {
            let (worker, gate, sums, green) = (Arc::clone(&shared), Arc::clone(&passed), Arc::clone(&counted), opener.clone());
            async move { worker.take_parts(&green, &gate, &sums).await }
        });
        let ended = tokio::select! {
            ended = threads => ended,
            watched = worker.watch(&green, &gate, &wish, say) => watched,
        };
        if let Err(error) = ended {
            let own = worker.green.connect("crossfade/copy-worker").await?;
            if worker.pace(&own).await?.is_some() {
                return Err(error);
            }
        }
        let sum = |at: usize| sums[at].load(Ordering::Relaxed);
        Ok(Brought { parts: sum(0), rows: sum(1), bytes: sum(2) })
    }

    async fn take_parts(&self, opener: &Opener, gate: &Gate, sums: &[AtomicU64; 3]) -> anyhow::Result<()> {
        let green = open(opener, &self.settings).await?;
        let blue = self.held.join().await?;
        let (run, step) = (&self.run, &self.step);
        let mine = format!("{} AND form <> 'small'", of(run, step)); // those are the driver's, together with all that hangs on them
        while gate.pass(0).await.is_ok() && !gate.is_stopped() {
            let Some(part) = take(&green, &mine).await? else {
                let left = format!("SELECT EXISTS (SELECT FROM crossfade.copy_missing WHERE {mine})");
                if !green.query_one(&left, &[]).await?.get::<_, bool>(0) {
                    return Ok(());
                }
                tokio::time::sleep(LOOK).await; // another may die with its part
                continue;
            };
            let transfer = Transfer { run, step, blue: &blue, green: &green, gate };
            let brought = transfer.bring(&part, || crate::crash::point("copy-worker/part-sent")).await;
            let what = || format!("table {}, source {}, part {}", part.table.plain(), part.source, part.number);
            let Amount { rows, bytes } = match brought {
                Err(error) if error.is::<super::Interrupted>() => return Ok(()),
                brought => brought.with_context(what)?,
            };
            for (sum, more) in sums.iter().zip([1, rows, bytes]) {
                sum.fetch_add(more, Ordering::Relaxed);
            }
        }
        Ok(())
    }

    /// Does as the driver says, until there is no copy any more.
    async fn watch(&self, green: &Session, gate: &Gate, wish: &Wish, say: impl Fn(Option<&str>)) -> anyhow::Result<()> {
        let own = AtomicBool::new(false);
        while let Some(pace) = self.pace(green).await? {
            if let Some(pause) = wish.take() {
                own.store(pause, Ordering::Relaxed);
            }
            let paused = || "paused: SIGUSR2 lets this worker go on".to_owned();
            let closed = own.load(Ordering::Relaxed).then(paused).or(pace.closed);
            if gate.set(Pace { closed: closed.clone(), ..pace }) {
                say(closed.as_deref());
            }
            tokio::time::sleep(LOOK).await;
        }
        bail!("the copy is over") // or begun again; the threads end with their sessions
    }

    /// What the driver says; `None` when there is no such copy any more.
    async fn pace(&self, green: &Session) -> anyhow::Result<Option<Pace>> {
        let sql = format!(
            "SELECT paused, waits, rate, driven_at > clock_timestamp() - interval '{DRIVEN}' FROM crossfade.copy_snapshot \
             WHERE {} AND name = $1 AND seen::text = $2",
            of(&self.run, &self.step)
        );
        let Some(row) = green.query_opt(&sql, &[&self.held.name(), &self.held.seen]).await? else { return Ok(None) };
        let (paused, driven): (bool, bool) = (row.get(0), row.get(3));
        let closed = match row.get::<_, Option<String>>(1) {
            _ if paused => Some("paused".to_owned()),
            _ if !driven => {
                Some("pauses: the driver is gone; `crossfade run` or `crossfade copy` takes the copy up again".to_owned())
            }
            waits => waits,
        };
        let rate = row.get::<_, Option<i64>>(2).map(|each| each.unsigned_abs() * self.jobs as u64);
        Ok(Some(Pace { closed, rate }))
    }
}

/// The application name of the sessions that load.
fn application(run: &RunId) -> String {
    format!("crossfade/worker/{run}")
}
