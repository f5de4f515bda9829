//! The rules of a run, kept on blue beside what is captured.

use std::path::Path;

use super::Rules;
use super::rules::read;
use crate::pg::Session;
use crate::sql::Literal;
use crate::terms::RunId;

/// The statement that keeps the rules of a run; it belongs in the transaction that ends the installing of the capture.
pub fn keep_rules(run: &RunId, rules: &Rules) -> String {
    format!(
        "INSERT INTO crossfade.revocation_rules (run, rules) VALUES ({}, {}) ON CONFLICT (run) DO UPDATE SET rules = excluded.rules",
        Literal::new(run.as_str()),
        Literal::new(&rules.text)
    )
}

/// The statement that forgets them.
pub fn forget_rules(run: &RunId) -> String {
    format!("DELETE FROM crossfade.revocation_rules WHERE run = {}", Literal::new(run.as_str()))
}

/// The rules of a run; `None` where it captures no revocations.
///
/// # Errors
/// When the session is gone, or another version of crossfade kept rules that this one cannot read.
pub async fn stored_rules(blue: &Session, run: &RunId) -> anyhow::Result<Option<Rules>> {
    let present: bool = blue.query_one("SELECT to_regclass('crossfade.revocation_rules') IS NOT NULL", &[]).await?.get(0);
    if !present {
        return Ok(None);
    }
    let sql = "SELECT rules FROM crossfade.revocation_rules WHERE run = $1";
    let Some(row) = blue.query_opt(sql, &[&run.as_str()]).await? else { return Ok(None) };
    let rules = read(Path::new("the rules kept on blue"), row.get(0));
    rules.map(Some).map_err(|flaws| {
        let flaws: Vec<String> = flaws.into_iter().map(|flaw| flaw.what).collect();
        anyhow::anyhow!("the revocation rules kept on blue for run {run} cannot be read: {}", flaws.join("; "))
    })
}
