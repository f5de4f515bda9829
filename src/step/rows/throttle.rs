//! When batches of rows must pause: a standby is behind, or sessions pile up behind locks.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::limits::Limits;
use crate::pg::Session;
use crate::step::Cx;

/// Why batches pause.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in crate::step) enum Pause {
    /// The slowest standby is this far behind.
    Standby(Duration),
    /// So many sessions wait for locks.
    Blocked(u32),
}

impl Pause {
    fn same_kind(self, other: Pause) -> bool {
        matches!((self, other), (Pause::Standby(_), Pause::Standby(_)) | (Pause::Blocked(_), Pause::Blocked(_)))
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
}

/// Remembers when the log was how long, to tell a standby's lag in time even when the standby has stopped reporting.
#[derive(Debug, Default)]
pub(in crate::step) struct Throttle {
    written: VecDeque<(Instant, i64)>,
    said: Option<Pause>,
}

impl Throttle {
    /// Waits until nothing speaks against the next batch, saying why at most once per reason. Ends early when asked to stop.
    ///
    /// # Errors
    /// When the observing session is gone.
    pub async fn wait(&mut self, cx: &Cx, observer: &Session) -> anyhow::Result<()> {
        loop {
            let now = Instant::now();
            let load = read(observer).await?;
            let pause = self.decide(now, &load, &cx.limits);
            match pause {
                Some(why) if !self.said.is_some_and(|said| said.same_kind(why)) => cx.remark(explain(why, &cx.limits)),
                None if self.said.is_some() => cx.remark("goes on"),
                _ => {}
            }
            self.said = pause;
            if pause.is_none() || cx.interrupt.soft.is_cancelled() {
                return Ok(());
            }
            tokio::select! {
                () = cx.interrupt.soft.cancelled() => {}
                () = tokio::time::sleep(Duration::from_millis(250)) => {}
            }
        }
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
        (load.blocked > limits.max_blocked_sessions).then_some(Pause::Blocked(load.blocked))
    }
}

fn explain(pause: Pause, limits: &Limits) -> String {
    match pause {
        Pause::Standby(lag) => format!(
            "pauses: a standby is {:.1} s behind (max_replication_lag is {})",
            lag.as_secs_f64(),
            humantime::format_duration(limits.max_replication_lag)
        ),
        Pause::Blocked(count) => {
            format!("pauses: sessions that wait for locks: {count} (max_blocked_sessions is {})", limits.max_blocked_sessions)
        }
    }
}

/// `pg_locks` shows every role who waits; `pg_stat_activity` would hide the waits of other roles from a plain one.
async fn read(observer: &Session) -> anyhow::Result<Load> {
    let row = observer
        .query_one(
            "SELECT (pg_current_wal_lsn() - '0/0'::pg_lsn)::bigint, \
                    (SELECT min(replay_lsn - '0/0'::pg_lsn)::bigint FROM pg_stat_replication WHERE state = 'streaming'), \
                    (SELECT coalesce(max(extract(epoch FROM replay_lag)), 0)::float8 FROM pg_stat_replication), \
                    (SELECT count(DISTINCT l.pid)::int FROM pg_locks l JOIN pg_stat_activity a USING (pid) \
                      WHERE NOT l.granted AND a.datname = current_database() \
                        AND coalesce(a.application_name, '') NOT LIKE 'crossfade/%')",
            &[],
        )
        .await?;
    Ok(Load {
        written: row.get(0),
        replayed: row.get(1),
        reported: Duration::from_secs_f64(row.get::<_, f64>(2).max(0.0)),
        blocked: row.get::<_, i32>(3).unsigned_abs(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(written: i64, replayed: Option<i64>, blocked: u32) -> Load {
        Load { written, replayed, reported: Duration::ZERO, blocked }
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
}
