//! Tables whose rows go or change when rows they refer to are removed: foreign keys ON DELETE CASCADE and SET NULL.
//! One level is followed; what goes deeper is refused.

use serde::{Deserialize, Serialize};

use super::keyed_table::{KeyedTable, list};
use super::set_aside::{Back, keeping};
use crate::pg::Session;
use crate::sql::{Ident, Literal, QualifiedName};
use crate::step::Cx;
use crate::terms::{Finding, Severity};

/// A table that refers to another one.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::step) struct Dependent {
    /// The table.
    pub table: KeyedTable,
    /// Its columns in the foreign key.
    columns: Vec<Ident>,
    /// The columns they refer to.
    referenced: Vec<Ident>,
    /// The columns that become NULL; empty when the row goes.
    emptied: Vec<Ident>,
}

impl Dependent {
    /// What happens to its rows.
    pub fn describe(&self, table: &KeyedTable) -> String {
        match self.emptied.is_empty() {
            true => format!("set aside rows that go with rows of {}", table.name.plain()),
            false => format!("set aside rows whose {} becomes NULL", list(self.emptied.iter().map(Ident::to_string))),
        }
    }

    /// Locks and sets aside the rows that refer to a batch of `table`; to be run before the batch is removed. Nobody can add
    /// more meanwhile: a new reference needs a lock on the row it refers to, which the batch holds.
    pub fn keeping(&self, cx: &Cx, table: &KeyedTable, reason: &str) -> [String; 2] {
        let own = list(self.columns.iter().map(|column| format!("{}.{column}", self.table.name.name())));
        let theirs = list(self.referenced.iter().map(|column| format!("{}.{column}", table.name.name())));
        let condition = format!("({own}) IN (SELECT {theirs} FROM {} WHERE {})", table.name, table.among());
        let written = match self.emptied.is_empty() {
            true => "NULL".to_owned(),
            false => format!("ROW({})::text", list(self.emptied.iter().map(|_| "NULL".to_owned()))),
        };
        [
            format!("SELECT 1 FROM {} WHERE {condition} FOR UPDATE", self.table.name),
            keeping(
                cx,
                &self.table,
                &condition,
                &written,
                &format!("refers to removed rows of {}: {reason}", table.name.plain()),
            ),
        ]
    }

    /// How its rows go back.
    pub fn back(&self) -> Back {
        if self.emptied.is_empty() { Back::Insert } else { Back::Update(self.emptied.clone()) }
    }
}

struct ForeignKey {
    name: String,
    child: QualifiedName,
    /// `pg_constraint.confdeltype`: c cascade, n set null, d set default.
    action: String,
    columns: Vec<Ident>,
    referenced: Vec<Ident>,
    emptied: Vec<Ident>,
}

/// Foreign keys to `table` that do something when its rows are removed. `confdelsetcols` came with PostgreSQL 15.
async fn foreign_keys(session: &Session, table: &QualifiedName) -> anyhow::Result<Vec<ForeignKey>> {
    let names = |column: &str, relation: &str| {
        format!(
            "(SELECT coalesce(array_agg(a.attname::text ORDER BY k.place), '{{}}') \
              FROM jsonb_array_elements_text(to_jsonb(f)->{}) WITH ORDINALITY k (attnum, place) \
              JOIN pg_attribute a ON a.attrelid = f.{relation} AND a.attnum = k.attnum::int)",
            Literal::new(column)
        )
    };
    let sql = format!(
        "SELECT f.conname::text, n.nspname::text, c.relname::text, f.confdeltype::text, {}, {}, {} \
         FROM (SELECT *, CASE WHEN jsonb_typeof(to_jsonb(g)->'confdelsetcols') = 'array' THEN to_jsonb(g)->'confdelsetcols' \
                         ELSE '[]'::jsonb END AS emptied FROM pg_constraint g) f \
         JOIN pg_class c ON c.oid = f.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace \
         WHERE f.contype = 'f' AND f.confrelid = to_regclass($1) AND f.conparentid = 0 AND f.confdeltype IN ('c', 'n', 'd') \
         ORDER BY 2, 3, 1",
        names("conkey", "conrelid"),
        names("confkey", "confrelid"),
        names("emptied", "conrelid"),
    );
    let rows = session.query(&sql, &[&table.to_string()]).await?;
    let idents = |names: Vec<String>| names.into_iter().map(Ident::new).collect::<Vec<_>>();
    Ok(rows
        .iter()
        .map(|row| {
            let (action, columns): (String, Vec<Ident>) = (row.get(3), idents(row.get(4)));
            let mut emptied = idents(row.get(6));
            if action == "n" && emptied.is_empty() {
                emptied.clone_from(&columns);
            }
            ForeignKey {
                name: row.get(0),
                child: QualifiedName::new(row.get::<_, String>(1), row.get::<_, String>(2)),
                action,
                columns,
                referenced: idents(row.get(5)),
                emptied,
            }
        })
        .collect())
}

