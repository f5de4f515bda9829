//! How many sessions a run has on each database at a time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::stage::NAME;
use crate::pg::Database;
use crate::terms::Side;

/// It is looked so often.
const LOOK: Duration = Duration::from_millis(50);

const COUNT: &str = "SELECT count(*) FROM pg_stat_activity \
                     WHERE datname = current_database() AND backend_type = 'client backend' AND application_name <> $1";

/// Looks until it is told to stop.
pub struct Peak {
    stop: CancellationToken,
    most: BTreeMap<Side, Arc<AtomicU64>>,
    looking: Vec<tokio::task::JoinHandle<()>>,
}

impl Peak {
    /// Begins to look.
    ///
    /// # Errors
    /// When a database cannot be reached.
    pub async fn watch(databases: &BTreeMap<Side, Database>) -> anyhow::Result<Self> {
        let mut peak = Self { stop: CancellationToken::new(), most: BTreeMap::new(), looking: Vec::new() };
        for (side, database) in databases {
            let (session, stop) = (database.connect(NAME).await?, peak.stop.clone());
            let most = Arc::clone(peak.most.entry(*side).or_default());
            peak.looking.push(tokio::spawn(async move {
                while !stop.is_cancelled() {
                    let Ok(row) = session.query_one(COUNT, &[&NAME]).await else { return };
                    most.fetch_max(row.get::<_, i64>(0).unsigned_abs(), Ordering::Relaxed);
                    tokio::select! {
                        () = stop.cancelled() => {}
                        () = tokio::time::sleep(LOOK) => {}
                    }
                }
            }));
        }
        Ok(peak)
    }

    /// Stops; the most sessions seen.
    pub async fn finish(self) -> BTreeMap<Side, u64> {
        self.stop.cancel();
        for task in self.looking {
            let _ = task.await;
        }
        self.most.into_iter().map(|(side, most)| (side, most.load(Ordering::Relaxed))).collect()
    }
}
