//! What the router counts, and its Prometheus text (exposition format 0.0.4).

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use crate::router::oauth::Operation;
use crate::terms::Side;

const SIDES: [Side; 2] = [Side::Blue, Side::Green];
const OPERATIONS: usize = Operation::ALL.len();
/// Upper ends of the latency buckets, in microseconds.
const BUCKETS: [u64; 14] =
    [250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 5_000_000, 30_000_000];
/// Statuses from 100 to 599.
const STATUSES: usize = 500;

/// Things that happen beside requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// A request was parked.
    Parked,
    /// A parked request was sent away: too many, or for too long.
    SentAway,
    /// A refresh waited for an identical one that was upstream.
    Joined,
    /// A refresh got a repeated answer.
    Repeated,
    /// A revocation was recorded.
    Tapped,
    /// A revocation could not be recorded, and was not done.
    NotTapped,
    /// A side could not be reached or broke off.
    UpstreamFailed,
    /// A read went to green while blue serves.
    Canary,
    /// A connection of a client was accepted.
    Connection,
    /// A client was too slow or went away in the middle.
    ClientFailed,
}

const EVENTS: [(Event, &str, &str); 10] = [
    (Event::Parked, "crossfade_parked_total", "Requests that were parked by a hold."),
    (Event::SentAway, "crossfade_sent_away_total", "Requests that a hold sent away with 503."),
    (Event::Joined, "crossfade_coalesced_joined_total", "Refreshes that waited for an identical one in flight."),
    (Event::Repeated, "crossfade_coalesced_repeated_total", "Refreshes that got a repeated answer."),
    (Event::Tapped, "crossfade_taps_total", "Revocations recorded."),
    (Event::NotTapped, "crossfade_taps_failed_total", "Revocations refused because they could not be recorded."),
    (Event::UpstreamFailed, "crossfade_upstream_failures_total", "Requests whose side could not be reached or broke off."),
    (Event::Canary, "crossfade_canary_total", "Reads sent to green while blue serves."),
    (Event::Connection, "crossfade_connections_total", "Connections of clients."),
    (Event::ClientFailed, "crossfade_client_failures_total", "Clients that were too slow or went away."),
];

struct OfOperation {
    statuses: [AtomicU64; STATUSES],
    buckets: [AtomicU64; BUCKETS.len() + 1],
    micros: AtomicU64,
}

impl OfOperation {
    fn new() -> Self {
        let zero = |_| AtomicU64::new(0);
        Self { statuses: std::array::from_fn(zero), buckets: std::array::from_fn(zero), micros: AtomicU64::new(0) }
    }
}

/// What one router counted since it started.
pub struct Metrics {
    sides: Vec<OfOperation>,
    events: [AtomicU64; EVENTS.len()],
}

/// What is so at the moment, beside the counters.
#[derive(Debug, Clone, Copy, Default)]
pub struct Gauges {
    /// Epoch of the route.
    pub epoch: u64,
    /// Requests in flight on blue and on green.
    pub in_flight: [u64; 2],
    /// Requests parked.
    pub parked: usize,
    /// Refreshes that are upstream.
    pub flights: usize,
    /// Answers kept.
    pub answers: usize,
    /// Where requests go: 0 blue, 1 green, 2 hold.
    pub position: u8,
}

impl Default for Metrics {
    fn default() -> Self {
        let sides = (0..SIDES.len() * OPERATIONS).map(|_| OfOperation::new()).collect();
        Self { sides, events: std::array::from_fn(|_| AtomicU64::new(0)) }
    }
}

impl Metrics {
    fn of(&self, side: Side, operation: Operation) -> &OfOperation {
        &self.sides[side as usize * OPERATIONS + operation as usize]
    }

    /// A request of this side was answered.
    pub fn answered(&self, side: Side, operation: Operation, status: u16, took: Duration) {
        let of = self.of(side, operation);
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        of.statuses[usize::from(status.clamp(100, 599)) - 100].fetch_add(1, Relaxed);
        of.buckets[BUCKETS.partition_point(|end| *end < micros)].fetch_add(1, Relaxed);
        of.micros.fetch_add(micros, Relaxed);
    }

    /// Something else happened.
    pub fn happened(&self, event: Event) {
        self.events[event as usize].fetch_add(1, Relaxed);
    }

    /// How often something else happened.
    pub fn count(&self, event: Event) -> u64 {
        self.events[event as usize].load(Relaxed)
    }

    /// Everything in Prometheus' text form.
    pub fn text(&self, gauges: &Gauges) -> String {
        let mut out = String::new();
        // Writing to a String cannot fail.
        let _ = self.write(&mut out, gauges);
        out
    }

