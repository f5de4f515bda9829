//! What the linter asks a database: tables, their sizes, columns, constraints and indexes. Only reads.

use std::collections::BTreeMap;

use crate::lint::act::{Constraint, Demands};
use crate::lint::state::{KnownColumn, KnownIndex, KnownTable, Size, proves};
use crate::lint::{self, Known};
use crate::pg::Session;
use crate::sql::QualifiedName;

const TABLES: &str = "SELECT n.nspname::text, c.relname::text, greatest(c.reltuples, 0)::int8, pg_table_size(c.oid), \
                             pg_indexes_size(c.oid), c.relkind = 'p' \
                      FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
                      WHERE c.relkind IN ('r', 'p', 'm') AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast')";

const COLUMNS: &str = "SELECT n.nspname::text, c.relname::text, a.attname::text, format_type(a.atttypid, a.atttypmod), a.attnotnull \
                       FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace \
                       WHERE a.attnum > 0 AND NOT a.attisdropped AND c.relkind IN ('r', 'p')";

const CONSTRAINTS: &str = "SELECT n.nspname::text, c.relname::text, k.conname::text, k.contype::text, k.convalidated, \
                                  pg_get_constraintdef(k.oid), fn.nspname::text, f.relname::text, \
                                  ARRAY(SELECT a.attname::text FROM unnest(k.conkey) WITH ORDINALITY AS u (num, at) \
                                        JOIN pg_attribute a ON (a.attrelid, a.attnum) = (k.conrelid, u.num) ORDER BY u.at) \
                           FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace \
                           LEFT JOIN pg_class f ON f.oid = k.confrelid LEFT JOIN pg_namespace fn ON fn.oid = f.relnamespace \
                           WHERE k.contype IN ('c', 'f', 'p', 'u')";

const INDEXES: &str = "SELECT n.nspname::text, c.relname::text, i.relname::text, \
                              ARRAY(SELECT pg_get_indexdef(x.indexrelid, at, true) FROM generate_series(1, x.indnkeyatts::int) AS at ORDER BY at) \
                       FROM pg_index x JOIN pg_class c ON c.oid = x.indrelid JOIN pg_class i ON i.oid = x.indexrelid \
                       JOIN pg_namespace n ON n.oid = c.relnamespace \
                       WHERE n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast')";

const PARTITIONS: &str = "SELECT n.nspname::text, p.relname::text, cn.nspname::text, c.relname::text \
                          FROM pg_inherits h JOIN pg_class p ON p.oid = h.inhparent JOIN pg_namespace n ON n.oid = p.relnamespace \
                          JOIN pg_class c ON c.oid = h.inhrelid JOIN pg_namespace cn ON cn.oid = c.relnamespace \
                          WHERE p.relkind = 'p' AND c.relkind IN ('r', 'p')";

/// Asks the database.
///
/// # Errors
/// The server's.
pub(super) async fn known(session: &Session) -> anyhow::Result<Known> {
    let mut tables: BTreeMap<(String, String), KnownTable> = BTreeMap::new();
    for row in session.query(TABLES, &[]).await? {
        let bytes = |index: usize| u64::try_from(row.get::<_, i64>(index)).unwrap_or_default();
        let size = Size { rows: bytes(2), bytes: bytes(3), index_bytes: bytes(4) };
        let table = KnownTable { size: Some(size), partitioned: row.get(5), ..KnownTable::default() };
        tables.insert((row.get(0), row.get(1)), table);
    }
    for row in session.query(COLUMNS, &[]).await? {
        if let Some(table) = tables.get_mut(&(row.get(0), row.get(1))) {
            let column = KnownColumn { ty: lint::type_of(row.get(3)), not_null: row.get(4), new: false };
            table.columns.insert(row.get(2), column);
        }
    }
    for row in session.query(CONSTRAINTS, &[]).await? {
        let Some(table) = tables.get_mut(&(row.get(0), row.get(1))) else { continue };
        let (kind, definition): (String, String) = (row.get(3), row.get(5));
        let demands = match (kind.as_str(), row.get::<_, Option<String>>(6), row.get::<_, Option<String>>(7)) {
            ("f", Some(schema), Some(name)) => {
                Demands::ForeignKey { references: QualifiedName::new(schema, name), referenced: Vec::new() }
            }
            ("p", ..) => Demands::PrimaryKey,
            ("u", ..) => Demands::Unique,
            _ => Demands::Check(definition.trim_start_matches("CHECK ").trim_end_matches(" NOT VALID").to_owned()),
        };
        let (name, valid, columns) = (row.get(2), row.get::<_, bool>(4), row.get(8));
        let constraint = Constraint { demands, name: Some(name), columns, not_valid: !valid, using_index: None };
        table.proven.extend(Some(&constraint).filter(|_| valid).and_then(proves));
        table.constraints.push(constraint);
    }
    let mut indexes = Vec::new();
    for row in session.query(INDEXES, &[]).await? {
        let (schema, name): (String, String) = (row.get(0), row.get(1));
        let unquoted = |key: String| key.trim_matches('"').replace("\"\"", "\"");
        let columns: Vec<String> = row.get::<_, Vec<String>>(3).into_iter().map(unquoted).collect();
        if let Some(table) = tables.get_mut(&(schema.clone(), name.clone())) {
            table.indexed.push(columns.clone());
        }
        let index = QualifiedName::new(schema.clone(), row.get::<_, String>(2));
        indexes.push((index, KnownIndex { table: QualifiedName::new(schema, name), columns, new: false }));
    }
    for row in session.query(PARTITIONS, &[]).await? {
        if let Some(table) = tables.get_mut(&(row.get(0), row.get(1))) {
            table.partitions.push(QualifiedName::new(row.get::<_, String>(2), row.get::<_, String>(3)));
        }
    }
    let tables = tables.into_iter().map(|((schema, name), table)| (QualifiedName::new(schema, name), table)).collect();
    Ok(Known { tables, indexes })
}
