//! Settings of the write-ahead log.

use async_trait::async_trait;

use super::disk::bytes;
use super::ground::{Ground, size};
use super::{Comparison, Topic};
use crate::step::Use;
use crate::terms::{Finding, Severity, Side};

/// Whether it is large enough for the load and rich enough for the phases to come.
pub(super) struct Wal;

#[async_trait]
impl Topic for Wal {
    fn name(&self) -> &'static str {
        "write-ahead log"
    }

    async fn ask(&self, ground: &Ground<'_>) -> anyhow::Result<Vec<Finding>> {
        let sql = "SELECT (SELECT setting::bigint * 1048576 FROM pg_settings WHERE name = 'max_wal_size'), current_setting('wal_level')";
        let row = ground.session.query_one(sql, &[]).await?;
        let (most, level): (i64, String) = (row.get(0), row.get(1));
        let mut findings = Vec::new();
        let written = bytes(ground, &[Use::Walks, Use::Alters]).await?;
        if let Some(times) = forced(written, most) {
            let what = format!(
                "is {}; the tables that are rewritten or indexed take {}, which forces about {times} checkpoints in a row",
                size(most),
                size(written)
            );
            let next = "ALTER SYSTEM SET max_wal_size = '8GB' (no restart needed) for the time of the run, as the disk allows";
            findings.push(ground.finding(Severity::Warning, "max_wal_size", what, next));
        }
        if ground.needs.two_sides && ground.side == Side::Blue && level != "logical" {
            let what = format!("is {level}: changes can be captured by triggers, not by a logical replication slot");
            let next = "nothing for capture by triggers; for a slot set wal_level = logical (needs a restart)";
            findings.push(ground.finding(Severity::Note, "wal_level", what, next));
        }
        Ok(findings)
    }
}

/// The load of a copy against the log of green.
pub(super) struct LoadWal;

#[async_trait]
impl Comparison for LoadWal {
    fn name(&self) -> &'static str {
        "write-ahead log for the copy"
    }

    async fn ask(&self, blue: &Ground<'_>, green: &Ground<'_>) -> anyhow::Result<Vec<Finding>> {
        let sql = "SELECT setting::bigint * 1048576 FROM pg_settings WHERE name = 'max_wal_size'";
        let most: i64 = green.session.query_one(sql, &[]).await?.get(0);
        let written = bytes(blue, &[Use::Carries]).await?;
        let Some(times) = forced(written, most) else {
            return Ok(Vec::new());
        };
        let what = format!(
            "is {}; the copy writes about {}, which forces about {times} checkpoints in a row and slows it",
            size(most),
            size(written)
        );
        let next =
            "on green: ALTER SYSTEM SET max_wal_size = '8GB' (no restart needed) for the time of the copy, as the disk allows";
        Ok(vec![green.finding(Severity::Warning, "max_wal_size", what, next)])
    }
}

/// How many checkpoints so much log forces, when that is more than a few: the server begins one when about half of
/// `max_wal_size` is written (PostgreSQL manual 30.5).
fn forced(written: i64, most: i64) -> Option<i64> {
    let times = written / (most / 2).max(1);
    (times >= 4).then_some(times)
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_few_checkpoints_are_no_matter() {
        assert_eq!(super::forced(1 << 30, 1 << 30), None);
        assert_eq!(super::forced(2 << 30, 1 << 30), Some(4));
        assert_eq!(super::forced(10 << 30, 1 << 30), Some(20));
    }
}
