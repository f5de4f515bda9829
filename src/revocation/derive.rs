//! From captured changes to revocations, on blue.

use std::pin::Pin;
use std::time::SystemTime;

use anyhow::Context;
use futures_util::stream::Fuse;
use futures_util::{StreamExt, TryStreamExt};
use tokio_postgres::{Row, RowStream};

use super::{Event, Rules, Wanted};
use crate::pg::Session;
use crate::sql::{Ident, Literal};
use crate::terms::RunId;

/// How many revocations are held in memory at a time.
const PAGE: usize = 5_000;

/// Revocations as blue tells them, a page at a time.
pub struct Pending<'a> {
    blue: &'a Session,
    rows: Option<Pin<Box<Fuse<RowStream>>>>,
}

/// The revocations among the changes that the session's snapshot sees and `since` (the text of a `pg_snapshot`) does not.
///
/// # Errors
/// When the rules do not fit what is captured for the run; says what is missing, and what to do.
pub async fn pending<'a>(blue: &'a Session, run: &RunId, rules: &Rules, since: &str) -> anyhow::Result<Pending<'a>> {
    let places = places(blue, run, rules).await?;
    // Statistics lag behind a table that fills and empties.
    blue.batch_execute("SET enable_seqscan = off").await?;
    let ids: Vec<i32> = places.iter().map(|(id, _)| *id).collect();
    let any = unseen(since).map(|unseen| format!("EXISTS (SELECT FROM crossfade.outbox WHERE captured = ANY ($1) AND {unseen})"));
    let any: bool = blue.query_one(format!("SELECT {}", any.join(" OR ")).as_str(), &[&ids]).await?.get(0);
    let rows = match any {
        true => {
            let changes: Vec<String> = places.iter().map(|(id, columns)| changes(*id, columns, since)).collect();
            let none: [&str; 0] = [];
            Some(Box::pin(blue.query_raw(rules.statement(&changes).as_str(), none).await.context(FAILED)?.fuse()))
        }
        false => None,
    };
    Ok(Pending { blue, rows })
}

const FAILED: &str = "the revocation rules fail on blue";

impl Pending<'_> {
    /// The next page; `None` when there is none.
    ///
    /// # Errors
    /// When a query of the rules fails, or gives other columns than it should.
    pub async fn next(&mut self) -> anyhow::Result<Option<Vec<Event>>> {
        let mut page = Vec::new();
        while let Some(rows) = self.rows.as_mut().filter(|_| page.len() < PAGE) {
            match rows.try_next().await.context(FAILED)? {
                Some(row) => page.push(event(&row)?),
                None => self.rows = None,
            }
        }
        if page.is_empty() {
            self.blue.batch_execute("SET enable_seqscan = on").await?;
            return Ok(None);
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

/// Per table that the rules read: its number in the outbox, and where its columns stand among the captured ones.
type Place = (i32, Vec<(usize, Ident)>);

async fn places(blue: &Session, run: &RunId, rules: &Rules) -> anyhow::Result<Vec<Place>> {
    let sql = "SELECT wanted.nr, captured.id, captured.columns FROM unnest($2::text[]) WITH ORDINALITY AS wanted (name, nr) \
               JOIN crossfade.captured ON captured.run = $1 AND captured.table_oid = to_regclass(wanted.name)::oid ORDER BY captured.id";
    let names: Vec<String> = rules.wanted.iter().map(|wanted| wanted.table.to_string()).collect();
    let captured = blue.query(sql, &[&run.as_str(), &names]).await?;
    let mut places = Vec::new();
    for (nr, wanted) in (1_i64..).zip(&rules.wanted) {
        let mut of_table = captured.iter().filter(|row| row.get::<_, i64>(0) == nr).peekable();
        let not_at_all = of_table.peek().is_none();
        let place = of_table.find_map(|row| {
            let columns: Vec<&str> = row.get(2);
            let place =
                |name: &Ident| columns.iter().position(|column| *column == name.as_str()).map(|at| (at + 1, name.clone()));
            Some((row.get(1), wanted.columns.iter().map(place).collect::<Option<_>>()?))
        });
        places.push(place.ok_or_else(|| anyhow::anyhow!(missing(wanted, not_at_all)))?);
    }
    Ok(places)
}

/// The transactions that a snapshot does not see: two conditions that exclude each other and that the outbox's index serves.
fn unseen(since: &str) -> [String; 2] {
    let since = Literal::new(since);
    [
        format!("transaction >= pg_snapshot_xmax({since}::pg_snapshot)"),
        format!("transaction = ANY (ARRAY(SELECT pg_snapshot_xip({since}::pg_snapshot)))"),
    ]
}

/// The query that gives the changes of a table.
fn changes(id: i32, columns: &[(usize, Ident)], since: &str) -> String {
    let read: String = columns.iter().map(|(at, name)| format!(", keys[{at}] AS {name}")).collect();
    let branches = unseen(since).map(|unseen| {
        format!(
            "SELECT transaction, CASE operation WHEN 'c' THEN 'u' ELSE operation::text END AS operation, written_at{read} FROM crossfade.outbox \
             WHERE captured = {id} AND operation <> 't' AND {unseen}"
        )
    });
    branches.join(" UNION ALL ")
}

fn missing(wanted: &Wanted, not_at_all: bool) -> String {
    let columns: Vec<&str> = wanted.columns.iter().map(|column| column.as_str()).collect();
    format!(
        "table {} {}: the revocation rules read {}; next: name the rules file in `revocations` of the start_capture step, before the \
         capture begins",
        wanted.table.plain(),
        if not_at_all { "is not captured" } else { "is captured without all the columns they need" },
        columns.join(", ")
    )
}
