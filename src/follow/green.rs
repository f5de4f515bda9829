//! Green's tables as far as changes to them must know: unique indexes, foreign keys, triggers.

use anyhow::Context;

use super::order::order;
use crate::pg::Session;
use crate::projection::{Bound, Target};
use crate::sql::{Ident, QualifiedName};
use crate::terms::{Finding, Severity};

/// A green table that follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct GreenTable {
    /// The table with its schema.
    pub table: QualifiedName,
    /// The columns that name a row.
    pub key: Vec<Ident>,
    /// Every column the projection fills.
    pub columns: Vec<GreenColumn>,
    /// Every column that can be inserted into.
    pub all: Vec<Ident>,
    /// Its unique indexes beside that of the key.
    pub uniques: Vec<Unique>,
}

/// A filled column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct GreenColumn {
    /// Its name.
    pub name: Ident,
    /// How two values of it are compared.
    pub equality: Equality,
    /// Whether an UPDATE may set it (no GENERATED ALWAYS AS IDENTITY).
    pub settable: bool,
}

/// When two values are the same, as `verify` sees them: when their texts are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Equality {
    /// The type's own equality says so.
    Own,
    /// Strings byte by byte.
    Bytes,
    /// The text must be asked: json has no equality, 1.0 equals 1.00.
    Text,
}

/// A unique index whose expressions read filled columns only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unique {
    /// Its expressions as SQL.
    pub expressions: Vec<String>,
    /// Its predicate as SQL.
    pub predicate: Option<String>,
    /// Whether NULL equals NULL.
    pub nulls_equal: bool,
}

/// A foreign key between two tables that follow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ForeignKey {
    /// The place of the table that points.
    pub child: usize,
    /// Its columns.
    pub columns: Vec<Ident>,
    /// The place of the table it points to.
    pub parent: usize,
    /// That table's columns.
    pub referenced: Vec<Ident>,
    /// Whether its check can wait for the end of the transaction.
    pub deferrable: bool,
}

/// All tables that follow, as green's catalog describes them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Green {
    /// The tables, in the order of the projections.
    pub tables: Vec<GreenTable>,
    /// The foreign keys between them.
    pub foreign_keys: Vec<ForeignKey>,
    /// Their places, parents before children.
    pub order: Vec<usize>,
    /// Tables that point at each other.
    pub circles: Vec<Vec<usize>>,
}

/// Types whose own equality holds only between values of the same text.
const EXACT: [u32; 13] = [16, 17, 20, 21, 23, 26, 1082, 1083, 1114, 1184, 2950, 18, 3220];

impl Green {
    /// Reads green's catalog.
    ///
    /// # Errors
    /// When the session is gone.
    pub async fn read(green: &Session, bound: &[(Bound, Target)]) -> anyhow::Result<Self> {
        let mut tables = Vec::new();
        for (bound, target) in bound {
            tables.push(table(green, bound, target).await.with_context(|| format!("table {} on green", bound.table.plain()))?);
        }
        let oids: Vec<u32> = bound.iter().map(|(_, target)| target.oid).collect();
        let place = |oid: u32| oids.iter().position(|known| *known == oid);
        let idents = |names: Vec<String>| names.into_iter().map(Ident::new).collect();
        let mut foreign_keys = Vec::new();
        for row in green.query(FOREIGN_KEYS, &[&oids]).await? {
            if let (Some(child), Some(parent)) = (place(row.get(0)), place(row.get(2))) {
                let (columns, referenced) = (idents(row.get(1)), idents(row.get(3)));
                foreign_keys.push(ForeignKey { child, columns, parent, referenced, deferrable: row.get(4) });
            }
        }
        let edges: Vec<(usize, usize)> = foreign_keys.iter().map(|key| (key.child, key.parent)).collect();
        let (order, circles) = order(tables.len(), &edges);
        Ok(Self { tables, foreign_keys, order, circles })
    }
}

async fn table(green: &Session, bound: &Bound, target: &Target) -> anyhow::Result<GreenTable> {
    let always = "SELECT attname::text FROM pg_attribute WHERE attrelid = $1 AND attidentity = 'a'";
    let always: Vec<String> = green.query(always, &[&target.oid]).await?.iter().map(|row| row.get(0)).collect();
    let columns = bound.columns.iter().map(|column| {
        let of_type = target.column(&column.name).map_or(0, |known| known.type_oid);
        let equality = match of_type {
            25 | 1043 => Equality::Bytes,
            exact if EXACT.contains(&exact) => Equality::Own,
            _ => Equality::Text,
        };
        GreenColumn { name: column.name.clone(), equality, settable: !always.contains(&column.name.as_str().to_owned()) }
    });
    let filled: Vec<&str> = bound.columns.iter().map(|column| column.name.as_str()).collect();
    let key: Vec<&str> = bound.key.iter().map(Ident::as_str).collect();
    let nulls = match green.query_one("SELECT current_setting('server_version_num')::int >= 150000", &[]).await?.get(0) {
        true => "i.indnullsnotdistinct",
        false => "false",
    };
    let rows = green
        .query(&UNIQUES.replace("nulls_not_distinct", nulls), &[&target.oid, &filled, &key])
        .await
        .context("reading its unique indexes")?;
    let uniques = rows.iter().map(|row| Unique { expressions: row.get(0), predicate: row.get(1), nulls_equal: row.get(2) });
    Ok(GreenTable {
        table: bound.table.clone(),
        key: bound.key.clone(),
        columns: columns.collect(),
        all: target.columns.iter().filter(|column| !column.generated).map(|column| column.name.clone()).collect(),
        uniques: uniques.collect(),
    })
}

