//! From captured changes to revocations, on blue.

use std::pin::Pin;
use std::time::SystemTime;

use anyhow::Context;
use futures_util::stream::Fuse;
use futures_util::{StreamExt, TryStreamExt};
use tokio_postgres::{Row, RowStream};

use super::{Event, Rules, Wanted};
use crate::pg::Session;
use crate::sql::{Literal, QualifiedName};
use crate::terms::RunId;

/// How many revocations are held in memory at a time.
const PAGE: usize = 5_000;

/// Revocations as blue tells them, a page at a time.
pub struct Pending<'a> {
    blue: &'a Session,
    rows: Pin<Box<Fuse<RowStream>>>,
}

/// The revocations among the changes that the session's snapshot sees and `since` (the text of a `pg_snapshot`) does not.
///
/// # Errors
/// When the rules do not fit what is captured for the run; says what is missing, and what to do.
pub async fn pending<'a>(blue: &'a Session, run: &RunId, rules: &Rules, since: &str) -> anyhow::Result<Pending<'a>> {
    let mut changes = Vec::new();
    for wanted in &rules.wanted {
        changes.push(changes_of(blue, run, wanted, since).await?);
    }
    // Statistics lag behind a table that fills and empties.
    blue.batch_execute("SET enable_seqscan = off").await?;
    let none: [&str; 0] = [];
    let rows = blue.query_raw(rules.statement(&changes).as_str(), none).await.context(FAILED)?;
    Ok(Pending { blue, rows: Box::pin(rows.fuse()) })
}

const FAILED: &str = "the revocation rules fail on blue";

impl Pending<'_> {
    /// The next page; `None` when there is none.
    ///
    /// # Errors
    /// When a query of the rules fails, or gives other columns than it should.
    pub async fn next(&mut self) -> anyhow::Result<Option<Vec<Event>>> {
        let mut page = Vec::new();
        while page.len() < PAGE {
            match self.rows.try_next().await.context(FAILED)? {
                Some(row) => page.push(event(&row)?),
                None if page.is_empty() => {
                    self.blue.batch_execute("SET enable_seqscan = on").await?;
                    return Ok(None);
                }
                None => break,
            }
        }
        Ok(Some(page))
    }
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
            // Two conditions that exclude each other and that the outbox's index serves.
            let since = Literal::new(since);
            let unseen = [
                format!("transaction >= pg_snapshot_xmax({since}::pg_snapshot)"),
                format!("transaction = ANY (ARRAY(SELECT pg_snapshot_xip({since}::pg_snapshot)))"),
            ];
            let read = read.concat();
            let branches = unseen.map(|unseen| {
                format!(
                    "SELECT transaction, operation::text AS operation, written_at{read} FROM crossfade.outbox \
                     WHERE captured = {id} AND operation <> 't' AND {unseen}"
                )
            });
            return Ok(branches.join(" UNION ALL "));
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
