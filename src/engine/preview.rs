//! A run without `--execute`: what would be done, changing nothing.

use anyhow::Result;
use serde::Serialize;

use crate::journal::{State, StepStatus};
use crate::plan::{Plan, PlannedStep};
use crate::step::{Cx, Forecast, Reversal, Summary};
use crate::terms::{Extent, Phase, StepId};

/// What would be done for one step.
#[derive(Debug, Serialize)]
pub struct StepPreview {
    /// The step.
    pub step: StepId,
    /// Its phase.
    pub phase: Phase,
    /// Its kind.
    pub kind: &'static str,
    /// What it does.
    pub summary: Summary,
    /// Whether it can be taken back.
    pub reversal: Reversal,
    /// Where it stands in the latest run.
    pub status: StepStatus,
    /// What is there now; `None` for a step that only reads or that cannot be observed before those ahead of it ran.
    pub extent: Option<Extent>,
    /// What it would do; empty when that cannot be said yet.
    pub forecast: Vec<Forecast>,
    /// Why there is no forecast yet.
    pub unknown: Option<String>,
}

/// Asks each step what it would do. A step whose objects are made by an earlier one may not know yet; it says so.
///
/// # Errors
/// Never for a single step: its trouble becomes part of the preview.
pub async fn preview(plan: &Plan, state: &State, cx: impl Fn(&StepId) -> Cx) -> Result<Vec<StepPreview>> {
    let mut previews = Vec::new();
    for step in plan.steps() {
        previews.push(one(step, state, &cx(&step.id)).await);
    }
    Ok(previews)
}

async fn one(step: &PlannedStep, state: &State, cx: &Cx) -> StepPreview {
    let observed = match step.step.reads_only() {
        true => Ok(None),
        false => step.step.observe(cx).await.map(Some),
    };
    let forecast = match &observed {
        Ok(Some(Extent::Complete)) => Ok(Vec::new()),
        _ => step.step.forecast(cx).await,
    };
    let unknown = [observed.as_ref().err(), forecast.as_ref().err()].into_iter().flatten().map(crate::pg::explain).next();
    StepPreview {
        step: step.id.clone(),
        phase: step.phase,
        kind: step.kind,
        summary: step.step.describe(),
        reversal: step.step.reversal(),
        status: state.step(&step.id).status,
        extent: observed.ok().flatten(),
        forecast: forecast.unwrap_or_default(),
        unknown,
    }
}
