//! One revocation.

use std::fmt;
use std::time::SystemTime;

use crate::terms::key_digest;

/// How a revocation became known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// By the rows that it changed on blue.
    Capture,
    /// By a program that saw it pass: a router, an event stream.
    Tap,
}

impl Source {
    /// As stored in `crossfade.revocation`.
    pub fn as_str(self) -> &'static str {
        match self {
            Source::Capture => "capture",
            Source::Tap => "tap",
        }
    }
}

/// Access that was taken away. Its `Debug` form shows digests, not ids.
#[derive(Clone, PartialEq, Eq)]
pub struct Event {
    /// The kind, as the rules name it.
    pub what: String,
    /// What lost its access, as the kind's rule names it.
    pub id: String,
    /// The application concerned, when it is known.
    pub client: Option<String>,
    /// The user concerned, when it is known.
    pub subject: Option<String>,
    /// The transaction on blue; 0 where the source knows none.
    pub transaction: u64,
    /// When, by blue's clock.
    pub revoked_at: SystemTime,
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} in transaction {}", self.what, key_digest(&self.id), self.transaction)
    }
}

/// A revocation as green records it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    /// The revocation.
    pub event: Event,
    /// How it became known.
    pub source: Source,
    /// When it was recorded on green; `None` for one that only the outbox holds.
    pub captured_at: Option<SystemTime>,
    /// When green had taken the access away.
    pub replayed_at: Option<SystemTime>,
    /// When green was last asked and had none left.
    pub proved_at: Option<SystemTime>,
}
