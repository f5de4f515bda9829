//! What a batch does first.

use super::{Rules, Source, pending, record, replay};
use crate::pg::{Session, Snapshot};
use crate::terms::RunId;

/// How far [`ahead`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// Some revocations are recorded on green.
    Recorded,
    /// All are taken away on green; the batch may come.
    Replayed,
}

impl Moment {
    /// What the crash point there is called.
    pub fn place(self) -> &'static str {
        match self {
            Moment::Recorded => "recorded",
            Moment::Replayed => "replayed",
        }
    }
}

/// Records the revocations between the watermark and blue's snapshot and takes them away on green, in transactions of their own,
/// before the batch of that snapshot begins and before anything is purged. What a slot tells must be in the inbox. After a crash the
/// same comes again and changes nothing. Gives how many revocations are new, and how many were taken away.
///
/// # Errors
/// As [`pending`], [`record`] and [`replay`].
pub async fn ahead(
    at: &Snapshot,
    green: &mut Session,
    run: &RunId,
    rules: &Rules,
    watermark: &str,
    told: impl FnMut(Moment) + Send,
) -> anyhow::Result<(u64, u64)> {
    let (mut new, mut told) = (0, told);
    let mut pages = pending(at, green, run, rules, watermark).await?;
    while let Some(events) = pages.next().await? {
        new += record(green, run, Source::Capture, &events).await?;
        told(Moment::Recorded);
    }
    let replayed = replay(at.session(), green, run, rules).await?;
    if replayed > 0 {
        told(Moment::Replayed);
    }
    Ok((new, replayed))
}
