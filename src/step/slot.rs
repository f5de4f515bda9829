//! What `start_capture` does with a logical replication slot.

use std::time::Duration;

use anyhow::Context;
use serde::{Deserialize, Serialize};

use super::ddl::patient::in_turn;
use super::start_capture::CAPTURED;
use super::{Cx, Stop};
use crate::capture::{
    CapturedTable, Identity, Shape, captured_from_here, create_slot, drop_publication, drop_slot, ended, forget_inbox,
    identities, installed, publish, slot_name, slot_state,
};
use crate::pg::{Session, blockers_of, control_present, mark};
use crate::projection::Captured;
use crate::sql::{Literal, QualifiedName};
use crate::terms::{Finding, Severity, Side};

/// Between looks at who is in the way.
const TICK: Duration = Duration::from_secs(1);

/// Replica identities that the plan sets, each with what it was.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Identities {
    tables: Vec<Change>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Change {
    table: QualifiedName,
    was: String,
    becomes: String,
}

impl Identities {
    /// Those that do not carry what must be captured.
    pub(super) async fn to_set(blue: &Session, tables: &[Captured]) -> anyhow::Result<Self> {
        let change = |identity: Identity| {
            let (table, was) = (identity.table, identity.is);
            identity.wanted.map(|becomes| Change { table, was, becomes })
        };
        Ok(Self { tables: identities(blue, tables).await?.into_iter().filter_map(change).collect() })
    }

    pub(super) async fn set(&self, cx: &Cx, blue: &Session) -> anyhow::Result<()> {
        for Change { table, was, becomes } in &self.tables {
            change(cx, blue, table, was, becomes).await?;
        }
        Ok(())
    }

    pub(super) async fn put_back(&self, cx: &Cx, blue: &Session) -> anyhow::Result<()> {
        for Change { table, was, becomes } in &self.tables {
            change(cx, blue, table, becomes, was).await?;
        }
        Ok(())
    }
}

/// Sets the replica identity of a table that has the identity `from`; what somebody else set meanwhile stays.
async fn change(cx: &Cx, blue: &Session, table: &QualifiedName, from: &str, to: &str) -> anyhow::Result<()> {
    let none = Captured { table: table.clone(), columns: Vec::new(), watch: None };
    let is = identities(blue, &[none]).await?.pop().map(|identity| identity.is);
    if is.as_deref() == Some(from) {
        in_turn(cx, Side::Blue, &[Identity::alter(table, to)]).await?;
        cx.crash_point("identity");
    }
    Ok(())
}

/// A run has one slot or triggers: its changes are read from one place.
pub(super) async fn alone(cx: &Cx, blue: &Session, slot: bool) -> anyhow::Result<Option<Finding>> {
    if !control_present(blue).await? {
        return Ok(None);
    }
    let others = installed(blue, &cx.run).await?;
    let other = others.iter().find(|table| table.step != cx.step.as_str() && (slot || table.slot.is_some()));
    Ok(other.map(|other| Finding {
        severity: Severity::Blocks,
        object: format!("step {}", cx.step.as_str()),
        what: format!("captures beside step {}: with a slot a run captures in one step", other.step),
        next: "name all projections and tables in one start_capture step".to_owned(),
    }))
}

/// What is not there of the slot of these tables.
pub(super) async fn missing(cx: &Cx, blue: &Session, there: &[CapturedTable]) -> anyhow::Result<Option<String>> {
    if there.iter().all(|table| table.slot.is_none()) {
        return Ok(None);
    }
    Ok(match slot_state(blue, &slot_name(&cx.run)).await? {
        None => Some("the tables are published, and there is no slot".to_owned()),
        Some(state) if state.lost => Some("the slot is lost: blue threw its log away".to_owned()),
        Some(_) => None,
    })
}

