//! What is followed and how, worked out once.

use std::sync::Arc;

use anyhow::Context;

use super::apply::Apply;
use super::coverage::{captured_before, left_out, refused, rows_unnamed, uncovered};
use super::green::Green;
use super::landing::{Landing, move_watermark};
use super::path::Paths;
use super::reading::Read;
use super::worker::{Passed, Setup};
use super::{Moment, Refused};
use crate::capture::{Changed, Outbox};
use crate::pg::{Opener, Session, Snapshot};
use crate::projection::Bound;
use crate::revocation::{Rules, ahead, stored_rules};
use crate::terms::RunId;

/// What is followed and how.
pub(super) struct Followed {
    /// The run.
    pub run: RunId,
    /// Opens sessions on blue.
    pub blue: Opener,
    /// The projections.
    pub bound: Vec<Bound>,
    /// The changes.
    pub outbox: Outbox,
    /// The ways from changes to rows.
    pub paths: Paths,
    /// Per captured table, what stops when it is truncated, if anything does.
    pub unnamed: Vec<Option<Changed>>,
    /// Who is told where a batch is.
    pub told: Arc<dyn Fn(Moment) + Send + Sync>,
    /// How revocations are told, when the run captures them.
    rules: Option<Rules>,
}

impl Followed {
    /// Makes sure that everything is captured that the projections need.
    ///
    /// # Errors
    /// [`Refused`] with every reason; otherwise when a server cannot be reached.
    pub async fn new(setup: &Setup, blue: &Session) -> anyhow::Result<Self> {
        let bound: Vec<Bound> = setup.bound.iter().map(|(bound, _)| bound.clone()).collect();
        let Some(outbox) = Outbox::open(setup.blue.clone(), setup.green.clone(), &setup.run).await? else {
            return Err(refused("blue", "captures nothing for this run", "put a `start_capture` step before the copy").into());
        };
        let paths = Paths::new(&bound, &outbox)?;
        let rules = stored_rules(blue, &setup.run).await?;
        let unnamed = rows_unnamed(blue, outbox.tables(), rules.as_ref()).await?;
        let (run, blue, told) = (setup.run.clone(), setup.blue.clone(), Arc::clone(&setup.told));
        Ok(Self { run, blue, bound, outbox, paths, unnamed, told, rules })
    }

    /// Makes sure that everything that was copied follows, and that it was copied after capture began.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub async fn fits(&self, blue: &Session, landing: &Landing) -> anyhow::Result<()> {
        let left = uncovered(&landing.keeper, &self.run, &self.bound).await?;
        if !left.is_empty() {
            return Err(Refused { findings: left.iter().map(|table| left_out(table)).collect() }.into());
        }
        if !captured_before(blue, &self.run, &landing.since).await? {
            let what = "began to capture after the copy's snapshot: changes between them are lost";
            return Err(refused("blue", what, "`crossfade rollback` the run, and let capture begin before the copy").into());
        }
        Ok(())
    }

    /// Records and replays the revocations that the snapshot sees and the watermark does not.
    ///
    /// # Errors
    /// As [`ahead`].
    pub async fn revocations(&self, at: &Snapshot, keeper: &mut Session, since: &str) -> anyhow::Result<()> {
        if let Some(rules) = &self.rules {
            let told = |moment| (self.told)(Moment::Revocations(moment));
            ahead(at, keeper, &self.run, rules, since, told).await?;
        }
        Ok(())
    }

    /// Makes green what a staged batch says, and moves the watermark, in the batch's transaction; says when that is `committed`, and purges
    /// the outbox up to there.
    ///
    /// # Errors
    /// When green refuses a row; when a session is gone.
    pub async fn bring(&self, read: Read, described: &Green, committed: impl FnOnce()) -> anyhow::Result<(Read, Passed)> {
        let Read { lane, from, to, captured, age, .. } = &read;
        let Some(used) = &read.used else {
            let passed = Passed { captured: *captured, applied: 0, lag: *age, took: read.began.elapsed() };
            return Ok((read, passed));
        };
        let counts = Apply { green: described, session: &lane.session, used }.run().await?;
        let net = counts.iter().map(|(place, count)| (*place, count.net)).collect();
        move_watermark(&lane.session, &self.run, described, [from, to], &net).await?;
        (self.told)(Moment::Applied);
        lane.session.batch_execute("COMMIT").await.context("committing a batch on green")?;
        (self.told)(Moment::Committed);
        committed();
        let took = read.began.elapsed();
        let applied = counts.values().map(|count| count.touched).sum();
        let passed = Passed { captured: *captured, applied, lag: *age + took, took };
        self.outbox.purge(to).await?;
        Ok((read, passed))
    }
}
