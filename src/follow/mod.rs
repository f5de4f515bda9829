//! Following: green steps from one snapshot of blue to the next.
//!
//! One batch: a new snapshot of blue → the changes it sees and the watermark does not → driving keys of the rows they may concern
//! → these rows, derived anew at the snapshot and staged on green → deletes, inserts and updates, and the watermark, in one
//! transaction of green. Deriving a row twice is harmless and order within a batch does not matter, so a batch that broke off
//! anywhere is simply done again from the watermark that green tells.

mod apply;
mod coverage;
mod distance;
mod followed;
mod follower;
mod green;
mod lag;
mod landing;
mod moment;
mod order;
mod path;
mod pending;
mod reading;
mod stage;
mod statement;
mod worker;

pub use coverage::{uncaptured, uncovered};
pub use distance::distance;
pub use follower::Follower;
pub use green::obstacles;
pub use lag::Figures;
pub use landing::lock;
pub use moment::Moment;
pub use worker::{Batch, Passed, Setup};

use crate::terms::Finding;

/// Why green cannot follow.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("green cannot follow: {}", .findings.iter().map(|found| format!("{} {}", found.object, found.what)).collect::<Vec<_>>().join("; "))]
pub struct Refused {
    /// Each blocks.
    pub findings: Vec<Finding>,
}
