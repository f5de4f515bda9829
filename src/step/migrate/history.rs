//! The application's own table of applied versions, and our markers for files that are partly done.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context;
use serde::Deserialize;

use crate::pg::{Session, control_present};
use crate::sql::{Ident, Literal, QualifiedName};

/// A constant for a column of the history table.
#[derive(Debug, Clone, Deserialize, schemars::JsonSchema)]
#[serde(untagged)]
pub(super) enum Constant {
    /// `true`, `false`.
    Boolean(bool),
    /// An integer.
    Integer(i64),
    /// A string; also the way to write any other type.
    Text(String),
}

impl std::fmt::Display for Constant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Constant::Boolean(value) => write!(f, "{value}"),
            Constant::Integer(value) => write!(f, "{value}"),
            Constant::Text(value) => Literal::new(value.as_str()).fmt(f),
        }
    }
}

/// The history table as the plan names it.
#[derive(Debug, Clone, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct History {
    /// The table.
    pub table: QualifiedName,
    /// Its column of versions.
    pub column: Ident,
    /// What a new row has in other columns.
    #[serde(default)]
    pub constants: BTreeMap<Ident, Constant>,
}

/// Units that are done, by version key and number, with the fingerprint they had.
pub(super) type Marks = BTreeMap<(String, i32), String>;

impl History {
    /// The versions in the table; `None` where the table is not there.
    ///
    /// # Errors
    /// When the table has no such column, or the session is gone.
    pub async fn versions(&self, session: &Session) -> anyhow::Result<Option<BTreeSet<String>>> {
        let table = self.table.to_string();
        let there: bool = session.query_one("SELECT to_regclass($1) IS NOT NULL", &[&table]).await?.get(0);
        if !there {
            return Ok(None);
        }
        let rows = session
            .query(&format!("SELECT {}::text FROM {table}", self.column), &[])
            .await
            .with_context(|| format!("cannot read the history table {}", self.table.plain()))?;
        Ok(Some(rows.iter().filter_map(|row| row.get::<_, Option<String>>(0)).collect()))
    }

    /// The statements that record these versions, each if it is missing.
    pub fn record<'a>(&self, versions: impl Iterator<Item = &'a str>) -> Vec<String> {
        let columns: String = self.constants.keys().map(|column| format!(", {column}")).collect();
        let values: String = self.constants.values().map(|value| format!(", {value}")).collect();
        versions
            .map(|version| {
                let (table, column, version) = (&self.table, &self.column, Literal::new(version));
                format!(
                    "INSERT INTO {table} ({column}{columns}) SELECT {version}{values} \
                     WHERE NOT EXISTS (SELECT FROM {table} WHERE {column}::text = {version})"
                )
            })
            .collect()
    }

    /// The statement that forgets these versions.
    pub fn forget<'a>(&self, versions: impl Iterator<Item = &'a str>) -> Option<String> {
        let list = versions.map(|version| Literal::new(version).to_string()).collect::<Vec<_>>().join(", ");
        (!list.is_empty()).then(|| format!("DELETE FROM {} WHERE {}::text IN ({list})", self.table, self.column))
    }

    /// Our markers under this history; none where our tables are not there.
    ///
    /// # Errors
    /// When the session is gone.
    pub async fn marks(&self, session: &Session) -> anyhow::Result<Marks> {
        if !control_present(session).await? {
            return Ok(Marks::new());
        }
        let sql = "SELECT version, unit, fingerprint FROM crossfade.migration_unit WHERE history = $1";
        let rows = session.query(sql, &[&self.table.plain()]).await?;
        Ok(rows.iter().map(|row| ((row.get(0), row.get(1)), row.get(2))).collect())
    }

    /// The statement that marks a unit as done; it belongs in the transaction of the effect where there is one.
    pub fn mark(&self, key: &str, unit: i32, fingerprint: &str) -> String {
        format!(
            "INSERT INTO crossfade.migration_unit (history, version, unit, fingerprint) VALUES ({}, {}, {unit}, {}) \
             ON CONFLICT DO NOTHING",
            Literal::new(self.table.plain()),
            Literal::new(key),
            Literal::new(fingerprint)
        )
    }

    /// The statement that removes the markers under these keys.
    pub fn unmark(&self, keys: &[&str]) -> String {
        let list = keys.iter().map(|key| Literal::new(*key).to_string()).collect::<Vec<_>>().join(", ");
        let history = Literal::new(self.table.plain());
        format!("DELETE FROM crossfade.migration_unit WHERE history = {history} AND version IN ({list})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_written_with_constants_and_quoted() {
        let history: History =
            toml::from_str("table = \"app.done\"\ncolumn = \"Version\"\nconstants = { self = 0, by = \"it's\" }").unwrap();
        assert_eq!(
            history.record(["1"].into_iter()),
            ["INSERT INTO \"app\".\"done\" (\"Version\", \"by\", \"self\") SELECT '1', 'it''s', 0 \
             WHERE NOT EXISTS (SELECT FROM \"app\".\"done\" WHERE \"Version\"::text = '1')"]
        );
        let forget = history.forget(["1", "2"].into_iter()).unwrap();
        assert_eq!(forget, "DELETE FROM \"app\".\"done\" WHERE \"Version\"::text IN ('1', '2')");
        assert_eq!(history.forget(std::iter::empty()), None);
    }
}
