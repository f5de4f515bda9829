//! The servers themselves: versions, and whether they take writes.

use async_trait::async_trait;

use super::ground::Ground;
use super::{Comparison, Topic};
use crate::terms::{Finding, Severity};

/// Whether a server can be worked on at all.
pub(super) struct Fitness;

#[async_trait]
impl Topic for Fitness {
    fn name(&self) -> &'static str {
        "the server"
    }

    async fn ask(&self, ground: &Ground<'_>) -> anyhow::Result<Vec<Finding>> {
        let row = ground
            .session
            .query_one(
                "SELECT pg_is_in_recovery(), \
                        (SELECT reset_val FROM pg_settings WHERE name = 'default_transaction_read_only') = 'on', \
                        (SELECT datallowconn FROM pg_database WHERE datname = current_database())",
                &[],
            )
            .await?;
        let mut findings = Vec::new();
        let version = ground.version().await?;
        if too_old(version) {
            let what = format!("is PostgreSQL {}: crossfade needs 13 or later", version / 10_000);
            findings.push(ground.finding(Severity::Blocks, "the server", what, "upgrade it, or use a newer server"));
        }
        if row.get(0) {
            let what = "is a standby in recovery: nothing can be written";
            findings.push(ground.finding(Severity::Blocks, "the server", what, "give the connection string of its primary"));
        }
        if row.get::<_, bool>(1) {
            let what = "is on for this role and database: nothing can be written";
            let (role, database) = ground.role_and_database().await?;
            let next = format!(
                "see `\\drds` in psql; ALTER ROLE {role} or ALTER DATABASE {database} RESET default_transaction_read_only, or use another role"
            );
            findings.push(ground.finding(Severity::Blocks, "default_transaction_read_only", what, next));
        }
        Ok(findings)
    }
}

/// Green should not be older than blue.
pub(super) struct Versions;

#[async_trait]
impl Comparison for Versions {
    fn name(&self) -> &'static str {
        "server versions"
    }

    async fn ask(&self, blue: &Ground<'_>, green: &Ground<'_>) -> anyhow::Result<Vec<Finding>> {
        let (old, new) = (blue.version().await? / 10_000, green.version().await? / 10_000);
        Ok(if new < old { vec![older(green, old, new)] } else { Vec::new() })
    }
}

fn too_old(version: i32) -> bool {
    version < 130_000
}

fn older(green: &Ground<'_>, blue_major: i32, green_major: i32) -> Finding {
    let what = format!(
        "is PostgreSQL {green_major}, older than blue's {blue_major}: what the application uses of {blue_major} may be missing, and it will have to be upgraded again"
    );
    green.finding(Severity::Warning, "the server", what, format!("make green a PostgreSQL {blue_major} or later"))
}

#[cfg(test)]
mod tests {
    #[test]
    fn thirteen_is_the_oldest() {
        assert!(super::too_old(120_022) && !super::too_old(130_000) && !super::too_old(150_018));
    }
}
