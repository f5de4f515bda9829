//! A table that is walked in the order of a unique key, and the SQL pieces that speak of its keys. Keys travel as text, one
//! array per key column, so that any type with a text form works.

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};
use tokio_postgres::types::ToSql;

use crate::pg::{Session, table_state};
use crate::sql::{Ident, Literal, QualifiedName};

/// A column of a table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::step) struct Column {
    /// Its name.
    pub name: Ident,
    /// Its type with modifiers, as `format_type` writes it.
    pub sql_type: String,
    /// `GENERATED ALWAYS AS (...) STORED`: cannot be written.
    pub generated: bool,
}

/// A table, its columns and the unique key by which it is walked. Kept in the journal for the undo.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::step) struct KeyedTable {
    /// Its name with its schema.
    pub name: QualifiedName,
    /// The key's columns, in the order of its index. None of them is nullable.
    pub key: Vec<Column>,
    /// All columns, in the table's order.
    pub columns: Vec<Column>,
    /// Whether every value has a jsonb form: `json` may hold `\u0000`, which jsonb refuses (PostgreSQL manual 8.14).
    pub jsonb_safe: bool,
}

/// The text of keys, one array per key column.
pub(in crate::step) type Keys = Vec<Vec<String>>;

impl KeyedTable {
    /// Asks the catalog. Without `key` the primary key is taken.
    ///
    /// # Errors
    /// When there is no such table, or no valid, immediate, whole-table unique index on exactly these NOT NULL columns.
    pub async fn read(session: &Session, table: &QualifiedName, key: Option<&[Ident]>) -> anyhow::Result<Self> {
        let row = session
            .query_opt(
                "SELECT c.oid, n.nspname::text, c.relname::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
                 WHERE c.oid = to_regclass($1) AND c.relkind IN ('r', 'p')",
                &[&table.to_string()],
            )
            .await?
            .with_context(|| format!("there is no table {} on {}", table.plain(), session.database().name()))?;
        let oid: u32 = row.get(0);
        let name = QualifiedName::new(row.get::<_, String>(1), row.get::<_, String>(2));
        let columns = session
            .query(
                "SELECT a.attname::text, format_type(a.atttypid, a.atttypmod), a.attgenerated <> '', a.attnotnull, \
                        t.typtype IN ('c', 'd') OR t.oid IN ('json'::regtype, 'json[]'::regtype) \
                 FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid \
                 WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum",
                &[&oid],
            )
            .await?;
        let jsonb_safe = !columns.iter().any(|row| row.get::<_, bool>(4));
        let nullable: Vec<String> = columns.iter().filter(|row| !row.get::<_, bool>(3)).map(|row| row.get(0)).collect();
        let columns: Vec<Column> = columns
            .iter()
            .map(|row| Column { name: Ident::new(row.get::<_, String>(0)), sql_type: row.get(1), generated: row.get(2) })
            .collect();
        let indexes = session
            .query(
                "SELECT i.indisprimary, (SELECT array_agg(a.attname::text ORDER BY k.place) \
                    FROM unnest(i.indkey::int2[]) WITH ORDINALITY k (attnum, place) \
                    JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum WHERE k.place <= i.indnkeyatts) \
                 FROM pg_index i WHERE i.indrelid = $1 AND i.indisunique AND i.indisvalid AND i.indimmediate \
                    AND i.indpred IS NULL AND i.indexprs IS NULL ORDER BY i.indisprimary DESC, i.indexrelid",
                &[&oid],
            )
            .await?;
        let sorted = |mut names: Vec<String>| {
            names.sort();
            names
        };
        let wanted = key.map(|key| sorted(key.iter().map(|column| column.as_str().to_owned()).collect()));
        let found = indexes.iter().find_map(|row| {
            let columns: Vec<String> = row.get(1);
            let fits = match &wanted {
                Some(wanted) => sorted(columns.clone()) == *wanted,
                None => row.get(0),
            };
            fits.then_some(columns)
        });
        let Some(found) = found else {
            match wanted {
                Some(wanted) => bail!("table {} has no valid unique index on exactly {}", name.plain(), wanted.join(", ")),
                None => bail!("table {} has no primary key: name the columns of a unique index with `key`", name.plain()),
            }
        };
        if let Some(column) = found.iter().find(|column| nullable.contains(column)) {
            bail!("column {column} of the key of {} may be NULL: a walk in key order would miss rows", name.plain());
        }
        let key = found.iter().filter_map(|name| columns.iter().find(|c| c.name.as_str() == name).cloned()).collect();
        Ok(Self { name, key, columns, jsonb_safe })
    }

    /// `"a", "b"`.
    pub fn key_list(&self) -> String {
        list(self.key.iter().map(|column| column.name.to_string()))
    }

