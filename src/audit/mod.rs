//! Auditing: does every session mean on green what it means on blue?
//!
//! The journey: a facts file → [`Declaration`] (every flaw at once) → both sides streamed in key order ([`audit`]) → one pair
//! of rows at a time into a [`Tally`] (pure, bounded memory), which names the cause by the declared rules → [`Report`].
//! Blue may be gone: [`save`] keeps its facts in a side table on green.

mod cause;
mod declaration;
mod fact;
mod html;
mod report;
mod save;
mod stream;
mod tally;

pub use cause::Cause;
pub use declaration::{Declaration, Facts, Field, FieldKind, Flaw, load};
pub use fact::{Fact, Value};
pub use html::page;
pub use report::{Found, Job, Report, SetReport};
pub use save::{Saved, save};
pub use stream::{BlueFacts, audit};
pub use tally::{Class, Tally};
