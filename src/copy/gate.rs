//! What everybody who loads passes before each piece of rows: it closes for a pause, and lets only so many bytes through.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// A signal asked to stop, and what is not committed is given up.
#[derive(Debug, thiserror::Error)]
#[error("interrupted")]
pub struct Interrupted;

/// How loading may go on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Pace {
    /// Why nobody may load now.
    pub closed: Option<String>,
    /// Bytes per second of this process.
    pub rate: Option<u64>,
}

/// The gate of one process. Workers on any thread pass it.
pub(super) struct Gate {
    pace: watch::Sender<Pace>,
    free: Mutex<Option<Instant>>,
    stop: CancellationToken,
}

impl Gate {
    /// A gate that is closed until somebody sets a pace. `stop` ends all waiting.
    pub fn new(stop: CancellationToken) -> Self {
        let unknown = Pace { closed: Some(String::new()), rate: None };
        Self { pace: watch::Sender::new(unknown), free: Mutex::new(None), stop }
    }

    /// Sets the pace; says whether a pause begins or ends with it.
    pub fn set(&self, pace: Pace) -> bool {
        let mut changed = false;
        self.pace.send_if_modified(|known| {
            let paused = known.closed.as_ref().is_some_and(|why| !why.is_empty());
            changed = paused != pace.closed.is_some();
            let modified = *known != pace;
            *known = pace;
            modified
        });
        changed
    }

    /// Whether a signal asked to stop.
    pub fn is_stopped(&self) -> bool {
        self.stop.is_cancelled()
    }

    /// Waits while it is closed, and as long as so many bytes must wait.
    ///
    /// # Errors
    /// When a signal asks to stop while it is closed.
    pub async fn pass(&self, bytes: usize) -> Result<(), Interrupted> {
        let rate = {
            let pace = self.pace.borrow();
            if pace.closed.is_none() && pace.rate.is_none() {
                return Ok(());
            }
            pace.rate
        };
        if let Some(rate) = rate {
            let wait = {
                let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
                let (wait, next) = delay(*free, Instant::now(), bytes, rate);
                *free = Some(next);
                wait
            };
            tokio::time::sleep(wait).await;
        }
        let mut pace = self.pace.subscribe();
        tokio::select! {
            biased;
            _ = pace.wait_for(|pace| pace.closed.is_none()) => Ok(()), // the sender lives as long as this
            () = self.stop.cancelled() => Err(Interrupted),
        }
    }
}

/// Who was idle for longer may not catch up on more than this.
const BURST: Duration = Duration::from_millis(200);

/// How long so many bytes wait when earlier ones take until `free`, and until when these take. Pure.
fn delay(free: Option<Instant>, now: Instant, bytes: usize, rate: u64) -> (Duration, Instant) {
    #[expect(clippy::cast_precision_loss, reason = "a duration")]
    let takes = Duration::from_secs_f64(bytes as f64 / rate.max(1) as f64);
    let earliest = now.checked_sub(BURST).unwrap_or(now);
    let begins = free.map_or(now, |free| free.max(earliest));
    (begins.saturating_duration_since(now), begins + takes)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn bytes_wait_for_those_before_them() {
        let now = Instant::now();
        let (wait, free) = delay(None, now, 500, 1000);
        assert_eq!((wait, free), (Duration::ZERO, now + Duration::from_millis(500)));
        let (wait, free) = delay(Some(free), now, 500, 1000);
        assert_eq!((wait, free), (Duration::from_millis(500), now + Duration::from_secs(1)));
        // A long rest is no credit.
        let later = free + Duration::from_secs(60);
        let (wait, next) = delay(Some(free), later, 1000, 1000);
        assert_eq!((wait, next), (Duration::ZERO, later + Duration::from_millis(800)));
    }

    #[tokio::test]
    async fn a_closed_gate_opens_again_or_is_given_up() {
        let stop = CancellationToken::new();
        let gate = Arc::new(Gate::new(stop.clone()));
        assert!(!gate.set(Pace::default()), "no pause has ended");
        let closed = Pace { closed: Some("paused".to_owned()), rate: None };
        assert!(gate.set(closed.clone()) && !gate.set(closed.clone()));
        let passing = {
            let gate = Arc::clone(&gate);
            tokio::spawn(async move { gate.pass(1).await })
        };
        tokio::task::yield_now().await;
        assert!(!passing.is_finished());
        assert!(gate.set(Pace::default()));
        assert!(passing.await.unwrap().is_ok());
        gate.set(closed);
        stop.cancel();
        assert!(gate.pass(1).await.is_err());
    }
}
