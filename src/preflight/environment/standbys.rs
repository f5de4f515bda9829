//! Standbys that are behind: row batches pause for them.

use async_trait::async_trait;

use super::Topic;
use super::ground::{Ground, ago, size};
use crate::terms::{Finding, Severity};

/// Replication lag (PostgreSQL manual 28.2, `pg_stat_replication`).
pub(super) struct Standbys;

#[async_trait]
impl Topic for Standbys {
    fn name(&self) -> &'static str {
        "standbys"
    }

    async fn ask(&self, ground: &Ground<'_>) -> anyhow::Result<Vec<Finding>> {
        let sql = "SELECT coalesce(nullif(application_name, ''), 'pid ' || pid), \
                          coalesce(extract(epoch FROM replay_lag), 0)::float8, \
                          coalesce(pg_wal_lsn_diff(CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END, \
                                                   replay_lsn), 0)::bigint \
                   FROM pg_stat_replication WHERE state IN ('streaming', 'catchup') ORDER BY 1";
        let most = ground.needs.limits.max_replication_lag.as_secs_f64();
        let mut findings = Vec::new();
        for row in ground.session.query(sql, &[]).await? {
            let (name, lag, bytes): (String, f64, i64) = (row.get(0), row.get(1), row.get(2));
            if is_behind(lag, bytes, most) {
                let what = format!(
                    "is {} and {} behind: row batches pause above max_replication_lag = {}",
                    ago(lag),
                    size(bytes),
                    humantime::format_duration(ground.needs.limits.max_replication_lag)
                );
                let next = "let it catch up, or find out what holds it: long queries on it, its disk, the network";
                findings.push(ground.finding(Severity::Warning, &format!("standby {name}"), what, next));
            }
        }
        Ok(findings)
    }
}

/// Without traffic a standby reports no lag in time, and a stopped one reports nothing new: then the distance speaks.
fn is_behind(seconds: f64, bytes: i64, most: f64) -> bool {
    const FAR: i64 = 64 << 20;
    seconds > most || bytes > FAR
}

#[cfg(test)]
mod tests {
    #[test]
    fn either_measure_counts() {
        assert!(!super::is_behind(9.0, 1 << 20, 10.0));
        assert!(super::is_behind(11.0, 0, 10.0) && super::is_behind(0.0, 65 << 20, 10.0));
    }
}