    fn write(&self, out: &mut String, gauges: &Gauges) -> std::fmt::Result {
        writeln!(out, "# HELP crossfade_requests_total Requests answered, by the side that answered.")?;
        writeln!(out, "# TYPE crossfade_requests_total counter")?;
        let all = || SIDES.into_iter().flat_map(|side| Operation::ALL.map(|operation| (side, operation)));
        for (side, operation) in all() {
            for (index, count) in self.of(side, operation).statuses.iter().enumerate() {
                let count = count.load(Relaxed);
                if count > 0 {
                    let (name, status) = (operation.name(), index + 100);
                    writeln!(
                        out,
                        "crossfade_requests_total{{side=\"{side}\",operation=\"{name}\",status=\"{status}\"}} {count}"
                    )?;
                }
            }
        }
        writeln!(out, "# HELP crossfade_request_seconds Time until an answer began, parking included.")?;
        writeln!(out, "# TYPE crossfade_request_seconds histogram")?;
        for (side, operation) in all() {
            let of = self.of(side, operation);
            let counts = of.buckets.each_ref().map(|count| count.load(Relaxed));
            let total: u64 = counts.iter().sum();
            if total == 0 {
                continue;
            }
            let labels = format!("side=\"{side}\",operation=\"{}\"", operation.name());
            let mut so_far = 0;
            for (end, count) in BUCKETS.iter().zip(counts) {
                so_far += count;
                writeln!(out, "crossfade_request_seconds_bucket{{{labels},le=\"{}\"}} {so_far}", *end as f64 / 1e6)?;
            }
            writeln!(out, "crossfade_request_seconds_bucket{{{labels},le=\"+Inf\"}} {total}")?;
            writeln!(out, "crossfade_request_seconds_sum{{{labels}}} {}", of.micros.load(Relaxed) as f64 / 1e6)?;
            writeln!(out, "crossfade_request_seconds_count{{{labels}}} {total}")?;
        }
        for (event, name, help) in EVENTS {
            writeln!(out, "# HELP {name} {help}\n# TYPE {name} counter\n{name} {}", self.count(event))?;
        }
        writeln!(out, "# HELP crossfade_in_flight Requests on a side at the moment.\n# TYPE crossfade_in_flight gauge")?;
        for (side, count) in SIDES.iter().zip(gauges.in_flight) {
            writeln!(out, "crossfade_in_flight{{side=\"{side}\"}} {count}")?;
        }
        for (name, help, value) in [
            ("crossfade_route_epoch", "Epoch of the route.", gauges.epoch),
            ("crossfade_route_position", "Where requests go: 0 blue, 1 green, 2 hold.", u64::from(gauges.position)),
            ("crossfade_parked", "Requests parked at the moment.", gauges.parked as u64),
            ("crossfade_coalesce_flights", "Refreshes upstream at the moment.", gauges.flights as u64),
            ("crossfade_coalesce_answers", "Answers kept at the moment.", gauges.answers as u64),
        ] {
            writeln!(out, "# HELP {name} {help}\n# TYPE {name} gauge\n{name} {value}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_that_prometheus_reads() {
        assert!(EVENTS.iter().enumerate().all(|(index, (event, ..))| *event as usize == index));
        assert!(Operation::ALL.iter().enumerate().all(|(index, operation)| *operation as usize == index));
        let metrics = Metrics::default();
        metrics.answered(Side::Green, Operation::Refresh, 401, Duration::from_micros(600));
        metrics.answered(Side::Green, Operation::Refresh, 401, Duration::from_secs(60));
        metrics.happened(Event::Repeated);
        let text = metrics.text(&Gauges { epoch: 4, in_flight: [1, 2], position: 2, ..Gauges::default() });
        for line in [
            "crossfade_requests_total{side=\"green\",operation=\"refresh\",status=\"401\"} 2",
            "crossfade_request_seconds_bucket{side=\"green\",operation=\"refresh\",le=\"0.0005\"} 0",
            "crossfade_request_seconds_bucket{side=\"green\",operation=\"refresh\",le=\"0.001\"} 1",
            "crossfade_request_seconds_bucket{side=\"green\",operation=\"refresh\",le=\"+Inf\"} 2",
            "crossfade_request_seconds_sum{side=\"green\",operation=\"refresh\"} 60.0006",
            "crossfade_coalesced_repeated_total 1",
            "crossfade_in_flight{side=\"green\"} 2",
            "crossfade_route_epoch 4",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is missing in\n{text}");
        }
        assert!(!text.contains("side=\"blue\",operation"));
    }
}
