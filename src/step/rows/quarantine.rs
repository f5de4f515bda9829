//! What a step has set aside in one table, for putting it back by itself, without undoing the step.

use anyhow::Context;

use super::batches::Batches;
use super::keyed_table::KeyedTable;
use super::set_aside::{Back, ROW_TYPE, make_row_type, restore, same_key};
use crate::pg::control_present;
use crate::sql::QualifiedName;
use crate::step::Cx;
use crate::terms::{Side, key_digest};

/// Rows of one table that a step set aside, and how they go back.
pub struct SetAside {
    side: Side,
    table: KeyedTable,
    back: Back,
}

/// What of it could go back now.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct Waiting {
    /// Rows set aside and not put back.
    pub rows: u64,
    /// Those of them that cannot go back: their key is taken, or the row was changed or removed since.
    pub barred: u64,
    /// Digests of their keys, at most twenty.
    pub barred_digests: Vec<String>,
}

impl SetAside {
    pub(in crate::step) fn new(side: Side, table: KeyedTable, back: Back) -> Self {
        Self { side, table, back }
    }

    /// The side the rows are on.
    pub fn side(&self) -> Side {
        self.side
    }

    /// Their table.
    pub fn table(&self) -> &QualifiedName {
        &self.table.name
    }

    /// What could go back now. Changes nothing but a temporary type of the session.
    ///
    /// # Errors
    /// When the table or one of its columns is gone.
    pub async fn waiting(&self, cx: &Cx) -> anyhow::Result<Waiting> {
        let session = cx.connect(self.side).await?;
        if !control_present(&session).await? {
            return Ok(Waiting::default());
        }
        make_row_type(&session, &self.table).await?;
        let here = format!("{}.", self.table.name.name());
        let same = same_key(&self.table, &here);
        let barred = match &self.back {
            Back::Insert => format!("EXISTS (SELECT FROM {} WHERE {same})", self.table.name),
            Back::Update(columns) => {
                let now: Vec<String> = columns.iter().map(|column| format!("{here}{column}")).collect();
                let now = now.join(", ");
                format!("NOT EXISTS (SELECT FROM {} WHERE {same} AND ROW({now})::text = due.written)", self.table.name)
            }
        };
        let sql = format!(
            "WITH due AS MATERIALIZED (SELECT id, row_key, written, row_text::{ROW_TYPE} AS old FROM crossfade.quarantine \
                    WHERE run = $1 AND step = $2 AND table_name = $3 AND restored_at IS NULL) \
             SELECT count(*), count(*) FILTER (WHERE barred), \
                    coalesce((array_agg(row_key::text ORDER BY id) FILTER (WHERE barred))[1:20], '{{}}') \
             FROM (SELECT id, row_key, {barred} AS barred FROM due) AS rows"
        );
        let row = session
            .query_one(&sql, &[&cx.run.as_str(), &cx.step.as_str(), &self.table.name.plain()])
            .await
            .with_context(|| format!("the rows of {} that were set aside cannot be read", self.table.name.plain()))?;
        let digests = row.get::<_, Vec<String>>(2).iter().map(|key| key_digest(key)).collect();
        Ok(Waiting {
            rows: row.get::<_, i64>(0).unsigned_abs(),
            barred: row.get::<_, i64>(1).unsigned_abs(),
            barred_digests: digests,
        })
    }

    /// Puts back what can go back, in batches. Returns how many rows went back now; safe to call twice.
    ///
    /// # Errors
    /// The server's errors (a column that is gone, a constraint added since); what is committed stays and is not put back
    /// twice.
    pub async fn put_back(&self, cx: &Cx) -> anyhow::Result<u64> {
        let mut batches = Batches::open(cx, self.side).await?;
        Ok(self.put_back_in(cx, &mut batches, "true").await?.0)
    }

    /// The same with sessions that are open. Returns how many rows went back and how many stay set aside.
    pub(in crate::step) async fn put_back_in(
        &self,
        cx: &Cx,
        batches: &mut Batches<'_>,
        only: &str,
    ) -> anyhow::Result<(u64, u64)> {
        restore(cx, batches, &self.table, &self.back, only).await
    }
}
