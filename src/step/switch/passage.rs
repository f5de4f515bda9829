//! Goes through the beats, there or back, and takes them back when one fails before the point of no return.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use tokio::sync::Mutex;

use super::Switch;
use super::carry::{Carrier, Left};
use super::notes::Notes;
use crate::cutover::beat::{Beat, NO_RETURN, Next, Progress, next};
use crate::cutover::participant::{Scene, settle};
use crate::cutover::readiness::{Allowed, Readiness, judge};
use crate::pg::{Session, explain};
use crate::step::slot;
use crate::step::{Cx, Stop};
use crate::terms::Side;

/// Sessions per side that are open before the hold begins: what is done in it takes them.
const SPARE: usize = 8;

/// One way through the beats.
pub(super) struct Passage<'a> {
    pub(super) step: &'a Switch,
    pub(super) cx: &'a Cx,
    pub(super) scene: Scene,
    /// The side that is to serve.
    pub(super) to: Side,
    /// On blue.
    notes: Notes<'a>,
    /// The session that writes them.
    noting: Mutex<Option<Arc<Session>>>,
    /// When the hold must have ended.
    deadline: Option<Instant>,
    /// Brings changes to `to`.
    carrier: Option<Carrier>,
    /// What was carried before the hold.
    carried: Left,
    /// What the last batch left.
    left: Option<Left>,
    /// The epoch of the released route.
    epoch: Option<u64>,
}

impl<'a> Passage<'a> {
    pub(super) fn new(step: &'a Switch, cx: &'a Cx, to: Side) -> Self {
        let notes = Notes::new(cx, to);
        Self {
            step,
            cx,
            scene: step.scene(cx),
            to,
            notes,
            noting: Mutex::default(),
            deadline: None,
            carrier: None,
            carried: Left::default(),
            left: None,
            epoch: None,
        }
    }

    fn from(&self) -> Side {
        self.to.other()
    }

    async fn blue(&self) -> anyhow::Result<Arc<Session>> {
        let mut noting = self.noting.lock().await;
        if let Some(session) = noting.as_ref().filter(|session| !session.is_closed()) {
            return Ok(Arc::clone(session));
        }
        let session = Arc::new(self.cx.connect(Side::Blue).await?);
        *noting = Some(Arc::clone(&session));
        Ok(session)
    }

    /// Goes on to the end from wherever the notes say that it is. What a process that is gone began before the point of no return
    /// is taken back first.
    pub(super) async fn go(&mut self) -> anyhow::Result<()> {
        let found = self.notes.progress(&*self.blue().await?).await?;
        if found.ended {
            return Ok(());
        }
        if let Some(begun) = found.begun.filter(|begun| *begun < NO_RETURN) {
            self.cx.remark(format!("an earlier attempt stopped at {begun}: it is taken back first"));
            self.take_back(found).await?;
        }
        let mut progress = self.notes.progress(&*self.blue().await?).await?;
        loop {
            match next(progress, None) {
                Next::Do(beat) => {
                    let began = Instant::now();
                    if let Err(error) = self.beat(beat).await {
                        return self.failed(beat, error).await;
                    }
                    progress = Progress { begun: Some(beat), ended: true, back: false };
                    self.cx.remark(format!("{beat}: {} ms", began.elapsed().as_millis()));
                    self.point(beat.name());
                }
                Next::Over => return self.over().await,
                Next::Undo(_) | Next::Forget => bail!("a switch cannot go back from {:?}", progress.begun),
            }
        }
    }

    /// Takes everything back that the notes say was begun, when that is before the point of no return.
    pub(super) async fn back(&mut self) -> anyhow::Result<()> {
        let found = self.notes.progress(&*self.blue().await?).await?;
        self.take_back(found).await
    }

    fn point(&self, place: &str) {
        self.cx.crash_point(&format!("to-{}/{place}", self.to));
    }

    async fn failed(&mut self, beat: Beat, error: anyhow::Error) -> anyhow::Result<()> {
        // What failed before the release was written down, or in writing it down, is before the point of no return.
        let passed = beat > NO_RETURN
            || beat == NO_RETURN
                && self.notes.progress(&*self.blue().await?).await?.begun.is_some_and(|begun| begun >= NO_RETURN);
        let beat = if beat == NO_RETURN && !passed { Beat::Smoke } else { beat };
        if passed {
            return Err(error).with_context(|| format!("{beat} is past the point of no return: traffic goes to {}", self.to));
        }
        self.cx.remark(format!("{beat} failed ({}): everything is taken back", explain(&error)));
        let begun = Progress { begun: Some(beat), ended: false, back: true };
        match self.take_back(begun).await {
            Ok(()) => Err(error),
            Err(worse) => Err(error).with_context(|| format!("taking it back: {}", explain(&worse))),
        }
    }