/// Publishes the tables and makes the slot, from the beginning: nothing was read from what an earlier attempt left.
pub(super) async fn begin(
    cx: &Cx,
    blue: &Session,
    tables: &[Captured],
    there: &[CapturedTable],
    alarm: u64,
    keep: Vec<String>,
) -> anyhow::Result<()> {
    if !there.is_empty() {
        end(cx, blue).await?;
        in_turn(cx, Side::Blue, &there.iter().map(CapturedTable::forget).collect::<Vec<_>>()).await?;
    }
    let mut shapes = Vec::new();
    for wanted in tables {
        let shape = Shape::read(blue, wanted).await?;
        shapes.push(shape.with_context(|| format!("table {} on blue went away or lost a column", wanted.table.plain()))?);
    }
    in_turn(cx, Side::Blue, &publish(blue, &cx.run, &cx.step, &shapes, alarm).await?).await?;
    cx.crash_point("published");
    create(cx, blue).await?;
    cx.crash_point("slot");
    settle(cx, blue).await?;
    let last = vec![captured_from_here(&cx.run, &cx.step), mark(&cx.run, &cx.step, CAPTURED)];
    in_turn(cx, Side::Blue, &[keep, last].concat()).await
}

/// Makes the slot, naming those it waits for.
async fn create(cx: &Cx, observer: &Session) -> anyhow::Result<()> {
    let session = cx.connect(Side::Blue).await?;
    let name = slot_name(&cx.run);
    let work = create_slot(&session, &name);
    tokio::pin!(work);
    loop {
        tokio::select! {
            made = &mut work => return made.context("making the replication slot"),
            () = cx.interrupt.soft.cancelled() => {
                let sql = format!("SELECT pg_cancel_backend({})", session.pid());
                observer.batch_execute(&sql).await?;
                return Err(Stop::Interrupted.into());
            }
            () = tokio::time::sleep(TICK) => {
                let blockers = blockers_of(observer, session.pid()).await?;
                if !blockers.is_empty() {
                    cx.waiting(&blockers);
                }
            }
        }
    }
}

/// Waits until a copy that begins now has everything that the slot does not tell; see [`ended`].
async fn settle(cx: &Cx, blue: &Session) -> anyhow::Result<()> {
    let at: String = blue.query_one("SELECT pg_current_snapshot()::text", &[]).await?.get(0);
    let mut told = false;
    while !ended(blue, &at).await? {
        if !std::mem::replace(&mut told, true) {
            cx.remark(
                "waits for the transactions that ran when the slot was made (pg_stat_activity.xact_start, pg_prepared_xacts)",
            );
        }
        tokio::select! {
            () = cx.interrupt.soft.cancelled() => return Err(Stop::Interrupted.into()),
            () = tokio::time::sleep(TICK / 20) => {}
        }
    }
    Ok(())
}

/// Takes the slot and the publication of the run away, where it has them: green serves.
pub(in crate::step) async fn release(cx: &Cx) -> anyhow::Result<()> {
    let blue = cx.connect(Side::Blue).await?;
    take_away(cx, &blue).await
}

/// Takes the slot and the publication away, and what came from it.
pub(super) async fn end(cx: &Cx, blue: &Session) -> anyhow::Result<()> {
    take_away(cx, blue).await?;
    let green = cx.connect(Side::Green).await?;
    if control_present(&green).await? {
        forget_inbox(&green, &cx.run).await?;
    }
    Ok(())
}

async fn take_away(cx: &Cx, blue: &Session) -> anyhow::Result<()> {
    let slot = slot_name(&cx.run);
    if slot_state(blue, &slot).await?.is_some() {
        drop_slot(blue, &slot).await?;
        cx.crash_point("slot-dropped");
    }
    let publication = format!("SELECT FROM pg_publication WHERE pubname = {}", Literal::new(&slot));
    if !blue.query(publication.as_str(), &[]).await?.is_empty() {
        in_turn(cx, Side::Blue, &[drop_publication(&slot)]).await?;
        cx.crash_point("released");
    }
    Ok(())
}
