//! What is captured and what follows, against what following needs.

use super::Refused;
use crate::capture::{CapturedTable, Changed};
use crate::pg::{Session, table_state};
use crate::projection::{Bound, captured};
use crate::revocation::Rules;
use crate::terms::{Finding, RunId, Severity};

/// One reason that blocks.
pub(super) fn refused(side: &str, what: &str, next: &str) -> Refused {
    let object = format!("database {side}");
    Refused { findings: vec![Finding { severity: Severity::Blocks, object, what: what.to_owned(), next: next.to_owned() }] }
}

/// The tables that the run copied, that green still has and these projections leave out.
///
/// # Errors
/// When the session is gone.
pub async fn uncovered(green: &Session, run: &RunId, bound: &[Bound]) -> anyhow::Result<Vec<String>> {
    let sql = "SELECT DISTINCT projection FROM crossfade.copy_part WHERE run = $1 AND projection <> '*' \
               AND EXISTS (SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
                           WHERE n.nspname || '.' || c.relname = projection AND c.relkind IN ('r', 'p')) ORDER BY 1";
    let copied = green.query(sql, &[&run.as_str()]).await?;
    let follows = |table: &String| bound.iter().any(|bound| bound.table.plain() == *table);
    Ok(copied.iter().map(|row| row.get(0)).filter(|table| !follows(table)).collect())
}

/// What to say of a table that [`uncovered`] gives.
pub(super) fn left_out(table: &str) -> Finding {
    Finding {
        severity: Severity::Blocks,
        object: format!("table {table} on green"),
        what: "was copied in this run and does not follow: its changes would be taken for done".to_owned(),
        next: "name every projection and table of the run's copies in the step that follows".to_owned(),
    }
}

/// Whether the snapshot `watermark` sees that every table was captured. A row of `crossfade.captured` is committed with its triggers.
///
/// # Errors
/// When the session is gone.
pub(super) async fn captured_before(blue: &Session, run: &RunId, watermark: &str) -> anyhow::Result<bool> {
    let row = blue
        .query_one(
            "SELECT coalesce(bool_and(pg_visible_in_snapshot( \
                        (CASE WHEN low > current % 4294967296 THEN current - current % 4294967296 - 4294967296 \
                              ELSE current - current % 4294967296 END + low)::text::xid8, $2::text::pg_snapshot)), false) \
             FROM (SELECT xmin::text::numeric AS low, pg_snapshot_xmax(pg_current_snapshot())::text::numeric AS current \
                   FROM crossfade.captured WHERE run = $1) AS c",
            &[&run.as_str(), &watermark],
        )
        .await?;
    Ok(row.get(0))
}

/// What the projections need and these captured tables do not give. Changes nothing.
pub fn uncaptured(bound: &[Bound], tables: &[CapturedTable]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for wanted in captured(bound) {
        let has = tables.iter().find(|table| table.table == wanted.table);
        let what = match has {
            None => "is not captured for this run".to_owned(),
            Some(table) => {
                let columns: Vec<&str> =
                    wanted.columns.iter().filter(|column| !table.columns.contains(column)).map(|c| c.as_str()).collect();
                let watched = match (&table.watch, &wanted.watch) {
                    (None, _) => true,
                    (Some(_), None) => false,
                    (Some(has), Some(wants)) => wants.iter().all(|column| has.contains(column) || table.columns.contains(column)),
                };
                match (columns.is_empty(), watched) {
                    (true, true) => continue,
                    (false, _) => format!("is captured without the columns {}", columns.join(", ")),
                    (true, false) => "is captured, but not every UPDATE that matters".to_owned(),
                }
            }
        };
        findings.push(Finding {
            severity: Severity::Blocks,
            object: format!("table {} on blue", wanted.table.plain()),
            what,
            next: "give `start_capture` the same projections and tables; `crossfade rollback` the run and begin anew".to_owned(),
        });
    }
    findings
}

/// Per captured table, what stops following when it is truncated, if anything does. A TRUNCATE in blue's log names no row; where the
/// rules of revocations read the table, nobody knows what was revoked. Triggers record each row.
///
/// # Errors
/// When the session is gone.
pub(super) async fn rows_unnamed(
    blue: &Session,
    tables: &[CapturedTable],
    rules: Option<&Rules>,
) -> anyhow::Result<Vec<Option<Changed>>> {
    let mut read = Vec::new();
    for wanted in rules.iter().flat_map(|rules| &rules.wanted) {
        read.extend(table_state(blue, &wanted.table).await?.map(|state| state.name)); // rules may leave the schema to blue's search path
    }
    let stops = |table: &CapturedTable| table.slot.is_some() && read.contains(&table.table);
    Ok(tables.iter().map(|table| stops(table).then(|| truncated(table))).collect())
}

fn truncated(table: &CapturedTable) -> Changed {
    let finding = Finding {
        severity: Severity::Blocks,
        object: format!("table {} on blue", table.table.plain()),
        what: "was truncated, and its revocations are told from its rows, which a slot does not name: what was revoked is not known".to_owned(),
        next: "`crossfade rollback PLAN --execute`, then run the plan again; capture with `source = \"trigger\"` tells each row of a TRUNCATE"
            .to_owned(),
    };
    Changed { findings: vec![finding] }
}