    /// Takes back, last beat first. One that fails does not keep the others: the service comes first.
    async fn take_back(&mut self, from: Progress) -> anyhow::Result<()> {
        self.cx.close_spare();
        let (mut undone, mut failure) = (None, None);
        let progress = Progress { back: true, ended: false, ..from };
        if progress.begun.is_none() {
            return Ok(());
        }
        loop {
            match next(progress, undone) {
                Next::Undo(beat) => {
                    self.cx.doing(&format!("taking back {beat}"));
                    if let Err(error) = self.undo(beat).await {
                        self.cx.remark(format!("taking {beat} back failed: {}", explain(&error)));
                        failure.get_or_insert(error.context(format!("taking {beat} back")));
                    }
                    self.point(&format!("undo-{beat}"));
                    undone = Some(beat);
                }
                Next::Forget if failure.is_none() => return self.notes.forget(&*self.blue().await?).await,
                Next::Forget => return failure.map_or(Ok(()), Err),
                Next::Do(beat) => bail!("{beat} is past the point of no return"),
                Next::Over => return Ok(()),
            }
        }
    }

    /// What is left of the hold.
    fn remaining(&self) -> Duration {
        self.deadline.map_or(self.step.hold_for, |deadline| deadline.saturating_duration_since(Instant::now()))
    }

    async fn beat(&mut self, beat: Beat) -> anyhow::Result<()> {
        if beat == NO_RETURN && self.remaining() < self.step.hold_for / 10 {
            bail!(self.late()); // the router may end its hold any moment
        }
        if beat == NO_RETURN && self.deadline.is_some() {
            let from = self.from();
            let fence = self.step.fence(self.cx, from).await?;
            fence.seal(&self.cx.connect(from).await?, &self.instead()).await?;
            self.point("sealed");
        }
        self.notes.begin(&*self.blue().await?, beat).await.context("writing down the beat")?;
        self.cx.doing(beat.name());
        self.point(&format!("{beat}-noted"));
        if beat == Beat::Hold {
            self.deadline = Some(Instant::now() + self.step.hold_for);
        }
        // A fence keeps its own limit: one that is given up in its commit could close after it was taken back.
        let held = beat > Beat::Hold && beat < Beat::Release && !matches!(beat, Beat::Fence | Beat::Guard);
        let limit = if held { Some(self.remaining()) } else { None };
        let late = self.late();
        let work = self.perform(beat);
        match limit {
            None => work.await,
            Some(limit) => tokio::time::timeout(limit, work).await.unwrap_or_else(|_| Err(anyhow::anyhow!(late))),
        }
        .with_context(|| beat.to_string())
    }

    fn late(&self) -> String {
        format!("hold_for = {} is over", humantime::format_duration(self.step.hold_for))
    }

    async fn perform(&mut self, beat: Beat) -> anyhow::Result<()> {
        let (cx, to, from) = (self.cx, self.to, self.from());
        let scene = self.scene.clone();
        match beat {
            Beat::Prepare => self.prepare().await,
            Beat::Hold => {
                for participant in &self.step.participants {
                    let named = || format!("participant {}", participant.name());
                    participant.hold(&scene, self.remaining()).await.with_context(named)?;
                }
                Ok(())
            }
            Beat::Drain => {
                for participant in &self.step.participants {
                    let named = || format!("participant {}", participant.name());
                    participant.drain(&scene, self.remaining()).await.with_context(named)?;
                }
                Ok(())
            }
            Beat::Fence => self.close(from).await,
            Beat::LastBatch => {
                let carrier = self.carrier.as_mut().context("nobody carries")?;
                self.left = Some(carrier.last(self.step, cx).await?);
                Ok(())
            }
            Beat::Sequences => self.step.sequences(cx, to).await,
            Beat::Readiness => {
                let left = self.left.context("nothing was carried");
                let allowed = Allowed { changes_left: Some(0), ..self.step.allowed() };
                self.judged(left, allowed).await
            }
            Beat::Guard => {
                if self.step.guards(to) {
                    self.close(to).await?;
                }
                match to {
                    Side::Green => self.step.begin_back(cx).await,
                    Side::Blue => Ok(()),
                }
            }
            Beat::Commit => self.commit(to).await,
            Beat::Smoke => self.smoke().await,
            Beat::Release => {
                if self.step.guards(to) {
                    self.step.fence(cx, to).await?.open(&cx.connect(to).await?).await?;
                    self.point("opened");
                }
                self.release(to).await
            }
            Beat::Tidy => self.tidy().await,
        }
    }

