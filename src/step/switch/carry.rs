//! How the last changes come to the other side, and how it is known that none is left.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};

use super::Switch;
use crate::capture::installed;
use crate::copy::Sequence;
use crate::follow::{Follower, Moment, Setup};
use crate::pg::Snapshot;
use crate::projection::{Binding, Bound};
use crate::step::projected::Projected;
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
    /// Rows that changed there for them.
    pub applied: u64,
    /// Age of the oldest of them when it was there.
    pub lag: Duration,
    /// Keys that a full comparison found to differ, if there was one.
    pub differing: Option<u64>,
}

/// Who carries.
pub(super) enum Carrier {
    /// Changes are captured.
    Follows(Follower),
    /// Nothing is captured: both sides must be equal already.
    Compares,
}

impl Carrier {
    /// Carries until nothing older than `lag` is left, while the other side is still written to.
    pub(super) async fn catch_up(&mut self, step: &Switch, cx: &Cx, lag: Duration) -> anyhow::Result<Left> {
        let Carrier::Follows(follower) = self else { return step.compared(cx).await };
        let mut left = Left::default();
        for _ in 0..100 {
            let batch = follower.batch().await?;
            left = Left {
                carried: left.carried + batch.passed.captured,
                applied: left.applied + batch.passed.applied,
                lag: batch.passed.lag,
                ..left
            };
            if batch.passed.took <= lag && batch.passed.lag <= lag {
                return Ok(left);
            }
        }
        Ok(left)
    }

    /// Carries everything behind a fence. A second batch tells whether anything was written after the fence.
    pub(super) async fn last(&mut self, step: &Switch, cx: &Cx) -> anyhow::Result<Left> {
        let Carrier::Follows(follower) = self else { return step.compared(cx).await };
        let last = follower.batch().await?;
        let after = follower.batch().await?;
        cx.figure("writes_after_fence", after.passed.captured);
        let differing = if step.verify { Some(step.differing(cx).await?) } else { None };
        Ok(Left {
            changes: after.passed.captured,
            carried: last.passed.captured,
            applied: last.passed.applied,
            lag: last.passed.lag,
            differing,
        })
    }
}

impl Switch {
    /// What the projections of one way say.
    pub(super) fn way(&self, to: Side) -> Option<&Projected> {
        match to {
            Side::Green => Some(&self.projected),
            Side::Blue => self.back.as_ref(),
        }
    }

    /// The projections of one way, held against both catalogs.
    pub(super) async fn bound(&self, cx: &Cx, to: Side) -> anyhow::Result<Option<Binding>> {
        let Some(projected) = self.way(to) else { return Ok(None) };
        let (from, to) = (cx.connect(to.other()).await?, cx.connect(to).await?);
        let binding = projected.bind(&from, &to, true).await?;
        let blocking = binding.blocks_following();
        if blocking.is_empty() { Ok(Some(binding)) } else { Err(Stop::Findings(blocking).into()) }
    }

    /// Who carries to this side.
    pub(super) async fn carrier(&self, cx: &Cx, to: Side) -> anyhow::Result<Carrier> {
        if self.way(to).is_none() || installed(&cx.connect(to.other()).await?, &cx.run).await?.is_empty() {
            return Ok(Carrier::Compares);
        }
        let Some(Binding { bound, .. }) = self.bound(cx, to).await? else { return Ok(Carrier::Compares) };
        let told = cx.clone();
        let told = Arc::new(move |moment: Moment| told.crash_point(&format!("to-{to}/{}", moment.place())));
        let setup = Setup { run: cx.run.clone(), blue: cx.opener(to.other())?, green: cx.opener(to)?, bound, told };
        Ok(Carrier::Follows(Follower::open(setup).await.map_err(crate::step::follow::as_stop)?))
    }

    async fn compared(&self, cx: &Cx) -> anyhow::Result<Left> {
        let differing = self.differing(cx).await?;
        Ok(Left { changes: differing, differing: Some(differing), ..Left::default() })
    }

    /// How many keys differ between the projections of blue and green's tables.
    async fn differing(&self, cx: &Cx) -> anyhow::Result<u64> {
        let Some(Binding { bound, .. }) = self.bound(cx, Side::Green).await? else { bail!("no projections") };
        let bound: Vec<Bound> = bound.into_iter().map(|(bound, _)| bound).collect();
        let (of_blue, of_green) =
            (Snapshot::export(cx.opener(Side::Blue)?).await?, Snapshot::export(cx.opener(Side::Green)?).await?);
        let compared = compare(&bound, &of_blue, &of_green, cx.limits.jobs, &cx.run, |_, _| ()).await?;
        Ok(compared.iter().map(|comparison| comparison.differences.total()).sum())
    }

    /// Puts the sequences of `to` where they may go on.
    pub(super) async fn sequences(&self, cx: &Cx, to: Side) -> anyhow::Result<()> {
        // Without a way back nothing was written that sequences would have to go past.
        let Some(projected) = self.way(to) else { return Ok(()) };
        let (from_session, to_session) = (cx.connect(to.other()).await?, cx.connect(to).await?);
        let targets = projected.targets(&to_session).await?;
        let oids: Vec<u32> = targets.iter().map(|target| target.oid).collect();
        let same = targets.into_iter().map(|target| target.table).filter(|table| {
            projected.tables().iter().any(|named| named == table || named.schema().is_none() && named.name() == table.name())
        });
        let same: Vec<_> = same.collect();
        Sequence::carry(&to_session, &from_session, &oids, &same).await.with_context(|| format!("sequences of {to}"))
    }
}
