//! Looks after a load while it goes on: says on green that its driver is there, obeys pauses, and holds the limits.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::gate::{Gate, Pace};
use super::missing::of;
use crate::limits::Limits;
use crate::pg::{Opener, Pause, Session, Throttle};
use crate::sql::Literal;
use crate::terms::{RunId, StepId};

/// What a person wants of a load that goes on: signals set it, the load takes it up.
#[derive(Debug, Clone, Default)]
pub struct Wish(Arc<AtomicU8>);

impl Wish {
    /// Asks for a pause, or for its end.
    pub fn pause(&self, pause: bool) {
        self.0.store(if pause { 1 } else { 2 }, Ordering::Relaxed);
    }

    /// What was asked for since the last call.
    pub fn take(&self) -> Option<bool> {
        match self.0.swap(0, Ordering::Relaxed) {
            0 => None,
            wish => Some(wish == 1),
        }
    }
}

/// What a load goes by.
#[derive(Debug, Clone)]
pub struct Control {
    /// The plan's limits.
    pub limits: Limits,
    /// What signals ask for.
    pub wish: Wish,
    /// A signal asks to stop: what is committed stays.
    pub stop: CancellationToken,
}

/// A load looks around so often.
const LOOK: Duration = Duration::from_millis(500);

/// What the driver's monitor works with.
pub(super) struct Monitor<'a> {
    pub run: &'a RunId,
    pub step: &'a StepId,
    pub control: &'a Control,
    pub gate: &'a Gate,
    /// Sessions of this process that load.
    pub jobs: usize,
}

impl Monitor<'_> {
    /// Goes on until it is dropped; calls `tick` each time, and `say` when a pause begins (with its reason) or ends.
    ///
    /// # Errors
    /// When a session is gone.
    pub async fn watch(&self, [blue, green]: [Opener; 2], tick: impl Fn(), say: impl Fn(Option<String>)) -> anyhow::Result<()> {
        let (blue, green) = (blue.open().await?, green.open().await?);
        green.batch_execute("SET synchronous_commit = off").await?;
        let (mut of_blue, mut of_green) = (Throttle::default(), Throttle::default());
        // Nobody else is at work on green, and what waits there waits for us.
        let alone = Limits { max_active_sessions: None, max_blocked_sessions: u32::MAX, ..self.control.limits.clone() };
        loop {
            let waits = match of_blue.look(&blue, &self.control.limits).await? {
                None => of_green.look(&green, &alone).await?,
                some => some,
            };
            let Some((paused, others)) = self.tell(&green, waits).await? else { return Ok(()) };
            let each = rate_each(self.control.limits.max_copy_rate, self.jobs, others);
            let closed = match (paused, waits) {
                (true, _) => Some("paused: `crossfade resume` or SIGUSR2 lets it go on".to_owned()),
                (false, waits) => waits.map(|why| why.explain(&self.control.limits)),
            };
            if self.gate.set(Pace { closed: closed.clone(), rate: each.map(|rate| rate * self.jobs as u64) }) {
                say(closed);
            }
            tick();
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Says that the driver is there and why it lets nobody load; gives whether a person paused the copy, and how many sessions load
    /// beside this process. `None` when all rows are in.
    async fn tell(&self, green: &Session, waits: Option<Pause>) -> anyhow::Result<Option<(bool, usize)>> {
        let workers = format!("crossfade/worker/{}", self.run);
        let sql = "SELECT count(*) FROM pg_stat_activity WHERE application_name = $1 AND datname = current_database()";
        let others: i64 = green.query_one(sql, &[&workers]).await?.get(0);
        let others = usize::try_from(others).unwrap_or(0);
        let rate = rate_each(self.control.limits.max_copy_rate, self.jobs, others);
        let waits = waits.map(|why| why.explain(&self.control.limits));
        let null = || "NULL".to_owned();
        let update = format!(
            "UPDATE crossfade.copy_snapshot SET driven_at = clock_timestamp(), waits = {}, rate = {}, paused = {} \
             WHERE {} RETURNING paused",
            waits.map_or_else(null, |why| Literal::new(why).to_string()),
            rate.map_or_else(null, |rate| rate.to_string()),
            self.control.wish.take().map_or("paused".to_owned(), |pause| pause.to_string()),
            of(self.run, self.step)
        );
        Ok(green.query_opt(&update, &[]).await?.map(|row| (row.get(0), others)))
    }
}

/// What each session may move per second, when all together may move so much. Pure.
fn rate_each(all: Option<u64>, jobs: usize, others: usize) -> Option<u64> {
    all.map(|all| (all / (jobs + others).max(1) as u64).max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_shared_by_all_sessions() {
        assert_eq!(rate_each(Some(900), 2, 1), Some(300));
        assert_eq!(rate_each(None, 2, 1), None);
        assert_eq!(rate_each(Some(1), 8, 0), Some(1));
    }

    #[test]
    fn a_wish_is_taken_once() {
        let wish = Wish::default();
        assert_eq!(wish.take(), None);
        wish.pause(true);
        wish.pause(false);
        assert_eq!((wish.take(), wish.take()), (Some(false), None));
    }
}
