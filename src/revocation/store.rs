//! `crossfade.revocation` on green: what was revoked, and how far that has come.

use std::time::SystemTime;

use serde::Serialize;
use tokio_postgres::Row;

use super::{Event, Recorded, Source};
use crate::pg::Session;
use crate::terms::RunId;

/// Records revocations, each once: those that are already there stay as they are. Gives the number of new ones.
///
/// # Errors
/// When green cannot be written; none is recorded then.
pub async fn record(green: &Session, run: &RunId, source: Source, events: &[Event]) -> anyhow::Result<u64> {
    if events.is_empty() {
        return Ok(0);
    }
    let column = |of: fn(&Event) -> Option<&str>| events.iter().map(of).collect::<Vec<Option<&str>>>();
    let transactions: Vec<String> = events.iter().map(|event| event.transaction.to_string()).collect();
    let times: Vec<SystemTime> = events.iter().map(|event| event.revoked_at).collect();
    let sql = "INSERT INTO crossfade.revocation (run, what, id, client, subject, transaction, revoked_at, source) \
               SELECT $1, what, id, client, subject, transaction::xid8, revoked_at, $2 \
               FROM unnest($3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::timestamptz[]) \
                    AS new (what, id, client, subject, transaction, revoked_at) \
               ORDER BY revoked_at ON CONFLICT (run, what, id, transaction) DO NOTHING";
    let new = green
        .execute(
            sql,
            &[
                &run.as_str(),
                &source.as_str(),
                &column(|event| Some(&event.what)),
                &column(|event| Some(&event.id)),
                &column(|event| event.client.as_deref()),
                &column(|event| event.subject.as_deref()),
                &transactions,
                &times,
            ],
        )
        .await?;
    Ok(new)
}

/// How far the revocations of a run have come. Each counts once, in every figure that it has reached.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Figures {
    /// Recorded.
    pub captured: u64,
    /// Of these, taken away on green.
    pub replayed: u64,
    /// Of these, asked for on green and found without access.
    pub proved: u64,
}

/// The figures of a run; zeros where our tables are not there.
///
/// # Errors
/// When the session is gone.
pub async fn figures(green: &Session, run: &RunId) -> anyhow::Result<Figures> {
    if !present(green).await? {
        return Ok(Figures::default());
    }
    let sql = "SELECT count(*), count(replayed_at), count(proved_at) FROM crossfade.revocation WHERE run = $1";
    let row = green.query_one(sql, &[&run.as_str()]).await?;
    let count = |index| row.get::<_, i64>(index).unsigned_abs();
    Ok(Figures { captured: count(0), replayed: count(1), proved: count(2) })
}

async fn present(green: &Session) -> anyhow::Result<bool> {
    Ok(green.query_one("SELECT to_regclass('crossfade.revocation') IS NOT NULL", &[]).await?.get(0))
}

/// Those of these revocations that are not recorded.
///
/// # Errors
/// When the session is gone.
pub async fn unknown(green: &Session, run: &RunId, events: Vec<Event>) -> anyhow::Result<Vec<Event>> {
    if events.is_empty() || !present(green).await? {
        return Ok(events);
    }
    let text = |of: fn(&Event) -> String| events.iter().map(of).collect::<Vec<String>>();
    let sql = "SELECT known.run IS NULL FROM unnest($2::text[], $3::text[], $4::text[]) WITH ORDINALITY AS new (what, id, transaction, nr) \
               LEFT JOIN crossfade.revocation AS known ON known.run = $1 AND known.what = new.what AND known.id = new.id \
                    AND known.transaction = new.transaction::xid8 ORDER BY nr";
    let rows = green
        .query(
            sql,
            &[
                &run.as_str(),
                &text(|event| event.what.clone()),
                &text(|event| event.id.clone()),
                &text(|event| event.transaction.to_string()),
            ],
        )
        .await?;
    let new = rows.iter().map(|row| row.get::<_, bool>(0));
    Ok(events.into_iter().zip(new).filter(|(_, new)| *new).map(|(event, _)| event).collect())
}

/// Which revocations.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Only of this kind.
    pub what: Option<String>,
    /// Only those at or after this time, by blue's clock.
    pub since: Option<SystemTime>,
}

impl Filter {
    /// Whether a revocation is among them.
    pub fn has(&self, event: &Event) -> bool {
        self.what.as_ref().is_none_or(|what| *what == event.what) && self.since.is_none_or(|since| event.revoked_at >= since)
    }
}

/// Revocations of a run in the order in which they were recorded, a page at a time: those after `after`, with the place of each.
///
/// # Errors
/// When the session is gone.
pub async fn list(green: &Session, run: &RunId, filter: &Filter, after: i64, limit: i64) -> anyhow::Result<Vec<(i64, Recorded)>> {
    if !present(green).await? {
        return Ok(Vec::new());
    }
    let sql = "SELECT seq, what, id, client, subject, transaction::text, revoked_at, source, captured_at, replayed_at, proved_at \
               FROM crossfade.revocation WHERE run = $1 AND seq > $2 AND ($3::text IS NULL OR what = $3) \
               AND ($4::timestamptz IS NULL OR revoked_at >= $4) ORDER BY seq LIMIT $5";
    let rows = green.query(sql, &[&run.as_str(), &after, &filter.what, &filter.since, &limit]).await?;
    rows.iter().map(|row| Ok((row.get(0), recorded(row)?))).collect()
}

pub(super) fn recorded(row: &Row) -> anyhow::Result<Recorded> {
    let event = Event {
        what: row.get(1),
        id: row.get(2),
        client: row.get(3),
        subject: row.get(4),
        transaction: row.get::<_, &str>(5).parse()?,
        revoked_at: row.get(6),
    };
    let source = if row.get::<_, &str>(7) == "tap" { Source::Tap } else { Source::Capture };
    Ok(Recorded { event, source, captured_at: row.get(8), replayed_at: row.get(9), proved_at: row.get(10) })
}
