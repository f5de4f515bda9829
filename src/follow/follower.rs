//! The follower of one run.
//!
//! It works on a thread with a runtime of its own, as the workers of a copy do: each row passes from one connection to
//! another, and where both live on one thread that costs no wake-up of another core.

use anyhow::{Context, anyhow};
use tokio::sync::{mpsc, oneshot};

use super::reading::Extent;
use super::worker::{Batch, Passed, Setup, Worker};
use crate::capture::Backlog;
use crate::pg::Snapshot;

/// Keeps green equal to what the projections give at a snapshot of blue. There is one at a time per run.
pub struct Follower {
    orders: mpsc::UnboundedSender<Order>,
}

/// What the thread is asked, and where the answer goes.
enum Order {
    Batch(oneshot::Sender<anyhow::Result<Batch>>),
    Next(oneshot::Sender<anyhow::Result<Passed>>),
    Anew(oneshot::Sender<anyhow::Result<Batch>>),
    Backlog(oneshot::Sender<anyhow::Result<Backlog>>),
    Release(Box<Snapshot>),
}

impl Follower {
    /// Makes sure that everything is captured that the projections need, that the copy began after that, and that no other
    /// follower of the run is at work.
    ///
    /// # Errors
    /// [`super::Refused`] with every reason; otherwise when a server cannot be reached.
    pub async fn open(setup: Setup) -> anyhow::Result<Self> {
        let (orders, inbox) = mpsc::unbounded_channel();
        let (opened, answer) = oneshot::channel();
        let work = move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            match runtime {
                Ok(runtime) => runtime.block_on(serve(setup, opened, inbox)),
                Err(error) => drop(opened.send(Err(anyhow!(error).context("cannot start the follower's runtime")))),
            }
        };
        std::thread::Builder::new().name("follower".to_owned()).spawn(work).context("cannot start the follower's thread")?;
        answer.await.context(ENDED)??;
        Ok(Self { orders })
    }

    /// One batch: green becomes what the projections give at a new snapshot of blue. Everything that was committed on blue
    /// before this call is on green after it.
    ///
    /// # Errors
    /// [`crate::capture::Changed`] when captured tables changed their form; when green refuses a row; when a session is gone.
    /// In each case green is as it was, or, where an answer was lost, at the new snapshot: the next batch asks.
    pub async fn batch(&mut self) -> anyhow::Result<Batch> {
        self.ask(Order::Batch).await
    }

    /// A batch for one who asks for the next one at once: that is read on blue while green takes this one in. What was committed on
    /// blue before this call may come with the next one, and green is at no snapshot that still lives; [`Self::batch`] forgets what was
    /// read ahead.
    ///
    /// # Errors
    /// As [`Self::batch`].
    pub async fn next(&mut self) -> anyhow::Result<Passed> {
        self.ask(Order::Next).await
    }

    /// A batch that derives every row anew, whatever changed: green becomes what the projections give at a new snapshot of blue,
    /// whatever it held before. One transaction, with every row staged on green beside it.
    ///
    /// # Errors
    /// As [`Self::batch`].
    pub async fn anew(&mut self) -> anyhow::Result<Batch> {
        self.ask(Order::Anew).await
    }

    /// Takes a batch's snapshot back: the next batch reads in its session, which knows the catalog already.
    pub fn release(&mut self, at: Snapshot) {
        let _ = self.orders.send(Order::Release(Box::new(at))); // an error: the thread ended, and the session with it
    }

    /// How much waits in the outbox.
    ///
    /// # Errors
    /// When blue cannot be reached.
    pub async fn backlog(&mut self) -> anyhow::Result<Backlog> {
        self.ask(Order::Backlog).await
    }

    async fn ask<T>(&mut self, order: impl FnOnce(oneshot::Sender<anyhow::Result<T>>) -> Order) -> anyhow::Result<T> {
        let (sender, answer) = oneshot::channel();
        self.orders.send(order(sender)).map_err(|_| anyhow!(ENDED))?;
        answer.await.context(ENDED)?
    }
}

const ENDED: &str = "the follower's thread ended";

/// The life of the thread: it ends when nobody can ask it any more.
async fn serve(setup: Setup, opened: oneshot::Sender<anyhow::Result<()>>, mut inbox: mpsc::UnboundedReceiver<Order>) {
    let mut worker = match Worker::open(setup).await {
        Ok(worker) => worker,
        Err(error) => return drop(opened.send(Err(error))),
    };
    if opened.send(Ok(())).is_err() {
        return;
    }
    // Who asked may be gone when the answer comes: then nobody wants it.
    while let Some(order) = inbox.recv().await {
        match order {
            Order::Batch(answer) => drop(answer.send(worker.batch(Extent::Changed).await)),
            Order::Next(answer) => drop(answer.send(worker.next().await)),
            Order::Anew(answer) => drop(answer.send(worker.batch(Extent::Everything).await)),
            Order::Backlog(answer) => drop(answer.send(worker.outbox().backlog().await)),
            Order::Release(at) => worker.release(*at).await,
        }
    }
}
