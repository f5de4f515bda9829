//! What of blue has content, and what no dump of definitions carries.

use std::collections::BTreeSet;

use anyhow::Context;

use crate::pg::Session;
use crate::projection::{Bound, BoundColumn, BoundSource};
use crate::sql::{Ident, Literal, QualifiedName};

/// A table with rows of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Relation {
    /// Its name.
    pub table: QualifiedName,
    /// Size of its main fork in blocks.
    pub blocks: u32,
    /// Bytes of its large values, which are stored apart (TOAST).
    pub toast: u64,
    /// Estimated rows; negative when never analyzed.
    pub rows: i64,
    /// The columns a COPY fills.
    pub columns: Vec<Ident>,
    /// Whether every type is the server's own.
    pub binary: bool,
    /// For a table of an extension: the condition of the rows that are not the extension's own.
    pub extension: Option<String>,
    /// Whether statistics come with its parent's: a partition.
    pub partition: bool,
    /// Whether tables inherit from it.
    pub parent: bool,
}

impl Relation {
    /// The tables of the session's database, as its transaction sees them.
    ///
    /// # Errors
    /// When the session is gone.
    pub async fn all(session: &Session) -> anyhow::Result<Vec<Self>> {
        let rows = session.query(TABLES, &[]).await.context("reading the tables")?;
        Ok(rows
            .iter()
            .map(|row| Self {
                table: QualifiedName::new(row.get::<_, String>(0), row.get::<_, String>(1)),
                blocks: u32::try_from(row.get::<_, i64>(2)).unwrap_or(u32::MAX - 1),
                rows: row.get(3),
                columns: row.get::<_, Vec<String>>(4).into_iter().map(Ident::new).collect(),
                binary: row.get(5),
                extension: row.get(6),
                partition: row.get(7),
                parent: row.get(8),
                toast: row.get::<_, Option<i64>>(9).map_or(0, i64::unsigned_abs),
            })
            .collect())
    }

    /// For a table of an extension: which of its rows are not the extension's own.
    pub fn own_rows(&self) -> Option<String> {
        let condition = self.extension.as_deref()?.trim();
        let bare = condition.get(..5).filter(|word| word.eq_ignore_ascii_case("where")).and_then(|_| condition.get(5..));
        let bare = bare.unwrap_or(condition).trim();
        Some(if bare.is_empty() { "true".to_owned() } else { bare.to_owned() })
    }

    /// Its rows as they are.
    pub fn bound(&self) -> Bound {
        Bound {
            table: self.table.clone(),
            key: Vec::new(),
            columns: self.columns.iter().map(|name| BoundColumn { name: name.clone(), compared_as: None }).collect(),
            sources: vec![BoundSource {
                name: "same".to_owned(),
                drives: self.table.clone(),
                alias: Ident::new("t"),
                from: format!("ONLY {} AS t", self.table),
                filter: self.own_rows(),
                expressions: self.columns.iter().map(|name| (format!("t.{name}"), None)).collect(),
                driving: Vec::new(),
                rules: Vec::new(),
                apart: false,
            }],
            prelude: String::new(),
            binary: self.binary,
            identity: true,
        }
    }
}

/// Bytes of a block of the server.
///
/// # Errors
/// When the session is gone.
pub async fn block_size(session: &Session) -> anyhow::Result<u32> {
    let bytes: i32 = session.query_one("SELECT current_setting('block_size')::int", &[]).await?.get(0);
    Ok(u32::try_from(bytes).unwrap_or(8192).max(1))
}

/// Who holds an index: a constraint of this table (by name), or the table alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// The index.
    pub index: QualifiedName,
    /// Its table.
    pub table: QualifiedName,
    /// `CREATE INDEX ...`, where it can be built before the constraint that takes it over; with that constraint's words.
    pub ahead: Option<(String, String)>,
    /// Whether a constraint owns it.
    pub constraint: bool,
}

/// The indexes of tables that hold rows, by name.
///
/// # Errors
/// When the session is gone.
pub async fn owners(session: &Session) -> anyhow::Result<Vec<Owner>> {
    let rows = session.query(INDEXES, &[]).await.context("reading the indexes")?;
    Ok(rows
        .iter()
        .map(|row| Owner {
            index: QualifiedName::new(row.get::<_, String>(0), row.get::<_, String>(1)),
            table: QualifiedName::new(row.get::<_, String>(0), row.get::<_, String>(2)),
            ahead: row.get::<_, Option<String>>(3).zip(row.get(4)),
            constraint: row.get(5),
        })
        .collect())
}

