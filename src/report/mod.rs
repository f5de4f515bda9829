//! What people and scripts read: progress while a run goes on, and what it did.

#[cfg(test)]
mod example;
mod exporter;
mod figures;
mod html;
mod lines;
mod markdown;
mod metrics;
mod picture;
mod prediction;
mod sampler;
mod screen;
mod sections;
mod story;
mod summary;
mod text;
mod tui;

pub use exporter::Exporter;
pub use figures::{bytes, thousands, time};
pub use html::page;
pub use lines::whole;
pub use markdown::markdown;
pub use metrics::{METRICS, Metric, prometheus};
pub use picture::{AtWork, Driven, Lag, Outline, Outlined, Picture, Scene, SidePicture, StepPicture};
pub use prediction::{
    Compared, Effects, Estimate, LeftOut, PREDICTION_FORMAT, Prediction, Size, StepPrediction, Work, compare, give_or_take,
};
pub use sampler::Sampler;
pub use screen::{Screen, Show};
use sections::steps_grid;
pub use story::{End, Figure, Series, Span, Story};
pub use summary::{JourneySummary, Restore, StepSummary, summarize};
pub use text::{forecast, outline, text};
pub use tui::{Key, Tui, draw};
