//! Where a batch is.

use crate::revocation;

/// Where a batch is; for the tests' crash points.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// Every change that the batch's snapshot sees is known.
    Arrived,
    /// Revocations are being dealt with, ahead of everything else.
    Revocations(revocation::Moment),
    /// Rows are staged on green.
    Staged,
    /// Green's tables are changed, not committed.
    Applied,
    /// The batch is committed; the outbox is not purged.
    Committed,
}

impl Moment {
    /// What the crash point there is called.
    pub fn place(self) -> &'static str {
        match self {
            Moment::Arrived => "arrived",
            Moment::Revocations(moment) => moment.place(),
            Moment::Staged => "staged",
            Moment::Applied => "changed",
            Moment::Committed => "committed",
        }
    }
}
