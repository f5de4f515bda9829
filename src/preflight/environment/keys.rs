//! Tables whose rows have no name: no primary key and no unique index on NOT NULL columns.

use async_trait::async_trait;

use super::Topic;
use super::ground::Ground;
use crate::step::Use;
use crate::terms::{Finding, Severity};

/// A usable key for every table that is walked, carried or filled.
pub(super) struct Keys;

#[async_trait]
impl Topic for Keys {
    fn name(&self) -> &'static str {
        "keys"
    }

    async fn ask(&self, ground: &Ground<'_>) -> anyhow::Result<Vec<Finding>> {
        let tables: Vec<_> =
            ground.tables().await?.into_iter().filter(|table| matches!(table.kind.as_str(), "r" | "p")).collect();
        let oids: Vec<u32> = tables.iter().map(|table| table.oid).collect();
        let sql = "SELECT t.oid FROM unnest($1::oid[]) AS t (oid) WHERE NOT EXISTS (SELECT FROM pg_index x WHERE x.indrelid = t.oid \
                     AND x.indisunique AND x.indisvalid AND x.indimmediate AND x.indpred IS NULL AND x.indexprs IS NULL \
                     AND NOT EXISTS (SELECT FROM unnest(x.indkey::int2[]) WITH ORDINALITY AS k (attnum, place) \
                           JOIN pg_attribute a ON a.attrelid = x.indrelid AND a.attnum = k.attnum \
                           WHERE k.place <= x.indnkeyatts AND NOT a.attnotnull))";
        let keyless: Vec<u32> = ground.session.query(sql, &[&oids]).await?.iter().map(|row| row.get(0)).collect();
        let mut findings = Vec::new();
        for table in tables.iter().filter(|table| keyless.contains(&table.oid)) {
            let (severity, meaning) = if table.is_used(&[Use::Walks]) {
                (Severity::Blocks, "batches of rows go in key order")
            } else if table.is_used(&[Use::Fills]) {
                (Severity::Warning, "rows that differ from blue's cannot be named")
            } else if table.is_used(&[Use::Carries]) {
                (Severity::Note, "its changes cannot be followed by key")
            } else {
                continue;
            };
            let what = format!("has no primary key and no unique index on NOT NULL columns: {meaning}");
            let next =
                "add a primary key (steps create_index, set_not_null, add_constraint), or leave the table to a step of its own";
            findings.push(ground.finding(severity, &table.label(), what, next));
        }
        Ok(findings)
    }
}