/// A condition: some row refers to the row of `table`, and would go or change with it.
///
/// # Errors
/// When the session is gone.
pub(in crate::step) async fn referred(session: &Session, table: &KeyedTable) -> anyhow::Result<String> {
    let keys = foreign_keys(session, &table.name).await?;
    let tests = keys.iter().map(|key| {
        let pairs = key.columns.iter().zip(&key.referenced);
        let same = pairs.map(|(own, theirs)| format!("child.{own} = {}.{theirs}", table.name.name()));
        format!("EXISTS (SELECT FROM {} AS child WHERE {})", key.child, same.collect::<Vec<_>>().join(" AND "))
    });
    Ok([String::from("false")].into_iter().chain(tests).collect::<Vec<_>>().join(" OR "))
}

/// The tables that refer to `table`; call [`check`] first.
///
/// # Errors
/// When one of them has no primary key.
pub(in crate::step) async fn read(session: &Session, table: &KeyedTable) -> anyhow::Result<Vec<Dependent>> {
    let mut dependents = Vec::new();
    for key in foreign_keys(session, &table.name).await? {
        let ForeignKey { child, columns, referenced, emptied, .. } = key;
        dependents.push(Dependent { table: KeyedTable::read(session, &child, None).await?, columns, referenced, emptied });
    }
    Ok(dependents)
}

/// What speaks against removing rows of `table`.
///
/// # Errors
/// When the session is gone.
pub(in crate::step) async fn check(session: &Session, table: &KeyedTable, cascades: bool) -> anyhow::Result<Vec<Finding>> {
    let keys = foreign_keys(session, &table.name).await?;
    let mut findings = Vec::new();
    let mut block = |what: String, next: &str| {
        findings.push(Finding { severity: Severity::Blocks, object: table.name.plain(), what, next: next.to_owned() });
    };
    for key in &keys {
        let (name, child) = (&key.name, key.child.plain());
        if !cascades {
            let what = format!("foreign key {name} of {child} removes or changes rows there when rows here are removed");
            block(what, "say `cascades = true` to set those rows aside too, or clean them up in a step of their own before");
        } else if key.action == "d" {
            block(
                format!("foreign key {name} of {child} is ON DELETE SET DEFAULT, which cannot be undone"),
                "clean up its rows before",
            );
        } else if key.child == table.name {
            block(
                format!("foreign key {name} refers to its own table: rows go in more than one level"),
                "clean up level by level",
            );
        } else if keys.iter().filter(|other| other.child == key.child).count() > 1 {
            block(format!("{child} refers to it by more than one foreign key that acts on delete"), "clean up its rows before");
        } else if let Err(error) = KeyedTable::read(session, &key.child, None).await {
            block(
                format!("rows of {child} go along and could not be put back: {error}"),
                "clean up its rows in a step of their own before",
            );
        } else if key.action == "c" {
            for deeper in foreign_keys(session, &key.child).await? {
                let what = format!(
                    "rows of {child} go along ({name}), and with them rows of {} ({})",
                    deeper.child.plain(),
                    deeper.name
                );
                block(what, "only one level is set aside: clean up the deeper rows in a step of their own before");
            }
        }
    }
    Ok(findings)
}
