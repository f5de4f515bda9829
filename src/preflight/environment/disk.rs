//! Disk: how much the plan will need. How much is free no client can ask a PostgreSQL server.

use async_trait::async_trait;

use super::ground::{Ground, size};
use super::{Comparison, Topic};
use crate::step::Use;
use crate::terms::{Finding, Severity};

/// Room for what an in-place plan builds beside the tables.
pub(super) struct InPlace;

#[async_trait]
impl Topic for InPlace {
    fn name(&self) -> &'static str {
        "disk"
    }

    async fn ask(&self, ground: &Ground<'_>) -> anyhow::Result<Vec<Finding>> {
        let bytes = bytes(ground, &[Use::Alters, Use::Walks, Use::Writes]).await?;
        if bytes == 0 {
            return Ok(Vec::new());
        }
        let what = format!(
            "the tables that are changed take {} with their indexes; new indexes, old row versions and rows set aside may need as much again",
            size(bytes)
        );
        Ok(vec![ground.finding(Severity::Note, "free disk space", what, LOOK)])
    }
}

/// Room for green's tables.
pub(super) struct OnGreen;

#[async_trait]
impl Comparison for OnGreen {
    fn name(&self) -> &'static str {
        "disk for the copy"
    }

    async fn ask(&self, blue: &Ground<'_>, green: &Ground<'_>) -> anyhow::Result<Vec<Finding>> {
        let bytes = bytes(blue, &[Use::Carries]).await?;
        if bytes == 0 {
            return Ok(Vec::new());
        }
        let what = format!(
            "blue's tables take {} with their indexes: expect about that on green, as much again in its write-ahead log while a standby or a slot has not read it, and its largest index once more in temporary files",
            size(bytes)
        );
        Ok(vec![green.finding(Severity::Note, "free disk space", what, LOOK)])
    }
}

const LOOK: &str = "the server cannot be asked how much is free: look with `df` on its host, or in the provider's console";

/// What these tables take on disk, each counted once.
pub(super) async fn bytes(ground: &Ground<'_>, how: &[Use]) -> anyhow::Result<i64> {
    Ok(ground.tables().await?.iter().filter(|table| table.is_used(how)).map(|table| table.bytes).sum())
}
