//! What a service is told of one revocation. Pure.

use std::time::SystemTime;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::revocation::Event;
use crate::terms::{Fingerprint, RunId};

/// How ids, clients and subjects stand in a notice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wording {
    /// As SHA-256 of their UTF-8 text, in hex: a service compares them with the digests of what it knows.
    Digests,
    /// Themselves.
    Clear,
}

/// One revocation as it travels.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    /// The event's identity: run, kind, id and transaction. The same event has the same identity, however often it is told.
    pub event: String,
    /// The run that captured it.
    pub run: String,
    /// The kind, as the rules name it.
    pub what: String,
    /// What lost its access.
    pub id: String,
    /// The application concerned, when it is known.
    pub client: Option<String>,
    /// The user concerned, when it is known.
    pub subject: Option<String>,
    /// Whether `id`, `client` and `subject` are digests.
    pub digests: bool,
    /// When, by blue's clock, in UTC.
    pub revoked_at: String,
}

impl Notice {
    /// Of a recorded revocation.
    pub fn of(run: &RunId, event: &Event, wording: Wording) -> Self {
        let name = |text: &str| match wording {
            Wording::Clear => text.to_owned(),
            Wording::Digests => digest(text),
        };
        Self {
            event: identity(run, event),
            run: run.as_str().to_owned(),
            what: event.what.clone(),
            id: name(&event.id),
            client: event.client.as_deref().map(name),
            subject: event.subject.as_deref().map(name),
            digests: wording == Wording::Digests,
            revoked_at: moment(event.revoked_at),
        }
    }

    /// The subject it is published under: `prefix.what`, with what NATS gives a meaning replaced.
    pub fn subject(&self, prefix: &str) -> String {
        let plain = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' };
        format!("{prefix}.{}", self.what.chars().map(plain).collect::<String>())
    }
}

fn identity(run: &RunId, event: &Event) -> String {
    let transaction = event.transaction.to_string();
    let parts = [run.as_str(), &event.what, &event.id, &transaction];
    Fingerprint::of(parts.map(str::as_bytes)).as_str().to_owned()
}

fn digest(text: &str) -> String {
    use sha2::{Digest, Sha256};
    Sha256::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn moment(time: SystemTime) -> String {
    Timestamp::try_from(time).map_or_else(|_| "-".to_owned(), |at| at.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(id: &str, transaction: u64) -> Event {
        Event {
            what: "access token".to_owned(),
            id: id.to_owned(),
            client: Some("app".to_owned()),
            subject: None,
            transaction,
            revoked_at: SystemTime::UNIX_EPOCH,
        }
    }

    #[test]
    fn the_same_event_has_the_same_identity_and_no_other() {
        let (run, other) = (RunId::existing("r"), RunId::existing("s"));
        let of = |run: &RunId, id: &str, transaction| Notice::of(run, &event(id, transaction), Wording::Clear).event;
        assert_eq!(of(&run, "a", 1), of(&run, "a", 1));
        assert_eq!(of(&run, "a", 1), Notice::of(&run, &event("a", 1), Wording::Digests).event);
        for another in [of(&other, "a", 1), of(&run, "b", 1), of(&run, "a", 2)] {
            assert_ne!(of(&run, "a", 1), another);
        }
    }

    #[test]
    fn ids_are_digests_unless_they_are_to_be_clear() {
        let run = RunId::existing("r");
        let told = Notice::of(&run, &event("request-1", 1), Wording::Digests);
        let text = serde_json::to_string(&told).unwrap();
        assert!(!text.contains("request-1") && !text.contains("app\""), "{text}");
        assert_eq!(told.id, digest("request-1"));
        assert_eq!(told.subject("x.y"), "x.y.access_token");
        assert_eq!(told.revoked_at, "1970-01-01T00:00:00Z");
        assert_eq!(Notice::of(&run, &event("request-1", 1), Wording::Clear).id, "request-1");
    }
}