/// A large object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LargeObject(pub u32);

/// Large objects travel in pieces of so many bytes.
const CHUNK: i64 = 1 << 20;

impl LargeObject {
    /// All of them.
    ///
    /// # Errors
    /// When the session is gone.
    pub async fn all(session: &Session) -> anyhow::Result<Vec<Self>> {
        let rows = session.query("SELECT oid FROM pg_largeobject_metadata ORDER BY oid", &[]).await?;
        Ok(rows.iter().map(|row| Self(row.get(0))).collect())
    }

    /// Writes its content, of which the other side has none yet, and says how many bytes that were.
    ///
    /// # Errors
    /// When one may not be read or written.
    pub async fn carry(self, blue: &Session, green: &Session) -> anyhow::Result<u64> {
        let mut at: i64 = 0;
        loop {
            let length = i32::try_from(CHUNK).unwrap_or(i32::MAX);
            let row = blue.query_one("SELECT lo_get($1, $2, $3)", &[&self.0, &at, &length]).await;
            let bytes: Vec<u8> = row.with_context(|| format!("large object {} on blue", self.0))?.get(0);
            if bytes.is_empty() {
                return Ok(at.unsigned_abs());
            }
            let put = green.execute("SELECT lo_put($1, $2, $3)", &[&self.0, &at, &bytes]).await;
            put.with_context(|| format!("large object {} on green", self.0))?;
            at += i64::try_from(bytes.len()).unwrap_or(i64::MAX);
            if bytes.len() < usize::try_from(CHUNK).unwrap_or(usize::MAX) {
                return Ok(at.unsigned_abs());
            }
        }
    }
}

/// What blue has that no clone carries, one line each.
///
/// # Errors
/// When the session is gone.
pub async fn left_behind(session: &Session) -> anyhow::Result<Vec<(String, String)>> {
    let rows = session.query(LEFT_BEHIND, &[]).await?;
    let lines = rows.iter().map(|row| (row.get::<_, String>(0), row.get::<_, String>(1)));
    Ok(lines.filter(|(_, what)| !what.is_empty()).collect())
}

/// The `setval` that puts each sequence of the session's database where it stands, for the sequences named.
///
/// # Errors
/// When a sequence may not be read.
pub async fn positions(session: &Session, wanted: &BTreeSet<(String, String)>) -> anyhow::Result<Vec<String>> {
    let rows = session.query(SEQUENCES, &[]).await?;
    let names: Vec<QualifiedName> = rows
        .iter()
        .map(|row| (row.get::<_, String>(0), row.get::<_, String>(1)))
        .filter(|(schema, name)| wanted.contains(&(schema.clone(), name.replace(['\n', '\r'], " "))))
        .map(|(schema, name)| QualifiedName::new(schema, name))
        .collect();
    let mut statements = Vec::new();
    for some in names.chunks(100) {
        let each =
            some.iter().enumerate().map(|(place, name)| format!("SELECT {place}::int4, last_value, is_called FROM {name}"));
        for row in
            session.query(&each.collect::<Vec<_>>().join("\nUNION ALL "), &[]).await.context("reading sequences of blue")?
        {
            let (place, value, called): (i32, i64, bool) = (row.get(0), row.get(1), row.get(2));
            if let Some(name) = usize::try_from(place).ok().and_then(|place| some.get(place)) {
                statements.push(format!("SELECT setval({}::regclass, {value}, {called})", Literal::new(name.to_string())));
            }
        }
    }
    Ok(statements)
}

const SEQUENCES: &str = "\
    SELECT n.nspname::text, c.relname::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
    WHERE c.relkind = 'S' AND c.relpersistence <> 't' ORDER BY 1, 2";

