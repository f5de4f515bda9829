//! What hangs on a table beside its rows, as definitions: enough to take it off for a load and to put it back.

use std::collections::BTreeSet;
use std::fmt::Write;

use anyhow::Context;
use serde::{Deserialize, Serialize};

use super::sequence::Sequence;
use crate::pg::Session;
use crate::projection::Target;
use crate::sql::{Ident, QualifiedName};

/// Everything a load takes off its tables, and what it changes beside rows. Definitions only, with all names qualified.
///
/// Left in place: an index that is the replica identity or the clustering order, an invalid one, a constraint a view
/// depends on, and the indexes of tables that get few rows: those cost less to keep than to build again.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fittings {
    /// The tables.
    pub tables: Vec<QualifiedName>,
    /// Indexes, those of primary keys and unique constraints among them.
    pub indexes: Vec<Index>,
    /// Constraints that bring their own index and can only be made whole (EXCLUDE).
    pub exclusions: Vec<Constraint>,
    /// Foreign keys from and to the tables.
    pub foreign_keys: Vec<Constraint>,
    /// Triggers that were enabled.
    pub triggers: Vec<Trigger>,
    /// Sequences that columns of the tables take values from.
    pub sequences: Vec<Sequence>,
}

/// An index, and the constraint that owns it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Index {
    /// Its name; its constraint has the same.
    pub name: QualifiedName,
    /// Its table.
    pub table: QualifiedName,
    /// `CREATE INDEX ...`.
    pub definition: String,
    /// Its tablespace, when not the database's.
    pub tablespace: Option<Ident>,
    /// `PRIMARY KEY` or `UNIQUE`, when a constraint owns it.
    pub constraint: Option<String>,
    /// `DEFERRABLE ...` of that constraint.
    pub deferrable: String,
}

/// A constraint of a table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Constraint {
    /// Its name.
    pub name: Ident,
    /// Its table.
    pub table: QualifiedName,
    /// As `pg_get_constraintdef` gives it.
    pub definition: String,
    /// Whether existing rows are known to keep it.
    pub validated: bool,
    /// Whether it can be added NOT VALID (not on a partitioned table).
    pub splits: bool,
}

/// A user trigger that was not disabled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trigger {
    /// Its name.
    pub name: Ident,
    /// Its table.
    pub table: QualifiedName,
    /// `pg_trigger.tgenabled`: O, R or A.
    pub enabled: String,
}

impl Fittings {
    /// Reads what hangs on these tables.
    ///
    /// # Errors
    /// When the session is gone.
    pub async fn read(green: &mut Session, targets: &[Target]) -> anyhow::Result<Self> {
        let oids: Vec<u32> = targets.iter().map(|target| target.oid).collect();
        let transaction = green.transaction().await?;
        // With an empty path the server qualifies every name in the definitions it gives.
        transaction.batch_execute("SET LOCAL search_path = pg_catalog").await?;
        let mut fittings = Fittings { tables: targets.iter().map(|target| target.table.clone()).collect(), ..Self::default() };
        for row in transaction.query(INDEXES, &[&oids]).await? {
            let table = QualifiedName::new(row.get::<_, String>(2), row.get::<_, String>(3));
            let (kind, method): (Option<String>, String) = (row.get(6), row.get(8));
            match (kind.as_deref(), row.get::<_, Option<String>>(9)) {
                (Some(kind), Some(definition)) if kind == "x" || method != "btree" => fittings.exclusions.push(Constraint {
                    name: Ident::new(row.get::<_, String>(1)),
                    table,
                    definition,
                    validated: true,
                    splits: false,
                }),
                (kind, _) => fittings.indexes.push(Index {
                    name: QualifiedName::new(row.get::<_, String>(0), row.get::<_, String>(1)),
                    table,
                    definition: row.get(4),
                    tablespace: row.get::<_, Option<String>>(5).map(Ident::new),
                    constraint: kind.map(|kind| if kind == "p" { "PRIMARY KEY" } else { "UNIQUE" }.to_owned()),
                    deferrable: row.get(7),
                }),
            }
        }
        for row in transaction.query(FOREIGN_KEYS, &[&oids]).await? {
            fittings.foreign_keys.push(Constraint {
                name: Ident::new(row.get::<_, String>(0)),
                table: QualifiedName::new(row.get::<_, String>(1), row.get::<_, String>(2)),
                definition: row.get(3),
                validated: row.get(4),
                splits: row.get(5),
            });
        }
        for row in transaction.query(TRIGGERS, &[&oids]).await? {
            fittings.triggers.push(Trigger {
                name: Ident::new(row.get::<_, String>(0)),
                table: QualifiedName::new(row.get::<_, String>(1), row.get::<_, String>(2)),
                enabled: row.get(3),
            });
        }
        transaction.commit().await.context("reading definitions on green")?;
        fittings.sequences = Sequence::read_all(green, &oids).await?;
        Ok(fittings)
    }

