//! `end_way_back`: the switch stays. Green stops keeping what blue would need.

use anyhow::bail;
use async_trait::async_trait;
use serde::Deserialize;

use super::registry::{Kind, KindResult, Surroundings, keys_of};
use super::switch::end_capture;
use super::{Cx, Forecast, Reversal, Step, Stop, Summary, from_table};
use crate::capture::installed;
use crate::terms::{Before, Extent, Finding, Side};

/// The table entry of this kind.
pub(super) const KIND: Kind =
    Kind { name: "end_way_back", about: "give up the way back that a switch keeps", parse, keys: keys_of::<EndWayBack> };

/// Why nothing undoes it.
const FINAL: &str = "what green was told since is not kept for blue any more";

#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct EndWayBack {}

fn parse(table: toml::Table, _: &Surroundings) -> KindResult {
    let step: EndWayBack = from_table(table)?;
    Ok((Box::new(step), Vec::new()))
}

#[async_trait]
impl Step for EndWayBack {
    fn describe(&self) -> Summary {
        Summary {
            effect: "end the capture on green: from here on no rollback leads back to blue".to_owned(),
            lock: "ACCESS EXCLUSIVE on each captured table of green for an instant".to_owned(),
        }
    }

    fn sides(&self) -> Vec<Side> {
        vec![Side::Green] // blue may be gone
    }

    fn reversal(&self) -> Reversal {
        Reversal::Irreversible(FINAL.to_owned())
    }

    async fn forecast(&self, cx: &Cx) -> anyhow::Result<Vec<Forecast>> {
        let mut lines = Vec::new();
        for table in installed(&cx.connect(Side::Green).await?, &cx.run).await? {
            let lock = "ACCESS EXCLUSIVE for an instant".to_owned();
            let what = "no longer captured on green".to_owned();
            lines.push(Forecast { object: table.table.plain(), what, rows: None, lock });
        }
        if !cx.approved() {
            let what = format!("would stop with exit code 12 until `--approve {}`", cx.step);
            lines.push(Forecast { object: "approval".to_owned(), what, rows: None, lock: String::new() });
        }
        Ok(lines)
    }

    async fn preconditions(&self, cx: &Cx) -> anyhow::Result<Vec<Finding>> {
        if cx.approved() {
            return Ok(Vec::new());
        }
        let question =
            "give up the way back to blue? until then `crossfade rollback` brings all traffic and every write back".to_owned();
        Err(Stop::Waiting { question, step: cx.step.clone() }.into())
    }

    async fn observe(&self, cx: &Cx) -> anyhow::Result<Extent> {
        Ok(match installed(&cx.connect(Side::Green).await?, &cx.run).await?.len() {
            0 => Extent::Complete,
            _ => Extent::Absent,
        })
    }

    async fn before(&self, _: &Cx) -> anyhow::Result<Before> {
        Ok(Before::default())
    }

    async fn apply(&self, cx: &Cx, _: &Extent, _: &Before) -> anyhow::Result<()> {
        let green = cx.connect(Side::Green).await?;
        end_capture(cx, &green, &installed(&green, &cx.run).await?).await
    }

    async fn undo(&self, _: &Cx, _: &Before) -> anyhow::Result<()> {
        bail!(FINAL)
    }
}