    async fn prepare(&mut self) -> anyhow::Result<()> {
        for participant in &self.step.participants {
            let named = || format!("participant {}", participant.name());
            participant.prepare(&self.scene, self.to).await.with_context(named)?;
        }
        let mut carrier = self.step.carrier(self.cx, self.to).await?;
        let mut left = carrier.catch_up(self.step, self.cx, self.step.max_lag).await;
        if self.to == Side::Green {
            // After the first catching up: from here on what is carried to green is captured there again.
            self.step.capture_back(self.cx).await?;
            self.step.analyze(self.cx, self.to).await?;
        }
        self.step.warm(self.cx, self.to).await?;
        self.judged(left.as_ref().map(|left| *left).map_err(|error| anyhow::anyhow!(explain(error))), self.step.allowed())
            .await?;
        // Whatever took its time came before this; what is left when the hold begins is what these last moments left.
        for side in [Side::Blue, Side::Green] {
            self.cx.keep_spare(side, SPARE).await?;
        }
        if let (Ok(left), Carrier::Follows(_)) = (&mut left, &carrier) {
            let more = carrier.catch_up(self.step, self.cx, self.step.max_lag).await?;
            (left.carried, left.applied) = (left.carried + more.carried, left.applied + more.applied);
        }
        self.carried = left.unwrap_or_default();
        self.carrier = Some(carrier);
        Ok(())
    }

    async fn judged(&self, left: anyhow::Result<Left>, allowed: Allowed) -> anyhow::Result<()> {
        let measured = self.step.measure(self.cx, &self.scene, self.to, left).await;
        match judge(&measured, &allowed) {
            Readiness::Go(lines) => {
                self.cx.remark(format!("Go: {}", lines.join("; ")));
                Ok(())
            }
            Readiness::NoGo(blockers) => Err(Stop::Findings(blockers).into()),
        }
    }

    /// Fences a side and proves it.
    async fn close(&self, side: Side) -> anyhow::Result<()> {
        let fence = self.step.fence(self.cx, side).await?;
        let (mut session, observer) = (self.cx.connect(side).await?, self.cx.connect(side).await?);
        let mut limits = self.cx.limits.clone();
        limits.lock_retry_for = limits.lock_retry_for.min(self.remaining().mul_f64(0.8));
        // Should this process be gone, the side that served takes writes again just before its traffic comes back by the deadline.
        let (instead, lifts_after) = match side == self.from() {
            true => (self.instead(), Some(self.remaining().mul_f64(0.95))),
            false => (format!("{side} does not serve yet"), None),
        };
        fence.close(&mut session, &observer, &limits, &instead, lifts_after, &mut |blockers| self.cx.waiting(blockers)).await?;
        self.point(&format!("closed-{side}"));
        fence.prove(self.cx.database(side)?).await
    }

    fn instead(&self) -> String {
        format!("they go to {} now", self.to)
    }

    async fn commit(&self, to: Side) -> anyhow::Result<()> {
        let mut failure = None;
        for participant in &self.step.participants {
            let switched = match participant.commit(&self.scene, to).await {
                Ok(()) => settle(participant.as_ref(), &self.scene, to).await,
                Err(error) => Err(error),
            };
            self.point(&format!("commit-{}", participant.name()));
            let switched = switched.with_context(|| format!("participant {}", participant.name()));
            match switched {
                Ok(()) => {}
                // There the first failure ends the attempt; on the way back as many as can go back do.
                Err(error) if to == self.to => return Err(error),
                Err(error) => failure = failure.or(Some(error)),
            }
        }
        failure.map_or(Ok(()), Err)
    }

