//! A sample of one database into another that has the same tables.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use bytes::Bytes;
use futures_util::{SinkExt, TryStreamExt};

use super::sample::{Choice, Link, Table, condition};
use super::source::{Source, only};
use crate::pg::Session;
use crate::sql::{Ident, Literal, QualifiedName};

/// So many rows that others point to are asked for at a time.
const ASKED: usize = 500;

/// Brings the rows of a sample, and what they point to. Neither triggers nor foreign keys look: the rows are what they are. Gives
/// the rows of each table.
///
/// # Errors
/// When a table cannot be read, or the rows do not fit; names the table.
pub async fn bring(from: &Session, to: &Session, source: &Source, choices: &[Choice], share: f64) -> Result<Vec<u64>> {
    let Source { tables, links, sequences, .. } = source;
    to.batch_execute("SET session_replication_role = replica; SET synchronous_commit = off").await?;
    for (at, table) in tables.iter().enumerate() {
        let condition = condition(at, tables, links, choices, share).map_or(String::new(), |text| format!(" WHERE {text}"));
        rows(from, to, table, &condition).await?;
    }
    // What is brought points to more: again until nothing is missing, or what is missing is not there.
    let mut asked = BTreeSet::new();
    while complete(from, to, tables, links, &mut asked).await? > 0 {}
    for sequence in sequences {
        stand(from, to, sequence).await?;
    }
    to.batch_execute("VACUUM (ANALYZE)").await.context("VACUUM of the sample")?;
    rows_of(to, tables).await
}

/// The rows of each table.
///
/// # Errors
/// When one cannot be read.
pub async fn rows_of(session: &Session, tables: &[Table]) -> Result<Vec<u64>> {
    let mut rows = Vec::new();
    for table in tables {
        let sql = format!("SELECT count(*) FROM {}", only(&table.name, table.partitioned));
        rows.push(session.query_one(&sql, &[]).await?.get::<_, i64>(0).unsigned_abs());
    }
    Ok(rows)
}

/// Copies the rows of a table, called `t`, for which the condition holds.
async fn rows(from: &Session, to: &Session, table: &Table, condition: &str) -> Result<u64> {
    let name = || format!("table {}", table.name.plain());
    if table.columns.is_empty() {
        return Ok(0);
    }
    let list = |row: &str| {
        let columns: Vec<String> = table.columns.iter().map(|column: &Ident| format!("{row}{column}")).collect();
        columns.join(", ")
    };
    let read = format!("COPY (SELECT {} FROM {} AS t{condition}) TO STDOUT", list("t."), only(&table.name, table.partitioned));
    let write = format!("COPY {} ({}) FROM STDIN", table.name, list(""));
    let mut out = Box::pin(from.copy_out(read.as_str()).await.with_context(name)?);
    let mut sink = Box::pin(to.copy_in::<_, Bytes>(write.as_str()).await.with_context(name)?);
    while let Some(piece) = out.try_next().await.with_context(name)? {
        sink.feed(piece).await.with_context(name)?;
    }
    sink.as_mut().finish().await.with_context(name)
}

/// Brings the rows that brought rows point to and that are missing. `asked` are those that were asked for before.
async fn complete(
    from: &Session,
    to: &Session,
    tables: &[Table],
    links: &[Link],
    asked: &mut BTreeSet<(usize, Vec<String>)>,
) -> Result<u64> {
    let mut found = 0;
    for (number, link) in links.iter().enumerate() {
        let (child, parent) = (&tables[link.child], &tables[link.parent]);
        let wanted: Vec<Vec<String>> =
            missing(to, child, parent, link).await?.into_iter().filter(|key| asked.insert((number, key.clone()))).collect();
        for keys in wanted.chunks(ASKED) {
            let columns: Vec<String> = link.refers.iter().map(|column| format!("t.{column}")).collect();
            let tuple = |key: &Vec<String>| {
                let values: Vec<String> = key.iter().map(|value| Literal::new(value.as_str()).to_string()).collect();
                format!("({})", values.join(", "))
            };
            let list: Vec<String> = keys.iter().map(tuple).collect();
            found += rows(from, to, parent, &format!(" WHERE ({}) IN ({})", columns.join(", "), list.join(", "))).await?;
        }
    }
    Ok(found)
}

/// The values that point to nothing, as text.
async fn missing(to: &Session, child: &Table, parent: &Table, link: &Link) -> Result<Vec<Vec<String>>> {
    let columns: Vec<String> = link.columns.iter().map(|column| format!("c.{column}::text")).collect();
    let there: Vec<String> = link.columns.iter().map(|column| format!("c.{column} IS NOT NULL")).collect();
    let same: Vec<String> =
        link.columns.iter().zip(&link.refers).map(|(column, refers)| format!("p.{refers} = c.{column}")).collect();
    let sql = format!(
        "SELECT DISTINCT {} FROM {} AS c WHERE {} AND NOT EXISTS (SELECT FROM {} AS p WHERE {})",
        columns.join(", "),
        child.name,
        there.join(" AND "),
        parent.name,
        same.join(" AND ")
    );
    let found = to.query(&sql, &[]).await.with_context(|| format!("foreign keys of {}", child.name.plain()))?;
    Ok(found.iter().map(|row| (0..link.columns.len()).map(|at| row.get(at)).collect()).collect())
}

/// A sequence stands where it stands in the source; one that cannot be read stands at its beginning.
async fn stand(from: &Session, to: &Session, sequence: &QualifiedName) -> Result<()> {
    let read = format!("SELECT last_value, is_called FROM {sequence}");
    let privileged = "SELECT has_sequence_privilege($1, 'SELECT')";
    if from.query_one(privileged, &[&sequence.to_string()]).await?.get(0) {
        let row = from.query_one(&read, &[]).await?;
        let (at, called): (i64, bool) = (row.get(0), row.get(1));
        to.execute("SELECT setval($1::text::regclass, $2, $3)", &[&sequence.to_string(), &at, &called]).await?;
    }
    Ok(())
}
