//! What the catalog says about tables, columns, indexes and constraints (PostgreSQL manual, chapter 53).

use anyhow::Result;
use tokio_postgres::Client;

use crate::sql::{Ident, QualifiedName};

/// A table as the catalog has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableState {
    /// Its name with its schema.
    pub name: QualifiedName,
    /// `pg_class.relkind`: `r` a table, `p` a partitioned one, `v` a view, ...
    pub kind: String,
    /// Estimated rows (`pg_class.reltuples`), 0 when never analyzed.
    pub rows: i64,
}

/// The table of this name; `None` when there is none.
///
/// # Errors
/// When the session is gone.
pub async fn table_state(client: &Client, name: &QualifiedName) -> Result<Option<TableState>> {
    let row = client
        .query_opt(
            "SELECT n.nspname::text, c.relname::text, c.relkind::text, greatest(c.reltuples, 0)::bigint \
             FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = to_regclass($1::text)",
            &[&name.to_string()],
        )
        .await?;
    Ok(row.map(|row| TableState {
        name: QualifiedName::new(row.get::<_, String>(0), row.get::<_, String>(1)),
        kind: row.get(2),
        rows: row.get(3),
    }))
}

/// An index as the catalog has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexState {
    /// Its table, with its schema.
    pub table: QualifiedName,
    /// Whether queries may use it: false for what an unfinished `CREATE INDEX CONCURRENTLY` left.
    pub valid: bool,
    /// `pg_get_indexdef`: the statement that builds it again.
    pub definition: String,
    /// What makes it this index whatever its name and table are: uniqueness, method, columns, INCLUDE, predicate.
    pub shape: String,
    /// The primary key, unique or exclusion constraint it backs.
    pub backs: Option<Ident>,
    /// The server process that is building it now.
    pub builder: Option<i32>,
}

/// The index of this name. `None` when there is none or when the relation of that name is no index.
///
/// The shape is the definition without the fixed prefix that `pg_get_indexdef` writes before `USING`, taken off by length.
/// Newer servers write the schema of a temporary table as `pg_temp`, older ones as it is.
///
/// # Errors
/// When the session is gone.
pub async fn index_state(client: &Client, name: &QualifiedName) -> Result<Option<IndexState>> {
    let row = client
        .query_opt(
            "SELECT n.nspname::text, t.relname::text, x.indisvalid AND x.indisready, d.definition, \
                    CASE WHEN x.indisunique THEN 'UNIQUE ' ELSE '' END || coalesce( \
                        (SELECT substr(d.definition, 1 + length(p.prefix)) \
                         FROM (VALUES (n.nspname::text), ('pg_temp')) AS s(name), \
                              format('CREATE %sINDEX %I ON %s%I.%I ', CASE WHEN x.indisunique THEN 'UNIQUE ' ELSE '' END, i.relname, \
                                     CASE WHEN i.relkind = 'I' THEN 'ONLY ' ELSE '' END, s.name, t.relname) AS p(prefix) \
                         WHERE starts_with(d.definition, p.prefix) LIMIT 1), d.definition), \
                    (SELECT k.conname::text FROM pg_constraint k WHERE k.conindid = i.oid AND k.contype IN ('p', 'u', 'x') LIMIT 1), \
                    (SELECT p.pid FROM pg_stat_progress_create_index p WHERE p.index_relid = i.oid LIMIT 1) \
             FROM pg_class i JOIN pg_index x ON x.indexrelid = i.oid JOIN pg_class t ON t.oid = x.indrelid \
                  JOIN pg_namespace n ON n.oid = t.relnamespace, pg_get_indexdef(i.oid) AS d(definition) \
             WHERE i.oid = to_regclass($1::text)",
            &[&name.to_string()],
        )
        .await?;
    Ok(row.map(|row| IndexState {
        table: QualifiedName::new(row.get::<_, String>(0), row.get::<_, String>(1)),
        valid: row.get(2),
        definition: row.get(3),
        shape: row.get(4),
        backs: row.get::<_, Option<String>>(5).map(Ident::new),
        builder: row.get(6),
    }))
}

