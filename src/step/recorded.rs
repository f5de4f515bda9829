//! A row of a history of applied versions that is written after a step: where it is there, the step is over, whatever its own objects
//! look like by then. What came behind it may have renamed or dropped them.

use serde::Deserialize;

use super::Cx;
use crate::sql::{Ident, QualifiedName};
use crate::terms::Side;

/// The row.
#[derive(Debug, Clone, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Recorded {
    /// Where the history is.
    side: Side,
    /// Its table.
    table: QualifiedName,
    /// Its column of versions.
    column: Ident,
    /// The version.
    version: String,
}

impl Recorded {
    /// Whether the row is there.
    ///
    /// # Errors
    /// When the table has no such column, or the server is gone.
    pub async fn there(&self, cx: &Cx) -> anyhow::Result<bool> {
        let session = cx.connect(self.side).await?;
        let table = self.table.to_string();
        let there: bool = session.query_one("SELECT to_regclass($1) IS NOT NULL", &[&table]).await?.get(0);
        if !there {
            return Ok(false);
        }
        let sql = format!("SELECT EXISTS (SELECT FROM {table} WHERE {}::text = $1)", self.column);
        Ok(session.query_one(&sql, &[&self.version]).await?.get(0))
    }
}

/// Whether a step with this key is over.
///
/// # Errors
/// As [`Recorded::there`].
pub(super) async fn over(done_with: Option<&Recorded>, cx: &Cx) -> anyhow::Result<bool> {
    match done_with {
        Some(recorded) => recorded.there(cx).await,
        None => Ok(false),
    }
}
