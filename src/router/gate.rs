//! The gate every request passes: says which side it goes to, counts it until it has ended, and parks it during a hold.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

use crate::router::route::Position;
use crate::terms::Side;

/// How much may be parked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HoldLimits {
    /// Most requests that are parked at once; further ones are sent away.
    pub requests: usize,
    /// How long a request is parked at most.
    pub wait: Duration,
}

/// Why a request is sent away with 503 and `Retry-After`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Away {
    /// As many requests are parked as may be.
    Full,
    /// It was parked for as long as it may be.
    TooLong,
}

/// The gate of one router.
#[derive(Debug)]
pub struct Gate {
    /// Position in the two lowest bits, the number of openings above: one value, so that who enters can see that nothing changed
    /// between reading the position and being counted.
    setting: AtomicU64,
    in_flight: [AtomicU64; 2],
    parked: AtomicUsize,
    queue: Mutex<VecDeque<oneshot::Sender<()>>>,
}

/// One request that has been let through to a side; it counts there until this is dropped.
#[derive(Debug)]
pub struct Pass {
    gate: Arc<Gate>,
    side: Side,
}

impl Pass {
    /// The side it goes to.
    pub fn side(&self) -> Side {
        self.side
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        self.gate.in_flight[self.side as usize].fetch_sub(1, SeqCst);
    }
}

/// Keeps the number of parked requests right when a client goes away.
struct Parked<'a>(&'a AtomicUsize);

impl Drop for Parked<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

fn bits(position: Position) -> u64 {
    match position {
        Position::Blue => 0,
        Position::Green => 1,
        Position::Hold => 2,
    }
}

fn side_of(setting: u64) -> Option<Side> {
    match setting & 3 {
        0 => Some(Side::Blue),
        1 => Some(Side::Green),
        _ => None,
    }
}

impl Gate {
    /// A gate that stands like this.
    pub fn new(position: Position) -> Arc<Self> {
        Arc::new(Self {
            setting: AtomicU64::new(bits(position)),
            in_flight: [AtomicU64::new(0), AtomicU64::new(0)],
            parked: AtomicUsize::new(0),
            queue: Mutex::default(),
        })
    }

    /// Where it lets requests go.
    pub fn position(&self) -> Position {
        side_of(self.setting.load(SeqCst)).map_or(Position::Hold, Position::from)
    }

    /// How many requests have been let through to a side and have not ended.
    pub fn in_flight(&self, side: Side) -> u64 {
        self.in_flight[side as usize].load(SeqCst)
    }

    /// How many requests are parked.
    pub fn parked(&self) -> usize {
        self.parked.load(SeqCst)
    }

    /// Sets the gate. When this has returned nobody is let through to another side any more, and who was is counted; the parked
    /// requests go on in the order in which they came, unless it is a hold.
    pub fn set(&self, position: Position) {
        let mut queue = self.queue();
        let now = self.setting.load(SeqCst);
        if now & 3 != bits(position) {
            self.setting.store(((now >> 2) + 1) << 2 | bits(position), SeqCst);
        }
        if position != Position::Hold {
            for waiting in queue.drain(..) {
                let _ = waiting.send(()); // its client has gone
            }
        }
    }

    /// Lets a request through, when it may; `to` overrules the side (a canary).
    ///
    /// # Errors
    /// When it is to be sent away.
    pub async fn enter(self: &Arc<Self>, limits: HoldLimits, to: impl Fn(Side) -> Side) -> Result<(Pass, bool), Away> {
        let mut parked = None;
        let mut deadline = None;
        loop {
            if let Some(pass) = self.try_enter(&to) {
                return Ok((pass, deadline.is_some()));
            }
            if parked.is_none() {
                let before = self.parked.fetch_add(1, SeqCst);
                parked = Some(Parked(&self.parked));
                if before >= limits.requests {
                    return Err(Away::Full);
                }
            }
            let Some(turn) = self.park() else { continue };
            let until = *deadline.get_or_insert_with(|| tokio::time::Instant::now() + limits.wait);
            if tokio::time::timeout_at(until, turn).await.is_err() {
                return Err(Away::TooLong);
            }
        }
    }

