//! What somebody who looks from outside sees of an outbox: how much a reader has before it, and whether it grows too large.

use std::time::Duration;

use anyhow::Context;
use serde::Serialize;

use super::seen::Seen;
use super::slot_state::{SlotState, slot_state};
use super::table::installed;
use crate::pg::{Session, sqlstate};
use crate::sql::Literal;
use crate::terms::RunId;

/// What waits for a reader.
#[derive(Debug, Clone, PartialEq)]
pub struct Waiting {
    /// Changed rows that the reader has not seen.
    pub rows: u64,
    /// Bytes of these; `None` where they are too many to be counted in some seconds: `rows` is then what the server's statistics
    /// estimate of the whole outbox.
    pub bytes: Option<u64>,
    /// How long ago the oldest of them was written, by blue's clock; zero where there are none.
    pub age: Duration,
    /// Bytes of the outbox on disk, with its index and space that vacuum has not freed, of all runs.
    pub outbox: u64,
    /// Bytes of it from which on somebody should look, as the plan says.
    pub limit: u64,
    /// The slot that tells the changes, where triggers do not: its rows are those of the inbox on green, and what it has not given
    /// yet is counted by its log alone.
    pub slot: Option<Telling>,
}

/// The slot of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Telling {
    /// Its name.
    pub name: String,
    /// How it stands; `None`: it is gone.
    pub state: Option<SlotState>,
}

/// How large the outbox is against its limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Alarm {
    /// Below four fifths of it.
    None,
    /// Near it.
    Near,
    /// Above it.
    Over,
}

impl Alarm {
    /// Of `outbox` bytes against `limit`.
    pub fn of(outbox: u64, limit: u64) -> Self {
        match outbox {
            size if size > limit => Alarm::Over,
            size if size > limit / 5 * 4 => Alarm::Near,
            _ => Alarm::None,
        }
    }

    /// What to say about it, if anything.
    pub fn text(self, outbox: u64, limit: u64) -> Option<String> {
        match self {
            Alarm::None => None,
            Alarm::Near => Some(format!("warning: the outbox on blue takes {outbox} of {limit} bytes (outbox_alarm)")),
            Alarm::Over => Some(format!(
                "warning: the outbox on blue takes {outbox} bytes, more than outbox_alarm ({limit}): green cannot keep up, or vacuum \
                 cannot. Nothing is thrown away and no write fails for it: it grows until blue's disk is full. Next: look at what holds \
                 `crossfade follow` up, or `crossfade rollback` the run, which ends the capture"
            )),
        }
    }
}

/// What of the run's changes the snapshot `since` (the text of a `pg_snapshot`; `None`: nobody has read yet) does not see. `None`
/// when nothing is captured for the run. Where a slot tells the changes, those that it gave wait on green.
///
/// # Errors
/// When a session is gone or may not read our tables.
pub async fn waiting(blue: &Session, green: &Session, run: &RunId, since: Option<&str>) -> anyhow::Result<Option<Waiting>> {
    let tables = installed(blue, run).await?;
    let (mut slot, mut holder, mut relation) = (None, blue, "crossfade.outbox");
    if let Some(name) = tables.first().and_then(|captured| captured.slot.clone()) {
        slot = Some(Telling { state: slot_state(blue, &name).await?, name });
        (holder, relation) = (green, "crossfade.inbox");
    }
    let Some(limit) = tables.iter().map(|captured| captured.alarm).min() else { return Ok(None) };
    let ids: Vec<i32> = tables.iter().map(|captured| captured.id).collect();
    let part = |unseen: &String| {
        let mine = if slot.is_some() { format!("run = {} AND ", Literal::new(run.as_str())) } else { String::new() };
        format!("SELECT written_at, pg_column_size(o) AS bytes FROM {relation} AS o WHERE {mine}captured = ANY ($1) AND {unseen}")
    };
    let unseen = Seen::parse(since.unwrap_or("1:1:"))?.unseen();
    let count = format!(
        "SELECT count(*), coalesce(sum(bytes), 0)::bigint, \
                coalesce(extract(epoch FROM clock_timestamp() - min(written_at)), 0)::float8 FROM ({}) AS o",
        unseen.iter().map(part).collect::<Vec<_>>().join(" UNION ALL ")
    );
    let size = format!(
        "SELECT pg_total_relation_size(c.oid), greatest(pg_stat_get_live_tuples(c.oid), 0), \
                       (SELECT extract(epoch FROM clock_timestamp() - written_at)::float8 FROM {relation} ORDER BY transaction LIMIT 1) \
                FROM pg_class c WHERE c.oid = {}::regclass",
        Literal::new(relation.to_string())
    );
    // Statistics lag behind a table that fills and empties; a count that takes long is given up.
    holder.batch_execute("SET enable_seqscan = off; SET statement_timeout = '3s'").await?;
    let counted = holder.query_one(&count, &[&ids]).await;
    holder.batch_execute("RESET statement_timeout").await?;
    let row = holder.query_one(&size, &[]).await.with_context(|| format!("reading {relation}"))?;
    holder.batch_execute("RESET enable_seqscan").await?;
    let (outbox, estimate): (i64, i64) = (row.get(0), row.get(1));
    let age = |seconds: f64| Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or_default();
    let (rows, bytes, age) = match counted {
        Ok(row) => (row.get::<_, i64>(0), Some(row.get::<_, i64>(1).unsigned_abs()), age(row.get(2))),
        Err(error) if sqlstate(&error) == "57014" => (estimate, None, age(row.get::<_, Option<f64>>(2).unwrap_or(0.0))),
        Err(error) => return Err(error).with_context(|| format!("reading {relation}")),
    };
    Ok(Some(Waiting { rows: rows.unsigned_abs(), bytes, age, outbox: outbox.unsigned_abs(), limit, slot }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alarm_comes_before_the_limit() {
        let all = [(0, 100), (80, 100), (81, 100), (100, 100), (101, 100), (0, 0), (1, 0)];
        assert_eq!(
            all.map(|(outbox, limit)| Alarm::of(outbox, limit)),
            [Alarm::None, Alarm::None, Alarm::Near, Alarm::Near, Alarm::Over, Alarm::None, Alarm::Over]
        );
        assert_eq!(Alarm::None.text(1, 2), None);
        assert!(Alarm::Over.text(3, 2).is_some_and(|text| text.contains("rollback")));
    }
}