    /// The indexes and constraints of `wanted` that are there; an index that is not valid counts as there.
    ///
    /// # Errors
    /// When the session is gone.
    pub(super) async fn there(session: &Session, wanted: &Self) -> anyhow::Result<Self> {
        let pairs = |all: Vec<(&QualifiedName, &Ident)>| -> (Vec<String>, Vec<String>) {
            all.into_iter().map(|(table, name)| (table.to_string(), name.as_str().to_owned())).unzip()
        };
        let constrained = wanted.indexes.iter().filter(|index| index.constraint.is_some());
        let constraints = wanted.exclusions.iter().chain(&wanted.foreign_keys).map(|c| (&c.table, &c.name));
        let (tables, names) = pairs(constraints.chain(constrained.map(|index| (&index.table, index.name.name()))).collect());
        let sql = "SELECT w.relation, w.name FROM unnest($1::text[], $2::text[]) AS w (relation, name) \
                   JOIN pg_constraint c ON c.conrelid = to_regclass(w.relation) AND c.conname = w.name";
        let rows = session.query(sql, &[&tables, &names]).await?;
        let constraints: BTreeSet<(String, String)> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
        let indexes: Vec<String> = wanted.indexes.iter().map(|index| index.name.to_string()).collect();
        let sql = "SELECT name FROM unnest($1::text[]) AS w (name) WHERE to_regclass(name) IS NOT NULL";
        let rows = session.query(sql, &[&indexes]).await?;
        let indexes: BTreeSet<String> = rows.iter().map(|row| row.get(0)).collect();
        let is = |table: &QualifiedName, name: &Ident| constraints.contains(&(table.to_string(), name.as_str().to_owned()));
        let kept = |all: &[Constraint]| all.iter().filter(|c| is(&c.table, &c.name)).cloned().collect();
        let mut there = Self { triggers: Vec::new(), ..wanted.clone() };
        there.foreign_keys = kept(&wanted.foreign_keys);
        there.exclusions = kept(&wanted.exclusions);
        there.indexes.retain(|index| indexes.contains(&index.name.to_string()));
        for index in &mut there.indexes {
            if !is(&index.table, index.name.name()) {
                index.constraint = None; // it goes as a plain index
            }
        }
        Ok(there)
    }

    /// Leaves the indexes of these tables in place.
    pub fn keep_indexes_of(&mut self, tables: &[QualifiedName]) {
        self.indexes.retain(|index| !tables.contains(&index.table));
        self.exclusions.retain(|constraint| !tables.contains(&constraint.table));
    }

    /// The statements that take it all off; they belong in one transaction.
    pub fn take_off(&self) -> Vec<String> {
        let drop = |table: &QualifiedName, name: &Ident| format!("ALTER TABLE {table} DROP CONSTRAINT {name}");
        let mut statements: Vec<String> = self.foreign_keys.iter().map(|key| drop(&key.table, &key.name)).collect();
        statements.extend(self.exclusions.iter().map(|constraint| drop(&constraint.table, &constraint.name)));
        statements.extend(self.indexes.iter().map(|index| match index.constraint {
            Some(_) => drop(&index.table, index.name.name()),
            None => format!("DROP INDEX {}", index.name),
        }));
        statements.extend(self.triggers.iter().map(|t| format!("ALTER TABLE {} DISABLE TRIGGER {}", t.table, t.name)));
        statements
    }

    /// `TRUNCATE` of the tables, which fails where a foreign key still points at them.
    pub fn truncate(&self) -> String {
        let tables: Vec<String> = self.tables.iter().map(QualifiedName::to_string).collect();
        format!("TRUNCATE ONLY {}", tables.join(", "))
    }
}

impl Index {
    /// Whether it is unique: `pg_get_indexdef` says so first.
    pub fn is_unique(&self) -> bool {
        self.definition.starts_with("CREATE UNIQUE ")
    }

    /// The statement that makes a constraint of the built index.
    pub fn attach(&self) -> Option<String> {
        let kind = self.constraint.as_ref()?;
        let name = self.name.name();
        let mut statement = format!("ALTER TABLE {} ADD CONSTRAINT {name} {kind} USING INDEX {name}", self.table);
        if !self.deferrable.is_empty() {
            let _ = write!(statement, " {}", self.deferrable); // writing to a String cannot fail
        }
        Some(statement)
    }

    /// The statement that makes `CREATE INDEX` use the index's own tablespace.
    pub fn set_tablespace(&self) -> String {
        self.tablespace.as_ref().map_or("RESET default_tablespace".to_owned(), |name| format!("SET default_tablespace = {name}"))
    }
}

