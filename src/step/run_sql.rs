//! `run_sql`: statements in one transaction, remembered by a marker written in that transaction.

use async_trait::async_trait;
use serde::Deserialize;

use super::registry::{Kind, KindResult, Surroundings, keys_of};
use super::{Cx, Forecast, Reversal, RowChange, Step, Summary, Touched, from_table};
use crate::pg::{Patience, mark, marked, unmark};
use crate::sql::{Demand, Statement, split, written};
use crate::terms::{Before, Extent, Side};

/// The table entry of this kind.
pub(super) const KIND: Kind =
    Kind { name: "run_sql", about: "run statements in one transaction", parse, keys: keys_of::<RunSql> };

#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct RunSql {
    side: Side,
    /// The statements, one string each.
    sql: Vec<String>,
    /// The statements that take it back.
    undo_sql: Option<Vec<String>>,
}

fn parse(table: toml::Table, _: &Surroundings) -> KindResult {
    let step: RunSql = from_table(table)?;
    Ok((Box::new(step), Vec::new()))
}

impl RunSql {
    /// The statements as far as they can be read.
    fn statements(&self) -> Vec<Statement> {
        self.sql.iter().flat_map(|text| split(text).unwrap_or_default()).collect()
    }
}

#[async_trait]
impl Step for RunSql {
    fn describe(&self) -> Summary {
        let count = self.sql.len();
        let effect = format!("run {count} statement{} on {} in one transaction", if count == 1 { "" } else { "s" }, self.side);
        Summary { effect, lock: "as the statements take; lock_timeout with retries".to_owned() }
    }

    fn sides(&self) -> Vec<Side> {
        vec![self.side]
    }

    fn touches(&self) -> Vec<Touched> {
        let created: Vec<_> = self.sql.iter().flat_map(|sql| split(sql).unwrap_or_default()).collect();
        let created: Vec<_> = created.iter().filter_map(Statement::creates).collect();
        let touched = self.sql.iter().flat_map(|sql| Touched::by_text(self.side, sql));
        touched.filter(|touched| !created.contains(&&touched.relation)).collect()
    }

    fn reversal(&self) -> Reversal {
        match &self.undo_sql {
            Some(_) => Reversal::Reversible,
            None => Reversal::Irreversible("the plan gives no undo_sql".to_owned()),
        }
    }

    async fn forecast(&self, _: &Cx) -> anyhow::Result<Vec<Forecast>> {
        Ok(self
            .sql
            .iter()
            .map(|sql| Forecast { object: self.side.to_string(), what: sql.trim().to_owned(), rows: None, lock: String::new() })
            .collect())
    }

    fn demands(&self) -> Vec<Demand> {
        self.statements().iter().flat_map(Statement::demands).collect()
    }

    fn row_changes(&self) -> Vec<RowChange> {
        self.statements().iter().flat_map(written).map(|table| RowChange { table, known: None }).collect()
    }

    async fn observe(&self, cx: &Cx) -> anyhow::Result<Extent> {
        let session = cx.connect(self.side).await?;
        Ok(if marked(&session, &cx.run, &cx.step, "sql").await? { Extent::Complete } else { Extent::Absent })
    }

    async fn before(&self, _: &Cx) -> anyhow::Result<Before> {
        Ok(Before::default())
    }

    async fn apply(&self, cx: &Cx, _: &Extent, _: &Before) -> anyhow::Result<()> {
        let statements = self.sql.iter().cloned().chain([mark(&cx.run, &cx.step, "sql")]).collect::<Vec<_>>();
        self.transaction(cx, &statements).await
    }

    async fn undo(&self, cx: &Cx, _: &Before) -> anyhow::Result<()> {
        if self.observe(cx).await? == Extent::Absent {
            return Ok(());
        }
        let undo = self.undo_sql.iter().flatten().cloned();
        self.transaction(cx, &undo.chain([unmark(&cx.run, &cx.step)]).collect::<Vec<_>>()).await
    }
}

impl RunSql {
    async fn transaction(&self, cx: &Cx, statements: &[String]) -> anyhow::Result<()> {
        let mut session = cx.connect(self.side).await?;
        let observer = cx.connect(self.side).await?;
        let mut patience = Patience { session: &mut session, observer: &observer, limits: &cx.limits };
        patience.transaction(statements, &mut |blockers| cx.waiting(blockers)).await.map(drop)
    }
}
