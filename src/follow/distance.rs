//! How far green is behind blue, asked of both: for those who look while another follows.

use crate::capture::{Waiting, waiting};
use crate::pg::{Session, control_present};
use crate::terms::RunId;

/// What green lacks; `None` when nothing is captured for the run. Without a copy it lacks everything that was captured.
///
/// # Errors
/// When a session is gone or may not read our tables.
pub async fn distance(blue: &Session, green: &Session, run: &RunId) -> anyhow::Result<Option<Waiting>> {
    if !control_present(blue).await? {
        return Ok(None);
    }
    let watermark: Option<String> = match control_present(green).await? {
        true => {
            let sql = "SELECT snapshot::text FROM crossfade.watermark WHERE run = $1";
            green.query_opt(sql, &[&run.as_str()]).await?.map(|row| row.get(0))
        }
        false => None,
    };
    waiting(blue, green, run, watermark.as_deref()).await
}
