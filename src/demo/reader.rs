//! A report that reads for seconds, again and again, as an operator's database has one: what wants a strong lock waits for it, and
//! everybody else behind that.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Result;
use tokio::task::JoinSet;

use crate::pg::{Database, Session};

/// One report, and the pause behind it.
pub(super) const READS_FOR: Duration = Duration::from_secs(2);
pub(super) const PAUSE: Duration = Duration::from_secs(3);

/// Reads until it is dropped.
pub(super) struct Reader {
    ended: Arc<AtomicU64>,
    _task: JoinSet<()>,
}

impl Reader {
    /// Starts it on a session of its own.
    ///
    /// # Errors
    /// When the server cannot be reached.
    pub(super) async fn start(database: &Database) -> Result<Self> {
        let session = database.connect("reporting").await?;
        let ended = Arc::new(AtomicU64::new(0));
        let mut task = JoinSet::new();
        task.spawn(read_on(session, Arc::clone(&ended)));
        Ok(Self { ended, _task: task })
    }

    /// Reports that came to their end.
    pub(super) fn reports(&self) -> u64 {
        self.ended.load(Ordering::Acquire)
    }
}

async fn read_on(session: Session, ended: Arc<AtomicU64>) {
    let report = format!(
        "SELECT (SELECT count(*) FROM hydra_client), (SELECT count(*) FROM hydra_oauth2_access), \
                (SELECT count(*) FROM hydra_oauth2_consent_request), pg_sleep({})",
        READS_FOR.as_secs()
    );
    loop {
        // A report that fails is not counted.
        if session.batch_execute(&report).await.is_ok() {
            ended.fetch_add(1, Ordering::AcqRel);
        }
        tokio::time::sleep(PAUSE).await;
    }
}
