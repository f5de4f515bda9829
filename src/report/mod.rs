//! What people and scripts read: progress while a run goes on, and what it did.

mod figures;
mod sampler;
mod screen;
mod summary;

pub use figures::{bytes, thousands, time};
pub use sampler::Sampler;
pub use screen::Screen;
pub use summary::{JourneySummary, Restore, StepSummary, summarize};
