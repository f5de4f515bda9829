//! How the last changes come to the other side, and how it is known that none is left.

use std::time::Duration;

use anyhow::Context;

use super::Switch;
use crate::copy::Sequence;
use crate::pg::Snapshot;
use crate::projection::Bound;
use crate::step::{Cx, Stop};
use crate::terms::Side;
use crate::verify::compare;

/// What is left to carry.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Left {
    /// Changes, or keys that differ where nothing is captured.
    pub changes: u64,
    /// Changes that were carried.
    pub carried: u64,
    /// Age of the oldest.
    pub lag: Duration,
    /// Keys that a full comparison found to differ, where there was one.
    pub differing: Option<u64>,
}

impl Switch {
    /// Carries what `to` lacks. Where nothing is captured nothing can be carried; then both sides must be equal already.
    pub(super) async fn carry(&self, cx: &Cx, to: Side) -> anyhow::Result<Left> {
        let _ = to;
        let differing = self.differing(cx).await?;
        Ok(Left { changes: differing, carried: 0, lag: Duration::ZERO, differing: Some(differing) })
    }

    /// How many keys differ between the projections of blue and green's tables.
    async fn differing(&self, cx: &Cx) -> anyhow::Result<u64> {
        let (blue, green) = (cx.connect(Side::Blue).await?, cx.connect(Side::Green).await?);
        let binding = self.projected.bind(&blue, &green, true).await?;
        if !binding.findings.is_empty() {
            return Err(Stop::Findings(binding.findings).into());
        }
        let bound: Vec<Bound> = binding.bound.into_iter().map(|(bound, _)| bound).collect();
        let (of_blue, of_green) =
            (Snapshot::export(cx.opener(Side::Blue)?).await?, Snapshot::export(cx.opener(Side::Green)?).await?);
        let compared = compare(&bound, &of_blue, &of_green, cx.limits.jobs, |_, _| ()).await?;
        Ok(compared.iter().map(|comparison| comparison.differences.total()).sum())
    }

    /// Puts the sequences of `to` where they may go on.
    pub(super) async fn sequences(&self, cx: &Cx, to: Side) -> anyhow::Result<()> {
        let (from_session, to_session) = (cx.connect(super::other(to)).await?, cx.connect(to).await?);
        let targets = self.projected.targets(&to_session).await?;
        let oids: Vec<u32> = targets.iter().map(|target| target.oid).collect();
        let same = targets.into_iter().map(|target| target.table).filter(|table| {
            self.projected.tables().iter().any(|named| named == table || named.schema().is_none() && named.name() == table.name())
        });
        let same: Vec<_> = same.collect();
        Sequence::carry(&to_session, &from_session, &oids, &same).await.with_context(|| format!("sequences of {to}"))
    }
}
