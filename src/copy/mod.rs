//! Copying: every projection once, in parallel parts, from one exported snapshot of blue into empty tables of green.
//!
//! The journey: [`Fittings::read`] (what must be there in the end, journaled) → [`Fittings::take_off`] → [`load()`] →
//! [`Rebuild`]: indexes, constraints, statistics, foreign keys, sequences, triggers. Everything asks what is there first, so
//! it may be killed anywhere and called again.

mod fittings;
mod load;
mod rebuild;
mod sequence;

pub use fittings::{Fittings, Trigger};
pub use load::{Load, Loaded, Moment};
pub use rebuild::Rebuild;
pub use sequence::Sequence;
