//! What a captured table and our triggers on it looked like when capture began, against what they are.
//!
//! Read from catalog tables alone, never through functions that ask the server's caches: so the answer is that of the
//! reader's snapshot.

use std::collections::BTreeMap;

use anyhow::Context;
use serde::Deserialize;

use super::table::CapturedTable;
use crate::pg::Session;
use crate::terms::{Finding, Severity};

/// The state of the table `k.table_oid` as `jsonb`, NULL when it is gone.
///
/// `file` changes with TRUNCATE, VACUUM FULL and CLUSTER too, `versions` with every change of a column's catalog row; both
/// together with an `ALTER COLUMN TYPE` that rewrote the rows past our triggers, even to the same type.
pub(super) const STATE: &str = "(SELECT jsonb_build_object( \
        'name', n.nspname || '.' || c.relname, 'kind', c.relkind, 'persistence', c.relpersistence, 'partition', c.relispartition, \
        'children', (SELECT count(*) FROM pg_catalog.pg_inherits i WHERE i.inhparent = c.oid), 'file', c.relfilenode::text, \
        'columns', (SELECT coalesce(jsonb_object_agg(a.attname, concat_ws(' ', a.atttypid, a.atttypmod, a.attgenerated)), '{}') \
                    FROM pg_catalog.pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped), \
        'versions', (SELECT md5(string_agg(a.xmin::text, ' ' ORDER BY a.attnum)) \
                     FROM pg_catalog.pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0), \
        'identity', CASE WHEN to_jsonb(k) ->> 'slot' IS NOT NULL THEN concat_ws(' ', c.relreplident, ( \
                    SELECT string_agg(i.indkey::text, ',' ORDER BY i.indkey::text) FROM pg_catalog.pg_index i WHERE i.indrelid = c.oid \
                    AND (i.indisreplident OR c.relreplident = 'd' AND i.indisprimary))) END, \
        'published', (SELECT concat_ws(' ', p.oid, p.xmin, r.oid, r.xmin) FROM pg_catalog.pg_publication_rel r \
                      JOIN pg_catalog.pg_publication p ON p.oid = r.prpubid \
                      WHERE r.prrelid = c.oid AND p.pubname = to_jsonb(k) ->> 'slot'), \
        'triggers', (SELECT coalesce(jsonb_object_agg(t.tgname, concat_ws(' ', t.oid, t.xmin, t.tgenabled, p.oid, p.xmin)), '{}') \
                     FROM pg_catalog.pg_trigger t JOIN pg_catalog.pg_proc p ON p.oid = t.tgfoid \
                     WHERE t.tgrelid = c.oid AND t.tgname LIKE 'crossfade\\_capture\\_%')) \
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = k.table_oid)";

/// The state of one table, as [`STATE`] gives it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct Fence {
    name: String,
    kind: String,
    persistence: String,
    partition: bool,
    children: i64,
    file: String,
    columns: BTreeMap<String, String>,
    versions: String,
    /// How old rows are named in the log; for a slot.
    #[serde(default)]
    identity: Option<String>,
    /// Its place in the publication; for a slot.
    #[serde(default)]
    published: Option<String>,
    triggers: BTreeMap<String, String>,
}

impl Fence {
    /// What changed on these tables since capture began, as the session's snapshot sees it.
    ///
    /// # Errors
    /// When the session is gone or the stored state cannot be read.
    pub async fn compare(session: &Session, tables: &[CapturedTable]) -> anyhow::Result<Vec<Finding>> {
        let ids: Vec<i32> = tables.iter().map(|captured| captured.id).collect();
        let query = format!("SELECT k.id, k.fence, {STATE} FROM crossfade.captured k WHERE k.id = ANY ($1)");
        let rows = session.query(&query, &[&ids]).await.context("reading the state of captured tables on blue")?;
        let mut findings = Vec::new();
        for captured in tables {
            let row = rows.iter().find(|row| row.get::<_, i32>(0) == captured.id);
            let changes = match row {
                None => vec!["is not captured any more".to_owned()],
                Some(row) => {
                    let read = |value: Option<serde_json::Value>| value.map(serde_json::from_value::<Fence>).transpose();
                    match (read(row.get(1))?, read(row.get(2))?) {
                        (None, _) => vec!["is published, and its slot was not waited for".to_owned()],
                        (_, None) => vec!["was dropped".to_owned()],
                        (Some(then), Some(now)) => then.changes(&now),
                    }
                }
            };
            findings.extend(changes.into_iter().map(|what| Finding {
                severity: Severity::Blocks,
                object: format!("table {} on blue", captured.table.plain()),
                what: format!("{what} since capture began: later changes may not be recorded"),
                next: "`crossfade rollback PLAN --execute`, then run the plan again, so that capture and copy see the table as it is"
                    .to_owned(),
            }));
        }
        Ok(findings)
    }

    /// What changed, as sentences without a subject.
    fn changes(&self, now: &Self) -> Vec<String> {
        let mut found = Vec::new();
        if self.name != now.name {
            found.push(format!("was renamed to {}", now.name));
        }
        if (&self.kind, self.partition, self.children) != (&now.kind, now.partition, now.children) {
            found.push("became part of a partitioned table or of an inheritance tree".to_owned());
        }
        if self.persistence != now.persistence {
            found.push("became another kind of table (LOGGED, UNLOGGED)".to_owned());
        }
        for (name, type_) in &self.columns {
            match now.columns.get(name) {
                None => found.push(format!("lost column {name} (dropped or renamed)")),
                Some(other) if other != type_ => found.push(format!("has another type in column {name}")),
                Some(_) => {}
            }
        }
        found.extend(
            now.columns.keys().filter(|name| !self.columns.contains_key(*name)).map(|name| format!("gained column {name}")),
        );
        if found.is_empty() && self.file != now.file && self.versions != now.versions {
            found.push("was rewritten by ALTER TABLE".to_owned());
        }
        if self.identity != now.identity {
            found.push("has another replica identity".to_owned());
        }
        if self.published != now.published {
            found.push("is not in the publication as it was".to_owned());
        }
        for (name, state) in &self.triggers {
            match now.triggers.get(name) {
                None => found.push(format!("lost trigger {name}")),
                Some(other) if other != state => {
                    found.push(format!("has a trigger {name} that was disabled, altered or made anew (enabled again or not)"));
                }
                Some(_) => {}
            }
        }
        found
    }
}
