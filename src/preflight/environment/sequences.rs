//! Sequences near their end.

use async_trait::async_trait;

use super::Topic;
use super::ground::Ground;
use crate::sql::QualifiedName;
use crate::terms::{Finding, Severity};

/// Per cent of its numbers that a sequence may have used without a word.
const MOST: i32 = 80;

/// All sequences of the database that do not begin again at their end.
pub(super) struct Sequences;

#[async_trait]
impl Topic for Sequences {
    fn name(&self) -> &'static str {
        "sequences"
    }

    async fn ask(&self, ground: &Ground<'_>) -> anyhow::Result<Vec<Finding>> {
        // A bigint sequence of an integer column ends where the column does.
        let sql = "SELECT schemaname::text, sequencename::text, used::int, ends FROM ( \
                     SELECT s.schemaname, s.sequencename, \
                            CASE WHEN s.increment_by > 0 AND least(s.max_value, o.most) < s.max_value THEN 'its column''s type' ELSE 'its own limit' END AS ends, \
                            CASE WHEN s.increment_by > 0 \
                              THEN 100 * (s.last_value::numeric - s.min_value) / greatest(least(s.max_value, o.most)::numeric - s.min_value, 1) \
                              ELSE 100 * (s.max_value::numeric - s.last_value) / greatest(s.max_value::numeric - s.min_value, 1) END AS used \
                     FROM pg_sequences s JOIN pg_namespace n ON n.nspname = s.schemaname \
                          JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = s.sequencename \
                          LEFT JOIN LATERAL (SELECT min(CASE a.atttypid WHEN 21 THEN 32767 WHEN 23 THEN 2147483647 END)::bigint AS most \
                             FROM pg_depend d JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid \
                             WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.refclassid = 'pg_class'::regclass \
                               AND d.deptype IN ('a', 'i')) AS o ON true \
                     WHERE NOT s.cycle AND s.last_value IS NOT NULL AND s.schemaname <> 'crossfade') AS measured \
                   WHERE used > $1::int ORDER BY 1, 2";
        let rows = ground.session.query(sql, &[&MOST]).await?;
        Ok(rows
            .iter()
            .map(|row| {
                let sequence = QualifiedName::new(row.get::<_, String>(0), row.get::<_, String>(1));
                let what = format!(
                    "has used {} % of its numbers up to {}: at the end every insert fails",
                    row.get::<_, i32>(2),
                    row.get::<_, String>(3)
                );
                let next = format!("make the column bigint in this plan, and ALTER SEQUENCE {sequence} AS bigint");
                ground.finding(Severity::Warning, &format!("sequence {}", sequence.plain()), what, next)
            })
            .collect())
    }
}