const TABLES: &str = "\
    SELECT n.nspname::text, c.relname::text, pg_relation_size(c.oid) / current_setting('block_size')::int8, c.reltuples::int8, \
           ARRAY(SELECT a.attname::text FROM pg_attribute a \
                 WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = '' ORDER BY a.attnum), \
           NOT EXISTS (SELECT FROM pg_attribute a \
                 CROSS JOIN LATERAL (WITH RECURSIVE chain(oid, depth) AS ( \
                        SELECT a.atttypid, 0 UNION ALL \
                        SELECT d.typbasetype, chain.depth + 1 FROM chain JOIN pg_type d ON d.oid = chain.oid WHERE d.typtype = 'd') \
                    SELECT chain.oid FROM chain ORDER BY depth DESC LIMIT 1) AS base \
                 WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = '' AND base.oid >= 16384), \
           config.condition, c.relispartition, EXISTS (SELECT FROM pg_inherits i WHERE i.inhparent = c.oid), \
           pg_relation_size(nullif(c.reltoastrelid, 0)::regclass) \
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
    LEFT JOIN (SELECT listed.oid, coalesce(e.extcondition[listed.place], '') AS condition FROM pg_extension e, \
                      unnest(e.extconfig) WITH ORDINALITY AS listed (oid, place)) AS config ON config.oid = c.oid \
    WHERE c.relkind = 'r' AND c.relpersistence <> 't' \
      AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast', 'crossfade') AND n.nspname !~ '^pg_(temp|toast)_' \
    ORDER BY 1, 2";

/// An index of a constraint can be built ahead where it is a plain unique btree one of an ordinary table.
const INDEXES: &str = "\
    SELECT n.nspname::text, ic.relname::text, tc.relname::text, \
           CASE WHEN ahead.fits THEN pg_get_indexdef(i.indexrelid) END, \
           CASE WHEN ahead.fits THEN CASE con.contype WHEN 'p' THEN 'PRIMARY KEY' ELSE 'UNIQUE' END || ' USING INDEX ' || quote_ident(ic.relname) \
                || CASE WHEN con.condeferred THEN ' DEFERRABLE INITIALLY DEFERRED' WHEN con.condeferrable THEN ' DEFERRABLE' ELSE '' END END, \
           con.oid IS NOT NULL \
    FROM pg_index i JOIN pg_class ic ON ic.oid = i.indexrelid JOIN pg_class tc ON tc.oid = i.indrelid \
    JOIN pg_namespace n ON n.oid = tc.relnamespace JOIN pg_am am ON am.oid = ic.relam \
    LEFT JOIN pg_constraint con ON con.conindid = i.indexrelid AND con.conrelid = i.indrelid AND con.contype IN ('p', 'u', 'x') \
    CROSS JOIN LATERAL (SELECT con.contype IN ('p', 'u') AND am.amname = 'btree' AND i.indisvalid AS fits) AS ahead \
    WHERE tc.relkind = 'r' AND ic.relkind = 'i' AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast', 'crossfade') \
    ORDER BY i.indexrelid";

const LEFT_BEHIND: &str = "\
    SELECT 'roles and their memberships', 'are of the server, not of the database: pg_dumpall --globals-only' \
    UNION ALL SELECT 'settings of the database', coalesce(string_agg(split_part(setting, '=', 1), ', '), '') FROM pg_db_role_setting s, \
           unnest(s.setconfig) AS setting WHERE s.setdatabase = (SELECT oid FROM pg_database WHERE datname = current_database()) \
    UNION ALL SELECT 'subscriptions', coalesce(string_agg(subname, ', '), '') FROM pg_subscription \
           WHERE subdbid = (SELECT oid FROM pg_database WHERE datname = current_database()) \
    UNION ALL SELECT 'replication slots', coalesce(string_agg(slot_name, ', '), '') FROM pg_replication_slots WHERE database = current_database() \
    UNION ALL SELECT 'rows of foreign tables', coalesce(string_agg(ftrelid::regclass::text, ', '), '') FROM pg_foreign_table \
    UNION ALL SELECT 'content of materialized views', CASE WHEN count(*) > 0 THEN 'is made anew by REFRESH, from the rows of the snapshot: ' \
           || string_agg(c.oid::regclass::text, ', ') ELSE '' END FROM pg_class c WHERE c.relkind = 'm' AND c.relispopulated \
    UNION ALL SELECT 'temporary tables', coalesce(string_agg(relname, ', '), '') FROM pg_class WHERE relkind = 'r' AND relpersistence = 't'";
