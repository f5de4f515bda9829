//! Runs plans: decides what comes next, does it, and keeps the journal ahead of every effect.

mod drive;
mod finish;
mod interrupt;
mod next;
mod preview;
mod settle;
mod setup;

pub use crate::step::Stop;
pub use drive::{Outcome, drive, turn_back};
pub use finish::{finish, followed, kept, switched};
pub use interrupt::listen;
pub use next::{Next, next};
pub use preview::{StepPreview, preview};
pub use settle::{distinct, plan_changes};
pub use setup::{Driver, Options, RunChoice, latest_run, list_runs, prepare, reach};
