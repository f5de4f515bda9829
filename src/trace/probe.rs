//! A reader and a writer that try the tables that a transaction touches, again and again, and note when they are refused.
//!
//! The reader reads one row. The writer takes the locks of changing one row, of the table and of the row, and lets go: nothing is changed,
//! and no dead row is left that would be counted. Each waits for a lock no longer than [`PATIENCE`], so
//! that a refusal shows within a few milliseconds and nobody queues behind the probes. How long a table was blocked is known to
//! about [`PAUSE`] and [`PATIENCE`] together; it counts from the last time that the probe was served.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::relation::Oid;
use crate::pg::{Session, sqlstate};
use crate::sql::QualifiedName;

/// How long a probe waits for a lock, in milliseconds: the shortest `lock_timeout` there is.
pub(super) const PATIENCE: u32 = 1;

/// How long it rests between two tries.
const PAUSE: Duration = Duration::from_millis(1);

/// `lock_not_available` (PostgreSQL manual, appendix A).
const REFUSED: &str = "55P03";

/// What is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Try {
    /// Reading a row.
    Read,
    /// Taking the locks of changing a row.
    Write,
}

/// A table to try.
#[derive(Debug, Clone)]
pub(super) struct Target {
    /// Its object id.
    pub table: Oid,
    /// Its name with its schema.
    pub name: QualifiedName,
}

/// How the tries at a table stand.
#[derive(Debug, Clone, Default)]
struct Standing {
    /// When the last finished try began.
    tried: Option<Instant>,
    /// When the last try that was served ended.
    served: Option<Instant>,
    /// Whether the last one was refused.
    refused: bool,
    /// Times without service.
    spans: Vec<(Instant, Instant)>,
}

impl Standing {
    /// Takes in a try.
    fn take(&mut self, began: Instant, ended: Instant, refused: bool) {
        if !refused {
            if self.refused {
                self.spans.push((self.served.unwrap_or(began), ended));
            }
            self.served = Some(ended);
        }
        (self.tried, self.refused) = (Some(began), refused);
    }

    /// How long there was no service between these moments.
    fn blocked(&self, from: Instant, to: Instant) -> Duration {
        let open = self.refused.then_some((self.served.unwrap_or(from), to));
        let overlap = |(start, end): &(Instant, Instant)| (*end).min(to).saturating_duration_since((*start).max(from));
        self.spans.iter().chain(&open).map(overlap).sum()
    }
}

/// One probe at work on one table.
pub(super) struct Probe {
    /// The table.
    pub target: Target,
    /// What it tries.
    pub what: Try,
    standing: watch::Receiver<Standing>,
    session: Arc<Session>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Probe {
    /// Begins, by a session of its own that [`prepare`] has made ready.
    pub fn start(session: Arc<Session>, target: Target, what: Try) -> Self {
        let (sender, standing) = watch::channel(Standing::default());
        let stop = CancellationToken::new();
        let (until, sql, own) = (stop.clone(), sql(&target, what), Arc::clone(&session));
        let task = tokio::spawn(async move {
            while !until.is_cancelled() {
                let began = Instant::now();
                let refused = match own.batch_execute(&sql).await {
                    // Whatever else is wrong (the table is gone): no lock was in the way.
                    Err(error) => {
                        let _ = own.batch_execute("ROLLBACK").await;
                        sqlstate(&error) == REFUSED
                    }
                    Ok(()) => false,
                };
                sender.send_modify(|standing| standing.take(began, Instant::now(), refused));
                tokio::time::sleep(PAUSE).await;
            }
        });
        Self { target, what, standing, session, stop, task }
    }

    /// Waits for a try that began after this moment, and says whether it was refused; `None` when the probe has ended.
    pub async fn tried_since(&mut self, moment: Instant) -> Option<bool> {
        let since = self.standing.wait_for(|standing| standing.tried.is_some_and(|tried| tried >= moment)).await;
        since.ok().map(|standing| standing.refused)
    }

    /// How long it was refused between these moments.
    pub fn blocked(&self, from: Instant, to: Instant) -> Duration {
        self.standing.borrow().blocked(from, to)
    }

    /// Ends; its session is free again.
    pub async fn finish(self) -> Arc<Session> {
        self.stop.cancel();
        let _ = self.task.await;
        self.session
    }
}

/// The statement of a try. `ONLY` keeps it to this table: partitions are tables of their own.
fn sql(target: &Target, what: Try) -> String {
    let name = &target.name;
    match what {
        // No sequential scan, which the server might count as one of the statement that is watched.
        Try::Read => format!("SELECT FROM ONLY {name} WHERE ctid = '(0,1)'"),
        Try::Write => format!(
            "BEGIN; LOCK TABLE ONLY {name} IN ROW EXCLUSIVE MODE; SELECT FROM ONLY {name} WHERE ctid = '(0,1)' FOR NO KEY UPDATE; ROLLBACK"
        ),
    }
}

/// Makes a session ready to probe: no waiting.
///
/// # Errors
/// When the session is gone.
pub(super) async fn prepare(session: &Session) -> anyhow::Result<()> {
    let settings = format!("SET lock_timeout = {PATIENCE}; SET statement_timeout = 0");
    Ok(session.batch_execute(&settings).await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_without_service_counts_from_the_last_service() {
        let start = Instant::now();
        let at = |ms: u64| start + Duration::from_millis(ms);
        let mut standing = Standing::default();
        standing.take(at(0), at(1), false);
        standing.take(at(2), at(3), true);
        standing.take(at(4), at(5), true);
        assert_eq!(standing.blocked(at(0), at(5)), Duration::from_millis(4), "still refused");
        standing.take(at(6), at(7), false);
        standing.take(at(8), at(9), false);
        assert_eq!(standing.spans, [(at(1), at(7))]);
        assert_eq!(standing.blocked(at(0), at(9)), Duration::from_millis(6));
        assert_eq!(standing.blocked(at(2), at(4)), Duration::from_millis(2));
        assert_eq!(standing.blocked(at(7), at(9)), Duration::ZERO);
    }

    #[test]
    fn only_the_table_itself_is_tried() {
        let target = Target { table: 1, name: QualifiedName::new("s", "t") };
        assert_eq!(sql(&target, Try::Read), "SELECT FROM ONLY \"s\".\"t\" WHERE ctid = '(0,1)'");
        assert!(
            sql(&target, Try::Write)
                .contains("LOCK TABLE ONLY \"s\".\"t\" IN ROW EXCLUSIVE MODE; SELECT FROM ONLY \"s\".\"t\" WHERE")
        );
    }
}
