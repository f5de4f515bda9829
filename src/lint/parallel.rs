//! Work on all processors, its results in order.

use std::collections::BTreeMap;
use std::sync::{Mutex, mpsc};

use crate::sql::parser::with_room;

/// Does each piece of `work` with `make`, on as many threads as there are processors, and gives the results in the order of the work
/// to `each` on the caller's thread, every one as soon as it and those before it are there.
///
/// # Errors
/// When the machine refuses a thread, or `make` panics.
pub(super) fn in_order<T: Send, R: Send>(
    work: Vec<T>,
    make: impl Fn(T) -> R + Sync,
    mut each: impl FnMut(R),
) -> Result<(), &'static str> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(work.len());
    let waiting = Mutex::new(work.into_iter().enumerate());
    let take = || waiting.lock().ok()?.next();
    let run = |done: mpsc::SyncSender<(usize, R)>| {
        while let Some((at, piece)) = take() {
            if done.send((at, make(piece))).is_err() {
                return;
            }
        }
    };
    std::thread::scope(|scope| {
        // Room enough that nobody waits for the caller while it waits for a processor.
        let (done, results) = mpsc::sync_channel(16 * threads);
        let (run, mut running) = (&run, Vec::new());
        for done in std::iter::repeat_n(done, threads) {
            running.push(scope.spawn(move || with_room(|| run(done))));
        }
        let (mut early, mut next) = (BTreeMap::new(), 0);
        for (at, result) in results {
            early.insert(at, result);
            while let Some(result) = early.remove(&next) {
                each(result);
                next += 1;
            }
        }
        running.into_iter().try_for_each(|thread| thread.join().unwrap_or(Err("a thread failed")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_the_order_of_the_work() {
        for count in [0u64, 1, 2, 100] {
            let mut found = Vec::new();
            let slow = |n: u64| {
                std::thread::sleep(std::time::Duration::from_micros((n * 7919) % 97));
                n
            };
            in_order((0..count).collect(), slow, |n| found.push(n)).unwrap();
            assert_eq!(found, (0..count).collect::<Vec<_>>());
        }
        assert!(in_order(vec![1], |_| panic!("on purpose"), |()| ()).is_err());
    }
}
