//! `require`: a condition, asked as SQL, that must hold before the run goes on.

use anyhow::Context;
use async_trait::async_trait;
use serde::Deserialize;

use super::registry::{Fault, Kind, KindResult, Surroundings, keys_of};
use super::{Cx, Forecast, Reversal, Step, Stop, Summary, Touched, from_table};
use crate::terms::{Before, Extent, Finding, Severity, Side};

/// The table entry of this kind.
pub(super) const KIND: Kind = Kind { name: "require", about: "stop unless a condition holds", parse, keys: keys_of::<Require> };

#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct Require {
    side: Side,
    /// A query that gives one boolean; NULL and no row count as false.
    sql: String,
    /// What the condition is about.
    object: String,
    /// What it means when it does not hold.
    otherwise: String,
    /// What to do then.
    next: String,
}

fn parse(table: toml::Table, _: &Surroundings) -> KindResult {
    let step: Require = from_table(table)?;
    if step.sql.trim().is_empty() {
        return Err(vec![Fault::key("sql", "`sql` is empty: a query that gives one boolean is expected")]);
    }
    Ok((Box::new(step), Vec::new()))
}

impl Require {
    /// Asks in a read-only transaction, so that a condition cannot change anything.
    async fn holds(&self, cx: &Cx) -> anyhow::Result<bool> {
        let mut session = cx.connect(self.side).await?;
        let transaction = session.build_transaction().read_only(true).start().await?;
        let row = transaction.query_opt(self.sql.as_str(), &[]).await.context("the condition cannot be asked")?;
        match row {
            Some(row) => Ok(row.try_get::<_, Option<bool>>(0).context("the condition is not a boolean")?.unwrap_or(false)),
            None => Ok(false),
        }
    }
}

#[async_trait]
impl Step for Require {
    fn describe(&self) -> Summary {
        Summary { effect: format!("stop unless {} on {} is as required", self.object, self.side), lock: "none".to_owned() }
    }

    fn sides(&self) -> Vec<Side> {
        vec![self.side]
    }

    fn touches(&self) -> Vec<Touched> {
        Touched::by_text(self.side, &self.sql)
    }

    fn reversal(&self) -> Reversal {
        Reversal::NothingToUndo("a condition changes nothing".to_owned())
    }

    fn reads_only(&self) -> bool {
        true
    }

    async fn forecast(&self, cx: &Cx) -> anyhow::Result<Vec<Forecast>> {
        let what = match self.holds(cx).await? {
            true => "holds".to_owned(),
            false => format!("does NOT hold: {}", self.otherwise),
        };
        Ok(vec![Forecast { object: self.object.clone(), what, rows: None, lock: String::new() }])
    }

    async fn observe(&self, _: &Cx) -> anyhow::Result<Extent> {
        Ok(Extent::Absent)
    }

    async fn before(&self, _: &Cx) -> anyhow::Result<Before> {
        Ok(Before::default())
    }

    async fn apply(&self, cx: &Cx, _: &Extent, _: &Before) -> anyhow::Result<()> {
        if self.holds(cx).await? {
            return Ok(());
        }
        let finding = Finding {
            severity: Severity::Blocks,
            object: format!("{} on {}", self.object, self.side),
            what: self.otherwise.clone(),
            next: self.next.clone(),
        };
        Err(Stop::Findings(vec![finding]).into())
    }

    async fn undo(&self, _: &Cx, _: &Before) -> anyhow::Result<()> {
        Ok(())
    }
}
