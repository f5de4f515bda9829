//! What following did and how far behind it was. Pure.

use std::time::Duration;

/// Sums over batches.
#[derive(Debug, Clone, Default)]
pub struct Figures {
    /// Batches that changed green.
    pub batches: u64,
    /// Keys read from the outbox.
    pub captured: u64,
    /// Rows inserted, updated and deleted on green.
    pub applied: u64,
    /// How old the oldest change of the first such batch was when it was committed on green: it was written while nobody
    /// followed, while the copy ran for instance.
    pub catch_up: Duration,
    /// The same of each later batch.
    lags: Vec<Duration>,
}

/// So many lags are kept; then every other one is dropped.
const KEPT: usize = 100_000;

impl Figures {
    /// Counts one batch. `lag` is the age of its oldest change when green had it.
    pub fn add(&mut self, captured: u64, applied: u64, lag: Duration) {
        self.batches += 1;
        self.captured += captured;
        self.applied += applied;
        if self.batches == 1 {
            self.catch_up = lag;
            return;
        }
        if self.lags.len() >= KEPT {
            let mut keep = false;
            self.lags.retain(|_| {
                keep = !keep;
                keep
            });
        }
        self.lags.push(lag);
    }

    /// The lag that this share of the batches after the first did not exceed; that of the first where it is the only one, zero
    /// without batches.
    pub fn lag(&self, share: f64) -> Duration {
        let mut sorted = self.lags.clone();
        sorted.sort_unstable();
        #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rank")]
        let rank = (sorted.len() as f64 * share).ceil() as usize;
        sorted.get(rank.max(1) - 1).copied().unwrap_or(self.catch_up)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_of_the_lag() {
        let mut figures = Figures::default();
        assert_eq!(figures.lag(0.99), Duration::ZERO);
        figures.add(2, 1, Duration::from_secs(60));
        assert_eq!(figures.lag(0.5), Duration::from_secs(60));
        (1..=100).for_each(|ms| figures.add(2, 1, Duration::from_millis(ms)));
        assert_eq!((figures.batches, figures.captured, figures.applied), (101, 202, 101));
        assert_eq!(figures.catch_up, Duration::from_secs(60));
        assert_eq!([0.5, 0.99, 1.0].map(|share| figures.lag(share).as_millis()), [50, 99, 100]);
    }
}
