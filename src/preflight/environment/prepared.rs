//! Prepared transactions: they hold their locks until somebody ends them, through restarts.

use async_trait::async_trait;

use super::Topic;
use super::ground::{ANY, Ground, ago};
use crate::sql::Literal;
use crate::terms::{Finding, Severity};

/// Prepared transactions that were left (PostgreSQL manual, PREPARE TRANSACTION, notes).
pub(super) struct Prepared;

#[async_trait]
impl Topic for Prepared {
    fn name(&self) -> &'static str {
        "prepared transactions"
    }

    async fn ask(&self, ground: &Ground<'_>) -> anyhow::Result<Vec<Finding>> {
        let sql = "SELECT p.gid, extract(epoch FROM clock_timestamp() - p.prepared)::float8, \
                          coalesce((SELECT array_agg(DISTINCT l.relation::regclass::text) FROM pg_locks own \
                            JOIN pg_locks l ON l.pid IS NULL AND l.virtualtransaction = own.virtualtransaction \
                            WHERE own.pid IS NULL AND own.transactionid = p.transaction AND l.relation = ANY($1)), '{}') \
                   FROM pg_prepared_xacts p WHERE p.database = current_database() AND p.prepared < clock_timestamp() - $2 * interval '1 s' \
                   ORDER BY p.prepared";
        let older = ground.needs.thresholds.old_transaction.as_secs_f64();
        let rows = ground.session.query(sql, &[&ground.oids(ANY).await?, &older]).await?;
        Ok(rows
            .iter()
            .map(|row| {
                let (gid, age, tables): (String, f64, Vec<String>) = (row.get(0), row.get(1), row.get(2));
                let (severity, meaning) = match tables.is_empty() {
                    true => (Severity::Warning, "old rows cannot be removed as long".to_owned()),
                    false => (Severity::Blocks, format!("it holds locks on {}, which the plan waits for", tables.join(", "))),
                };
                let what = format!("was left {} ago: {meaning}", ago(age));
                let gid = Literal::new(gid);
                let next = format!("COMMIT PREPARED {gid} or ROLLBACK PREPARED {gid}, as its transaction manager says");
                ground.finding(severity, &format!("prepared transaction {gid}"), what, next)
            })
            .collect())
    }
}
