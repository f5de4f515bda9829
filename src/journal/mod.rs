//! What happened in a run: an append-only file of JSON lines. The state of a run is a fold over it.

mod event;
mod file;
mod fold;

pub use event::{Event, FORMAT, Line};
pub use file::{Journal, JournalError};
pub use fold::{Direction, State, StepState, StepStatus};
