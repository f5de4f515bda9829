//! What happened in a run: an append-only file of JSON lines. The state of a run is a fold over it.

mod event;
mod file;
mod fold;
mod record;

pub use event::{Event, FORMAT, Line};
pub use file::{Journal, JournalError};
pub use fold::{Direction, State, StepState, StepStatus};
pub use record::{Entry, Measured, Progress, Ran, Record, Recorder, Sample, Verified, read_record};
