//! Asking green whether what was revoked is without access.

use std::collections::BTreeSet;

use anyhow::Context;
use serde::Serialize;

use super::Rules;
use crate::pg::Session;
use crate::terms::{RunId, key_digest};

/// Revocations that are asked for at a time.
const PAGE: i64 = 5_000;
/// Digests that a proof keeps per kind.
const DIGESTS: usize = 10;

/// What asking for every revocation of a run gave.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Proof {
    /// Revocations recorded.
    pub captured: u64,
    /// Of these, taken away on green.
    pub replayed: u64,
    /// Of these, without access on green now.
    pub proved: u64,
    /// Of these, with access on green that blue granted anew since; no harm.
    pub granted_anew: u64,
    /// Of these, with access on green that blue does not give: the harm.
    pub restored_access: u64,
    /// The latter by kind.
    pub restored: Vec<Restored>,
}

/// Revocations of one kind whose access came back.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Restored {
    /// The kind.
    pub what: String,
    /// How many.
    pub count: u64,
    /// Digests of some of the ids.
    pub digests: Vec<String>,
}

/// Asks green for every recorded revocation whether its id has access, and notes those that have none. `blue` says what was
/// granted anew.
///
/// # Errors
/// When a query fails, or a kind is recorded that the rules do not declare.
pub async fn prove(blue: &Session, green: &Session, run: &RunId, rules: &Rules) -> anyhow::Result<Proof> {
    let mut proof = Proof::default();
    let kinds = "SELECT what, count(*), count(replayed_at) FROM crossfade.revocation WHERE run = $1 GROUP BY what ORDER BY what";
    for row in green.query(kinds, &[&run.as_str()]).await? {
        let (what, captured, replayed): (String, i64, i64) = (row.get(0), row.get(1), row.get(2));
        proof.captured += captured.unsigned_abs();
        proof.replayed += replayed.unsigned_abs();
        let kind = rules.kind(&what).with_context(|| {
            format!("revocations of kind {what} are recorded on green, and the rules do not declare it; next: add it to the rules file")
        })?;
        let mut last = 0_i64;
        let mut back = Restored { what: what.clone(), ..Restored::default() };
        loop {
            let page = "SELECT seq, id FROM crossfade.revocation WHERE run = $1 AND what = $2 AND seq > $3 ORDER BY seq LIMIT $4";
            let rows = green.query(page, &[&run.as_str(), &what, &last, &PAGE]).await?;
            let Some(end) = rows.last() else { break };
            last = end.get(0);
            let ids: Vec<&str> = rows.iter().map(|row| row.get(1)).collect();
            let open = asked(green, &kind.proof, &ids).await.with_context(|| format!("{what}: proof"))?;
            let anew = match &kind.granted {
                Some(granted) if !open.is_empty() => {
                    let open: Vec<&str> = open.iter().map(String::as_str).collect();
                    asked(blue, granted, &open).await.with_context(|| format!("{what}: granted"))?
                }
                _ => BTreeSet::new(),
            };
            let mut closed: Vec<i64> = Vec::new();
            for row in &rows {
                let id: &str = row.get(1);
                match (open.contains(id), anew.contains(id)) {
                    (false, _) => closed.push(row.get(0)),
                    (true, true) => proof.granted_anew += 1,
                    (true, false) => {
                        back.count += 1;
                        if back.digests.len() < DIGESTS {
                            back.digests.push(key_digest(id));
                        }
                    }
                }
            }
            proof.proved += closed.len() as u64;
            let seqs: Vec<i64> = rows.iter().map(|row| row.get(0)).collect();
            let note = "UPDATE crossfade.revocation SET proved_at = CASE WHEN seq = ANY ($2) THEN clock_timestamp() END \
                        WHERE seq = ANY ($1)";
            green.execute(note, &[&seqs, &closed]).await?;
        }
        proof.restored_access += back.count;
        proof.restored.extend((back.count > 0).then_some(back));
    }
    Ok(proof)
}

/// The ids that a query gives for these.
pub(super) async fn asked(session: &Session, sql: &str, ids: &[&str]) -> anyhow::Result<BTreeSet<String>> {
    let text = format!("SELECT id::text FROM ({sql}\n) AS asked (id) WHERE id IS NOT NULL");
    Ok(session.query(text.as_str(), &[&ids]).await?.iter().map(|row| row.get(0)).collect())
}
