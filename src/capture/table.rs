//! The tables that are captured, as `crossfade.captured` lists them, and the way in and out of that list.

use anyhow::Context;

use super::fence::{Fence, STATE};
use super::shape::Shape;
use super::trigger::{self, Event};
use crate::pg::Session;
use crate::sql::{Ident, Literal, QualifiedName};
use crate::terms::{Finding, RunId, StepId};

/// A table whose changes are recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CapturedTable {
    /// Its number in the outbox.
    pub id: i32,
    /// The step that captures it.
    pub step: String,
    /// The table, with its schema.
    pub table: QualifiedName,
    /// `pg_class.oid`.
    pub oid: u32,
    /// The columns whose values are keys, in the order of the values.
    pub columns: Vec<Ident>,
    /// The columns whose change counts beside these; `None`: any.
    pub watch: Option<Vec<Ident>>,
    /// Bytes of the outbox, or of the log that the slot keeps, from which on somebody should look.
    pub alarm: u64,
    /// The slot and publication that tell its changes; `None`: triggers do.
    pub slot: Option<String>,
}

impl CapturedTable {
    /// Whether a table of this shape is captured as it should be.
    pub fn fits(&self, shape: &Shape) -> bool {
        (self.oid, &self.table, &self.columns, &self.watch) == (shape.oid, &shape.table, &shape.columns, &shape.watch)
    }

    /// The statement that takes it off the list; see [`remove`].
    pub fn forget(&self) -> String {
        format!("DELETE FROM crossfade.captured WHERE id = {}", self.id)
    }
}

/// What changed on captured tables since their triggers were set, past our triggers or on them; each blocks.
///
/// # Errors
/// When the session is gone.
pub async fn altered(session: &Session, tables: &[CapturedTable]) -> anyhow::Result<Vec<Finding>> {
    Fence::compare(session, tables).await
}

/// Removes the changes that were recorded for tables that are not captured any more, by statements of bounded size.
///
/// # Errors
/// When the session is gone.
pub async fn forget_changes(session: &Session, tables: &[CapturedTable]) -> anyhow::Result<()> {
    let ids: Vec<i32> = tables.iter().map(|captured| captured.id).collect();
    let delete = "DELETE FROM crossfade.outbox \
                  WHERE ctid = ANY (ARRAY(SELECT ctid FROM crossfade.outbox WHERE captured = ANY ($1) LIMIT 50000))";
    while session.execute(delete, &[&ids]).await? > 0 {}
    Ok(())
}

/// The tables captured for a run, in the order in which they were. None where our tables are not there yet.
///
/// # Errors
/// When the session is gone.
pub async fn installed(session: &Session, run: &RunId) -> anyhow::Result<Vec<CapturedTable>> {
    let present: bool = session.query_one("SELECT to_regclass('crossfade.captured') IS NOT NULL", &[]).await?.get(0);
    if !present {
        return Ok(Vec::new());
    }
    let query = "SELECT id, step, table_name, table_oid, columns, watch, alarm, to_jsonb(k) ->> 'slot' \
                 FROM crossfade.captured AS k WHERE run = $1 ORDER BY id";
    let names = |names: Vec<String>| names.into_iter().map(Ident::new).collect();
    let mut tables = Vec::new();
    for row in session.query(query, &[&run.as_str()]).await? {
        let table = QualifiedName::try_from(row.get::<_, String>(2)).map_err(anyhow::Error::msg);
        tables.push(CapturedTable {
            id: row.get(0),
            step: row.get(1),
            table: table.context("reading crossfade.captured")?,
            oid: row.get(3),
            columns: names(row.get(4)),
            watch: row.get::<_, Option<Vec<String>>>(5).map(names),
            alarm: row.get::<_, i64>(6).unsigned_abs(),
            slot: row.get(7),
        });
    }
    Ok(tables)
}

/// The statements that begin to capture a table, for one transaction. Writers wait from the first `CREATE TRIGGER` until the
/// commit. The number in the outbox comes from the sequence of `crossfade.captured`.
///
/// # Errors
/// When the session is gone.
pub async fn install(session: &Session, run: &RunId, step: &StepId, shape: &Shape, alarm: u64) -> anyhow::Result<Vec<String>> {
    let (id, register) = register(session, run, step, shape, alarm, None).await?;
    let mut statements = vec![register];
    statements.extend(trigger::functions(id, shape));
    statements.extend(trigger::triggers(shape));
    statements.push(fenced(&format!("k.id = {id}")));
    Ok(statements)
}

/// The statement that puts a table on the list, and its number there. The table's state is not kept yet.
///
/// # Errors
/// When the session is gone.
pub(super) async fn register(
    session: &Session,
    run: &RunId,
    step: &StepId,
    shape: &Shape,
    alarm: u64,
    slot: Option<&str>,
) -> anyhow::Result<(i32, String)> {
    let next = "SELECT nextval(pg_get_serial_sequence('crossfade.captured', 'id'))::int";
    let id: i32 = session.query_one(next, &[]).await?.get(0);
    let list = |columns: &[Ident]| {
        let names: Vec<String> = columns.iter().map(|column| Literal::new(column.as_str()).to_string()).collect();
        format!("ARRAY[{}]::text[]", names.join(", "))
    };
    let statement = format!(
        "INSERT INTO crossfade.captured (id, run, step, table_name, table_oid, columns, watch, alarm, slot) \
         VALUES ({id}, {}, {}, {}, {}, {}, {}, {}, {})",
        Literal::new(run.as_str()),
        Literal::new(step.as_str()),
        Literal::new(shape.table.plain()),
        shape.oid,
        list(&shape.columns),
        shape.watch.as_deref().map_or("NULL".to_owned(), list),
        i64::try_from(alarm).unwrap_or(i64::MAX),
        slot.map_or("NULL".to_owned(), |slot| Literal::new(slot).to_string())
    );
    Ok((id, statement))
}

/// The statement that keeps the state of the captured tables `k` of which `which` holds.
pub(super) fn fenced(which: &str) -> String {
    format!("UPDATE crossfade.captured AS k SET fence = {STATE} WHERE {which}")
}

/// The statements that end the capture of a table, for one transaction: whatever it is called now, and if it is gone. Its rows
/// of the outbox stay.
///
/// # Errors
/// When the session is gone.
pub async fn remove(session: &Session, captured: &CapturedTable) -> anyhow::Result<Vec<String>> {
    let names: Vec<String> = Event::ALL.iter().map(|event| event.function(&captured.table)).collect();
    let query = "SELECT n.nspname::text, c.relname::text, t.tgname::text \
                 FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid JOIN pg_class c ON c.oid = t.tgrelid \
                      JOIN pg_namespace n ON n.oid = c.relnamespace \
                 WHERE p.pronamespace = 'crossfade'::regnamespace AND p.proname = ANY ($1) ORDER BY t.tgname";
    let mut statements = Vec::new();
    for row in session.query(query, &[&names]).await? {
        let table = QualifiedName::new(row.get::<_, String>(0), row.get::<_, String>(1));
        statements.push(format!("DROP TRIGGER IF EXISTS {} ON {table}", Ident::new(row.get::<_, String>(2))));
    }
    let functions = names.iter().map(|name| format!("DROP FUNCTION IF EXISTS {}()", QualifiedName::new("crossfade", name)));
    statements.extend(functions);
    Ok(statements)
}
