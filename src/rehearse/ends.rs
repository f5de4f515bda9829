//! What a run leaves in the databases, so that two ends can be compared: tables with the number of their rows and a hash of each
//! column, and what DDL made. Our own schema is no part of it.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};

use super::stage::NAME;
use crate::pg::{Database, Session};
use crate::prove::{Catalog, catalog, differences};
use crate::sql::{Ident, QualifiedName};
use crate::terms::Side;

const COLUMNS: &str = "SELECT n.nspname::text, c.relname::text, \
        ARRAY(SELECT a.attname::text FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped ORDER BY 1) \
     FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
     WHERE c.relkind IN ('r', 'm') AND c.relpersistence <> 't' AND c.relispopulated \
       AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'crossfade') AND n.nspname !~ '^pg_'";

/// A table: its rows, and of each column a hash of all values.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Content {
    rows: i64,
    columns: BTreeMap<Ident, String>,
}

/// What stands in both databases.
pub struct Ends(BTreeMap<Side, (Catalog, BTreeMap<QualifiedName, Content>)>);

/// A column whose values are others in each run, though nothing was different: random ones, times.
pub type Volatile = BTreeSet<(Side, QualifiedName, Ident)>;

impl Ends {
    /// Reads both databases.
    ///
    /// # Errors
    /// When one cannot be read.
    pub async fn read(databases: &BTreeMap<Side, Database>) -> Result<Self> {
        let mut all = BTreeMap::new();
        for (side, database) in databases {
            let session = database.connect(NAME).await?;
            all.insert(*side, (catalog(&session).await?, contents(&session).await?));
        }
        Ok(Self(all))
    }

    /// The columns whose values differ from those of another undisturbed run with the same beginning.
    pub fn volatile(&self, other: &Self) -> Volatile {
        let mut found = Volatile::new();
        for (side, (_, tables)) in &self.0 {
            for (name, one) in tables {
                let Some(other) = other.0.get(side).and_then(|(_, tables)| tables.get(name)) else { continue };
                let differ = one.columns.iter().filter(|(column, hash)| other.columns.get(*column) != Some(*hash));
                found.extend(differ.map(|(column, _)| (*side, name.clone(), column.clone())));
            }
        }
        found
    }

    /// What is other than in `wanted`, apart from volatile values.
    pub fn differences(&self, wanted: &Self, volatile: &Volatile) -> Vec<String> {
        let mut found = Vec::new();
        for (side, (catalog, tables)) in &wanted.0 {
            let Some((real_catalog, real)) = self.0.get(side) else { continue };
            for one in differences(catalog, real_catalog) {
                found.push(match one.property.as_str() {
                    "" => format!("{} {} on {side} is only there in one of them", one.kind, one.object),
                    property => format!("{} {} on {side}: {property}", one.kind, one.object),
                });
            }
            for (name, content) in tables {
                let Some(real) = real.get(name) else { continue };
                let table = name.short();
                if real.rows != content.rows {
                    found.push(format!("{table} on {side}: {} rows, {} expected", real.rows, content.rows));
                    continue;
                }
                let steady = content.columns.iter().filter(|(column, _)| {
                    let known = (*side, name.clone(), (*column).clone());
                    !volatile.contains(&known)
                });
                let other: Vec<&str> =
                    steady.filter(|(column, hash)| real.columns.get(*column) != Some(hash)).map(|(c, _)| c.as_str()).collect();
                if !other.is_empty() {
                    found.push(format!("{table} on {side}: other values in {}", other.join(", ")));
                }
            }
        }
        found
    }
}

async fn contents(session: &Session) -> Result<BTreeMap<QualifiedName, Content>> {
    let mut all = BTreeMap::new();
    for row in session.query(COLUMNS, &[]).await? {
        let name = QualifiedName::new(row.get::<_, String>(0), row.get::<_, String>(1));
        let columns: Vec<Ident> = row.get::<_, Vec<String>>(2).into_iter().map(Ident::new).collect();
        let hash = |column: &Ident| format!(", coalesce(sum(hashtextextended(t.{column}::text, 0)::numeric), 0)::text");
        let hashes: String = columns.iter().map(hash).collect();
        let sql = format!("SELECT count(*){hashes} FROM ONLY {name} AS t");
        let row = session.query_one(&sql, &[]).await.with_context(|| format!("{} cannot be compared", name.short()))?;
        let columns = columns.into_iter().enumerate().map(|(at, column)| (column, row.get(at + 1))).collect();
        all.insert(name, Content { rows: row.get(0), columns });
    }
    Ok(all)
}

/// The names of volatile columns, for people.
pub fn names(volatile: &Volatile) -> Vec<String> {
    volatile.iter().map(|(side, table, column)| format!("{}.{} on {side}", table.short(), column.as_str())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ends(rows: i64, values: &[(&str, &str)]) -> Ends {
        let columns = values.iter().map(|(column, hash)| (Ident::new(*column), (*hash).to_owned())).collect();
        let table = QualifiedName::new("public", "t");
        Ends([(Side::Green, (Catalog::new(), [(table, Content { rows, columns })].into()))].into())
    }

    #[test]
    fn what_two_undisturbed_runs_leave_different_is_no_difference() {
        let one = ends(2, &[("id", "1"), ("made_at", "2")]);
        let volatile = one.volatile(&ends(2, &[("id", "1"), ("made_at", "3")]));
        assert_eq!(names(&volatile), ["t.made_at on green"]);
        assert!(ends(2, &[("id", "1"), ("made_at", "4")]).differences(&one, &volatile).is_empty());
        let found = ends(2, &[("id", "9"), ("made_at", "4")]).differences(&one, &volatile);
        assert_eq!(found, ["t on green: other values in id"]);
        assert_eq!(ends(3, &[("id", "1")]).differences(&one, &volatile), ["t on green: 3 rows, 2 expected"]);
    }
}
