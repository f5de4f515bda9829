//! What people and scripts read: progress while a run goes on, and what it did.

mod locks;
mod screen;
mod summary;

pub use locks::LockWatch;
pub use screen::Screen;
pub use summary::{JourneySummary, StepSummary, summarize};
