//! Taking the access away on green.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context;
use tokio_postgres::Transaction;

use super::proof::asked;
use super::{Rules, Source};
use crate::pg::Session;
use crate::sql::QualifiedName;
use crate::terms::RunId;

/// Ids in one transaction.
const PAGE: u32 = 2_000;

/// Takes away on green what is recorded and was not yet taken away, kind by kind in the order of the rules; some thousand ids
/// in a transaction, together with the note that it is done. What a tap saw and `blue` does not know yet waits for a later call:
/// the rows that blue still has would not come again. Gives how many were taken away.
///
/// # Errors
/// When a statement fails on green (what was done before it stays done), or a kind is recorded that the rules do not declare.
pub async fn replay(blue: &Session, green: &mut Session, run: &RunId, rules: &Rules) -> anyhow::Result<u64> {
    let sql = "SELECT DISTINCT what FROM crossfade.revocation WHERE run = $1 AND replayed_at IS NULL";
    let waiting: Vec<String> = green.query(sql, &[&run.as_str()]).await?.iter().map(|row| row.get(0)).collect();
    for what in &waiting {
        anyhow::ensure!(
            rules.kind(what).is_some(),
            "revocations of kind {what} wait on green, and the rules do not declare it; next: add a [[revocation]] with what = \"{what}\""
        );
    }
    let mut done = 0;
    for kind in rules.kinds.iter().filter(|kind| waiting.contains(&kind.what)) {
        let mut last = 0_i64;
        loop {
            let work = green.transaction().await?;
            let take = "SELECT seq, id, source FROM crossfade.revocation WHERE run = $1 AND what = $2 AND seq > $3 \
                        AND replayed_at IS NULL ORDER BY seq LIMIT $4 FOR UPDATE";
            let rows = work.query(take, &[&run.as_str(), &kind.what, &last, &i64::from(PAGE)]).await?;
            let Some(end) = rows.last() else { break };
            last = end.get(0);
            let tapped = rows.iter().filter(|row| row.get::<_, &str>(2) == Source::Tap.as_str());
            let tapped: Vec<&str> = tapped.map(|row| row.get(1)).collect();
            let not_yet = match &kind.granted {
                Some(granted) if !tapped.is_empty() => asked(blue, granted, &tapped).await?,
                _ => BTreeSet::new(),
            };
            let now = rows.iter().filter(|row| !not_yet.contains(row.get::<_, &str>(1)));
            let (seqs, ids): (Vec<i64>, Vec<&str>) = now.map(|row| (row.get::<_, i64>(0), row.get::<_, &str>(1))).unzip();
            let counted = rows_moved(&work).await?;
            for statement in &kind.replay {
                work.execute(statement.as_str(), &[&ids])
                    .await
                    .with_context(|| format!("revocations of kind {} cannot be replayed on green", kind.what))?;
            }
            let note = "UPDATE crossfade.revocation SET replayed_at = clock_timestamp() WHERE seq = ANY ($1)";
            work.execute(note, &[&seqs]).await?;
            account(&work, run, &counted).await?;
            work.commit().await?;
            done += seqs.len() as u64;
            if rows.len() < PAGE as usize {
                break;
            }
        }
    }
    Ok(done)
}

/// Rows inserted less rows deleted per table, cascades included, as far as the server has not yet added them up. It adds up between
/// transactions only, so the difference of two moments of one transaction is exact.
async fn rows_moved(work: &Transaction<'_>) -> anyhow::Result<BTreeMap<(String, String), i64>> {
    let sql = "SELECT schemaname::text, relname::text, n_tup_ins - n_tup_del FROM pg_stat_xact_user_tables \
               WHERE n_tup_ins > 0 OR n_tup_del > 0";
    Ok(work.query(sql, &[]).await?.iter().map(|row| ((row.get(0), row.get(1)), row.get(2))).collect())
}

/// Notes how many rows the tables of a copy have more or fewer since `before`: its undo empties only what crossfade filled.
async fn account(work: &Transaction<'_>, run: &RunId, before: &BTreeMap<(String, String), i64>) -> anyhow::Result<()> {
    for (table, rows) in rows_moved(work).await? {
        let rows = rows - before.get(&table).unwrap_or(&0);
        let sql = "INSERT INTO crossfade.copy_part AS p (run, step, projection, source, part, rows, bytes) \
                   SELECT $1, step, $2, '*follow', 0, $3, 0 FROM crossfade.copy_part \
                   WHERE run = $1 AND projection = $2 AND source <> '*follow' GROUP BY step \
                   ON CONFLICT (run, step, projection, source, part) DO UPDATE SET rows = p.rows + excluded.rows";
        if rows != 0 {
            let name = QualifiedName::new(table.0, table.1).plain();
            work.execute(sql, &[&run.as_str(), &name, &rows]).await?;
        }
    }
    Ok(())
}
