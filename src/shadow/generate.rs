//! Generated rows for empty tables, so that scans and rewrites take time. Values follow the types, foreign keys the tables they point
//! to; what a CHECK or a unique key of several columns demands is not known, so a table may get fewer rows, or none.

use anyhow::Context;

use crate::pg::{Session, explain};
use crate::sql::{Ident, QualifiedName};

/// Rows of a table that a foreign key points to, of which values are taken.
const POINTED: u32 = 1_000;

const TABLES: &str = "SELECT n.nspname::text, c.relname::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
                      WHERE c.relkind = 'r' AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'crossfade') AND n.nspname !~ '^pg_' ORDER BY c.oid";

/// The columns that get a value: with type, base type and kind of it, length limit, and what a foreign key of them points to.
const COLUMNS: &str = "SELECT a.attname::text, format_type(a.atttypid, NULL), t.typname::text, t.typtype::text, t.typcategory::text, \
                              CASE WHEN t.typname IN ('varchar', 'bpchar') AND a.atttypmod > 4 THEN a.atttypmod - 4 END, a.attnotnull, \
                              fn.nspname::text, f.relname::text, fa.attname::text \
                       FROM pg_attribute a JOIN pg_type own ON own.oid = a.atttypid \
                       JOIN pg_type t ON t.oid = CASE WHEN own.typtype = 'd' THEN own.typbasetype ELSE own.oid END \
                       LEFT JOIN LATERAL (SELECT k.confrelid, u.key FROM pg_constraint k, unnest(k.conkey, k.confkey) AS u (own, key) \
                                          WHERE k.conrelid = a.attrelid AND k.contype = 'f' AND u.own = a.attnum LIMIT 1) k ON true \
                       LEFT JOIN pg_class f ON f.oid = k.confrelid LEFT JOIN pg_namespace fn ON fn.oid = f.relnamespace \
                       LEFT JOIN pg_attribute fa ON (fa.attrelid, fa.attnum) = (k.confrelid, k.key) \
                       LEFT JOIN pg_attrdef d ON (d.adrelid, d.adnum) = (a.attrelid, a.attnum) \
                       WHERE a.attrelid = to_regclass($1) AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = '' AND a.attidentity = '' \
                         AND coalesce(pg_get_expr(d.adbin, d.adrelid), '') !~ '^nextval' ORDER BY a.attnum";

/// A column that gets a value.
#[derive(Debug)]
struct Column {
    name: Ident,
    /// As SQL writes it.
    ty: String,
    /// `pg_type.typname`, `typtype` and `typcategory` of it, of a domain those of its base type.
    base: String,
    kind: char,
    category: char,
    length: Option<i32>,
    not_null: bool,
    points_to: Option<(QualifiedName, Ident)>,
}

impl Column {
    /// The value of row `i`; `None` where no value of the type is known.
    fn value(&self) -> Option<String> {
        if let Some((table, column)) = &self.points_to {
            let some = format!("SELECT {column} AS c FROM {table} WHERE {column} IS NOT NULL LIMIT {POINTED}");
            return Some(format!("(ARRAY({some}))[1 + (i - 1) % greatest((SELECT count(*) FROM ({some}) x), 1)::int]"));
        }
        let ty = &self.ty;
        Some(match (self.kind, self.category, self.base.as_str()) {
            ('e', ..) => format!("(enum_range(NULL::{ty}))[1 + i % cardinality(enum_range(NULL::{ty}))]"),
            (_, 'A', _) => format!("'{{}}'::{ty}"),
            (_, 'B', _) => "i % 2 = 0".to_owned(),
            (.., "int2") => format!("(i % 30000)::{ty}"),
            (_, 'N', "oid" | "regclass" | "regproc" | "regtype") => return None,
            (_, 'N', _) => format!("i::{ty}"),
            (_, 'S', _) => match self.length {
                Some(length) => format!("left(i || '-' || md5(i::text), {length})::{ty}"),
                None => format!("(i || '-' || md5(i::text))::{ty}"),
            },
            (.., "uuid") => format!("md5(i::text)::uuid::{ty}"),
            (_, 'D', "time" | "timetz") => format!("(time '00:00' + i * interval '1 second')::{ty}"),
            (_, 'D', _) => format!("(now() - i * interval '1 second')::{ty}"),
            (_, 'T', _) => format!("(i * interval '1 second')::{ty}"),
            (.., "json" | "jsonb") => format!("jsonb_build_object('i', i)::{ty}"),
            (.., "bytea") => format!("decode(md5(i::text), 'hex')::{ty}"),
            (.., "inet" | "cidr") => format!("('10.0.0.0'::inet + i)::{ty}"),
            _ => return None,
        })
    }
}