/// A constraint of a table as the catalog has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConstraintState {
    /// `pg_constraint.contype`: `c` check, `f` foreign key, `u` unique, `p` primary key, ...
    pub kind: String,
    /// Whether all rows were checked.
    pub validated: bool,
    /// Its columns, in order.
    pub columns: Vec<String>,
    /// `pg_get_constraintdef`, which says `NOT VALID` where that is so.
    pub definition: String,
    /// Deferrable, initially deferred.
    pub deferrable: (bool, bool),
    /// Only for a foreign key.
    pub reference: Option<Reference>,
}

/// Where a foreign key points.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    /// The referenced table, with its schema.
    pub table: QualifiedName,
    /// Its columns, in the order of the referencing ones.
    pub columns: Vec<String>,
    /// `pg_constraint.confdeltype` and `confupdtype`: `a` no action, `r` restrict, `c` cascade, `n` set null, `d` set default.
    pub actions: (String, String),
}

/// The constraint of this name on this table; `None` when there is none.
///
/// # Errors
/// When the session is gone.
pub async fn constraint_state(client: &Client, table: &QualifiedName, name: &Ident) -> Result<Option<ConstraintState>> {
    let columns = |key: &str, table: &str| {
        format!(
            "coalesce((SELECT array_agg(a.attname::text ORDER BY k.position) \
                       FROM unnest({key}) WITH ORDINALITY AS k(number, position) \
                       JOIN pg_attribute a ON a.attrelid = {table} AND a.attnum = k.number), '{{}}')"
        )
    };
    let sql = format!(
        "SELECT c.contype::text, c.convalidated, {}, pg_get_constraintdef(c.oid), c.condeferrable, c.condeferred, \
                rn.nspname::text, r.relname::text, {}, c.confdeltype::text, c.confupdtype::text \
         FROM pg_constraint c LEFT JOIN pg_class r ON r.oid = c.confrelid AND c.contype = 'f' \
              LEFT JOIN pg_namespace rn ON rn.oid = r.relnamespace \
         WHERE c.conrelid = to_regclass($1::text) AND c.conname = $2",
        columns("c.conkey", "c.conrelid"),
        columns("c.confkey", "c.confrelid")
    );
    let row = client.query_opt(&sql, &[&table.to_string(), &name.as_str()]).await?;
    Ok(row.map(|row| ConstraintState {
        kind: row.get(0),
        validated: row.get(1),
        columns: row.get(2),
        definition: row.get(3),
        deferrable: (row.get(4), row.get(5)),
        reference: row.get::<_, Option<String>>(6).map(|schema| Reference {
            table: QualifiedName::new(schema, row.get::<_, String>(7)),
            columns: row.get(8),
            actions: (row.get(9), row.get(10)),
        }),
    }))
}

/// A column as the catalog has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ColumnState {
    /// Whether it is NOT NULL, known to hold for every row.
    pub not_null: bool,
    /// The NOT NULL constraint that rows were not checked against yet: NOT VALID, from PostgreSQL 18 on.
    pub unchecked: Option<Ident>,
    /// Its type as SQL writes it (`format_type`).
    pub type_name: String,
}

/// The column of this name; `None` when table or column are not there.
///
/// # Errors
/// When the session is gone.
pub async fn column_state(client: &Client, table: &QualifiedName, column: &Ident) -> Result<Option<ColumnState>> {
    let row = client
        .query_opt(
            "SELECT a.attnotnull AND k.oid IS NULL, format_type(a.atttypid, a.atttypmod), k.conname::text \
             FROM pg_attribute a LEFT JOIN pg_constraint k \
                  ON k.conrelid = a.attrelid AND k.contype = 'n' AND k.conkey = ARRAY[a.attnum] AND NOT k.convalidated \
             WHERE a.attrelid = to_regclass($1::text) AND a.attname = $2 AND a.attnum > 0 AND NOT a.attisdropped",
            &[&table.to_string(), &column.as_str()],
        )
        .await?;
    Ok(row.map(|row| ColumnState {
        not_null: row.get(0),
        type_name: row.get(1),
        unchecked: row.get::<_, Option<String>>(2).map(Ident::new),
    }))
}
