//! From captured changes to revocations, on blue.

use std::pin::Pin;
use std::time::SystemTime;

use anyhow::Context;
use futures_util::stream::Fuse;
use futures_util::{SinkExt, StreamExt, TryStreamExt};
use tokio_postgres::{Row, RowStream};

use super::{Event, Rules, Wanted};
use crate::pg::{Session, Snapshot};
use crate::sql::{Ident, Literal};
use crate::terms::RunId;

/// How many revocations are held in memory at a time.
const PAGE: usize = 5_000;

/// Revocations as blue tells them, a page at a time.
pub struct Pending<'a> {
    blue: Asked<'a>,
    rows: Option<Pin<Box<Fuse<RowStream>>>>,
}

/// The session of blue that answers.
enum Asked<'a> {
    /// That of the snapshot.
    Snapshot(&'a Session),
    /// One in the same snapshot, with the changes in temporary tables.
    Own(Box<Session>),
}

impl Asked<'_> {
    fn session(&self) -> &Session {
        match self {
            Self::Snapshot(session) => session,
            Self::Own(session) => session,
        }
    }
}

/// The revocations among the changes that the snapshot `at` of blue sees and `since` (the text of a `pg_snapshot`) does not:
/// from the outbox on blue, or from the inbox on green where a slot tells the changes.
///
/// # Errors
/// When the rules do not fit what is captured for the run; says what is missing, and what to do.
pub async fn pending<'a>(
    at: &'a Snapshot,
    green: &Session,
    run: &RunId,
    rules: &Rules,
    since: &str,
) -> anyhow::Result<Pending<'a>> {
    let places = places(at.session(), run, rules).await?;
    let slot = places.iter().any(|place| place.slot);
    let (holder, changes) = if slot { ("crossfade.inbox", unseen(since)) } else { ("crossfade.outbox", unseen(since)) };
    let mut mine =
        format!("captured = ANY ('{{{}}}'::integer[])", places.iter().map(|p| p.id.to_string()).collect::<Vec<_>>().join(","));
    if slot {
        mine += &format!(
            " AND run = {} AND pg_visible_in_snapshot(transaction, {}::pg_snapshot)",
            Literal::new(run.as_str()),
            Literal::new(at.text().await?)
        );
    }
    let from = if slot { green } else { at.session() };
    // Statistics lag behind a table that fills and empties.
    from.batch_execute("SET enable_seqscan = off").await?;
    let branch = |unseen: &String| format!("{holder} WHERE {mine} AND {unseen}");
    let any = changes.each_ref().map(|unseen| format!("EXISTS (SELECT FROM {})", branch(unseen)));
    let any: bool = from.query_one(format!("SELECT {}", any.join(" OR ")).as_str(), &[]).await?.get(0);
    if !any {
        from.batch_execute("SET enable_seqscan = on").await?;
        return Ok(Pending { blue: Asked::Snapshot(at.session()), rows: None });
    }
    let (blue, relations): (Asked<'a>, Vec<String>) = match slot {
        false => (Asked::Snapshot(at.session()), places.iter().map(|place| place.changes(holder, &changes)).collect()),
        true => {
            let queries = changes
                .each_ref()
                .map(|unseen| format!("SELECT transaction, captured, operation, keys, written_at FROM {}", branch(unseen)));
            let own = brought(at, green, &queries.join(" UNION ALL ")).await?;
            green.batch_execute("SET enable_seqscan = on").await?;
            (Asked::Own(Box::new(own)), places.iter().map(|place| place.changes(BROUGHT, &["true".to_owned()])).collect())
        }
    };
    let none: [&str; 0] = [];
    let rows = blue.session().query_raw(rules.statement(&relations).as_str(), none).await.context(FAILED)?.fuse();
    Ok(Pending { blue, rows: Some(Box::pin(rows)) })
}

/// The temporary table of changes on blue.
const BROUGHT: &str = "pg_temp.crossfade_changes";