/// Gives every empty table this many rows. What could not be done, as `table: why`.
///
/// # Errors
/// When the session is gone.
pub async fn fill(session: &Session, rows: u32) -> anyhow::Result<Vec<String>> {
    // No triggers: they are for rows that somebody writes. The values follow the foreign keys by themselves.
    session.batch_execute("SET session_replication_role = replica").await?;
    let mut open: Vec<QualifiedName> = Vec::new();
    for row in session.query(TABLES, &[]).await? {
        let table = QualifiedName::new(row.get::<_, String>(0), row.get::<_, String>(1));
        let empty: bool = session.query_one(&format!("SELECT NOT EXISTS (SELECT FROM ONLY {table})"), &[]).await?.get(0);
        open.extend(empty.then_some(table));
    }
    let mut failed = Vec::new();
    // Tables that others point to come first: a round more for each that waits for another.
    while !open.is_empty() {
        let mut waits = Vec::new();
        for table in &open {
            let columns = columns(session, table).await?;
            let others = columns.iter().filter_map(|column| column.points_to.as_ref()).map(|(other, _)| other);
            if others.into_iter().any(|other| other != table && open.contains(other)) {
                waits.push(table.clone());
            } else if let Some(why) = insert(session, table, &columns, rows).await? {
                failed.push(format!("{}: {why}", table.short()));
            }
        }
        if waits.is_empty() || waits.len() == open.len() {
            failed.extend(waits.iter().map(|table| format!("{}: its foreign keys go in a circle", table.short())));
            break;
        }
        open = waits;
    }
    session.batch_execute("RESET session_replication_role").await?;
    Ok(failed)
}

async fn columns(session: &Session, table: &QualifiedName) -> anyhow::Result<Vec<Column>> {
    let rows = session.query(COLUMNS, &[&table.to_string()]).await.context("the columns of a table cannot be read")?;
    let letter = |text: &str| text.chars().next().unwrap_or(' ');
    Ok(rows
        .iter()
        .map(|row| Column {
            name: Ident::new(row.get::<_, String>(0)),
            ty: row.get(1),
            base: row.get(2),
            kind: letter(row.get(3)),
            category: letter(row.get(4)),
            length: row.get(5),
            not_null: row.get(6),
            points_to: row
                .get::<_, Option<String>>(7)
                .map(|schema| (QualifiedName::new(schema, row.get::<_, String>(8)), Ident::new(row.get::<_, String>(9)))),
        })
        .collect())
}

/// As many rows as the table takes: all, a thousand, one. Why not all.
async fn insert(session: &Session, table: &QualifiedName, columns: &[Column], rows: u32) -> anyhow::Result<Option<String>> {
    let mut given = Vec::new();
    for column in columns {
        match column.value() {
            Some(value) => given.push((&column.name, value)),
            None if column.not_null => return Ok(Some(format!("no value is known for {} {}", column.name.as_str(), column.ty))),
            None => {}
        }
    }
    let names: Vec<String> = given.iter().map(|(name, _)| name.to_string()).collect();
    let values: Vec<&str> = given.iter().map(|(_, value)| value.as_str()).collect();
    let list = if names.is_empty() { String::new() } else { format!(" ({})", names.join(", ")) };
    let mut why = None;
    for count in [rows, rows.min(POINTED), 1] {
        let sql = format!("INSERT INTO {table}{list} SELECT {} FROM generate_series(1, {count}) AS i", values.join(", "));
        match session.batch_execute(&sql).await {
            Ok(()) => return Ok(why.map(|why: String| format!("only {count} rows: {why}"))),
            Err(error) if error.as_db_error().is_some() => why = Some(explain(&error.into())),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(why)
}
