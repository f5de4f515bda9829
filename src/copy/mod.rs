//! Copying: every projection once, in parallel parts, from one exported snapshot of blue into empty tables of green.
//!
//! The journey: [`Fittings::read`] (what must be there in the end, journaled) → [`Fittings::take_off`] → [`Order`]: a process of its
//! own holds the snapshot → [`missing::plan`]: which parts there are, on green → [`Load`]: rows, and of each table, as soon as its
//! rows are in, indexes, constraints and statistics → [`Rebuild`]: foreign keys, sequences, triggers. Everything asks what is there
//! first, so it may be killed anywhere and called again; if the snapshot was lost before all rows were in, a new attempt begins with
//! empty tables without indexes. [`Worker`]s of other machines take parts beside the driver's [`Load`].

pub mod clone;
mod fittings;
mod gate;
mod hold;
mod load;
pub mod missing;
mod monitor;
mod piece;
mod queue;
mod rebuild;
mod sequence;
mod standing;
mod transfer;
mod worker;

pub use fittings::{Fittings, Trigger};
pub use gate::Interrupted;
pub use hold::{Held, Order, offer, serve};
pub use load::{Load, Loaded, Moment};
pub use missing::{Filling, Missing};
pub use monitor::{Control, Wish};
pub use piece::{Piece, Rest};
pub use rebuild::Rebuild;
pub use sequence::Sequence;
pub use standing::Standing;
pub use worker::{Brought, Worker};
