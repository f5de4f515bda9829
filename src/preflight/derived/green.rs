//! Green's schema as it will be when the copy begins: on green itself, or, where it is not there yet, on a throw-away server
//! that the plan's own steps fill.

use anyhow::Context;

use crate::pg::{Database, ensure_control};
use crate::plan::{Plan, PlannedStep};
use crate::shadow::{Binaries, Cluster};
use crate::step::Cx;
use crate::terms::{Extent, Side};

/// A database with green's schema.
pub(super) struct Green {
    /// Where to read it.
    pub database: Database,
    _cluster: Option<Cluster>,
}

/// Prepares it for the step `before`.
///
/// # Errors
/// When the schema is not on green and cannot be made on a throw-away server; says what to do.
pub(super) async fn green(plan: &Plan, cx: &Cx, before: &PlannedStep) -> anyhow::Result<Green> {
    let ahead: Vec<&PlannedStep> = plan
        .steps()
        .iter()
        .take_while(|step| step.id != before.id)
        .filter(|step| step.step.sides() == [Side::Green] && !step.step.reads_only() && step.kind != "run_hook")
        .collect();
    let real = cx.database(Side::Green)?.clone();
    let mut missing = false;
    for step in &ahead {
        let mut own = cx.clone();
        own.step = step.id.clone();
        missing |= !matches!(step.step.observe(&own).await, Ok(Extent::Complete));
    }
    if !missing {
        return Ok(Green { database: real, _cluster: None });
    }
    let next = "bring green's schema there first (run the plan up to that step), or install PostgreSQL's server programs here";
    let cluster = Cluster::start(&Binaries::find().context(next)?, Vec::new()).await.context(next)?;
    let scratch = cluster.database("green's schema on a throw-away server", "postgres")?;
    ensure_control(&mut scratch.connect("crossfade/preflight").await?).await?;
    for step in ahead {
        let mut own =
            Cx::new(cx.run.clone(), step.id.clone(), cx.limits.clone(), [None, Some(scratch.clone())], cx.notices.clone());
        own.interrupt = cx.interrupt.clone();
        let found = step.step.observe(&own).await?;
        let before = step.step.before(&own).await?;
        let applied = step.step.apply(&own, &found, &before).await;
        applied.with_context(|| format!("step {} does not run on an empty throw-away server: {next}", step.id))?;
    }
    Ok(Green { database: scratch, _cluster: Some(cluster) })
}
