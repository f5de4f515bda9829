//! What one database says of itself at a moment: its counters, its standbys, and who waits for whom because of a run.

use serde::{Deserialize, Serialize};

use crate::pg::{Blocker, Counters, Session};
use crate::sql::shape;

/// So many are named.
const MOST: usize = 5;

/// A session that is in the way of one of the run's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Hindrance {
    /// Its server process; 0 for a prepared transaction, which has none.
    pub pid: i32,
    /// Its `application_name`.
    pub application: String,
    /// `active`, `idle in transaction`, ... (`pg_stat_activity.state`); empty where the server hides it from our role.
    pub state: String,
    /// Its last query without values.
    pub query: String,
    /// Age of its transaction in seconds; `None` where the server hides it.
    pub seconds: Option<f64>,
}

impl From<&Blocker> for Hindrance {
    fn from(blocker: &Blocker) -> Self {
        let Blocker { pid, application, state, seconds, query, .. } = blocker.clone();
        Self { pid, application, state: if pid == 0 { String::new() } else { state }, query, seconds }
    }
}

impl std::fmt::Display for Hindrance {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.pid {
            0 => f.write_str("a prepared transaction (see pg_prepared_xacts)")?,
            pid => write!(f, "pid {pid} ({})", self.application)?,
        }
        if !self.state.is_empty() {
            write!(f, ", {}", self.state)?;
        }
        if let Some(seconds) = self.seconds {
            write!(f, ", transaction {seconds:.0} s old")?;
        }
        if !self.query.is_empty() {
            write!(f, ": {}", self.query)?;
        }
        Ok(())
    }
}

/// What one database says of itself at a moment.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Reading {
    /// Its counters, since its statistics began.
    pub counters: Counters,
    /// How far the slowest standby is behind, in milliseconds, as the standbys say; `None` without standbys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replication_lag_ms: Option<u64>,
    /// Sessions of others that wait for locks of the run's.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub others_waiting: u32,
    /// Who is in the way of the run's sessions, the oldest transaction first; at most five.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hindrances: Vec<Hindrance>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// Who waits is found among the ungranted locks, which are few: `pg_blocking_pids` briefly stops the lock manager (PostgreSQL
/// manual 9.27). `$1` is the application name of the run's sessions.
const WAITS: &str = "WITH waiting AS MATERIALIZED ( \
        SELECT a.pid, coalesce(a.application_name, '') LIKE $1 AS ours, pg_blocking_pids(a.pid) AS blockers \
        FROM (SELECT DISTINCT pid FROM pg_locks WHERE NOT granted) l JOIN pg_stat_activity a USING (pid)) \
     SELECT w.ours, w.pid, b.pid, coalesce(a.application_name, ''), coalesce(a.state, ''), coalesce(a.query, ''), \
            extract(epoch FROM clock_timestamp() - a.xact_start)::float8, coalesce(a.application_name, '') LIKE $1 \
     FROM waiting w CROSS JOIN LATERAL unnest(w.blockers) AS b (pid) LEFT JOIN pg_stat_activity a ON a.pid = b.pid \
     WHERE b.pid = 0 OR a.pid IS NOT NULL ORDER BY a.xact_start NULLS LAST";

const STANDBYS: &str = "SELECT (max(extract(epoch FROM coalesce(replay_lag, interval '0'))) * 1000)::bigint \
     FROM pg_stat_replication WHERE state = 'streaming' AND application_name NOT LIKE 'crossfade%'";

impl Reading {
    /// Adds who was in the way a moment ago, unless they are named already.
    pub fn also(&mut self, earlier: impl IntoIterator<Item = Hindrance>) {
        for one in earlier {
            if self.hindrances.len() < MOST && self.hindrances.iter().all(|known| known.pid != one.pid) {
                self.hindrances.push(one);
            }
        }
    }

    /// Asks the database of this session. `ours` is the pattern (`LIKE`) of the application names of the run's sessions.
    ///
    /// # Errors
    /// When the session is gone.
    pub async fn take(session: &Session, ours: &str) -> anyhow::Result<Self> {
        let counters = Counters::read(session).await?;
        let lag: Option<i64> = session.query_one(STANDBYS, &[]).await?.get(0);
        let rows = session.query(WAITS, &[&ours]).await?;
        let (mut hindrances, mut others): (Vec<Hindrance>, Vec<i32>) = (Vec::new(), Vec::new());
        for row in &rows {
            let (waits_ours, waiter, pid, blocks_ours): (bool, i32, i32, bool) = (row.get(0), row.get(1), row.get(2), row.get(7));
            if !waits_ours && blocks_ours && !others.contains(&waiter) {
                others.push(waiter);
            }
            if waits_ours && !blocks_ours && hindrances.len() < MOST && hindrances.iter().all(|known| known.pid != pid) {
                hindrances.push(Hindrance {
                    pid,
                    application: row.get(3),
                    state: row.get(4),
                    query: shape(row.get(5)),
                    seconds: row.get(6),
                });
            }
        }
        Ok(Self {
            counters,
            replication_lag_ms: lag.map(|lag| lag.max(0).unsigned_abs()),
            others_waiting: u32::try_from(others.len()).unwrap_or(u32::MAX),
            hindrances,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hindrance_is_named_with_its_query_and_age() {
        let mut one = Hindrance {
            pid: 7,
            application: "nightly".to_owned(),
            state: "idle in transaction".to_owned(),
            query: "UPDATE t SET a = ?".to_owned(),
            seconds: Some(61.4),
        };
        assert_eq!(one.to_string(), "pid 7 (nightly), idle in transaction, transaction 61 s old: UPDATE t SET a = ?");
        one = Hindrance { pid: 0, application: String::new(), state: String::new(), query: String::new(), seconds: None };
        assert_eq!(one.to_string(), "a prepared transaction (see pg_prepared_xacts)");
    }
}
