//! A table as its catalog describes it.

use std::collections::BTreeSet;

use super::Projection;
use crate::pg::Session;
use crate::sql::{Ident, QualifiedName};

/// The first OID that the server does not reserve for its own objects (PostgreSQL's `access/transam.h`): types below it are
/// the same in every database.
const FIRST_OWN_OID: u32 = 16_384;

/// A table and what a projection must know of it.
#[derive(Debug, Clone)]
pub struct Target {
    /// Its name with its schema.
    pub table: QualifiedName,
    /// `pg_class.oid`.
    pub oid: u32,
    /// An ordinary table: no view, not partitioned, no partition, no inheritance parent.
    pub plain: bool,
    /// Whether our role may alter it (it or a role it is member of owns the table).
    pub owned: bool,
    /// `pg_class.reltuples`; negative when never analyzed.
    pub estimated_rows: i64,
    /// Size of its main fork in blocks of `block_size` bytes.
    pub blocks: u32,
    /// Bytes of a block, as the server was built.
    pub block_size: u32,
    /// Its columns in order.
    pub columns: Vec<TargetColumn>,
    /// Column sets that a valid unique index without predicate or expression covers; the primary key first.
    pub unique: Vec<BTreeSet<String>>,
}

/// A column of a [`Target`]. For a domain the types are those it is based on.
#[derive(Debug, Clone)]
pub struct TargetColumn {
    /// Its name.
    pub name: Ident,
    /// `pg_type.oid`.
    pub type_oid: u32,
    /// The type without its modifier: `character varying`.
    pub bare_type: String,
    /// The type with its modifier: `character varying(40)`.
    pub full_type: String,
    /// `pg_type.typcategory`.
    pub category: char,
    /// Filled by the server from other columns; cannot be copied into.
    pub generated: bool,
    /// May be left out of an insert: default, identity, generated or nullable.
    pub optional: bool,
    /// Refuses NULL.
    pub not_null: bool,
}

impl TargetColumn {
    /// Whether an explicit cast to the type with its length cuts longer values without an error (PostgreSQL manual 8.3, 8.10):
    /// strings, bit strings, and arrays of them.
    pub fn cast_cuts(&self) -> bool {
        self.category == 'S' || matches!(self.type_oid, 1009 | 1014 | 1015 | 1560..=1563)
    }

    /// Whether the type is the server's own, the same in every database.
    pub fn built_in(&self) -> bool {
        self.type_oid < FIRST_OWN_OID
    }
}

/// The types whose name without a length means a length of 1 (PostgreSQL manual 8.3, 8.10), under their other names.
fn without_length(oid: u32) -> Option<&'static str> {
    match oid {
        1042 => Some("bpchar"),
        1014 => Some("bpchar[]"),
        1560 => Some("\"bit\""),
        1561 => Some("\"bit\"[]"),
        _ => None,
    }
}

impl Target {
    /// The table as its projection speaks of it, each column a text: everything can be cast to one.
    pub(super) fn believed(projection: &Projection) -> Self {
        let text = |name: &Ident| TargetColumn {
            name: name.clone(),
            type_oid: 25,
            bare_type: "text".to_owned(),
            full_type: "text".to_owned(),
            category: 'S',
            generated: false,
            optional: true,
            not_null: true,
        };
        let filled = projection.sources.first().into_iter().flat_map(|source| source.columns.iter().map(|(name, _)| name));
        Self {
            table: projection.table.clone(),
            oid: 0,
            plain: true,
            owned: true,
            estimated_rows: -1,
            blocks: 0,
            block_size: 8192,
            columns: filled.chain(&projection.defaulted).map(text).collect(),
            unique: Vec::new(),
        }
    }

    /// The column of this name.
    pub fn column(&self, name: &Ident) -> Option<&TargetColumn> {
        self.columns.iter().find(|column| column.name == *name)
    }
}

/// Reads a table's description; `None` when there is no such relation.
///
/// # Errors
/// When the session is gone.
pub async fn read_target(session: &Session, name: &QualifiedName) -> anyhow::Result<Option<Target>> {
    let class = session
        .query_opt(
            "SELECT n.nspname, c.relname, c.oid, \
                    c.relkind = 'r' AND NOT c.relispartition AND NOT EXISTS (SELECT FROM pg_inherits i WHERE i.inhparent = c.oid), \
                    pg_has_role(c.relowner, 'USAGE'), c.reltuples::bigint, \
                    CASE WHEN c.relkind IN ('r', 'm') THEN pg_relation_size(c.oid) / current_setting('block_size')::int ELSE 0 END, \
                    current_setting('block_size')::int \
             FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = to_regclass($1::text)",
            &[&name.to_string()],
        )
        .await?;
    let Some(class) = class else { return Ok(None) };
    let oid: u32 = class.get(2);
    let columns = session
        .query(
            "SELECT a.attname, base.oid, format_type(base.oid, NULL), format_type(base.oid, base.typmod), \
                    t.typcategory::text, a.attgenerated <> '', \
                    a.atthasdef OR a.attidentity <> '' OR NOT a.attnotnull, a.attnotnull \
             FROM pg_attribute a \
             CROSS JOIN LATERAL (WITH RECURSIVE chain(oid, typmod, depth) AS ( \
                    SELECT a.atttypid, a.atttypmod, 0 UNION ALL \
                    SELECT d.typbasetype, d.typtypmod, chain.depth + 1 FROM chain JOIN pg_type d ON d.oid = chain.oid \
                    WHERE d.typtype = 'd') \
                SELECT chain.oid, chain.typmod FROM chain ORDER BY depth DESC LIMIT 1) AS base \
             JOIN pg_type t ON t.oid = base.oid \
             WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum",
            &[&oid],
        )
        .await?;
    let columns = columns
        .iter()
        .map(|row| TargetColumn {
            name: Ident::new(row.get::<_, String>(0)),
            type_oid: row.get(1),
            bare_type: without_length(row.get(1)).map_or_else(|| row.get(2), str::to_owned),
            full_type: row.get(3),
            category: row.get::<_, String>(4).chars().next().unwrap_or('X'),
            generated: row.get(5),
            optional: row.get(6),
            not_null: row.get(7),
        })
        .collect();
    let unique = session
        .query(
            "SELECT ARRAY(SELECT a.attname::text FROM pg_attribute a WHERE a.attrelid = i.indrelid \
                          AND a.attnum = ANY ((i.indkey::int2[])[0:i.indnkeyatts - 1])) \
             FROM pg_index i WHERE i.indrelid = $1 AND i.indisunique AND i.indisvalid \
               AND i.indpred IS NULL AND i.indexprs IS NULL ORDER BY i.indisprimary DESC, i.indexrelid",
            &[&oid],
        )
        .await?;
    Ok(Some(Target {
        table: QualifiedName::new(class.get::<_, String>(0), class.get::<_, String>(1)),
        oid,
        plain: class.get(3),
        owned: class.get(4),
        estimated_rows: class.get(5),
        blocks: u32::try_from(class.get::<_, i64>(6)).unwrap_or(u32::MAX - 1),
        block_size: u32::try_from(class.get::<_, i32>(7)).unwrap_or(8192),
        columns,
        unique: unique.iter().map(|row| row.get::<_, Vec<String>>(0).into_iter().collect()).collect(),
    }))
}