    async fn release(&mut self, to: Side) -> anyhow::Result<()> {
        let mut failure = None;
        for participant in &self.step.participants {
            let named = || format!("participant {}", participant.name());
            match participant.release(&self.scene, to).await.with_context(named) {
                Ok(epoch) => self.epoch = epoch.or(self.epoch),
                Err(error) => failure = failure.or(Some(error)),
            }
            self.point(&format!("release-{}", participant.name()));
        }
        failure.map_or(Ok(()), Err)
    }

    async fn smoke(&self) -> anyhow::Result<()> {
        if self.to == Side::Blue {
            return Ok(()); // the checks speak of the new side; blue served before
        }
        let mut session = self.cx.connect(self.to).await?;
        let mut findings = Vec::new();
        for smoke in &self.step.smoke {
            findings.extend(smoke.ask(&mut session, self.scene.patience).await?);
        }
        if findings.is_empty() { Ok(()) } else { Err(Stop::Findings(findings).into()) }
    }

    /// Guards go; the fence around the side that served before stays until a rollback takes it away. After a rollback none stays.
    async fn tidy(&mut self) -> anyhow::Result<()> {
        self.cx.close_spare();
        for participant in &self.step.participants {
            let standing =
                participant.standing(&self.scene).await.with_context(|| format!("participant {}", participant.name()))?;
            if !standing.flows_to(self.to) {
                bail!("participant {} stands on {standing}, not on {}", participant.name(), self.to);
            }
        }
        self.carrier = None;
        self.remove(self.to).await?;
        if self.to == Side::Green {
            slot::release(self.cx).await?; // nobody reads it any more, and blue would keep its log for ever
        }
        if self.to == Side::Blue {
            self.step.end_back(self.cx).await?;
            self.step.count_again(self.cx, &self.cx.connect(Side::Green).await?).await?;
            self.step.fence(self.cx, Side::Green).await?.open(&self.cx.connect(Side::Green).await?).await?;
            self.remove(Side::Green).await?;
        }
        Ok(())
    }

    /// Takes the triggers of an open fence away.
    async fn remove(&self, side: Side) -> anyhow::Result<()> {
        let fence = self.step.fence(self.cx, side).await?;
        let (mut session, observer) = (self.cx.connect(side).await?, self.cx.connect(side).await?);
        fence.remove(&mut session, &observer, &self.cx.limits, &mut |blockers| self.cx.waiting(blockers)).await
    }

    async fn undo(&mut self, beat: Beat) -> anyhow::Result<()> {
        let from = self.from();
        match beat {
            Beat::Commit => self.commit(from).await,
            // On the way back the guard is the fence that blue has had since the switch.
            Beat::Guard if self.to == Side::Blue => Ok(()),
            Beat::Guard => self.step.fence(self.cx, self.to).await?.open(&self.cx.connect(self.to).await?).await,
            Beat::Fence => self.step.fence(self.cx, from).await?.open(&self.cx.connect(from).await?).await,
            Beat::Hold => self.release(from).await,
            Beat::Prepare => {
                self.carrier = None;
                self.remove(from).await?;
                match self.to {
                    Side::Green => {
                        self.remove(Side::Green).await?;
                        self.step.end_back(self.cx).await
                    }
                    Side::Blue => Ok(()),
                }
            }
            _ => Ok(()),
        }
    }

    async fn over(&mut self) -> anyhow::Result<()> {
        let blue = self.blue().await?;
        let held = self.notes.between(&blue, Beat::Hold, Beat::Tidy).await?.unwrap_or_default();
        self.notes.over(&blue).await?;
        self.cx.figure("hold_ms", u64::try_from(held.as_millis()).unwrap_or(u64::MAX));
        if let Some(left) = self.left {
            self.cx.figure("last_batch_changes", left.carried);
            self.cx.figure("changes_captured", self.carried.carried + left.carried);
            self.cx.figure("changes_applied", self.carried.applied + left.applied);
            self.cx.figure("last_batch_lag_ms", u64::try_from(left.lag.as_millis()).unwrap_or(u64::MAX));
        }
        if let Some(epoch) = self.epoch {
            self.cx.figure("epoch", epoch);
        }
        let epoch = self.epoch.map_or(String::new(), |epoch| format!(", epoch {epoch}"));
        self.cx.remark(format!("traffic goes to {}; it was held for {} ms{epoch}", self.to, held.as_millis()));
        Ok(())
    }
}
