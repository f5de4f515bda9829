//! How far the database is from running out of transaction numbers (PostgreSQL manual 25.1.5).

use async_trait::async_trait;

use super::Topic;
use super::ground::Ground;
use crate::terms::{Finding, Severity};

/// Ages of the oldest transaction and multixact that are not frozen.
pub(super) struct Wraparound;

#[async_trait]
impl Topic for Wraparound {
    fn name(&self) -> &'static str {
        "wraparound"
    }

    async fn ask(&self, ground: &Ground<'_>) -> anyhow::Result<Vec<Finding>> {
        let sql = "SELECT age(datfrozenxid), mxid_age(datminmxid) FROM pg_database WHERE datname = current_database()";
        let row = ground.session.query_one(sql, &[]).await?;
        let mut findings = Vec::new();
        for (object, age) in [("transaction ids", row.get::<_, i32>(0)), ("multixact ids", row.get::<_, i32>(1))] {
            if let Some(severity) = grade(age) {
                let what = format!(
                    "the oldest one in use is {age} back; at about 2,100,000,000 the server stops writing, and the plan's own writes and its long snapshot bring that nearer"
                );
                let next =
                    "VACUUM (FREEZE) the oldest tables, after ending what holds them: old transactions, prepared ones, slots";
                findings.push(ground.finding(severity, object, what, next));
            }
        }
        Ok(findings)
    }
}

fn grade(age: i32) -> Option<Severity> {
    match age {
        2_000_000_001.. => Some(Severity::Blocks),
        1_500_000_001.. => Some(Severity::Warning),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_tenth_blocks() {
        assert_eq!(grade(200_000_000), None);
        assert_eq!(grade(1_600_000_000), Some(Severity::Warning));
        assert_eq!(grade(2_000_000_001), Some(Severity::Blocks));
    }
}
