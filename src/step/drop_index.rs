//! `drop_index`: an index taken away without blocking readers or writers.

use anyhow::Context;
use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::ddl::index::{concurrently, drop_index};
use super::ddl::patient::patiently;
use super::registry::{Kind, KindResult, Surroundings, keys_of};
use super::{Cx, Forecast, Reversal, Step, Summary, Touched, Use, from_table};
use crate::pg::{index_state, table_state};
use crate::sql::QualifiedName;
use crate::terms::{Before, Extent, Finding, Severity, Side};

/// The table entry of this kind.
pub(super) const KIND: Kind = Kind { name: "drop_index", about: "drop an index concurrently", parse, keys: keys_of::<DropIndex> };

#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct DropIndex {
    side: Side,
    name: QualifiedName,
}

/// What an undo needs.
#[derive(Debug, Serialize, Deserialize)]
struct Was {
    /// The index with its schema.
    name: QualifiedName,
    /// `pg_get_indexdef`; `None` for an INVALID index, which nobody misses.
    definition: Option<String>,
}

fn parse(table: toml::Table, _: &Surroundings) -> KindResult {
    let step: DropIndex = from_table(table)?;
    Ok((Box::new(step), Vec::new()))
}

#[async_trait]
impl Step for DropIndex {
    fn describe(&self) -> Summary {
        Summary {
            effect: format!("drop index {} of {} concurrently", self.name.plain(), self.side),
            lock: "SHARE UPDATE EXCLUSIVE on its table: blocks neither reads nor writes".to_owned(),
        }
    }

    fn sides(&self) -> Vec<Side> {
        vec![self.side]
    }

    fn touches(&self) -> Vec<Touched> {
        vec![Touched::new(self.side, &self.name, Use::Alters)]
    }

    fn reversal(&self) -> Reversal {
        Reversal::Reversible
    }

    async fn forecast(&self, cx: &Cx) -> anyhow::Result<Vec<Forecast>> {
        let there = index_state(&*cx.connect(self.side).await?, &self.name).await?;
        let there = there.with_context(|| format!("index {} is not there", self.name.plain()))?;
        Ok(vec![Forecast {
            object: there.table.plain(),
            what: format!("loses its index: {}", there.definition),
            rows: None,
            lock: "SHARE UPDATE EXCLUSIVE; waits for older transactions".to_owned(),
        }])
    }

    async fn preconditions(&self, cx: &Cx) -> anyhow::Result<Vec<Finding>> {
        let session = cx.connect(self.side).await?;
        let blocks = |what: String, next: String| {
            vec![Finding { severity: Severity::Blocks, object: format!("index {}", self.name.plain()), what, next }]
        };
        Ok(match index_state(&session, &self.name).await? {
            Some(there) => match there.backs {
                Some(constraint) => blocks(
                    format!("backs constraint {} of table {}", constraint.as_str(), there.table.plain()),
                    "drop the constraint instead (run_sql), or take the step out of the plan".to_owned(),
                ),
                None => Vec::new(),
            },
            None if table_state(&session, &self.name).await?.is_some() => {
                blocks("that name belongs to a relation that is no index".to_owned(), "correct the step's `name`".to_owned())
            }
            None => Vec::new(),
        })
    }

    async fn observe(&self, cx: &Cx) -> anyhow::Result<Extent> {
        let session = cx.connect(self.side).await?;
        Ok(match index_state(&session, &self.name).await? {
            Some(there) if there.valid => Extent::Absent,
            Some(_) => Extent::Partial("the index is INVALID".to_owned()),
            // A relation that is no index keeps the step from being taken for done: the precondition says why.
            None if table_state(&session, &self.name).await?.is_some() => Extent::Partial("no index".to_owned()),
            None => Extent::Complete,
        })
    }

    async fn before(&self, cx: &Cx) -> anyhow::Result<Before> {
        let session = cx.connect(self.side).await?;
        let there = index_state(&session, &self.name).await?;
        let there = there.with_context(|| format!("index {} is gone; run again", self.name.plain()))?;
        Before::of(&Was {
            name: there.table.sibling(self.name.name().as_str()),
            definition: there.valid.then_some(there.definition),
        })
    }

    async fn apply(&self, cx: &Cx, _: &Extent, before: &Before) -> anyhow::Result<()> {
        let was: Was = before.read()?;
        cx.crash_point("drop");
        drop_index(cx, self.side, &was.name).await?;
        cx.crash_point("dropped");
        Ok(())
    }

    async fn undo(&self, cx: &Cx, before: &Before) -> anyhow::Result<()> {
        let was: Was = before.read()?;
        rebuild(cx, self.side, &was.name, was.definition.as_deref()).await
    }
}

/// Makes an index stand again as `definition` says; with `None`, nothing is to stand.
pub(super) async fn rebuild(cx: &Cx, side: Side, name: &QualifiedName, definition: Option<&str>) -> anyhow::Result<()> {
    let Some(definition) = definition else { return Ok(()) };
    match index_state(&*cx.connect(side).await?, name).await? {
        Some(there) if there.valid => return Ok(()),
        Some(_) => {
            drop_index(cx, side, name).await?;
            cx.crash_point("undo-invalid-dropped");
        }
        None => {}
    }
    let statement = concurrently(definition).context("the recorded definition is no CREATE INDEX")?;
    patiently(cx, side, &statement).await?;
    cx.crash_point("rebuilt");
    Ok(())
}
