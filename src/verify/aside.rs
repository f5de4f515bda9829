//! Rows that `clean_rows` steps of the run took out of a table or changed in it: as they were, they are in `crossfade.quarantine`.
//! What a repair set aside was damaged, and what was set aside before the projections took green over was of another schema: such
//! rows are compared as they are.

use crate::pg::{Session, control_present};
use crate::sql::{Literal, QualifiedName};
use crate::terms::RunId;

/// What the run has set aside of one table and not put back.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Aside {
    /// Rows that are gone.
    pub removed: u64,
    /// Rows that are there in another form.
    pub mended: u64,
    /// A `SELECT` of all of them as they were before the run first touched them.
    pub before: String,
    /// A `SELECT` of those that are there, with the key they had.
    pub changed: String,
}

impl Aside {
    /// Reads how many there are; the table's name comes with its schema.
    ///
    /// # Errors
    /// When the session is gone, or may not read our tables.
    pub async fn read(session: &Session, run: &RunId, table: &QualifiedName) -> anyhow::Result<Option<Self>> {
        if !control_present(session).await? {
            return Ok(None);
        }
        let of = format!(
            "FROM crossfade.quarantine AS q WHERE run = {} AND table_name = {} AND restored_at IS NULL \
             AND NOT EXISTS (SELECT FROM crossfade.step_marker AS m WHERE m.run = q.run \
                 AND (m.unit = 'repaired' AND m.step = q.step OR m.unit = 'taken-over' AND m.done_at > q.set_aside_at)) \
             ORDER BY row_key",
            Literal::new(run.as_str()),
            Literal::new(table.plain())
        );
        let latest = format!("SELECT DISTINCT ON (row_key) row_text, written IS NULL AS gone {of}, id DESC");
        let count = format!("SELECT count(*) FILTER (WHERE gone), count(*) FILTER (WHERE NOT gone) FROM ({latest}) AS latest");
        let row = session.query_one(&count, &[]).await?;
        let (removed, mended) = (row.get::<_, i64>(0).unsigned_abs(), row.get::<_, i64>(1).unsigned_abs());
        let as_row =
            |rows: &str| format!("SELECT (old).* FROM (SELECT row_text::{table} AS old FROM ({rows}) AS kept OFFSET 0) AS rows");
        Ok((removed + mended > 0).then(|| Self {
            removed,
            mended,
            before: as_row(&format!("SELECT DISTINCT ON (row_key) row_text {of}, id")),
            changed: as_row(&format!("SELECT row_text FROM ({latest}) AS latest WHERE NOT gone")),
        }))
    }
}
