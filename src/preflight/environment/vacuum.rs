//! Autovacuum that is off where the plan leaves many old row versions behind.

use async_trait::async_trait;

use super::Topic;
use super::ground::{ANY, Ground};
use crate::sql::QualifiedName;
use crate::terms::{Finding, Severity};

/// Autovacuum of the server and of the plan's tables.
pub(super) struct Autovacuum;

#[async_trait]
impl Topic for Autovacuum {
    fn name(&self) -> &'static str {
        "autovacuum"
    }

    async fn ask(&self, ground: &Ground<'_>) -> anyhow::Result<Vec<Finding>> {
        const MEANS: &str = "old row versions stay, tables grow, and the planner's numbers go stale while the plan works";
        let sql = "SELECT current_setting('autovacuum') = 'on' AND current_setting('track_counts') = 'on'";
        let mut findings = Vec::new();
        if !ground.session.query_one(sql, &[]).await?.get::<_, bool>(0) {
            let next = "ALTER SYSTEM SET autovacuum = on (and track_counts = on), then SELECT pg_reload_conf()";
            findings.push(ground.finding(Severity::Warning, "autovacuum", format!("is off for the whole server: {MEANS}"), next));
        }
        let sql = "SELECT n.nspname::text, c.relname::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace, \
                          pg_options_to_table(c.reloptions) AS o \
                   WHERE c.oid = ANY($1) AND o.option_name = 'autovacuum_enabled' AND NOT o.option_value::boolean ORDER BY 1, 2";
        for row in ground.session.query(sql, &[&ground.oids(ANY).await?]).await? {
            let table = QualifiedName::new(row.get::<_, String>(0), row.get::<_, String>(1));
            let next = format!("ALTER TABLE {table} RESET (autovacuum_enabled), or VACUUM ANALYZE it after the run");
            let what = format!("autovacuum is off for it: {MEANS}");
            findings.push(ground.finding(Severity::Warning, &format!("table {}", table.plain()), what, next));
        }
        Ok(findings)
    }
}
