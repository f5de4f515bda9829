//! How far a switch has come, written down on blue before each beat begins.

use std::time::Duration;

use crate::cutover::beat::{BEATS, Beat, Progress};
use crate::pg::{Session, control_present, mark};
use crate::step::Cx;
use crate::terms::Side;

/// The mark of a passage that has ended.
const OVER: &str = "over";

/// What is written down of the passage to one side. Blue keeps the notes of both ways: it must be there for either.
pub(super) struct Notes<'a> {
    cx: &'a Cx,
    to: Side,
}

impl<'a> Notes<'a> {
    pub(super) fn new(cx: &'a Cx, to: Side) -> Self {
        Self { cx, to }
    }

    fn unit(&self, what: &str) -> String {
        format!("to-{}/{what}", self.to)
    }

    async fn units(&self, blue: &Session) -> anyhow::Result<Vec<String>> {
        if !control_present(blue).await? {
            return Ok(Vec::new());
        }
        let sql = "SELECT unit FROM crossfade.step_marker WHERE run = $1 AND step = $2 AND unit LIKE $3 || '%'";
        let prefix = self.unit("");
        let rows = blue.query(sql, &[&self.cx.run.as_str(), &self.cx.step.as_str(), &prefix]).await?;
        Ok(rows.iter().map(|row| row.get::<_, String>(0)[prefix.len()..].to_owned()).collect())
    }

    /// How far it has come.
    pub(super) async fn progress(&self, blue: &Session) -> anyhow::Result<Progress> {
        let units = self.units(blue).await?;
        let begun = BEATS.into_iter().rev().find(|beat| units.iter().any(|unit| unit == beat.name()));
        Ok(Progress { begun, ended: units.iter().any(|unit| unit == OVER), back: false })
    }

    /// Writes down that a beat begins.
    pub(super) async fn begin(&self, blue: &Session, beat: Beat) -> anyhow::Result<()> {
        Ok(blue.batch_execute(&mark(&self.cx.run, &self.cx.step, &self.unit(beat.name()))).await?)
    }

    /// Writes down that the last beat has ended.
    pub(super) async fn over(&self, blue: &Session) -> anyhow::Result<()> {
        Ok(blue.batch_execute(&mark(&self.cx.run, &self.cx.step, &self.unit(OVER))).await?)
    }

    /// Forgets the passage.
    pub(super) async fn forget(&self, blue: &Session) -> anyhow::Result<()> {
        if !control_present(blue).await? {
            return Ok(());
        }
        let sql = "DELETE FROM crossfade.step_marker WHERE run = $1 AND step = $2 AND unit LIKE $3 || '%'";
        blue.execute(sql, &[&self.cx.run.as_str(), &self.cx.step.as_str(), &self.unit("")]).await?;
        Ok(())
    }

    /// The time between the begins of two beats, by blue's clock.
    pub(super) async fn between(&self, blue: &Session, first: Beat, second: Beat) -> anyhow::Result<Option<Duration>> {
        let sql = "SELECT extract(epoch FROM max(done_at) FILTER (WHERE unit = $4) - max(done_at) FILTER (WHERE unit = $3))::float8 \
                   FROM crossfade.step_marker WHERE run = $1 AND step = $2";
        let (first, second) = (self.unit(first.name()), self.unit(second.name()));
        let row = blue.query_one(sql, &[&self.cx.run.as_str(), &self.cx.step.as_str(), &first, &second]).await?;
        Ok(row.get::<_, Option<f64>>(0).and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()))
    }
}
