//! Queries that count the rows in the way of a constraint.

use super::state::{State, key};
use crate::sql::{Ident, QualifiedName};

/// Rows with NULL in a column.
pub(super) fn nulls(table: &QualifiedName, column: &str) -> String {
    format!("SELECT count(*) FROM {table} WHERE {} IS NULL", Ident::new(column))
}

/// Rows that a CHECK refuses: it lets NULL through (PostgreSQL manual 5.4.1).
pub(super) fn failing(table: &QualifiedName, expr: &str) -> String {
    format!("SELECT count(*) FROM {table} WHERE NOT ({expr})")
}

/// Keys that more than one row has; `keys` are columns or expressions.
pub(super) fn duplicates(table: &QualifiedName, keys: &[String]) -> String {
    let plain = |key: &String| key.chars().all(|c| c.is_alphanumeric() || c == '_');
    let keys: Vec<String> = keys.iter().map(|key| if plain(key) { Ident::new(key).to_string() } else { key.clone() }).collect();
    let present: Vec<String> = keys.iter().map(|key| format!("({key}) IS NOT NULL")).collect();
    let keys = keys.join(", ");
    format!(
        "SELECT count(*) FROM (SELECT {keys} FROM {table} GROUP BY {keys} HAVING count(*) > 1 AND {}) AS duplicates",
        present.join(" AND ")
    )
}

/// Rows that point to nothing.
pub(super) fn orphans(
    table: &QualifiedName,
    columns: &[String],
    references: &QualifiedName,
    referenced: &[String],
    state: &State,
) -> String {
    let primary = || {
        let known = state.tables.get(&key(references))?;
        let of = known.constraints.iter().find(|c| c.demands == super::act::Demands::PrimaryKey)?;
        Some(of.columns.clone())
    };
    let referenced = if referenced.is_empty() { primary().unwrap_or_else(|| columns.to_vec()) } else { referenced.to_vec() };
    let pairs: Vec<String> =
        columns.iter().zip(&referenced).map(|(own, other)| format!("r.{} = t.{}", Ident::new(other), Ident::new(own))).collect();
    let present: Vec<String> = columns.iter().map(|own| format!("t.{} IS NOT NULL", Ident::new(own))).collect();
    format!(
        "SELECT count(*) FROM {table} AS t WHERE {} AND NOT EXISTS (SELECT FROM {references} AS r WHERE {})",
        present.join(" AND "),
        pairs.join(" AND ")
    )
}
