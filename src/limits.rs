//! The safety limits of a plan, each explicit, with units.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A length of time written as in `200ms`, `10s`, `5m`, `1h 30m`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(extend("pattern" = "^ *([0-9]+ *[a-zA-Z]+ *)+$"))]
pub struct Span(pub Duration);

impl TryFrom<String> for Span {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        humantime::parse_duration(&text)
            .map(Span)
            .map_err(|e| format!("`{text}` is not a length of time such as `200ms`, `10s` or `5m`: {e}"))
    }
}

impl From<Span> for String {
    fn from(span: Span) -> String {
        humantime::format_duration(span.0).to_string()
    }
}

/// A size written as in `512 kB`, `100MB`, `1.5 GB`: a kB is 1000 bytes, a KiB 1024.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(extend("pattern" = "^[0-9. ]+ *([kKmMgGtT][iI]?[bB])$"))]
pub struct Size(pub u64);

const UNITS: &[(&str, f64)] = &[
    ("kB", 1e3),
    ("KiB", 1024.0),
    ("MB", 1e6),
    ("MiB", 1_048_576.0),
    ("GB", 1e9),
    ("GiB", 1_073_741_824.0),
    ("TB", 1e12),
    ("TiB", 1_099_511_627_776.0),
];

impl TryFrom<String> for Size {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not a size such as `512 kB`, `100 MB` or `1.5 GB`");
        let unit = text.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.' || c == ' ');
        let number: f64 = text[..text.len() - unit.len()].trim().parse().map_err(|_| wrong())?;
        let (_, factor) = UNITS.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit.trim())).ok_or_else(wrong)?;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "no sign was read, and as saturates")]
        Ok(Self((number * factor).round() as u64))
    }
}

impl From<Size> for String {
    fn from(size: Size) -> String {
        format!("{} kB", size.0.div_ceil(1000))
    }
}

/// `[limits]` as written; every key is optional.
#[derive(Debug, Default, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct LimitsFile {
    lock_timeout: Option<Span>,
    lock_retry_for: Option<Span>,
    batch_target: Option<Span>,
    follow_batch_time: Option<Span>,
    max_replication_lag: Option<Span>,
    max_blocked_sessions: Option<u32>,
    max_active_sessions: Option<u32>,
    max_copy_rate: Option<Size>,
    hold_snapshot: Option<Span>,
    jobs: Option<usize>,
}

/// What a run may do to the databases at most.
#[derive(Debug, Clone)]
pub struct Limits {
    /// How long one try of a statement that queues others waits for its lock. Default 200 ms.
    pub lock_timeout: Duration,
    /// How long such a statement is tried again before the run stops. Default 10 min.
    pub lock_retry_for: Duration,
    /// How long one batch of rows should take; batches grow and shrink towards it. Default 300 ms.
    pub batch_target: Duration,
    /// How long one batch of a follower may take before it rests; shorter ones wait for more changes. Default 500 ms.
    pub follow_batch_time: Duration,
    /// Row batches pause while a standby is further behind than this. Default 10 s.
    pub max_replication_lag: Duration,
    /// Row batches pause while more sessions than this wait for locks. Default 4.
    pub max_blocked_sessions: u32,
    /// Row batches and copies pause while more sessions of others than this run statements. Default: no limit.
    pub max_active_sessions: Option<u32>,
    /// Bytes per second that a copy moves at most, on all machines together. Default: no limit.
    pub max_copy_rate: Option<u64>,
    /// How long the snapshot of a copy is held for a driver that was killed. Default 30 min; 0: it ends with the driver.
    pub hold_snapshot: Duration,
    /// Parallel connections per side inside a step. Default: the cores of this machine, at least 2 and at most 8.
    pub jobs: usize,
}

impl Default for Limits {
    fn default() -> Self {
        LimitsFile::default().into()
    }
}

impl From<LimitsFile> for Limits {
    fn from(file: LimitsFile) -> Self {
        let span = |given: Option<Span>, default: Duration| given.map_or(default, |span| span.0);
        let cores = std::thread::available_parallelism().map_or(2, usize::from);
        Self {
            lock_timeout: span(file.lock_timeout, Duration::from_millis(200)),
            lock_retry_for: span(file.lock_retry_for, Duration::from_secs(600)),
            batch_target: span(file.batch_target, Duration::from_millis(300)),
            follow_batch_time: span(file.follow_batch_time, Duration::from_millis(500)),
            max_replication_lag: span(file.max_replication_lag, Duration::from_secs(10)),
            max_blocked_sessions: file.max_blocked_sessions.unwrap_or(4),
            max_active_sessions: file.max_active_sessions,
            max_copy_rate: file.max_copy_rate.map(|rate| rate.0.max(1)),
            hold_snapshot: span(file.hold_snapshot, Duration::from_secs(1800)),
            jobs: file.jobs.unwrap_or(cores.clamp(2, 8)).max(1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units() {
        let size = |text: &str| Size::try_from(text.to_owned());
        assert_eq!([size("1 GB"), size("1.5MB"), size("2 KiB")], [Ok(Size(1_000_000_000)), Ok(Size(1_500_000)), Ok(Size(2048))]);
        for wrong in ["", "1", "GB", "-1 GB", "1 XB", "1..2 GB"] {
            assert!(size(wrong).unwrap_err().contains("is not a size"), "{wrong}");
        }
    }

    #[test]
    fn spans_are_humantime() {
        assert_eq!(Span::try_from("200ms".to_owned()).unwrap().0, Duration::from_millis(200));
        assert!(Span::try_from("200".to_owned()).unwrap_err().contains("length of time"));
    }
}
