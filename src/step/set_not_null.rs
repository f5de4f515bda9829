//! `set_not_null`: NOT NULL without a scan under a strong lock. A validated CHECK proves to the server that no row is NULL
//! (PostgreSQL manual, ALTER TABLE, SET NOT NULL), and goes again.

use async_trait::async_trait;
use serde::Deserialize;

use super::ddl::index::{counted, missing_table};
use super::ddl::patient::{count, in_turn, patiently};
use super::registry::{Kind, KindResult, Surroundings, keys_of};
use super::{Cx, Forecast, Reversal, Step, Summary, Touched, Use, from_table};
use crate::pg::{ConstraintState, column_state, constraint_state, table_state};
use crate::sql::{Demand, Ident, QualifiedName, Rule};
use crate::terms::{Before, Extent, Finding, Severity, Side, key_digest};

/// The table entry of this kind.
pub(super) const KIND: Kind =
    Kind { name: "set_not_null", about: "make a column NOT NULL through a validated CHECK", parse, keys: keys_of::<SetNotNull> };

#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct SetNotNull {
    side: Side,
    table: QualifiedName,
    column: Ident,
}

fn parse(table: toml::Table, _: &Surroundings) -> KindResult {
    let step: SetNotNull = from_table(table)?;
    Ok((Box::new(step), Vec::new()))
}

impl SetNotNull {
    /// The name of the CHECK that helps: one per table and column, 25 bytes, known to nobody else.
    fn check(&self) -> Ident {
        Ident::new(format!("crossfade_nn_{}", key_digest(&format!("{}.{}", self.table.name(), self.column))))
    }

    async fn found(&self, cx: &Cx) -> anyhow::Result<(bool, Option<ConstraintState>)> {
        let session = cx.connect(self.side).await?;
        let column = column_state(&session, &self.table, &self.column).await?;
        let check = constraint_state(&session, &self.table, &self.check()).await?;
        Ok((column.is_some_and(|column| column.not_null), check))
    }

    fn drop_check(&self) -> String {
        format!("ALTER TABLE {} DROP CONSTRAINT IF EXISTS {}", self.table, self.check())
    }
}

#[async_trait]
impl Step for SetNotNull {
    fn describe(&self) -> Summary {
        Summary {
            effect: format!("make column {} of {} NOT NULL on {}", self.column.as_str(), self.table.plain(), self.side),
            lock: "ACCESS EXCLUSIVE for an instant, three times, lock_timeout with retries; the scan blocks nobody".to_owned(),
        }
    }

    fn sides(&self) -> Vec<Side> {
        vec![self.side]
    }

    fn touches(&self) -> Vec<Touched> {
        vec![Touched::new(self.side, &self.table, Use::Alters)]
    }

    fn reversal(&self) -> Reversal {
        Reversal::Reversible
    }

    async fn forecast(&self, cx: &Cx) -> anyhow::Result<Vec<Forecast>> {
        let table = table_state(&*cx.connect(self.side).await?, &self.table).await?;
        let table = table.ok_or_else(|| anyhow::anyhow!("table {} is not there yet", self.table.plain()))?;
        Ok(vec![Forecast {
            object: table.name.plain(),
            what: "every row read once to validate".to_owned(),
            rows: Some(table.rows),
            lock: "SHARE UPDATE EXCLUSIVE while reading, ACCESS EXCLUSIVE for an instant".to_owned(),
        }])
    }

    async fn preconditions(&self, cx: &Cx) -> anyhow::Result<Vec<Finding>> {
        let session = cx.connect(self.side).await?;
        if table_state(&session, &self.table).await?.is_none() {
            return Ok(missing_table(&self.table, self.side));
        }
        let object = format!("column {} of {}", self.column.as_str(), self.table.plain());
        let blocks = |what, next: &str| vec![Finding { severity: Severity::Blocks, object, what, next: next.to_owned() }];
        let Some(column) = column_state(&session, &self.table, &self.column).await? else {
            return Ok(blocks(format!("is not on {}", self.side), "correct the step, or add the column in an earlier step"));
        };
        if column.not_null {
            return Ok(Vec::new());
        }
        if let Some(name) = column.unchecked {
            // SET NOT NULL would check the rows under its ACCESS EXCLUSIVE lock, whatever a CHECK proves.
            return Ok(blocks(
                format!("has a NOT NULL constraint {} that is NOT VALID", name.as_str()),
                "validate that one (VALIDATE CONSTRAINT in a run_sql step), or drop it, then run again",
            ));
        }
        let nulls = count(cx, &session, &format!("FROM {} WHERE {} IS NULL", self.table, self.column)).await?;
        if nulls == 0 {
            return Ok(Vec::new());
        }
        Ok(blocks(
            format!("is NULL in {}", counted(nulls, "row", "rows")),
            "fill it first (backfill or clean_rows), then run again",
        ))
    }

    fn demands(&self) -> Vec<Demand> {
        let (name, rule) = (self.column.as_str().to_owned(), Rule::NotNull(self.column.clone()));
        vec![Demand { table: self.table.clone(), name, rule, checked: true }]
    }

    async fn observe(&self, cx: &Cx) -> anyhow::Result<Extent> {
        Ok(match self.found(cx).await? {
            (true, None) => Extent::Complete,
            (false, None) => Extent::Absent,
            (true, Some(_)) => Extent::Partial("the CHECK that helped is still there".to_owned()),
            (false, Some(check)) if check.validated => Extent::Partial("the CHECK is validated".to_owned()),
            (false, Some(_)) => Extent::Partial("the CHECK is not validated".to_owned()),
        })
    }

    async fn before(&self, _: &Cx) -> anyhow::Result<Before> {
        Ok(Before::default()) // a column that was NOT NULL is adopted, so at an undo it was nullable
    }

    async fn apply(&self, cx: &Cx, _: &Extent, _: &Before) -> anyhow::Result<()> {
        let (not_null, check) = self.found(cx).await?;
        if !not_null {
            if check.is_none() {
                let add = format!(
                    "ALTER TABLE {} ADD CONSTRAINT {} CHECK ({} IS NOT NULL) NOT VALID",
                    self.table,
                    self.check(),
                    self.column
                );
                in_turn(cx, self.side, &[add]).await?;
                cx.crash_point("check-added");
            }
            if !check.is_some_and(|check| check.validated) {
                patiently(cx, self.side, &format!("ALTER TABLE {} VALIDATE CONSTRAINT {}", self.table, self.check())).await?;
                cx.crash_point("check-validated");
            }
            let set = format!("ALTER TABLE {} ALTER COLUMN {} SET NOT NULL", self.table, self.column);
            in_turn(cx, self.side, &[set]).await?;
            cx.crash_point("set");
        }
        in_turn(cx, self.side, &[self.drop_check()]).await
    }

    async fn undo(&self, cx: &Cx, _: &Before) -> anyhow::Result<()> {
        let (not_null, check) = self.found(cx).await?;
        let mut statements = Vec::new();
        if check.is_some() {
            statements.push(self.drop_check());
        }
        if not_null {
            statements.push(format!("ALTER TABLE {} ALTER COLUMN {} DROP NOT NULL", self.table, self.column));
        }
        if statements.is_empty() { Ok(()) } else { in_turn(cx, self.side, &statements).await }
    }
}
