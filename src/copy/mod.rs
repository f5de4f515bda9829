//! Copying: every projection once, in parallel parts, from one exported snapshot of blue into empty tables of green.
//!
//! The journey: [`Fittings::read`] (what must be there in the end, journaled) → [`Fittings::take_off`] → [`Load`]: rows, and of
//! each table, as soon as its rows are in, indexes, constraints and statistics → [`Rebuild`]: foreign keys, sequences,
//! triggers. Once all rows are in, everything asks what is there first, so it may be killed anywhere and called again; before
//! that, a new attempt begins with empty tables without indexes.

pub mod clone;
mod fittings;
mod load;
mod piece;
mod queue;
mod rebuild;
mod sequence;

pub use fittings::{Fittings, Trigger};
pub use load::{Filling, Load, Loaded, Moment};
pub use piece::{Piece, Rest};
pub use rebuild::Rebuild;
pub use sequence::Sequence;
