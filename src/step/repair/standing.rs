//! Whether blue's changes during a repair reach green by themselves.

use crate::capture::installed;
use crate::follow::{lock, uncaptured};
use crate::pg::{Session, control_present};
use crate::projection::{Bound, ProjectionSet, bind};
use crate::step::Cx;
use crate::step::follow::as_stop;
use crate::terms::{RunId, Side};

/// Holds off every follower of this green while it lives.
pub(super) struct Standing {
    /// The session that has the followers' locks.
    _held: Option<Session>,
    captured: bool,
}

impl Standing {
    /// Takes the lock of every run that green has a watermark of: no follower can bring green past a change of blue that the
    /// repair's snapshot does not see.
    ///
    /// # Errors
    /// [`crate::step::Stop::Findings`] when a follower is at work; otherwise when a server cannot be reached.
    pub async fn take(cx: &Cx, set: &ProjectionSet) -> anyhow::Result<Self> {
        if set.projections.is_empty() {
            return Ok(Self { _held: None, captured: true });
        }
        let (blue, green) = (cx.connect(Side::Blue).await?, cx.connect(Side::Green).await?);
        let runs = match control_present(&green).await? {
            true => green.query("SELECT run FROM crossfade.watermark ORDER BY run", &[]).await?,
            false => Vec::new(),
        };
        let bound: Vec<Bound> = bind(&blue, &green, set, true).await?.bound.into_iter().map(|(bound, _)| bound).collect();
        let mut captured = false;
        for run in runs.iter().map(|row| RunId::existing(row.get(0))) {
            lock(&green, &run).await.map_err(as_stop)?;
            let tables = installed(&blue, &run).await?;
            captured |= !tables.is_empty() && uncaptured(&bound, &tables).is_empty();
        }
        Ok(Self { _held: Some(green), captured })
    }

    /// Whether one look at blue is enough: what it changes later follows, or the right rows do not come from it.
    pub fn holds_still(&self) -> bool {
        self.captured
    }
}
