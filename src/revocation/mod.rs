//! Revocations: access that somebody took away on blue while green was made. Lost, it would come back with the switch.
//!
//! The journey of one: a transaction on blue takes access away, and capture records the rows it changed → declared [`Rules`] tell
//! it from rotations, logouts and clearing away ([`pending`]) → it is recorded on green ([`record`]), once, in a transaction of
//! its own → [`replay`] takes the access away there, ahead of the batch that carries the rows → before a switch, [`prove`]
//! asks green for each id whether it has access left.
//!
//! Until a revocation is recorded, the outbox on blue holds it: nothing is purged there before green's watermark has passed it.
//! A replay needs no order and may come twice; it is safe ahead of a batch, since the batch's snapshot is newer than it is.

mod ahead;
mod derive;
mod event;
mod flaw;
mod kept;
mod proof;
mod replay;
mod rules;
mod store;

pub use ahead::{Moment, ahead};
pub use derive::{Pending, pending};
pub use event::{Event, Recorded, Source};
pub use flaw::Flaw;
pub use kept::{forget_rules, keep_rules, stored_rules};
pub use proof::{Proof, Restored, prove};
pub use replay::replay;
pub use rules::{Kind, Rules, Wanted, load};
pub use store::{Figures, Filter, figures, list, record, unknown};
