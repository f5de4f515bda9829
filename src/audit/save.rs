//! Blue's facts in a side table on green, for an audit when blue is gone.

use anyhow::Context;
use futures_util::{SinkExt, TryStreamExt};
use tokio_postgres::CopyInSink;

use super::stream::{begin, check};
use super::{Declaration, Facts, FieldKind};
use crate::pg::{Opener, Session, control_present};
use crate::sql::{Ident, Literal};
use crate::terms::{Finding, Severity, Side};

/// Facts that are kept on green.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Saved {
    /// Their name.
    pub facts: String,
    /// How many rows.
    pub rows: u64,
    /// When blue was read, as PostgreSQL writes it in UTC.
    pub at: String,
}

/// Keeps blue's facts in `crossfade.audit_fact` on green, in place of those kept before, in one transaction. Our own tables must
/// be there. What speaks against asking comes back as findings.
///
/// # Errors
/// When a session is gone, or a query fails on a row.
pub async fn save(declared: &Declaration, blue: &Opener, green: &Opener) -> anyhow::Result<Result<Vec<Saved>, Vec<Finding>>> {
    let blue = begin(blue).await?;
    let mut findings = Vec::new();
    for facts in &declared.sets {
        findings.extend(check(&blue, facts, Side::Blue, &facts.blue).await?);
    }
    if !findings.is_empty() {
        return Ok(Err(findings));
    }
    let at: String = blue.query_one("SELECT to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS')", &[]).await?.get(0);
    let mut green = green.open().await?;
    let transaction = green.transaction().await?;
    let mut kept = Vec::new();
    for facts in &declared.sets {
        let what = || format!("saving facts {}", facts.name);
        transaction.execute("DELETE FROM crossfade.audit_fact WHERE facts = $1", &[&facts.name]).await?;
        let sink: CopyInSink<bytes::Bytes> = transaction
            .copy_in("COPY crossfade.audit_fact (facts, key, state, valid, fields) FROM STDIN")
            .await
            .with_context(what)?;
        let mut sink = std::pin::pin!(sink);
        let statement = blue.prepare(&format!("SELECT * FROM ({}\n) AS facts", facts.blue)).await.with_context(what)?;
        let given: Vec<&str> = statement.columns().iter().map(|column| column.name()).collect();
        let mut out = std::pin::pin!(blue.copy_out(&writing(facts, &given)).await.with_context(what)?);
        while let Some(bytes) = out.try_next().await.with_context(what)? {
            sink.send(bytes).await.with_context(what)?;
        }
        let rows = sink.finish().await.with_context(what)?;
        transaction
            .execute(
                "INSERT INTO crossfade.audit_saved (facts, fingerprint, rows, read_at) VALUES ($1, $2, $3, $4) \
                 ON CONFLICT (facts) DO UPDATE SET fingerprint = excluded.fingerprint, rows = excluded.rows, \
                   read_at = excluded.read_at",
                &[&facts.name, &facts.fingerprint().as_str(), &rows.cast_signed(), &at],
            )
            .await?;
        kept.push(Saved { facts: facts.name.clone(), rows, at: at.clone() });
    }
    transaction.commit().await?;
    green.batch_execute("ANALYZE crossfade.audit_fact").await?;
    Ok(Ok(kept))
}

/// Evidence that blue does not give is left out.
fn writing(facts: &Facts, given: &[&str]) -> String {
    let fields = facts.fields.iter().filter(|field| given.contains(&field.name.as_str())).map(|field| {
        let (key, name) = (Literal::new(&field.name), Ident::new(field.name.as_str()));
        format!("{key}, to_jsonb(facts.{name})")
    });
    format!(
        "COPY (SELECT {}, facts.key::text, facts.state::text, coalesce(facts.valid, false), jsonb_build_object({}) \
               FROM ({}\n) AS facts) TO STDOUT",
        Literal::new(&facts.name),
        fields.collect::<Vec<_>>().join(", "),
        facts.blue
    )
}

/// The query on green that gives what was saved, as blue's query gave it.
pub(super) fn reading(facts: &Facts) -> String {
    let fields = facts.fields.iter().map(|field| {
        let (key, name) = (Literal::new(&field.name), Ident::new(field.name.as_str()));
        match field.kind {
            FieldKind::Text | FieldKind::Link | FieldKind::Evidence => format!("saved.fields ->> {key} AS {name}"),
            FieldKind::Time | FieldKind::End => format!("(saved.fields ->> {key})::timestamptz AS {name}"),
            FieldKind::Flag => format!("(saved.fields ->> {key})::boolean AS {name}"),
            FieldKind::Set => format!(
                "CASE jsonb_typeof(saved.fields -> {key}) WHEN 'array' \
                 THEN ARRAY(SELECT jsonb_array_elements_text(saved.fields -> {key})) END AS {name}"
            ),
        }
    });
    format!(
        "SELECT saved.key, saved.state, saved.valid{} FROM crossfade.audit_fact AS saved WHERE saved.facts = {}",
        fields.map(|field| format!(", {field}")).collect::<String>(),
        Literal::new(&facts.name)
    )
}

/// What is kept of these facts, or why it cannot be used.
pub(super) async fn saved(green: &Session, facts: &Facts) -> anyhow::Result<Result<Saved, Finding>> {
    let finding = |what: &str, next: &str| {
        let object = format!("saved facts {} on green", facts.name);
        Finding { severity: Severity::Blocks, object, what: what.to_owned(), next: next.to_owned() }
    };
    let save = "save blue's facts while blue is there: crossfade audit --save";
    let there: bool = control_present(green).await?
        && green.query_one("SELECT to_regclass('crossfade.audit_saved') IS NOT NULL", &[]).await?.get(0);
    if !there {
        return Ok(Err(finding("nothing was saved in this database", save)));
    }
    let asked = "SELECT fingerprint, rows, read_at FROM crossfade.audit_saved WHERE facts = $1";
    let Some(row) = green.query_opt(asked, &[&facts.name]).await? else {
        return Ok(Err(finding("nothing of this name was saved in this database", save)));
    };
    if row.get::<_, &str>(0) != facts.fingerprint().as_str() {
        let what = "they were saved under another declaration (query on blue, or fields): they cannot be compared";
        return Ok(Err(finding(what, "audit with the facts file as it was then, or save again")));
    }
    Ok(Ok(Saved { facts: facts.name.clone(), rows: row.get::<_, i64>(1).unsigned_abs(), at: row.get(2) }))
}
