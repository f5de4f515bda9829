//! `create_index`: an index built without blocking readers or writers. An INVALID index of its name on its table, which only an
//! unfinished build leaves, is dropped first, whoever left it.

use async_trait::async_trait;

use super::ddl::index::IndexSpec;
use super::registry::{Fault, Kind, KindResult, Surroundings, keys_of};
use super::{Cx, Forecast, Reversal, Step, Summary, Touched, Use, from_table};
use crate::pg::table_state;
use crate::sql::Demand;
use crate::terms::{Before, Extent, Finding, Side};

/// The table entry of this kind.
pub(super) const KIND: Kind =
    Kind { name: "create_index", about: "build an index concurrently", parse, keys: keys_of::<IndexSpec> };

struct CreateIndex(IndexSpec);

fn parse(table: toml::Table, _: &Surroundings) -> KindResult {
    let spec: IndexSpec = from_table(table)?;
    let mut faults = Vec::new();
    if spec.columns.is_empty() {
        faults.push(Fault::key("columns", "`columns` is empty: an index has at least one"));
    }
    if spec.nulls_not_distinct && !spec.unique {
        faults.push(Fault::key("nulls_not_distinct", "`nulls_not_distinct` belongs to an index with `unique = true`"));
    }
    if faults.is_empty() { Ok((Box::new(CreateIndex(spec)), Vec::new())) } else { Err(faults) }
}

#[async_trait]
impl Step for CreateIndex {
    fn describe(&self) -> Summary {
        let IndexSpec { name, table, side, .. } = &self.0;
        let unique = if self.0.unique { "unique " } else { "" };
        Summary {
            effect: format!("build {unique}index {} on {} of {side} concurrently", name.as_str(), table.plain()),
            lock: "SHARE UPDATE EXCLUSIVE for the whole build: blocks neither reads nor writes".to_owned(),
        }
    }

    fn sides(&self) -> Vec<Side> {
        vec![self.0.side]
    }

    fn touches(&self) -> Vec<Touched> {
        vec![Touched::new(self.0.side, &self.0.table, Use::Alters)]
    }

    fn reversal(&self) -> Reversal {
        Reversal::Reversible
    }

    async fn forecast(&self, cx: &Cx) -> anyhow::Result<Vec<Forecast>> {
        let table = table_state(&*cx.connect(self.0.side).await?, &self.0.table).await?;
        let table = table.ok_or_else(|| anyhow::anyhow!("table {} is not there yet", self.0.table.plain()))?;
        Ok(vec![Forecast {
            object: table.name.plain(),
            what: "read twice to build the index".to_owned(),
            rows: Some(table.rows),
            lock: "SHARE UPDATE EXCLUSIVE; waits for older transactions".to_owned(),
        }])
    }

    async fn preconditions(&self, cx: &Cx) -> anyhow::Result<Vec<Finding>> {
        self.0.obstacles(cx).await
    }

    fn demands(&self) -> Vec<Demand> {
        self.0.demands()
    }

    async fn observe(&self, cx: &Cx) -> anyhow::Result<Extent> {
        self.0.observe(cx).await
    }

    async fn before(&self, _: &Cx) -> anyhow::Result<Before> {
        Ok(Before::default()) // an index we did not make is adopted or blocks, so what is there at an undo is ours
    }

    async fn apply(&self, cx: &Cx, _: &Extent, _: &Before) -> anyhow::Result<()> {
        self.0.build(cx).await
    }

    async fn undo(&self, cx: &Cx, _: &Before) -> anyhow::Result<()> {
        self.0.unbuild(cx).await
    }
}
