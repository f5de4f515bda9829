//! Statements outside transaction blocks: the catalog is asked whether they are done.

use std::time::Duration;

use anyhow::{Context, bail};

use crate::pg::{Patience, Session, blockers_of, is_connection_loss};
use crate::sql::{Effect, Ident, QualifiedName, Statement};
use crate::step::Cx;

/// How often a long wait is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Brings about the effect of a statement that stands alone, unless the catalog says it is there.
///
/// # Errors
/// The server's. An index whose build failed is dropped again before this returns, unless the connection is lost.
pub(super) async fn bring_about(cx: &Cx, session: &mut Session, observer: &Session, statement: &Statement) -> anyhow::Result<()> {
    match statement.effect() {
        Effect::BuildIndex { index: Some(index), table } => build(cx, session, observer, statement, index, table).await,
        Effect::DropIndex(indexes) => {
            for index in indexes {
                let there = session.query_one("SELECT to_regclass($1) IS NOT NULL", &[&index.to_string()]).await?;
                if there.get(0) {
                    return wait(cx, session, observer, statement.text()).await;
                }
            }
            Ok(())
        }
        Effect::Validate { table, constraints } => {
            let names: Vec<&str> = constraints.iter().map(Ident::as_str).collect();
            let sql = "SELECT count(*) FROM pg_constraint \
                       WHERE conrelid = to_regclass($1) AND conname = ANY ($2) AND convalidated";
            let valid: i64 = session.query_one(sql, &[&table.to_string(), &names]).await?.get(0);
            if valid == names.len() as i64 {
                return Ok(());
            }
            wait(cx, session, observer, statement.text()).await
        }
        Effect::Upkeep => wait(cx, session, observer, statement.text()).await,
        _ => bail!("{} cannot run outside a transaction", statement.kind()),
    }
}

async fn build(
    cx: &Cx,
    session: &mut Session,
    observer: &Session,
    statement: &Statement,
    index: &Ident,
    table: &QualifiedName,
) -> anyhow::Result<()> {
    match state(session, index, table).await? {
        Index::Valid => return Ok(()),
        Index::Invalid(name) => {
            cx.remark(format!("index {} is INVALID, left by a build that did not end: dropped and built again", index.as_str()));
            drop_invalid(cx, session, observer, &name).await?;
        }
        Index::Absent => {}
    }
    let Err(error) = wait(cx, session, observer, statement.text()).await else { return Ok(()) };
    let lost = error.downcast_ref::<tokio_postgres::Error>().is_some_and(is_connection_loss);
    if !lost && let Ok(Index::Invalid(name)) = state(session, index, table).await {
        drop_invalid(cx, session, observer, &name)
            .await
            .with_context(|| format!("index {} is left INVALID by a failed build", index.as_str()))?;
    }
    Err(error)
}

async fn drop_invalid(cx: &Cx, session: &mut Session, observer: &Session, name: &QualifiedName) -> anyhow::Result<()> {
    wait(cx, session, observer, &format!("DROP INDEX CONCURRENTLY IF EXISTS {name}")).await
}

enum Index {
    Absent,
    Invalid(QualifiedName),
    Valid,
}

/// The state of an index, which lies in the schema of its table.
async fn state(session: &Session, index: &Ident, table: &QualifiedName) -> anyhow::Result<Index> {
    let sql = "SELECT n.nspname::text, i.indisvalid AND i.indisready, t.oid = i.indrelid \
               FROM pg_class t JOIN pg_namespace n ON n.oid = t.relnamespace \
               JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = $2 \
               LEFT JOIN pg_index i ON i.indexrelid = c.oid \
               WHERE t.oid = to_regclass($1)";
    let Some(row) = session.query_opt(sql, &[&table.to_string(), &index.as_str()]).await? else { return Ok(Index::Absent) };
    let (schema, valid, ours): (String, Option<bool>, Option<bool>) = (row.get(0), row.get(1), row.get(2));
    match (valid, ours) {
        (Some(true), Some(true)) => Ok(Index::Valid),
        (Some(false), Some(true)) => Ok(Index::Invalid(QualifiedName::new(schema, index.as_str()))),
        _ => bail!("{index} is the name of another relation in schema {schema}, and no index of {}", table.plain()),
    }
}

/// Runs a statement as long as it takes, and says who is in its way.
async fn wait(cx: &Cx, session: &mut Session, observer: &Session, text: &str) -> anyhow::Result<()> {
    let pid = session.pid();
    let mut patience = Patience { session, observer, limits: &cx.limits };
    let running = patience.alone(text);
    tokio::pin!(running);
    loop {
        tokio::select! {
            ended = &mut running => return ended,
            () = tokio::time::sleep(LOOK_EVERY) => {
                let blockers = blockers_of(observer, pid).await?;
                if !blockers.is_empty() {
                    cx.waiting(&blockers);
                }
            }
        }
    }
}
