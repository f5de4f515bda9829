//! What a follower does, on its own thread: batches are read and applied one after the other, or, for one who goes on at once, the
//! next one is read while this one is applied.
//!
//! One session applies a batch, and no two batches are applied at a time: a batch is one transaction, which is what makes green equal
//! to a snapshot of blue at every moment, and a transaction belongs to one session (transactions of several, prepared and committed
//! one after the other, would show green's readers a state that blue never had, and leave prepared ones to a crash). So the parts that
//! can be done at a time are blue's and green's, not one table's and another's.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use super::Moment;
use super::followed::Followed;
use super::green::Green;
use super::landing::Landing;
use super::reading::{Extent, Read, Reader};
use crate::capture::Outbox;
use crate::pg::{Opener, Snapshot};
use crate::projection::{Bound, Target};
use crate::terms::RunId;

/// What a follower works on.
pub struct Setup {
    /// The run.
    pub run: RunId,
    /// Opens sessions on blue.
    pub blue: Opener,
    /// Opens sessions on green.
    pub green: Opener,
    /// What follows.
    pub bound: Vec<(Bound, Target)>,
    /// Who is told where a batch is.
    pub told: Arc<dyn Fn(Moment) + Send + Sync>,
}

/// See [`super::Follower`].
pub(super) struct Worker {
    setup: Setup,
    followed: Followed,
    reader: Reader,
    landing: Option<Landing>,
    /// Read while the last batch was applied.
    ahead: Option<Read>,
}

/// One step of green, and the snapshot of blue that it now equals.
pub struct Batch {
    /// The snapshot.
    pub at: Snapshot,
    /// What the step was.
    pub passed: Passed,
}

/// What one step of green was.
#[derive(Debug, Clone, Copy)]
pub struct Passed {
    /// Keys read from the outbox; 0: nothing had changed, and green was left alone.
    pub captured: u64,
    /// Rows inserted, updated and deleted on green.
    pub applied: u64,
    /// The age of the oldest change of the batch when green had it.
    pub lag: Duration,
    /// How long it took from its snapshot on.
    pub took: Duration,
}

impl Worker {
    /// Makes sure that everything is captured that the projections need, and that the copy began after that.
    ///
    /// # Errors
    /// [`super::Refused`] with every reason; otherwise when a server cannot be reached or another follower of the run is at work.
    pub async fn open(setup: Setup) -> anyhow::Result<Self> {
        let blue = setup.blue.open().await?;
        let followed = Followed::new(&setup, &blue).await?;
        let landing = Landing::open(&setup.green, &setup.run, &setup.bound).await?;
        followed.fits(&blue, &landing).await?;
        Ok(Self { setup, followed, reader: Reader::default(), landing: Some(landing), ahead: None })
    }

    /// The outbox.
    pub fn outbox(&self) -> &Outbox {
        &self.followed.outbox
    }

    /// One batch: green becomes what the projections give at a snapshot of blue that is taken now.
    ///
    /// # Errors
    /// [`crate::capture::Changed`] when captured tables changed their form; when green refuses a row; when a session is gone.
    /// In each case green is as it was, or, where an answer was lost, at the new snapshot: the next batch asks.
    pub async fn batch(&mut self, extent: Extent) -> anyhow::Result<Batch> {
        let (mut landing, ahead) = self.landing().await?;
        if let Some(Read { lane, used, made, .. }) = ahead {
            if used.is_some() {
                lane.session.batch_execute("ROLLBACK").await?;
            }
            if !made {
                landing.give_back(lane);
            }
        }
        let (at, read) = self.fresh(&mut landing, extent).await?;
        let (read, passed) = self.followed.bring(read, &landing.described, || ()).await?;
        self.settle(landing, read, None);
        Ok(Batch { at, passed })
    }

    /// One batch, while the next one is read: its snapshot was taken while the one before was applied, if that was asked for in this way
    /// too. No snapshot is held when this is over.
    ///
    /// # Errors
    /// As [`Self::batch`].
    pub async fn next(&mut self) -> anyhow::Result<Passed> {
        let (mut landing, ahead) = self.landing().await?;
        let read = match ahead {
            Some(read) => read,
            None => {
                let (at, read) = self.fresh(&mut landing, Extent::Changed).await?;
                self.reader.release(at).await; // the next snapshot may have to wait for somebody who waits for this one's locks
                read
            }
        };
        let lane = if read.used.is_some() { Some(landing.lane().await?) } else { None };
        let (committed, commit) = oneshot::channel();
        let (Self { followed, reader, .. }, Landing { described, keeper, .. }) = (&mut *self, &mut landing);
        let (followed, described): (&Followed, &Green) = (followed, described);
        let from = read.to.clone();
        let bring = followed.bring(read, described, || {
            let _ = committed.send(()); // an error: what was read ahead is forgotten
        });
        let next = async {
            let Some(lane) = lane else { return anyhow::Ok(None) };
            let begun = reader.begin(followed).await?;
            let (at, read) = reader.read(followed, begun, lane, described, from, Extent::Changed).await?;
            // Not before: the batch that is on its way could bring back what a replay takes away.
            if commit.await.is_ok() {
                followed.revocations(&at, keeper, &read.from).await?;
            }
            reader.release(at).await;
            Ok(Some(read))
        };
        let ((read, passed), ahead) = tokio::try_join!(bring, next)?;
        self.settle(landing, read, ahead);
        Ok(passed)
    }

    /// Takes a snapshot's session back.
    pub async fn release(&mut self, at: Snapshot) {
        self.reader.release(at).await;
    }

    /// Green's end, made anew when it was lost, and what was read ahead.
    async fn landing(&mut self) -> anyhow::Result<(Landing, Option<Read>)> {
        let ahead = self.ahead.take();
        match self.landing.take().filter(Landing::stands) {
            Some(landing) => Ok((landing, ahead)),
            None => Ok((Landing::open(&self.setup.green, &self.setup.run, &self.setup.bound).await?, None)),
        }
    }

    /// A batch from the watermark to a snapshot that is taken now, its revocations ahead of everything else.
    async fn fresh(&mut self, landing: &mut Landing, extent: Extent) -> anyhow::Result<(Snapshot, Read)> {
        let Self { followed, reader, .. } = self;
        let begun = reader.begin(followed).await?;
        followed.revocations(&begun.at, &mut landing.keeper, &landing.since).await?;
        let lane = landing.lane().await?;
        reader.read(followed, begun, lane, &landing.described, landing.since.clone(), extent).await
    }

    /// After a batch.
    fn settle(&mut self, mut landing: Landing, read: Read, ahead: Option<Read>) {
        if read.used.is_some() {
            landing.since = read.to;
        }
        landing.give_back(read.lane);
        (self.landing, self.ahead) = (Some(landing), ahead);
    }
}
