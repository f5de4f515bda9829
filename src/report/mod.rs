//! What people and scripts read: progress while a run goes on, and what it did.

mod sampler;
mod screen;
mod summary;

pub use sampler::Sampler;
pub use screen::Screen;
pub use summary::{JourneySummary, StepSummary, summarize};
