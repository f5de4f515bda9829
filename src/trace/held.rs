//! The locks of a session, as `pg_locks` has them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::relation::Oid;
use crate::pg::Session;
use crate::sql::LockMode;

/// The strongest lock on each relation.
pub(super) type Held = BTreeMap<Oid, LockMode>;

/// The lock modes by the words of `pg_locks` (PostgreSQL manual 54.13).
fn mode(word: &str) -> Option<LockMode> {
    Some(match word {
        "AccessShareLock" => LockMode::AccessShare,
        "RowShareLock" => LockMode::RowShare,
        "RowExclusiveLock" => LockMode::RowExclusive,
        "ShareUpdateExclusiveLock" => LockMode::ShareUpdateExclusive,
        "ShareLock" => LockMode::Share,
        "ShareRowExclusiveLock" => LockMode::ShareRowExclusive,
        "ExclusiveLock" => LockMode::Exclusive,
        "AccessExclusiveLock" => LockMode::AccessExclusive,
        _ => return None,
    })
}

/// The locks that the server process with this id has been granted on relations of this session's database.
///
/// # Errors
/// When the session is gone.
pub(super) async fn held(session: &Session, pid: i32) -> anyhow::Result<Held> {
    let sql = "SELECT relation, mode FROM pg_locks WHERE pid = $1 AND locktype = 'relation' AND granted \
               AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
    let mut found = Held::new();
    for row in session.query(sql, &[&pid]).await? {
        if let Some(mode) = mode(row.get(1)) {
            add(&mut found, row.get(0), mode);
        }
    }
    Ok(found)
}

fn add(held: &mut Held, relation: Oid, mode: LockMode) {
    held.entry(relation).and_modify(|known| *known = (*known).max(mode)).or_insert(mode);
}

/// Looks at the locks of another session again and again: for statements that give them back before they can be asked.
pub(super) struct Observer {
    seen: Arc<Mutex<Held>>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Observer {
    /// Begins, by a session of its own.
    pub fn start(session: Arc<Session>, pid: i32) -> Self {
        let (seen, stop) = (Arc::new(Mutex::new(Held::new())), CancellationToken::new());
        let (into, until) = (Arc::clone(&seen), stop.clone());
        let task = tokio::spawn(async move {
            while !until.is_cancelled() {
                let Ok(now) = held(&session, pid).await else { return };
                let mut all = into.lock().unwrap_or_else(PoisonError::into_inner);
                now.into_iter().for_each(|(relation, mode)| add(&mut all, relation, mode));
            }
        });
        Self { seen, stop, task }
    }

    /// Ends; the strongest lock that was seen on each relation. One that is held for less than a round trip may be missing.
    pub async fn finish(self) -> Held {
        self.stop.cancel();
        let _ = self.task.await;
        std::mem::take(&mut self.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
