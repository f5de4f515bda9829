//! The relations of a database, as its catalog and its counters have them at one moment.

use std::collections::BTreeMap;

use crate::pg::Session;
use crate::sql::QualifiedName;

/// Object ids of relations.
pub(super) type Oid = u32;

/// One relation.
#[derive(Debug, Clone)]
pub(super) struct Relation {
    /// Its name, with its schema.
    pub name: QualifiedName,
    /// `pg_class.relkind`: r, p, m, v, i, I, S.
    pub kind: char,
    /// The table of an index.
    pub table: Option<Oid>,
    /// `pg_class.relfilenode`: another one after a rewrite.
    pub file: Oid,
    /// Scans begun: of a table sequential ones, of an index those by it.
    pub scans: i64,
    /// Rows (of an index: entries) that scans gave.
    pub read: i64,
}

impl Relation {
    /// Whether it holds rows that others read.
    pub fn holds_rows(&self) -> bool {
        matches!(self.kind, 'r' | 'm')
    }

    /// Whether it is a table, a view or a materialized view: what statements name.
    pub fn is_named(&self) -> bool {
        matches!(self.kind, 'r' | 'p' | 'm' | 'v')
    }
}

/// Which counters of scans are read.
#[derive(Debug, Clone, Copy)]
pub(super) enum Counters {
    /// The session's own of the running transaction, exact at once.
    Transaction,
    /// The server's totals (PostgreSQL manual 27.2), which have the session's own after [`flush`].
    Total,
}

/// Everything in the schemas of users, temporary tables aside: nobody else can use those.
///
/// # Errors
/// When the session is gone.
pub(super) async fn relations(session: &Session, counters: Counters) -> anyhow::Result<BTreeMap<Oid, Relation>> {
    let infix = match counters {
        Counters::Transaction => "xact_",
        Counters::Total => "",
    };
    let sql = format!(
        "SELECT c.oid, n.nspname::text, c.relname::text, c.relkind::text, i.indrelid, c.relfilenode, \
                pg_stat_get_{infix}numscans(c.oid), pg_stat_get_{infix}tuples_returned(c.oid) \
         FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace LEFT JOIN pg_index i ON i.indexrelid = c.oid \
         WHERE c.relkind IN ('r', 'p', 'm', 'v', 'i', 'I', 'S') AND c.relpersistence <> 't' \
           AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast')"
    );
    let rows = session.query(sql.as_str(), &[]).await?;
    let relation = |row: &tokio_postgres::Row| Relation {
        name: QualifiedName::new(row.get::<_, String>(1), row.get::<_, String>(2)),
        kind: row.get::<_, &str>(3).chars().next().unwrap_or('r'),
        table: row.get(4),
        file: row.get(5),
        scans: row.get(6),
        read: row.get(7),
    };
    Ok(rows.iter().map(|row| (row.get(0), relation(row))).collect())
}

/// Brings the session's counters to the server's totals. Before PostgreSQL 15 there is no way to ask for that; whether it was done.
///
/// # Errors
/// When the session is gone.
pub(super) async fn flush(session: &Session) -> anyhow::Result<bool> {
    let asked = "SELECT to_regproc('pg_catalog.pg_stat_force_next_flush') IS NOT NULL";
    let there: bool = session.query_one(asked, &[]).await?.get(0);
    if there {
        session.batch_execute("SELECT pg_catalog.pg_stat_force_next_flush()").await?;
    }
    Ok(there)
}

/// The relations that the session means by these names.
///
/// # Errors
/// When the session is gone.
pub(super) async fn resolve(session: &Session, names: &[QualifiedName]) -> anyhow::Result<Vec<Option<Oid>>> {
    let texts: Vec<String> = names.iter().map(ToString::to_string).collect();
    let sql = "SELECT to_regclass(name)::oid FROM unnest($1::text[]) WITH ORDINALITY AS u (name, at) ORDER BY at";
    Ok(session.query(sql, &[&texts]).await?.iter().map(|row| row.get(0)).collect())
}
