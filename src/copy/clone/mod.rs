//! A whole database: definitions by `pg_dump`, rows by [`super::Load`].
//!
//! The journey: [`Archive::dump`] (definitions of blue, from the snapshot of the rows) → [`entries`] → [`Plan`]: what comes
//! before the rows, what after each table's, what in the end → [`Relation`]s: where the rows are.

mod archive;
mod beside;
mod entry;
mod plan;
mod relation;

pub use archive::{Archive, Choice, Programs};
pub use beside::{Stretch, bound, stretches, together};
pub use entry::{Entry, entries};
pub use plan::{Planned, Stage, plan};
pub use relation::{LargeObject, Owner, Relation, block_size, left_behind, owners, positions};
