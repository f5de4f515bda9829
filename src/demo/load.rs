//! The live traffic: a number of clients at a steady rate.

use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval_at};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{Measured, Mix, Worker};

/// Traffic that goes on until it is finished or dropped.
pub struct Load {
    going: DropGuard,
    tasks: Vec<JoinHandle<Worker>>,
}

impl Load {
    /// Starts. Together the clients do `rate` things a second; one that has to wait for an answer does not make up for it.
    pub fn start(workers: Vec<Worker>, mix: Mix, rate: u32) -> Self {
        let stop = CancellationToken::new();
        let period = Duration::from_secs(1) * u32::try_from(workers.len()).unwrap_or(u32::MAX).max(1) / rate.max(1);
        let tasks = (0u32..)
            .zip(workers)
            .map(|(number, mut worker)| {
                let stop = stop.clone();
                tokio::spawn(async move {
                    let mut ticks = interval_at(Instant::now() + Duration::from_millis(7) * number, period);
                    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
                    while !stop.is_cancelled() {
                        tokio::select! {
                            () = stop.cancelled() => break,
                            _ = ticks.tick() => {}
                        }
                        worker.act(mix).await;
                    }
                    worker
                })
            })
            .collect();
        Self { going: stop.drop_guard(), tasks }
    }

    /// Ends it: every request is answered first. The clients with their books, and what they measured together.
    ///
    /// # Errors
    /// When a client broke.
    pub async fn finish(self) -> anyhow::Result<(Vec<Worker>, Measured)> {
        drop(self.going);
        let mut workers = Vec::with_capacity(self.tasks.len());
        let mut measured = Measured::default();
        for task in self.tasks {
            let mut worker = task.await?;
            measured.add(std::mem::take(&mut worker.measured));
            workers.push(worker);
        }
        Ok((workers, measured))
    }
}
