//! Projections made from the catalog: same table, same columns on both sides.

use super::{Projection, Source, read_target};
use crate::pg::Session;
use crate::sql::{Ident, QualifiedName};
use crate::terms::{Finding, Severity};

/// One projection per table: green's columns but the generated ones, by name; the key is blue's primary key, or its first
/// unique index over columns that are NOT NULL. A copy takes no index off blue, so the answer is the same at any time.
///
/// # Errors
/// When a session is gone. What is wrong with a table becomes a finding.
pub async fn identity(
    blue: &Session,
    green: &Session,
    tables: &[QualifiedName],
) -> anyhow::Result<(Vec<Projection>, Vec<Finding>)> {
    let (mut projections, mut findings) = (Vec::new(), Vec::new());
    for name in tables {
        let blocks = |side: &str, what: &str, next: &str| Finding {
            severity: Severity::Blocks,
            object: format!("table {} on {side}", name.plain()),
            what: what.to_owned(),
            next: next.to_owned(),
        };
        let Some(old) = read_target(blue, name).await? else {
            findings.push(blocks("blue", "does not exist", "correct `tables` in the plan"));
            continue;
        };
        let Some(new) = read_target(green, name).await? else {
            findings.push(blocks("green", "does not exist", "create it on green, by a `migrate` step before this one"));
            continue;
        };
        let not_null = |column: &String| old.column(&Ident::new(column)).is_some_and(|column| column.not_null);
        let Some(key) = old.unique.iter().find(|columns| !columns.is_empty() && columns.iter().all(not_null)) else {
            let next = "add a primary key, or write a projection whose key is unique";
            findings.push(blocks("blue", "has no primary key and no unique index over NOT NULL columns", next));
            continue;
        };
        let columns = new.columns.iter().filter(|column| !column.generated);
        projections.push(Projection {
            table: name.clone(),
            key: key.iter().map(Ident::new).collect(),
            defaulted: Vec::new(),
            sources: vec![Source {
                name: "same".to_owned(),
                drives: old.table.clone(),
                alias: Ident::new("t"),
                from: format!("{} AS t", old.table),
                filter: None,
                columns: columns.map(|column| (column.name.clone(), format!("t.{}", column.name))).collect(),
                driving: Some(key.iter().map(Ident::new).collect()),
                dirty: Vec::new(),
                apart: None,
            }],
            identity: true,
        });
    }
    Ok((projections, findings))
}