/// What on green forbids to follow, or will hurt. Changes nothing.
///
/// # Errors
/// When the session is gone.
pub async fn obstacles(green: &Session, bound: &[(Bound, Target)]) -> anyhow::Result<Vec<Finding>> {
    let mut findings = Vec::new();
    let described = Green::read(green, bound).await?;
    for circle in &described.circles {
        let inside = |key: &&ForeignKey| circle.contains(&key.child) && circle.contains(&key.parent) && key.child != key.parent;
        if described.foreign_keys.iter().filter(inside).any(|key| !key.deferrable) {
            let names: Vec<String> = circle.iter().map(|place| described.tables[*place].table.plain()).collect();
            findings.push(Finding {
                severity: Severity::Blocks,
                object: format!("tables {} on green", names.join(", ")),
                what: "point at each other: no order of changes keeps every foreign key".to_owned(),
                next: "make their foreign keys DEFERRABLE on green: ALTER TABLE ... ALTER CONSTRAINT ... DEFERRABLE".to_owned(),
            });
        }
    }
    let oids: Vec<u32> = bound.iter().map(|(_, target)| target.oid).collect();
    for row in green.query(TRIGGERS, &[&oids]).await? {
        let table = QualifiedName::new(row.get::<_, String>(0), row.get::<_, String>(1));
        let trigger = Ident::new(row.get::<_, String>(2));
        findings.push(Finding {
            severity: Severity::Blocks,
            object: format!("trigger {} of table {} on green", trigger.as_str(), table.plain()),
            what: "would fire for every change that follows, as if the application made it".to_owned(),
            next: format!("ALTER TABLE {table} DISABLE TRIGGER {trigger} on green until the switch"),
        });
    }
    for row in green.query(STRANGERS, &[&oids]).await? {
        let child = QualifiedName::new(row.get::<_, String>(0), row.get::<_, String>(1));
        let parent = QualifiedName::new(row.get::<_, String>(2), row.get::<_, String>(3));
        findings.push(Finding {
            severity: Severity::Warning,
            object: format!("table {} on green", child.plain()),
            what: format!(
                "points to {}, which follows, and does not follow itself: its rows can go with rows of that, or keep them from going",
                parent.plain()
            ),
            next: "give it a projection, or keep it empty until the switch".to_owned(),
        });
    }
    Ok(findings)
}

const FOREIGN_KEYS: &str = "\
    SELECT con.conrelid, \
           ARRAY(SELECT a.attname::text FROM unnest(con.conkey) WITH ORDINALITY AS k(n, o) \
                 JOIN pg_attribute a ON a.attrelid = con.conrelid AND a.attnum = k.n ORDER BY k.o), \
           con.confrelid, \
           ARRAY(SELECT a.attname::text FROM unnest(con.confkey) WITH ORDINALITY AS k(n, o) \
                 JOIN pg_attribute a ON a.attrelid = con.confrelid AND a.attnum = k.n ORDER BY k.o), \
           con.condeferrable \
    FROM pg_constraint con WHERE con.contype = 'f' AND con.conrelid = ANY ($1) AND con.confrelid = ANY ($1) \
    ORDER BY con.conrelid, con.conname";

/// Of table `$1`, that read no other columns than `$2`, and are not over exactly the columns `$3`.
const UNIQUES: &str = "\
    SELECT ARRAY(SELECT pg_get_indexdef(i.indexrelid, n, true) FROM generate_series(1, i.indnkeyatts) AS n ORDER BY n), \
           pg_get_expr(i.indpred, i.indrelid), nulls_not_distinct \
    FROM pg_index i \
    WHERE i.indrelid = $1 AND i.indisunique AND i.indisvalid \
      AND NOT EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = i.indrelid AND a.attname <> ALL ($2::text[]) \
            AND (a.attnum = ANY ((i.indkey::int2[])[0:i.indnkeyatts - 1]) OR EXISTS ( \
                 SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = i.indexrelid \
                   AND d.refclassid = 'pg_class'::regclass AND d.refobjid = i.indrelid AND d.refobjsubid = a.attnum \
                   AND a.attnum <> ALL ((i.indkey::int2[])[i.indnkeyatts:])))) \
      AND NOT (i.indpred IS NULL AND i.indexprs IS NULL AND i.indnkeyatts = cardinality($3::text[]) AND NOT EXISTS ( \
            SELECT FROM pg_attribute a WHERE a.attrelid = i.indrelid AND a.attnum = ANY ((i.indkey::int2[])[0:i.indnkeyatts - 1]) \
              AND a.attname <> ALL ($3::text[]))) \
    ORDER BY i.indexrelid";

const TRIGGERS: &str = "\
    SELECT n.nspname, c.relname, t.tgname \
    FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace \
    WHERE t.tgrelid = ANY ($1) AND NOT t.tgisinternal AND t.tgenabled IN ('O', 'A') ORDER BY 1, 2, 3";

const STRANGERS: &str = "\
    SELECT DISTINCT n.nspname, c.relname, pn.nspname, p.relname \
    FROM pg_constraint con JOIN pg_class c ON c.oid = con.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace \
    JOIN pg_class p ON p.oid = con.confrelid JOIN pg_namespace pn ON pn.oid = p.relnamespace \
    WHERE con.contype = 'f' AND con.confrelid = ANY ($1) AND con.conrelid <> ALL ($1) ORDER BY 1, 2, 3, 4";
