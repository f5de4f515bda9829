//! Clocks: of the servers and of this machine. Expiry times and the order of events are read off them.

use async_trait::async_trait;
use tokio::time::Instant;

use super::ground::Ground;
use super::{Comparison, Topic};
use crate::terms::{Finding, Severity};

/// Seconds of difference that go unsaid.
const TOLERATED: f64 = 1.0;

/// A server's clock against this machine's.
pub(super) struct MachineClock;

#[async_trait]
impl Topic for MachineClock {
    fn name(&self) -> &'static str {
        "the clock"
    }

    async fn ask(&self, ground: &Ground<'_>) -> anyhow::Result<Vec<Finding>> {
        let skew = Reading::take(ground).await?.ahead;
        let next = "check time synchronisation (chrony, ntpd) on this machine and on the server";
        Ok(said(&skew).map_or_else(Vec::new, |by| {
            vec![ground.finding(Severity::Warning, "the server's clock", format!("is {by} this machine's"), next)]
        }))
    }
}

/// The clocks of both servers.
pub(super) struct BothClocks;

#[async_trait]
impl Comparison for BothClocks {
    fn name(&self) -> &'static str {
        "clocks"
    }

    async fn ask(&self, blue: &Ground<'_>, green: &Ground<'_>) -> anyhow::Result<Vec<Finding>> {
        let (blue, green_reading) = (Reading::take(blue).await?, Reading::take(green).await?);
        let skew = Skew {
            seconds: green_reading.ahead.seconds - blue.ahead.seconds,
            error: blue.ahead.error + green_reading.ahead.error,
        };
        let next = "check time synchronisation (chrony, ntpd) on both servers: sessions expire by these clocks";
        Ok(said(&skew).map_or_else(Vec::new, |by| {
            vec![green.finding(Severity::Warning, "the server's clock", format!("is {by} blue's"), next)]
        }))
    }
}

/// How far a clock is ahead, in seconds, and how wrong that may be.
#[derive(Debug, Clone, Copy)]
struct Skew {
    seconds: f64,
    error: f64,
}

struct Reading {
    ahead: Skew,
}

impl Reading {
    /// The best of three: the shorter the way, the smaller the error.
    async fn take(ground: &Ground<'_>) -> anyhow::Result<Self> {
        let mut best: Option<Skew> = None;
        for _ in 0..3 {
            let (began, sent) = (jiff::Timestamp::now(), Instant::now());
            let row = ground.session.query_one("SELECT extract(epoch FROM clock_timestamp())::float8", &[]).await?;
            let half = sent.elapsed().as_secs_f64() / 2.0;
            #[expect(clippy::cast_precision_loss, reason = "microseconds since 1970 fit")]
            let here = began.as_microsecond() as f64 / 1e6 + half;
            let skew = Skew { seconds: row.get::<_, f64>(0) - here, error: half };
            if best.is_none_or(|best| skew.error < best.error) {
                best = Some(skew);
            }
        }
        best.map(|ahead| Self { ahead }).ok_or_else(|| anyhow::anyhow!("the server's clock was not read"))
    }
}

/// The difference in words, when it is certainly more than is tolerated.
fn said(skew: &Skew) -> Option<String> {
    let certain = skew.seconds.abs() - skew.error;
    let way = if skew.seconds > 0.0 { "ahead of" } else { "behind" };
    (certain > TOLERATED).then(|| format!("{:.1} s {way}", skew.seconds.abs()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_certain_is_said() {
        assert_eq!(said(&Skew { seconds: 0.9, error: 0.0 }), None);
        assert_eq!(said(&Skew { seconds: 1.4, error: 0.5 }), None);
        assert_eq!(said(&Skew { seconds: 1.6, error: 0.5 }).as_deref(), Some("1.6 s ahead of"));
        assert_eq!(said(&Skew { seconds: -7.0, error: 0.1 }).as_deref(), Some("7.0 s behind"));
    }
}
