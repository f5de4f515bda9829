//! INVALID indexes: what unfinished concurrent builds leave.

use async_trait::async_trait;

use super::Topic;
use super::ground::{ANY, Ground};
use crate::sql::QualifiedName;
use crate::terms::{Finding, Severity};

/// Indexes of the plan's tables that writers keep up and no reader uses.
pub(super) struct Invalid;

#[async_trait]
impl Topic for Invalid {
    fn name(&self) -> &'static str {
        "invalid indexes"
    }

    async fn ask(&self, ground: &Ground<'_>) -> anyhow::Result<Vec<Finding>> {
        let sql = "SELECT n.nspname::text, i.relname::text, tn.nspname::text, t.relname::text \
                   FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid JOIN pg_namespace n ON n.oid = i.relnamespace \
                        JOIN pg_class t ON t.oid = x.indrelid JOIN pg_namespace tn ON tn.oid = t.relnamespace \
                   WHERE x.indrelid = ANY($1) AND i.relkind = 'i' AND NOT (x.indisvalid AND x.indisready) \
                     AND NOT EXISTS (SELECT FROM pg_stat_progress_create_index p WHERE p.index_relid = i.oid) ORDER BY 1, 2";
        let rows = ground.session.query(sql, &[&ground.oids(ANY).await?]).await?;
        Ok(rows
            .iter()
            .map(|row| {
                let index = QualifiedName::new(row.get::<_, String>(0), row.get::<_, String>(1));
                let table = QualifiedName::new(row.get::<_, String>(2), row.get::<_, String>(3));
                let what = format!(
                    "is INVALID, left by a build of {} that did not end: every write keeps it up, no query uses it, and its name is taken",
                    table.plain()
                );
                let next = format!("DROP INDEX CONCURRENTLY {index}, or REINDEX INDEX CONCURRENTLY {index}");
                ground.finding(Severity::Warning, &format!("index {}", index.plain()), what, next)
            })
            .collect())
    }
}