    /// `"a"::text, "b"::text`.
    pub fn key_text(&self) -> String {
        list(self.key.iter().map(|column| format!("{}::text", column.name)))
    }

    /// `("a", "b") > (...)` with any comparison operator, the key in parameters `$first` and on.
    pub fn compared(&self, operator: &str, first: usize) -> String {
        let bounds = list(self.key.iter().enumerate().map(|(n, column)| format!("${}::text::{}", n + first, column.sql_type)));
        format!("({}) {operator} ({bounds})", self.key_list())
    }

    /// A condition: the row's key is one of those in the arrays `$1::text[]` and on.
    pub fn among(&self) -> String {
        let cast = list(self.key.iter().enumerate().map(|(n, column)| format!("k{n}::{}", column.sql_type)));
        let arrays = list((1..=self.key.len()).map(|n| format!("${n}::text[]")));
        let names = list((0..self.key.len()).map(|n| format!("k{n}")));
        format!("({}) IN (SELECT {cast} FROM unnest({arrays}) AS wanted ({names}))", self.key_list())
    }

    /// The key as a jsonb object of texts.
    pub fn key_json(&self) -> String {
        let pairs = self.key.iter().map(|column| format!("{}, {}::text", Literal::new(column.name.as_str()), column.name));
        format!("jsonb_build_object({})", list(pairs))
    }

    /// The whole row as jsonb, or NULL where that could fail.
    pub fn row_json(&self) -> String {
        if self.jsonb_safe { format!("to_jsonb({}.*)", self.name.name()) } else { "NULL::jsonb".to_owned() }
    }

    /// The whole row as the text of a record, from which it can be restored exactly.
    pub fn row_text(&self) -> String {
        format!("({}.*)::text", self.name.name())
    }

    /// Whether the table has this column.
    pub fn has(&self, name: &Ident) -> bool {
        self.columns.iter().any(|column| column.name == *name)
    }

    /// Rows that meet `condition`, as the planner estimates them.
    ///
    /// # Errors
    /// When the condition is not valid for this table.
    pub async fn estimate(&self, session: &Session, condition: &str) -> anyhow::Result<i64> {
        let sql = format!("EXPLAIN (FORMAT JSON) SELECT 1 FROM {} WHERE ({condition}\n)", self.name);
        let plan: serde_json::Value = session.query_one(&sql, &[]).await.context("`where` does not fit the table")?.get(0);
        Ok(plan[0]["Plan"]["Plan Rows"].as_i64().unwrap_or(0))
    }

    /// Rows of the table as last estimated by ANALYZE or VACUUM (`pg_class.reltuples`); 0 when never.
    ///
    /// # Errors
    /// When the session is gone.
    pub async fn rows(&self, session: &Session) -> anyhow::Result<u64> {
        Ok(table_state(session, &self.name).await?.map_or(0, |table| table.rows.unsigned_abs()))
    }

    /// Whether any row meets `condition`.
    ///
    /// # Errors
    /// When the condition is not valid for this table.
    pub async fn any(&self, session: &Session, condition: &str) -> anyhow::Result<bool> {
        let sql = format!("SELECT EXISTS (SELECT 1 FROM {} WHERE ({condition}\n))", self.name);
        Ok(session.query_one(&sql, &[]).await.context("`where` does not fit the table")?.get(0))
    }
}

/// Joins with commas.
pub(in crate::step) fn list(parts: impl IntoIterator<Item = String>) -> String {
    parts.into_iter().collect::<Vec<_>>().join(", ")
}

/// Texts as statement parameters.
pub(in crate::step) fn parameters<T: ToSql + Sync>(values: &[T]) -> Vec<&(dyn ToSql + Sync)> {
    values.iter().map(|value| value as &(dyn ToSql + Sync)).collect()
}

#[cfg(test)]
pub(in crate::step) fn example() -> KeyedTable {
    let column = |name: &str, sql_type: &str| Column { name: Ident::new(name), sql_type: sql_type.to_owned(), generated: false };
    KeyedTable {
        name: QualifiedName::new("public", "item"),
        key: vec![column("a", "integer"), column("B", "character varying(36)")],
        columns: vec![column("a", "integer"), column("B", "character varying(36)"), column("note", "text")],
        jsonb_safe: true,
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn key_conditions_quote_and_cast() {
        let table = super::example();
        assert_eq!(table.compared(">", 2), r#"("a", "B") > ($2::text::integer, $3::text::character varying(36))"#);
        assert!(
            table.among().starts_with(r#"("a", "B") IN (SELECT k0::integer, k1::character varying(36) FROM unnest($1::text[]"#)
        );
        assert_eq!(table.key_json(), r#"jsonb_build_object('a', "a"::text, 'B', "B"::text)"#);
    }
}
