//! From captured changes to revocations, on blue.

use std::time::SystemTime;

use anyhow::Context;
use futures_util::TryStreamExt;
use tokio_postgres::Row;

use super::{Event, Rules, Wanted};
use crate::pg::Session;
use crate::sql::{Literal, QualifiedName};
use crate::terms::RunId;

/// How many revocations are held in memory at a time.
const PAGE: usize = 5_000;

/// The revocations among the changes that the session's snapshot sees and `since` (the text of a `pg_snapshot`) does not, in
/// pages. Nothing when nothing is captured for the run.
///
/// # Errors
/// When the rules do not fit what is captured; says what is missing, and what to do.
pub async fn pending(
    blue: &Session,
    run: &RunId,
    rules: &Rules,
    since: &str,
    mut each: impl AsyncFnMut(Vec<Event>) -> anyhow::Result<()>,
) -> anyhow::Result<u64> {
    let mut changes = Vec::new();
    for wanted in &rules.wanted {
        changes.push(changes_of(blue, run, wanted, since).await?);
    }
    let none: [&str; 0] = [];
    let rows = blue.query_raw(rules.statement(&changes).as_str(), none).await.context("the revocation rules fail on blue")?;
    let (mut rows, mut page, mut all) = (std::pin::pin!(rows), Vec::new(), 0);
    while let Some(row) = rows.try_next().await.context("the revocation rules fail on blue")? {
        page.push(event(&row)?);
        all += 1;
        if page.len() == PAGE {
            each(std::mem::take(&mut page)).await?;
        }
    }
    if !page.is_empty() {
        each(page).await?;
    }
    Ok(all)
}

fn event(row: &Row) -> anyhow::Result<Event> {
    let transaction: Option<&str> = row.get(4);
    Ok(Event {
        what: row.get(0),
        id: row.get(1),
        client: row.get(2),
        subject: row.get(3),
        transaction: transaction.unwrap_or("0").parse().context("`transaction` is not that of the captured changes")?,
        revoked_at: row.get::<_, Option<SystemTime>>(5).context("a rule gives no revoked_at")?,
    })
}

/// The query that gives the changes of a table.
async fn changes_of(blue: &Session, run: &RunId, wanted: &Wanted, since: &str) -> anyhow::Result<String> {
    let sql = "SELECT id, columns FROM crossfade.captured WHERE run = $1 AND table_oid = to_regclass($2)::oid ORDER BY id";
    let name = wanted.table.to_string();
    let captured = blue.query(sql, &[&run.as_str(), &name]).await?;
    let place = |columns: &[String], name: &str| columns.iter().position(|column| column == name);
    for row in &captured {
        let (id, columns): (i32, Vec<String>) = (row.get(0), row.get(1));
        let read = wanted
            .columns
            .iter()
            .map(|column| place(&columns, column.as_str()).map(|index| format!(", keys[{}] AS {column}", index + 1)));
        if let Some(read) = read.collect::<Option<Vec<_>>>() {
            let since = Literal::new(since);
            return Ok(format!(
                "SELECT transaction, operation::text AS operation, written_at{} FROM crossfade.outbox \
                 WHERE captured = {id} AND operation <> 't' AND (transaction >= pg_snapshot_xmax({since}::pg_snapshot) \
                    OR transaction = ANY (ARRAY(SELECT pg_snapshot_xip({since}::pg_snapshot))))",
                read.concat()
            ));
        }
    }
    anyhow::bail!(missing(&wanted.table, wanted, captured.is_empty()))
}

fn missing(table: &QualifiedName, wanted: &Wanted, not_at_all: bool) -> String {
    let columns: Vec<&str> = wanted.columns.iter().map(|column| column.as_str()).collect();
    format!(
        "table {} {}: the revocation rules read {}; next: name the rules file in `revocations` of the start_capture step, before the \
         capture begins",
        table.plain(),
        if not_at_all { "is not captured" } else { "is captured without all the columns they need" },
        columns.join(", ")
    )
}
