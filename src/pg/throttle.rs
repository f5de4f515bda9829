//! When work must pause: a standby is behind, sessions pile up behind locks, or too many are at work.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::limits::Limits;
use crate::pg::Session;

/// Why work pauses.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Pause {
    /// The slowest standby is this far behind.
    Standby(Duration),
    /// So many sessions wait for locks.
    Blocked(u32),
    /// So many sessions of others are at work.
    Active(u32),
}

impl Pause {
    /// Whether both have the same reason, whatever the number.
    pub fn same_kind(self, other: Pause) -> bool {
        std::mem::discriminant(&self) == std::mem::discriminant(&other)
    }

    /// For people: `pauses: ...`.
    pub fn explain(self, limits: &Limits) -> String {
        match self {
            Pause::Standby(lag) => format!(
                "pauses: a standby is {:.1} s behind (max_replication_lag is {})",
                lag.as_secs_f64(),
                humantime::format_duration(limits.max_replication_lag)
            ),
            Pause::Blocked(count) => {
                format!("pauses: sessions that wait for locks: {count} (max_blocked_sessions is {})", limits.max_blocked_sessions)
            }
            Pause::Active(count) => format!(
                "pauses: sessions of others at work: {count} (max_active_sessions is {})",
                limits.max_active_sessions.unwrap_or(u32::MAX)
            ),
        }
    }
}

/// What the server says now.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Load {
    /// Bytes of write-ahead log written since the server's first start.
    written: i64,
    /// How much of it the slowest standby has replayed; `None` without standbys.
    replayed: Option<i64>,
    /// The largest `replay_lag`, as the standbys report it.
    reported: Duration,
    /// Sessions that wait for a lock.
    blocked: u32,
    /// Sessions of others that run a statement.
    active: u32,
}

/// Remembers when the log was how long, to tell a standby's lag in time even when the standby has stopped reporting.
#[derive(Debug, Default)]
pub struct Throttle {
    written: VecDeque<(Instant, i64)>,
}

impl Throttle {
    /// Asks the server whether work must pause now.
    ///
    /// # Errors
    /// When the observing session is gone.
    pub async fn look(&mut self, observer: &Session, limits: &Limits) -> anyhow::Result<Option<Pause>> {
        let load = read(observer).await?;
        Ok(self.decide(Instant::now(), &load, limits))
    }

    /// Pure but for its memory.
    fn decide(&mut self, now: Instant, load: &Load, limits: &Limits) -> Option<Pause> {
        if self.written.back().is_none_or(|(_, written)| *written < load.written) {
            self.written.push_back((now, load.written));
        }
        let replayed = load.replayed.unwrap_or(load.written);
        while self.written.front().is_some_and(|(_, written)| *written <= replayed) {
            self.written.pop_front();
        }
        let waited = self.written.front().map_or(Duration::ZERO, |(since, _)| now.saturating_duration_since(*since));
        let lag = if load.replayed.is_some() { waited.max(load.reported) } else { Duration::ZERO };
        if lag > limits.max_replication_lag {
            return Some(Pause::Standby(lag));
        }
        if load.blocked > limits.max_blocked_sessions {
            return Some(Pause::Blocked(load.blocked));
        }
        limits.max_active_sessions.filter(|most| load.active > *most).map(|_| Pause::Active(load.active))
    }
}

/// `pg_locks` shows every role who waits; `pg_stat_activity` would hide the waits of other roles from a plain one.
async fn read(observer: &Session) -> anyhow::Result<Load> {
    let row = observer
        .query_one(
            "SELECT (CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END - '0/0'::pg_lsn)::bigint, \
                    (SELECT min(replay_lsn - '0/0'::pg_lsn)::bigint FROM pg_stat_replication WHERE state = 'streaming'), \
                    (SELECT coalesce(max(extract(epoch FROM replay_lag)), 0)::float8 FROM pg_stat_replication), \
                    (SELECT count(DISTINCT l.pid)::int FROM pg_locks l JOIN pg_stat_activity a USING (pid) \
                      WHERE NOT l.granted AND a.datname = current_database() \
                        AND coalesce(a.application_name, '') NOT LIKE 'crossfade/%'), \
                    (SELECT count(*)::int FROM pg_stat_activity \
                      WHERE state = 'active' AND backend_type = 'client backend' AND datname = current_database() \
                        AND coalesce(application_name, '') NOT LIKE 'crossfade/%')",
            &[],
        )
        .await?;
    Ok(Load {
        written: row.get(0),
        replayed: row.get(1),
        reported: Duration::from_secs_f64(row.get::<_, f64>(2).max(0.0)),
        blocked: row.get::<_, i32>(3).unsigned_abs(),
        active: row.get::<_, i32>(4).unsigned_abs(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(written: i64, replayed: Option<i64>, blocked: u32) -> Load {
        Load { written, replayed, reported: Duration::ZERO, blocked, active: 0 }
    }

    #[test]
    fn a_standby_that_stands_still_is_further_behind_each_second() {
        let (mut throttle, limits, begin) = (Throttle::default(), Limits::default(), Instant::now());
        let at = |seconds| begin + Duration::from_secs(seconds);
        assert_eq!(throttle.decide(at(0), &load(100, Some(50), 0), &limits), None);
        assert_eq!(throttle.decide(at(9), &load(200, Some(50), 0), &limits), None);
        assert_eq!(throttle.decide(at(11), &load(200, Some(50), 0), &limits), Some(Pause::Standby(Duration::from_secs(11))));
        assert_eq!(throttle.decide(at(12), &load(200, Some(100), 0), &limits), None);
        assert_eq!(throttle.decide(at(20), &load(200, Some(100), 0), &limits), Some(Pause::Standby(Duration::from_secs(11))));
        assert_eq!(throttle.decide(at(21), &load(200, Some(200), 0), &limits), None);
        assert_eq!(throttle.decide(at(99), &load(900, None, 0), &limits), None);
    }

    #[test]
    fn blocked_sessions_pause_only_above_the_limit() {
        let (mut throttle, limits) = (Throttle::default(), Limits::default());
        assert_eq!(throttle.decide(Instant::now(), &load(1, None, 4), &limits), None);
        assert_eq!(throttle.decide(Instant::now(), &load(1, None, 5), &limits), Some(Pause::Blocked(5)));
    }

    #[test]
    fn sessions_at_work_count_only_where_there_is_a_limit() {
        let (mut throttle, mut limits) = (Throttle::default(), Limits::default());
        let busy = Load { active: 9, ..load(1, None, 0) };
        assert_eq!(throttle.decide(Instant::now(), &busy, &limits), None);
        limits.max_active_sessions = Some(9);
        assert_eq!(throttle.decide(Instant::now(), &busy, &limits), None);
        limits.max_active_sessions = Some(8);
        assert_eq!(throttle.decide(Instant::now(), &busy, &limits), Some(Pause::Active(9)));
    }
}
