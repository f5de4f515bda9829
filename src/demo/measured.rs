//! What the live clients measured. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

/// Requests, failures and every latency.
#[derive(Debug, Clone, Default)]
pub struct Measured {
    micros: Vec<u32>,
    failures: BTreeMap<String, u64>,
}

impl Measured {
    /// Notes one request that took this long.
    pub fn took(&mut self, time: Duration) {
        self.micros.push(u32::try_from(time.as_micros()).unwrap_or(u32::MAX));
    }

    /// Notes that a request failed; `why` names the request and what was wrong, never a token.
    pub fn failed(&mut self, why: String) {
        *self.failures.entry(why).or_default() += 1;
    }

    /// Adds what another client measured.
    pub fn add(&mut self, other: Measured) {
        self.micros.extend(other.micros);
        for (why, times) in other.failures {
            *self.failures.entry(why).or_default() += times;
        }
    }

    /// Requests made.
    pub fn requests(&self) -> u64 {
        self.micros.len() as u64
    }

    /// Requests that failed, by reason.
    pub fn failures(&self) -> &BTreeMap<String, u64> {
        &self.failures
    }

    /// Requests that failed.
    pub fn requests_failed(&self) -> u64 {
        self.failures.values().sum()
    }

    /// The latency in milliseconds that this share of the requests (0 to 1) stayed within; 1 is the longest stall.
    pub fn quantile_ms(&self, share: f64) -> f64 {
        let mut sorted = self.micros.clone();
        sorted.sort_unstable();
        let place = (share * sorted.len() as f64).ceil() as usize;
        sorted.get(place.clamp(1, sorted.len().max(1)) - 1).map_or(0.0, |micros| f64::from(*micros) / 1e3)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_of_what_was_seen() {
        let mut measured = Measured::default();
        assert_eq!(measured.quantile_ms(1.0), 0.0);
        for ms in [30, 10, 20, 40] {
            measured.took(Duration::from_millis(ms));
        }
        assert_eq!([0.0, 0.5, 0.99, 1.0].map(|share| measured.quantile_ms(share)), [10.0, 20.0, 40.0, 40.0]);
    }
}
