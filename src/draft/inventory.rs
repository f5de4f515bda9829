//! The tables of a database, as far as a draft must know them. Only reads.

use std::collections::BTreeSet;

use crate::pg::Session;
use crate::projection::{Target, read_target};
use crate::sql::{Ident, QualifiedName};

/// The tables of a database.
#[derive(Debug, Clone)]
pub struct Inventory {
    /// Ordinary tables, by name.
    pub tables: Vec<Table>,
    /// Casts that an assignment makes, between the server's own types.
    pub casts: BTreeSet<(u32, u32)>,
}

/// One table.
#[derive(Debug, Clone)]
pub struct Table {
    /// As a plan names it: without its schema where that is on the search path.
    pub name: QualifiedName,
    /// Its columns and keys.
    pub target: Target,
    /// Rows, up to two.
    pub rows: usize,
    /// Its foreign keys of one column.
    pub parents: Vec<Parent>,
}

/// A foreign key of one column.
#[derive(Debug, Clone)]
pub struct Parent {
    /// The column.
    pub column: Ident,
    /// The table it points to, as a plan names it.
    pub table: QualifiedName,
    /// That table's column.
    pub referenced: Ident,
}

/// Reads every ordinary table that is not the system's or ours.
///
/// # Errors
/// When the session is gone, or a table may not be read.
pub async fn read(session: &Session) -> anyhow::Result<Inventory> {
    let found = session
        .query(
            "SELECT n.nspname, c.relname, n.nspname = ANY (current_schemas(false)), c.oid \
             FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
             WHERE c.relkind = 'r' AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_' AND n.nspname <> 'crossfade' \
               AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e') \
             ORDER BY 1, 2",
            &[],
        )
        .await?;
    let named = |schema: String, table: String, visible: bool| {
        if visible { QualifiedName::bare(table) } else { QualifiedName::new(schema, table) }
    };
    let mut tables = Vec::new();
    for row in &found {
        let (schema, table): (String, String) = (row.get(0), row.get(1));
        let full = QualifiedName::new(schema.clone(), table.clone());
        let Some(target) = read_target(session, &full).await? else { continue };
        if !target.plain {
            continue;
        }
        let rows: i64 =
            session.query_one(&format!("SELECT count(*) FROM (SELECT FROM {full} LIMIT 2) AS found"), &[]).await?.get(0);
        let keys = session
            .query(
                "SELECT a.attname, n.nspname, c.relname, n.nspname = ANY (current_schemas(false)), b.attname \
                 FROM pg_constraint k JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = k.conkey[1] \
                 JOIN pg_class c ON c.oid = k.confrelid JOIN pg_namespace n ON n.oid = c.relnamespace \
                 JOIN pg_attribute b ON b.attrelid = k.confrelid AND b.attnum = k.confkey[1] \
                 WHERE k.contype = 'f' AND k.conrelid = $1 AND cardinality(k.conkey) = 1 ORDER BY 1",
                &[&row.get::<_, u32>(3)],
            )
            .await?;
        let parents = keys
            .iter()
            .map(|key| Parent {
                column: Ident::new(key.get::<_, String>(0)),
                table: named(key.get(1), key.get(2), key.get(3)),
                referenced: Ident::new(key.get::<_, String>(4)),
            })
            .collect();
        tables.push(Table {
            name: named(schema, table, row.get(2)),
            target,
            rows: usize::try_from(rows).unwrap_or_default(),
            parents,
        });
    }
    let casts = session
        .query("SELECT castsource, casttarget FROM pg_cast WHERE castcontext IN ('a', 'i') AND castsource < 16384 AND casttarget < 16384", &[])
        .await?;
    Ok(Inventory { tables, casts: casts.iter().map(|row| (row.get(0), row.get(1))).collect() })
}
