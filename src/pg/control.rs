//! Our own tables, schema `crossfade`, and the markers in them.

use anyhow::Context;

use crate::pg::Session;
use crate::sql::{Ident, Literal};
use crate::terms::{RunId, StepId};

mod embedded {
    refinery::embed_migrations!("migrations/crossfade");
}

/// Whether schema `crossfade` with our tables is there.
///
/// # Errors
/// When the session is gone.
pub async fn control_present(session: &Session) -> anyhow::Result<bool> {
    Ok(session.query_one("SELECT to_regclass('crossfade.step_marker') IS NOT NULL", &[]).await?.get(0))
}

/// Whether [`ensure_control`] may do its work, asked before anything is changed.
///
/// # Errors
/// Names the database, the missing privilege and the GRANT that gives it.
pub async fn check_control(session: &Session) -> anyhow::Result<()> {
    let row = session
        .query_one(
            "SELECT CASE WHEN to_regnamespace('crossfade') IS NULL THEN has_database_privilege(current_database(), 'CREATE') \
                         ELSE has_schema_privilege('crossfade', 'CREATE') AND has_schema_privilege('crossfade', 'USAGE') END, \
                    current_user::text, current_database()::text",
            &[],
        )
        .await?;
    if row.get(0) {
        return Ok(());
    }
    let (name, user, database) =
        (session.database().name(), Ident::new(row.get::<_, String>(1)), Ident::new(row.get::<_, String>(2)));
    anyhow::bail!(
        "role {user} may not create schema crossfade (or use it) on {name}: crossfade keeps its own tables there; \
         next: GRANT CREATE ON DATABASE {database} TO {user}"
    )
}

/// "control!" in ASCII: the advisory lock under which our tables are made. Refinery itself takes no lock.
const CONTROL_KEY: i64 = i64::from_be_bytes(*b"control!");

/// Creates or upgrades our tables. Drivers and routers may do so at the same time: one waits for the other.
///
/// # Errors
/// When the role may not create a schema, or another version of crossfade left tables this one does not know.
pub async fn ensure_control(session: &mut Session) -> anyhow::Result<()> {
    let name = session.database().name().to_owned();
    session.execute("SELECT pg_advisory_lock($1)", &[&CONTROL_KEY]).await?;
    let made = make_control(session, &name).await;
    session.execute("SELECT pg_advisory_unlock($1)", &[&CONTROL_KEY]).await?;
    made
}

async fn make_control(session: &mut Session, name: &str) -> anyhow::Result<()> {
    session
        .batch_execute("CREATE SCHEMA IF NOT EXISTS crossfade")
        .await
        .with_context(|| format!("cannot create schema crossfade on {name}; GRANT CREATE ON DATABASE to this role"))?;
    let mut runner = embedded::migrations::runner();
    runner.set_migration_table_name("crossfade.control_history");
    let client: &mut tokio_postgres::Client = session;
    runner.run_async(client).await.with_context(|| format!("cannot set up crossfade's own tables on {name}"))?;
    Ok(())
}

/// The statement that records `unit` of a step as done; it belongs in the transaction of the effect.
pub fn mark(run: &RunId, step: &StepId, unit: &str) -> String {
    format!(
        "INSERT INTO crossfade.step_marker (run, step, unit) VALUES ({}, {}, {}) ON CONFLICT DO NOTHING",
        Literal::new(run.as_str()),
        Literal::new(step.as_str()),
        Literal::new(unit)
    )
}

/// Whether `unit` of a step is recorded as done; false where our tables are not there yet.
///
/// # Errors
/// When the session is gone.
pub async fn marked(session: &Session, run: &RunId, step: &StepId, unit: &str) -> anyhow::Result<bool> {
    if !control_present(session).await? {
        return Ok(false);
    }
    let row = session
        .query_opt(
            "SELECT 1 FROM crossfade.step_marker WHERE run = $1 AND step = $2 AND unit = $3",
            &[&run.as_str(), &step.as_str(), &unit],
        )
        .await?;
    Ok(row.is_some())
}

/// The statement that forgets all markers of a step; it belongs in the transaction of the undo.
pub fn unmark(run: &RunId, step: &StepId) -> String {
    format!(
        "DELETE FROM crossfade.step_marker WHERE run = {} AND step = {}",
        Literal::new(run.as_str()),
        Literal::new(step.as_str())
    )
}