impl Constraint {
    /// The statement that adds it, checking existing rows.
    pub fn add(&self) -> String {
        format!("ALTER TABLE {} ADD CONSTRAINT {} {}", self.table, self.name, self.definition)
    }

    /// The statement that adds it without looking at existing rows, where that is possible.
    pub fn add_unchecked(&self) -> String {
        if self.splits && self.validated { format!("{} NOT VALID", self.add()) } else { self.add() }
    }

    /// The statement that checks existing rows.
    pub fn validate(&self) -> String {
        format!("ALTER TABLE {} VALIDATE CONSTRAINT {}", self.table, self.name)
    }
}

impl Trigger {
    /// The statement that enables it as it was.
    pub fn enable(&self) -> String {
        let how = match self.enabled.as_str() {
            "R" => "ENABLE REPLICA TRIGGER",
            "A" => "ENABLE ALWAYS TRIGGER",
            _ => "ENABLE TRIGGER",
        };
        format!("ALTER TABLE {} {how} {}", self.table, self.name)
    }
}

const INDEXES: &str = "\
    SELECT n.nspname, ic.relname, tn.nspname, tc.relname, pg_get_indexdef(i.indexrelid), ts.spcname, con.contype::text, \
           CASE WHEN con.condeferred THEN 'DEFERRABLE INITIALLY DEFERRED' WHEN con.condeferrable THEN 'DEFERRABLE' ELSE '' END, \
           am.amname::text, pg_get_constraintdef(con.oid) \
    FROM pg_index i \
    JOIN pg_class ic ON ic.oid = i.indexrelid JOIN pg_namespace n ON n.oid = ic.relnamespace JOIN pg_am am ON am.oid = ic.relam \
    JOIN pg_class tc ON tc.oid = i.indrelid JOIN pg_namespace tn ON tn.oid = tc.relnamespace \
    LEFT JOIN pg_tablespace ts ON ts.oid = ic.reltablespace \
    LEFT JOIN pg_constraint con ON con.conindid = i.indexrelid AND con.conrelid = i.indrelid AND con.contype IN ('p', 'u', 'x') \
    WHERE i.indrelid = ANY ($1) AND i.indisvalid AND NOT i.indisreplident AND NOT i.indisclustered \
      AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.refclassid = 'pg_constraint'::regclass AND d.refobjid = con.oid \
                      AND d.classid = 'pg_rewrite'::regclass) \
    ORDER BY tn.nspname, tc.relname, i.indexrelid";

const FOREIGN_KEYS: &str = "\
    SELECT con.conname, n.nspname, c.relname, pg_get_constraintdef(con.oid), con.convalidated, c.relkind <> 'p' \
    FROM pg_constraint con JOIN pg_class c ON c.oid = con.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace \
    WHERE con.contype = 'f' AND con.conparentid = 0 AND (con.conrelid = ANY ($1) OR con.confrelid = ANY ($1)) \
    ORDER BY n.nspname, c.relname, con.conname";

const TRIGGERS: &str = "\
    SELECT t.tgname, n.nspname, c.relname, t.tgenabled::text \
    FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace \
    WHERE t.tgrelid = ANY ($1) AND NOT t.tgisinternal AND t.tgenabled <> 'D' ORDER BY n.nspname, c.relname, t.tgname";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constraints_go_by_their_index_and_come_back_by_it() {
        let key = Index {
            name: QualifiedName::new("public", "Odd_pkey"),
            table: QualifiedName::new("public", "Odd"),
            definition: "CREATE UNIQUE INDEX ...".to_owned(),
            tablespace: None,
            constraint: Some("PRIMARY KEY".to_owned()),
            deferrable: "DEFERRABLE".to_owned(),
        };
        assert_eq!(
            key.attach().unwrap(),
            "ALTER TABLE \"public\".\"Odd\" ADD CONSTRAINT \"Odd_pkey\" PRIMARY KEY USING INDEX \"Odd_pkey\" DEFERRABLE"
        );
        let plain = Index { name: QualifiedName::new("public", "i"), constraint: None, ..key.clone() };
        let fittings = Fittings { indexes: vec![key, plain], ..Fittings::default() };
        let expected = ["ALTER TABLE \"public\".\"Odd\" DROP CONSTRAINT \"Odd_pkey\"", "DROP INDEX \"public\".\"i\""];
        assert_eq!(fittings.take_off(), expected);
    }

    #[test]
    fn a_foreign_key_that_was_not_valid_stays_so() {
        let key = Constraint {
            name: Ident::new("k"),
            table: QualifiedName::bare("t"),
            definition: "FOREIGN KEY (a) REFERENCES public.b(a) NOT VALID".to_owned(),
            validated: false,
            splits: true,
        };
        assert_eq!(key.add_unchecked(), key.add());
        assert!(Constraint { validated: true, definition: "X".to_owned(), ..key }.add_unchecked().ends_with("X NOT VALID"));
    }
}
