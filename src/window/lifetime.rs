//! The token lifetime that keeps clients from refreshing inside a window.
//!
//! A client refreshes when its access token has expired, or up to a share `early` of the lifetime before. While the lifetime is
//! L every active client has refreshed at least once within L. So a lifetime of L' that is set at the time R = begin - margin - L
//! is what every active client has at the window's begin: its token was issued at R or later and is refreshed at
//! R + (1 - early) L' at the earliest, which must be after end + margin.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

/// How clients behave.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Clients {
    /// The lifetime of an access token now.
    pub lifetime: Duration,
    /// The share of a lifetime that clients refresh before its end, at most: 0 for clients that wait for its end.
    pub early: f64,
    /// Room at both ends of the window: clocks, slow requests, a switch that comes late.
    pub margin: Duration,
}

/// What to set, and when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Lifetime {
    /// The lifetime to set, in whole minutes.
    pub seconds: u64,
    /// When to set it, at the latest.
    pub raise_at: String,
    /// When to set the old one again.
    pub restore_at: String,
    /// When the last token of the longer lifetime has expired.
    pub gone_by: String,
}

/// The shortest lifetime, rounded up to minutes. `at_most` is the longest that may be set.
///
/// # Errors
/// When a longer one than `at_most` would be needed: the longest window that it allows.
pub fn solve(clients: Clients, begins: Timestamp, length: Duration, at_most: Option<Duration>) -> Result<Lifetime, String> {
    let Clients { lifetime, early, margin } = clients;
    if !(0.0..1.0).contains(&early) {
        return Err(format!("clients that refresh {early} of a lifetime early always refresh: a share below 1 is expected"));
    }
    let needed = (lifetime + length + 2 * margin).as_secs_f64() / (1.0 - early);
    // One second more than needed: the first refresh comes after the margin, not with its end.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a length of time")]
    let seconds = ((needed + 1.0) / 60.0).ceil() as u64 * 60;
    if let Some(at_most) = at_most.filter(|at_most| *at_most < Duration::from_secs(seconds)) {
        let room = at_most.as_secs_f64() * (1.0 - early) - (lifetime + 2 * margin).as_secs_f64();
        let longest = match room >= 1.0 {
            true => format!("with {} the window may last {} at most", said(at_most), said(Duration::from_secs_f64(room.floor()))),
            false => format!("{} leaves no room for a window: clients refresh all the time", said(at_most)),
        };
        return Err(format!("a lifetime of {} would be needed; {longest}", said(Duration::from_secs(seconds))));
    }
    let shift = |from: Timestamp, by: SignedDuration| from.checked_add(by).map_err(|e| e.to_string());
    let span = |length: Duration| SignedDuration::try_from(length).map_err(|e| e.to_string());
    let raise_at = shift(begins, -span(margin + lifetime)?)?;
    let restore_at = shift(begins, span(length + margin)?)?;
    let gone_by = shift(restore_at, span(Duration::from_secs(seconds))?)?;
    Ok(Lifetime { seconds, raise_at: raise_at.to_string(), restore_at: restore_at.to_string(), gone_by: gone_by.to_string() })
}

fn said(length: Duration) -> String {
    humantime::format_duration(Duration::from_secs(length.as_secs())).to_string()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn seconds(text: &str) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "seconds of this century")]
        let seconds = text.parse::<Timestamp>().unwrap().as_second() as f64;
        seconds
    }

    /// Whether a client whose token was issued `phase` of a lifetime before the raise refreshes inside the window.
    fn refreshes_inside(clients: Clients, raised: f64, at: f64, window: (f64, f64), phase: f64, early: f64) -> bool {
        let mut issued = at - phase * clients.lifetime.as_secs_f64();
        loop {
            let lifetime = if issued >= at { raised } else { clients.lifetime.as_secs_f64() };
            let refresh = issued + lifetime * (1.0 - early);
            if refresh > window.1 {
                return false;
            }
            if refresh >= window.0 {
                return true;
            }
            issued = refresh;
        }
    }

    proptest! {
        #[test]
        fn no_client_refreshes_inside_the_window(
            lifetime in 60u64..90_000, length in 1u64..7200, margin in 0u64..900, early in 0.0f64..0.5,
            phase in 0.0f64..1.0, own in 0.0f64..1.0,
        ) {
            let begins: Timestamp = "2026-03-01T02:00:00Z".parse().unwrap();
            let of = Duration::from_secs;
            let clients = Clients { lifetime: of(lifetime), early, margin: of(margin) };
            let found = solve(clients, begins, of(length), None).unwrap();
            #[expect(clippy::cast_precision_loss, reason = "lengths of time")]
            let (raised, begin, length) = (found.seconds as f64, begins.as_second() as f64, length as f64);
            let window = (begin, begin + length);
            prop_assert!(!refreshes_inside(clients, raised, seconds(&found.raise_at), window, phase, early * own));
        }
    }

    #[test]
    fn a_shorter_lifetime_would_not_do() {
        let begins: Timestamp = "2026-03-01T02:00:00Z".parse().unwrap();
        let clients = Clients { lifetime: Duration::from_secs(3600), early: 0.0, margin: Duration::ZERO };
        let found = solve(clients, begins, Duration::from_secs(1800), None).unwrap();
        assert_eq!((found.seconds, found.raise_at.as_str()), (5460, "2026-03-01T01:00:00Z"));
        assert_eq!(found.restore_at, "2026-03-01T02:30:00Z");
        #[expect(clippy::cast_precision_loss, reason = "seconds of this century")]
        let begin = begins.as_second() as f64;
        // Two minutes less, and the client that got its token with the raise refreshes before the end.
        assert!(refreshes_inside(clients, 5460.0 - 120.0, begin - 3600.0, (begin, begin + 1800.0), 1.0, 0.0));
    }

    #[test]
    fn a_limit_says_how_long_the_window_may_be() {
        let begins: Timestamp = "2026-03-01T02:00:00Z".parse().unwrap();
        let clients = Clients { lifetime: Duration::from_secs(3600), early: 0.2, margin: Duration::from_secs(300) };
        let wrong = solve(clients, begins, Duration::from_secs(7200), Some(Duration::from_secs(7200))).unwrap_err();
        assert!(wrong.contains("may last 26m"), "{wrong}");
        assert!(solve(Clients { early: 1.0, ..clients }, begins, Duration::from_secs(1), None).is_err());
    }
}
