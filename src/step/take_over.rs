//! `take_over`: the projections take green over, whatever copied and migrated it before.
//!
//! Green was copied as blue is and migrated to the form that the projections fill. From here on it is what they give: every row
//! is derived anew at one snapshot of blue and brought to green in one transaction with the watermark, as a batch of `follow`
//! is. What blue changed since the copy's snapshot was captured; revocations among it are recorded and replayed first.

use async_trait::async_trait;

use super::follow::{as_stop, follow_conditions, open};
use super::projected::{Keys, Projected};
use super::registry::{Kind, KindResult, Surroundings, keys_of};
use super::{Cx, Forecast, Reversal, Step, Summary, Touched, Use, from_table};
use crate::pg::{control_present, mark, marked, unmark};
use crate::terms::{Before, Extent, Finding, Side};

/// The table entry of this kind.
pub(super) const KIND: Kind = Kind {
    name: "take_over",
    about: "make a copied and migrated green what the projections give, so that it can follow",
    parse,
    keys: keys_of::<Keys>,
};

/// The marker; `verify` knows by it that what was set aside before is of another form.
const TAKEN_OVER: &str = "taken-over";

struct TakeOver {
    projected: Projected,
}

fn parse(table: toml::Table, around: &Surroundings) -> KindResult {
    let (projected, files) = from_table::<Keys>(table)?.read(around)?;
    Ok((Box::new(TakeOver { projected }), files))
}

#[async_trait]
impl Step for TakeOver {
    fn describe(&self) -> Summary {
        Summary {
            effect: format!("make {} tables of green what their projections give at one snapshot of blue", self.projected.len()),
            lock: "ACCESS SHARE on blue while it is read; row locks on green".to_owned(),
        }
    }

    fn sides(&self) -> Vec<Side> {
        vec![Side::Blue, Side::Green]
    }

    fn touches(&self) -> Vec<Touched> {
        self.projected.touches(Use::Writes)
    }

    fn reversal(&self) -> Reversal {
        Reversal::NothingToUndo(
            "green's rows stay as the projections give them; the undo of the copy empties its tables".to_owned(),
        )
    }

    async fn forecast(&self, cx: &Cx) -> anyhow::Result<Vec<Forecast>> {
        let blue = cx.connect(Side::Blue).await?;
        self.projected.forecast(&blue, 1, "derived anew; rows that differ are changed").await
    }

    async fn preconditions(&self, cx: &Cx) -> anyhow::Result<Vec<Finding>> {
        follow_conditions(cx, &self.projected).await
    }

    fn takes_over(&self) -> Option<&Projected> {
        Some(&self.projected)
    }

    async fn observe(&self, cx: &Cx) -> anyhow::Result<Extent> {
        let green = cx.connect(Side::Green).await?;
        Ok(match control_present(&green).await? && marked(&green, &cx.run, &cx.step, TAKEN_OVER).await? {
            true => Extent::Complete,
            false => Extent::Absent,
        })
    }

    async fn before(&self, _: &Cx) -> anyhow::Result<Before> {
        Ok(Before::default())
    }

    async fn apply(&self, cx: &Cx, _: &Extent, _: &Before) -> anyhow::Result<()> {
        let (mut follower, _) = open(cx, &[&self.projected], Side::Green).await?;
        let batch = follower.anew().await.map_err(as_stop)?;
        cx.remark(format!(
            "{} rows of green changed, {} changes of blue since the copy among them",
            batch.passed.applied, batch.passed.captured
        ));
        cx.figure("rows_changed", batch.passed.applied);
        let green = cx.connect(Side::Green).await?;
        Ok(green.batch_execute(&mark(&cx.run, &cx.step, TAKEN_OVER)).await?)
    }

    async fn undo(&self, cx: &Cx, _: &Before) -> anyhow::Result<()> {
        let green = cx.connect(Side::Green).await?;
        Ok(green.batch_execute(&unmark(&cx.run, &cx.step)).await?)
    }
}
