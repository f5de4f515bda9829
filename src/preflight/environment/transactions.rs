//! Long transactions: concurrent index builds wait for them, and old rows cannot be removed.

use async_trait::async_trait;

use super::Topic;
use super::ground::{Ground, ago};
use crate::step::Use;
use crate::terms::{Finding, Severity};

/// Transactions of this database that are open for long.
pub(super) struct LongTransactions;

#[async_trait]
impl Topic for LongTransactions {
    fn name(&self) -> &'static str {
        "long transactions"
    }

    async fn ask(&self, ground: &Ground<'_>) -> anyhow::Result<Vec<Finding>> {
        let sql = "SELECT pid, coalesce(nullif(application_name, ''), 'no application name'), coalesce(state, 'state unknown'), \
                          extract(epoch FROM clock_timestamp() - xact_start)::float8 \
                   FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() \
                     AND application_name NOT LIKE 'crossfade/%' AND xact_start < clock_timestamp() - $1 * interval '1 s' \
                   ORDER BY xact_start LIMIT 20";
        let waits = match ground.needs.uses(ground.side, &[Use::Alters]) {
            true => "concurrent index builds and changes of definitions wait for it",
            false => "old row versions stay as long, and locks it holds stay with it",
        };
        let older = ground.needs.thresholds.old_transaction.as_secs_f64();
        let rows = ground.session.query(sql, &[&older]).await?;
        Ok(rows
            .iter()
            .map(|row| {
                let (pid, application, state, age): (i32, String, String, f64) = (row.get(0), row.get(1), row.get(2), row.get(3));
                let what = format!("its transaction is open for {} ({state}): {waits}", ago(age));
                let next = format!("let it end, or SELECT pg_terminate_backend({pid})");
                ground.finding(Severity::Warning, &format!("session {pid} ({application})"), what, next)
            })
            .collect())
    }
}
