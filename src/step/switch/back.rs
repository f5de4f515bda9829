//! The way back: what green changes is captured from before the release on, so that blue can be brought up to it.

use super::Switch;
use crate::capture::{self, CapturedTable, Shape, installed, obstacles};
use crate::pg::{Session, control_present};
use crate::projection::{Bound, captured};
use crate::sql::Literal;
use crate::step::ddl::patient::in_turn;
use crate::step::{Cx, Stop};
use crate::terms::{Finding, Severity, Side};

/// Bytes of the outbox on green above which the way back is looked after.
const ALARM: u64 = 1_000_000_000;

/// Ends the capture of these tables on green, the table of captured ones last: a crash in between is finished by the next try.
pub(in crate::step) async fn end_capture(cx: &Cx, green: &Session, there: &[CapturedTable]) -> anyhow::Result<()> {
    for old in there {
        in_turn(cx, Side::Green, &capture::remove(green, old).await?).await?;
        cx.crash_point("released");
    }
    capture::forget_changes(green, there).await?;
    cx.crash_point("emptied");
    let forget: Vec<String> = there.iter().map(CapturedTable::forget).collect();
    in_turn(cx, Side::Green, &forget).await
}

impl Switch {
    /// Captures green's tables, where the plan has a way back.
    pub(super) async fn capture_back(&self, cx: &Cx) -> anyhow::Result<()> {
        let Some(binding) = self.bound(cx, Side::Blue).await? else { return Ok(()) };
        let bound: Vec<Bound> = binding.bound.into_iter().map(|(bound, _)| bound).collect();
        let green = cx.connect(Side::Green).await?;
        let wanted = captured(&bound);
        let there = installed(&green, &cx.run).await?;
        if there.is_empty() {
            let blocking: Vec<Finding> = obstacles(&green, &wanted, &cx.run, false)
                .await?
                .into_iter()
                .filter(|finding| finding.severity == Severity::Blocks)
                .map(|finding| Finding { object: finding.object.replace("on blue", "on green"), ..finding })
                .collect();
            if !blocking.is_empty() {
                return Err(Stop::Findings(blocking).into());
            }
        }
        for table in &wanted {
            let shape = Shape::read(&green, table).await?;
            let shape = shape.ok_or_else(|| anyhow::anyhow!("table {} on green went away", table.table.plain()))?;
            if there.iter().any(|old| old.table == shape.table) {
                continue;
            }
            in_turn(cx, Side::Green, &capture::install(&green, &cx.run, &cx.step, &shape, ALARM).await?).await?;
            cx.crash_point("captured-back");
        }
        Ok(())
    }

    /// Writes down where the way back begins: blue has everything that green has now.
    pub(super) async fn begin_back(&self, cx: &Cx) -> anyhow::Result<()> {
        if self.back.is_none() {
            return Ok(());
        }
        let (blue, green) = (cx.connect(Side::Blue).await?, cx.connect(Side::Green).await?);
        let seen: String = green.query_one("SELECT pg_current_snapshot()::text", &[]).await?.get(0);
        let sql = format!(
            "INSERT INTO crossfade.watermark (run, snapshot) VALUES ({}, {}) \
             ON CONFLICT (run) DO UPDATE SET snapshot = excluded.snapshot, moved_at = clock_timestamp()",
            Literal::new(cx.run.as_str()),
            Literal::new(seen)
        );
        Ok(blue.batch_execute(&sql).await?)
    }

    /// Ends the capture on green and forgets where the way back began.
    pub(super) async fn end_back(&self, cx: &Cx) -> anyhow::Result<()> {
        if self.back.is_none() {
            return Ok(());
        }
        let (blue, green) = (cx.connect(Side::Blue).await?, cx.connect(Side::Green).await?);
        if control_present(&green).await? {
            let mut there = installed(&green, &cx.run).await?;
            there.retain(|table| table.step == cx.step.as_str());
            end_capture(cx, &green, &there).await?;
        }
        if control_present(&blue).await? {
            blue.execute("DELETE FROM crossfade.watermark WHERE run = $1", &[&cx.run.as_str()]).await?;
        }
        Ok(())
    }

    /// After the way back: blue has every row of green, so an undo of the copy may empty green's tables whatever they hold now.
    pub(super) async fn count_again(&self, cx: &Cx, green: &Session) -> anyhow::Result<()> {
        for target in self.projected.targets(green).await? {
            let (run, table) = (Literal::new(cx.run.as_str()), Literal::new(target.table.plain()));
            let rows = format!(
                "(SELECT count(*) FROM ONLY {}) - (SELECT coalesce(sum(rows), 0) FROM crossfade.copy_part \
                  WHERE run = {run} AND projection = {table})",
                target.table
            );
            let sql = format!(
                "INSERT INTO crossfade.copy_part AS p (run, step, projection, source, part, rows, bytes) \
                 SELECT {run}, step, {table}, '*follow', 0, {rows}, 0 FROM crossfade.copy_part \
                  WHERE run = {run} AND projection = {table} GROUP BY step LIMIT 1 \
                 ON CONFLICT (run, step, projection, source, part) DO UPDATE SET rows = p.rows + excluded.rows"
            );
            green.batch_execute(&sql).await?;
        }
        Ok(())
    }
}
