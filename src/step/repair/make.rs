//! Rows that a repair makes, noted in the same transaction, and taken back from those notes.

use anyhow::Context;
use async_trait::async_trait;
use tokio_postgres::Transaction;

use super::stage::absent;
use crate::sql::{Ident, Literal, QualifiedName};
use crate::step::Cx;
use crate::step::rows::batches::{Batch, Batches, Moved};
use crate::step::rows::dependent::referred;
use crate::step::rows::keyed_table::{KeyedTable, list, parameters};

/// Makes the staged rows that are not in the table.
pub(super) struct Make<'a> {
    pub cx: &'a Cx,
    /// The table.
    pub table: &'a KeyedTable,
    /// Where the right rows are staged.
    pub new: &'a QualifiedName,
    /// Their columns.
    pub columns: &'a [Ident],
    /// Which of them may be made.
    pub only: Option<&'a str>,
}

impl Make<'_> {
    /// Makes all of them, in batches. Returns how many.
    ///
    /// # Errors
    /// As [`Batches::walk`].
    pub async fn all(&self, batches: &mut Batches<'_>, place: &str) -> anyhow::Result<u64> {
        let total: i64 = batches.session.query_one(&format!("SELECT count(*) FROM {}", self.new), &[]).await?.get(0);
        batches.walk(self, None, total.unsigned_abs(), place).await
    }
}

#[async_trait]
impl Batch for Make<'_> {
    type Position = Vec<String>;

    async fn run(&self, tx: &Transaction<'_>, from: Option<&Vec<String>>, rows: i64) -> anyhow::Result<Moved<Vec<String>>> {
        let (table, key) = (self.table, self.table.key_list());
        let width = table.key.len();
        let after = from.map_or(String::new(), |_| format!("WHERE {}", table.compared(">", 1)));
        let window = format!(
            "SELECT count(*) OVER (), {} FROM (SELECT {key} FROM {} {after} ORDER BY {key} LIMIT {rows}) AS ahead ORDER BY {} LIMIT 1",
            table.key_text(),
            self.new,
            list(table.key.iter().map(|column| format!("{} DESC", column.name))),
        );
        let Some(last) = tx.query_opt(&window, &parameters(from.map_or(&[][..], Vec::as_slice))).await? else {
            return Ok(Moved { written: 0, seen: 0, next: None });
        };
        let to: Vec<String> = (1..=width).map(|at| last.get(at)).collect();
        let after = from.map_or(String::new(), |_| format!("{} AND ", table.compared(">", width + 1)));
        let columns = list(self.columns.iter().map(Ident::to_string));
        let sql = format!(
            "WITH made AS (INSERT INTO {name} ({columns}) SELECT {columns} FROM {new} AS {bare} \
                    WHERE {after}{until} AND {absent} ORDER BY {key} ON CONFLICT DO NOTHING \
                    RETURNING {key_json} AS row_key, {text} AS written) \
             INSERT INTO crossfade.repair_made (run, step, table_name, row_key, written) \
             SELECT {run}, {step}, {plain}, row_key, written FROM made",
            name = table.name,
            new = self.new,
            bare = table.name.name(),
            until = table.compared("<=", 1),
            absent = absent(table, self.only, true),
            key_json = table.key_json(),
            text = table.row_text(),
            run = Literal::new(self.cx.run.as_str()),
            step = Literal::new(self.cx.step.as_str()),
            plain = Literal::new(table.name.plain()),
        );
        let bounds: Vec<&String> = to.iter().chain(from.into_iter().flatten()).collect();
        let written = tx.execute(sql.as_str(), &parameters(&bounds)).await.context("cannot make rows")?;
        Ok(Moved { written, seen: last.get::<_, i64>(0).unsigned_abs(), next: Some(to) })
    }
}

/// Takes back the rows that the step made in this table, that meet `only` and that are as it made them and referred to by nobody.
/// Returns how many, and how many it leaves.
///
/// # Errors
/// The server's errors; what is committed stays.
pub(super) async fn unmake(cx: &Cx, batches: &mut Batches<'_>, table: &KeyedTable, only: &str) -> anyhow::Result<(u64, u64)> {
    let count =
        "SELECT count(*) FROM crossfade.repair_made WHERE run = $1 AND step = $2 AND table_name = $3 AND unmade_at IS NULL";
    let name = table.name.plain();
    let labels: [&(dyn tokio_postgres::types::ToSql + Sync); 3] = [&cx.run.as_str(), &cx.step.as_str(), &name];
    let due: i64 = batches.session.query_one(count, &labels).await?.get(0);
    if due == 0 {
        return Ok((0, 0));
    }
    let bare = table.name.name();
    let same = table.key.iter().map(|column| {
        format!("{bare}.{} = (looked.row_key ->> {})::{}", column.name, Literal::new(column.name.as_str()), column.sql_type)
    });
    let statement = format!(
        "WITH looked AS MATERIALIZED (SELECT id, row_key, written FROM crossfade.repair_made \
                WHERE run = {run} AND step = {step} AND table_name = {plain} AND unmade_at IS NULL AND id < $2 \
                ORDER BY id DESC LIMIT $1), \
              gone AS (DELETE FROM {table_name} USING looked WHERE {same} AND {text} = looked.written AND ({only}) AND NOT ({referred}) \
                RETURNING looked.id), \
              noted AS (UPDATE crossfade.repair_made AS m SET unmade_at = clock_timestamp() FROM gone WHERE m.id = gone.id \
                RETURNING 1) \
         SELECT (SELECT min(id) FROM looked), (SELECT count(*) FROM looked), (SELECT count(*) FROM noted)",
        run = Literal::new(cx.run.as_str()),
        step = Literal::new(cx.step.as_str()),
        plain = Literal::new(&name),
        table_name = table.name,
        same = same.collect::<Vec<_>>().join(" AND "),
        text = table.row_text(),
        referred = referred(&batches.session, table).await?,
    );
    let unmake = Unmake { statement };
    let unmade = batches.walk(&unmake, None, due.unsigned_abs(), "unmake").await?;
    Ok((unmade, due.unsigned_abs().saturating_sub(unmade)))
}

struct Unmake {
    statement: String,
}

#[async_trait]
impl Batch for Unmake {
    type Position = i64;

    async fn run(&self, tx: &Transaction<'_>, from: Option<&i64>, rows: i64) -> anyhow::Result<Moved<i64>> {
        let below = from.copied().unwrap_or(i64::MAX);
        let row =
            tx.query_one(self.statement.as_str(), &[&rows, &below]).await.context("cannot take back rows that were made")?;
        let (lowest, looked, unmade): (Option<i64>, i64, i64) = (row.get(0), row.get(1), row.get(2));
        Ok(Moved { written: unmade.unsigned_abs(), seen: looked.unsigned_abs(), next: lowest })
    }
}