/// A session of blue in the snapshot, with what a query on green gives in [`BROUGHT`]: a transaction that only reads may write
/// to temporary tables, which no other session sees.
async fn brought(at: &Snapshot, green: &Session, query: &str) -> anyhow::Result<Session> {
    let ticket = at.ticket();
    let session = ticket.outside().await?;
    let create = format!(
        "CREATE TEMPORARY TABLE {} (transaction xid8, captured integer, operation \"char\", keys text[], written_at timestamptz)",
        BROUGHT.trim_start_matches("pg_temp.")
    );
    session.batch_execute(&create).await.context("a temporary table for the changes on blue")?;
    ticket.enter(&session).await?;
    {
        let changes = green.copy_out(&format!("COPY ({query}) TO STDOUT (FORMAT binary)")).await.context("reading the inbox")?;
        let sink = session.copy_in::<_, bytes::Bytes>(&format!("COPY {BROUGHT} FROM STDIN (FORMAT binary)")).await?;
        futures_util::pin_mut!(changes, sink);
        while let Some(piece) = changes.try_next().await.context("reading the inbox")? {
            sink.feed(piece).await?;
        }
        sink.finish().await.context("bringing changes to blue")?;
    }
    Ok(session)
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
            self.blue.session().batch_execute("SET enable_seqscan = on").await?;
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

/// A table that the rules read: where its changes are.
struct Place {
    /// Its number among the captured tables.
    id: i32,
    /// Whether a slot tells its changes.
    slot: bool,
    /// Per column that the rules read: where it stands among the captured ones, its name and its type. The text that a slot
    /// gives is the type's own: what `::text` gives may be another.
    columns: Vec<(usize, Ident, String)>,
}

async fn places(blue: &Session, run: &RunId, rules: &Rules) -> anyhow::Result<Vec<Place>> {
    let sql = "SELECT wanted.nr, captured.id, captured.columns, to_jsonb(captured) ->> 'slot' IS NOT NULL, \
                      ARRAY(SELECT format_type(a.atttypid, NULL) FROM unnest(captured.columns) WITH ORDINALITY AS c (name, nr) \
                            JOIN pg_attribute a ON a.attrelid = captured.table_oid AND a.attname = c.name ORDER BY c.nr) \
               FROM unnest($2::text[]) WITH ORDINALITY AS wanted (name, nr) \
               JOIN crossfade.captured ON captured.run = $1 AND captured.table_oid = to_regclass(wanted.name)::oid ORDER BY captured.id";
    let names: Vec<String> = rules.wanted.iter().map(|wanted| wanted.table.to_string()).collect();
    let captured = blue.query(sql, &[&run.as_str(), &names]).await?;
    let mut places = Vec::new();
    for (nr, wanted) in (1_i64..).zip(&rules.wanted) {
        let mut of_table = captured.iter().filter(|row| row.get::<_, i64>(0) == nr).peekable();
        let not_at_all = of_table.peek().is_none();
        let place = of_table.find_map(|row| {
            let (columns, types): (Vec<&str>, Vec<&str>) = (row.get(2), row.get(4));
            let place = |name: &Ident| {
                let at = columns.iter().position(|column| *column == name.as_str())?;
                Some((at + 1, name.clone(), (*types.get(at)?).to_owned()))
            };
            Some(Place { id: row.get(1), slot: row.get(3), columns: wanted.columns.iter().map(place).collect::<Option<_>>()? })
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

impl Place {
    /// The query that gives the changes of the table, from a relation of all changes and under conditions that exclude each
    /// other.
    fn changes(&self, relation: &str, conditions: &[String]) -> String {
        let value = |at: &usize, of_type: &String| match self.slot {
            true => format!("(keys[{at}]::{of_type})::text"),
            false => format!("keys[{at}]"),
        };
        let read: String = self.columns.iter().map(|(at, name, of_type)| format!(", {} AS {name}", value(at, of_type))).collect();
        let branches = conditions.iter().map(|condition| {
            format!(
                "SELECT transaction, CASE operation WHEN 'c' THEN 'u' ELSE operation::text END AS operation, written_at{read} \
                 FROM {relation} WHERE captured = {} AND operation <> 't' AND {condition}",
                self.id
            )
        });
        branches.collect::<Vec<_>>().join(" UNION ALL ")
    }
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