    /// Lets a request through, when it may at once.
    pub fn try_enter(self: &Arc<Self>, to: impl Fn(Side) -> Side) -> Option<Pass> {
        loop {
            let setting = self.setting.load(SeqCst);
            let side = to(side_of(setting)?);
            self.in_flight[side as usize].fetch_add(1, SeqCst);
            let pass = Pass { gate: Arc::clone(self), side };
            if self.setting.load(SeqCst) == setting {
                return Some(pass);
            }
        }
    }

    /// A place at the end of the queue; `None` when there is no hold any more.
    fn park(&self) -> Option<oneshot::Receiver<()>> {
        let mut queue = self.queue();
        if side_of(self.setting.load(SeqCst)).is_some() {
            return None;
        }
        if queue.len() > 2 * self.parked.load(SeqCst) + 16 {
            queue.retain(|turn| !turn.is_closed()); // clients that come and go do not make it grow
        }
        let (turn, waiting) = oneshot::channel();
        queue.push_back(turn);
        Some(waiting)
    }

    fn queue(&self) -> MutexGuard<'_, VecDeque<oneshot::Sender<()>>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    const LIMITS: HoldLimits = HoldLimits { requests: 3, wait: Duration::from_millis(200) };

    #[tokio::test]
    async fn a_hold_parks_some_for_some_time() {
        let gate = Gate::new(Position::Blue);
        let (pass, parked) = gate.enter(LIMITS, |side| side).await.unwrap();
        assert_eq!((pass.side(), parked, gate.in_flight(Side::Blue)), (Side::Blue, false, 1));
        gate.set(Position::Hold);
        let mut waiting = Vec::new();
        for number in 0..3 {
            let gate = Arc::clone(&gate);
            waiting.push(tokio::spawn(async move { (number, gate.enter(LIMITS, |side| side).await) }));
        }
        while gate.parked() < 3 {
            tokio::task::yield_now().await;
        }
        assert_eq!(gate.enter(LIMITS, |side| side).await.unwrap_err(), Away::Full);
        waiting.remove(0).abort();
        while gate.parked() > 2 {
            tokio::task::yield_now().await;
        }
        gate.set(Position::Green);
        for parked in waiting {
            let (_, entered) = parked.await.unwrap();
            assert!(entered.is_ok_and(|(pass, parked)| pass.side() == Side::Green && parked));
        }
        assert_eq!((gate.parked(), gate.in_flight(Side::Green), gate.in_flight(Side::Blue)), (0, 0, 1));
        drop(pass);
        gate.set(Position::Hold);
        assert_eq!(gate.enter(LIMITS, |side| side).await.unwrap_err(), Away::TooLong);
        assert_eq!((gate.parked(), gate.in_flight(Side::Blue)), (0, 0));
    }

    /// After `set(Hold)` the count of a side can only fall, whatever other threads do.
    #[test]
    fn nobody_slips_through_a_closing_gate() {
        let gate = Gate::new(Position::Blue);
        let stop = Arc::new(AtomicBool::new(false));
        let threads: Vec<_> = (0..3)
            .map(|_| {
                let (gate, stop) = (Arc::clone(&gate), Arc::clone(&stop));
                std::thread::spawn(move || {
                    while !stop.load(Ordering::Relaxed) {
                        drop(gate.try_enter(|side| side));
                    }
                })
            })
            .collect();
        for _ in 0..2000 {
            gate.set(Position::Hold);
            while gate.in_flight(Side::Blue) > 0 {
                std::hint::spin_loop();
            }
            // A late comer may be counted for a moment, never let through: `try_enter` looks again after it has counted itself.
            assert!(gate.try_enter(|side| side).is_none());
            gate.set(Position::Blue);
        }
        stop.store(true, Ordering::Relaxed);
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    }
}
