//! `confirm`: the run waits here until a person approves.

use async_trait::async_trait;
use serde::Deserialize;

use super::recorded::{Recorded, over};
use super::registry::{Kind, KindResult, Surroundings, keys_of};
use super::{Cx, Forecast, Reversal, Step, Stop, Summary, from_table};
use crate::terms::{Before, Extent, Side};

/// The table entry of this kind.
pub(super) const KIND: Kind = Kind { name: "confirm", about: "wait for a person's approval", parse, keys: keys_of::<Confirm> };

#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct Confirm {
    /// What the person is asked.
    question: String,
    /// What was asked for is over where this row is there: then nobody is asked.
    done_with: Option<Recorded>,
}

fn parse(table: toml::Table, _: &Surroundings) -> KindResult {
    let step: Confirm = from_table(table)?;
    Ok((Box::new(step), Vec::new()))
}

#[async_trait]
impl Step for Confirm {
    fn describe(&self) -> Summary {
        Summary { effect: format!("wait for approval: {}", self.question), lock: "none".to_owned() }
    }

    fn sides(&self) -> Vec<Side> {
        Vec::new()
    }

    fn reversal(&self) -> Reversal {
        Reversal::NothingToUndo("an approval changes nothing".to_owned())
    }

    fn reads_only(&self) -> bool {
        true
    }

    async fn forecast(&self, cx: &Cx) -> anyhow::Result<Vec<Forecast>> {
        let what = if cx.approved() {
            "is approved".to_owned()
        } else if over(self.done_with.as_ref(), cx).await? {
            "is over; nobody is asked".to_owned()
        } else {
            format!("would stop with exit code 12 until `--approve {}`", cx.step)
        };
        Ok(vec![Forecast { object: self.question.clone(), what, rows: None, lock: String::new() }])
    }

    async fn observe(&self, _: &Cx) -> anyhow::Result<Extent> {
        Ok(Extent::Absent)
    }

    async fn before(&self, _: &Cx) -> anyhow::Result<Before> {
        Ok(Before::default())
    }

    async fn apply(&self, cx: &Cx, _: &Extent, _: &Before) -> anyhow::Result<()> {
        if cx.approved() || over(self.done_with.as_ref(), cx).await? {
            return Ok(());
        }
        Err(Stop::Waiting { question: self.question.clone(), step: cx.step.clone() }.into())
    }

    async fn undo(&self, _: &Cx, _: &Before) -> anyhow::Result<()> {
        Ok(())
    }
}
