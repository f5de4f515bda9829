//! The moment in which nobody writes: the last batch goes to green, every row is compared, every revocation proved.

use anyhow::{Context, Result};

use super::Revocations;
use crate::pg::Snapshot;
use crate::plan::Plan;
use crate::revocation::{prove, stored_rules};
use crate::step::{Cx, Projected, Until, compare_now, figures_of, follow};
use crate::terms::Side;

/// What it took to make both sides one, and whether they are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LastBatch {
    /// Changed keys that were still to come.
    pub captured: u64,
    /// Rows that were changed on green for them.
    pub applied: u64,
    /// Rows compared.
    pub rows: u64,
    /// Rows of green that are missing, too many or other than blue says: writes that would be lost.
    pub differing: u64,
    /// What became of the revocations of the whole run.
    pub revocations: Revocations,
}

/// Brings to green what is not there yet, and compares every row. Nobody may write on blue meanwhile.
///
/// # Errors
/// When green cannot follow, or a session is gone.
pub(super) async fn last_batch(cx: &Cx, plan: &Plan) -> Result<LastBatch> {
    let projected: Vec<&Projected> = plan.steps().iter().filter_map(|step| step.step.brings()).collect();
    let figures = figures_of(&follow(cx, &projected, Until::CaughtUp).await?);
    let figure = |name| figures.iter().find(|(known, _)| *known == name).map_or(0, |(_, value)| *value);
    let mut last = LastBatch { captured: figure("changes_captured"), applied: figure("changes_applied"), ..LastBatch::default() };
    for projected in projected {
        for comparison in compare_now(cx, projected).await?.0 {
            last.rows += comparison.rows;
            last.differing += comparison.differences.total();
        }
    }
    let (blue, green) = (Snapshot::export(cx.opener(Side::Blue)?).await?, cx.connect(Side::Green).await?);
    let rules = stored_rules(blue.session(), &cx.run).await?.context("the run captures no revocations")?;
    let proof = prove(blue.session(), &green, &cx.run, &rules).await?;
    last.revocations = Revocations {
        captured: proof.captured,
        replayed: proof.replayed,
        proved: proof.proved + proof.granted_anew,
        restored_access: proof.restored_access,
    };
    Ok(last)
}
