//! Time limits that are set for the role, the database or the server.

use async_trait::async_trait;

use super::Topic;
use super::ground::Ground;
use crate::terms::{Finding, Severity};

/// Limits that would cut long statements or idle sessions (PostgreSQL manual 20.11).
pub(super) struct Timeouts;

#[async_trait]
impl Topic for Timeouts {
    fn name(&self) -> &'static str {
        "time limits"
    }

    async fn ask(&self, ground: &Ground<'_>) -> anyhow::Result<Vec<Finding>> {
        let sql = "SELECT name, reset_val || coalesce(unit, '') FROM pg_settings WHERE reset_val <> '0' AND name IN \
                   ('statement_timeout', 'lock_timeout', 'idle_in_transaction_session_timeout', 'idle_session_timeout', 'transaction_timeout') \
                   ORDER BY name";
        let rows = ground.session.query(sql, &[]).await?;
        Ok(rows
            .iter()
            .map(|row| {
                let what = format!(
                    "is {} for this role and database: crossfade lifts it in its own sessions, hooks and the application keep it",
                    row.get::<_, String>(1)
                );
                ground.finding(Severity::Note, row.get(0), what, "nothing, unless a hook of the plan takes longer")
            })
            .collect())
    }
}
