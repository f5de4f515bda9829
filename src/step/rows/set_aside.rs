//! Rows that a step changes or removes, kept whole in `crossfade.quarantine` in the same transaction, and put back from there.

use anyhow::Context;
use async_trait::async_trait;
use tokio_postgres::Transaction;

use super::batches::{Batch, Batches, Moved};
use super::keyed_table::{KeyedTable, list};
use crate::pg::{Session, control_present};
use crate::sql::{Ident, Literal};
use crate::step::Cx;

/// The columns that every row set aside has, as literals.
fn labels(cx: &Cx, table: &KeyedTable, reason: &str) -> String {
    let labels = [cx.run.as_str(), cx.step.as_str(), &table.name.plain(), reason].map(|label| Literal::new(label).to_string());
    list(labels)
}

/// `"c1" = (expression), ...`; an expression may end in a comment.
pub(in crate::step) fn assignments(set: &[(Ident, String)]) -> String {
    list(set.iter().map(|(column, expression)| format!("{column} = ({expression}\n)")))
}

/// The statement that sets the rows of a batch aside and removes them.
pub(in crate::step) fn removing(cx: &Cx, table: &KeyedTable, reason: &str) -> String {
    format!(
        "WITH gone AS (DELETE FROM {name} WHERE {among} RETURNING {key} AS row_key, {json} AS row_data, {text} AS row_text) \
         INSERT INTO crossfade.quarantine (run, step, table_name, reason, row_key, row_data, row_text) \
         SELECT {labels}, row_key, row_data, row_text FROM gone",
        name = table.name,
        among = table.among(),
        key = table.key_json(),
        json = table.row_json(),
        text = table.row_text(),
        labels = labels(cx, table, reason),
    )
}

/// The statement that sets the rows of a batch aside and changes them. The caller holds locks on the rows, so that the row
/// set aside is the one changed.
pub(in crate::step) fn changing(cx: &Cx, table: &KeyedTable, set: &[(Ident, String)], reason: &str) -> String {
    format!(
        "WITH old AS (SELECT {key} AS row_key, {json} AS row_data, {text} AS row_text FROM {name} WHERE {among}), \
              new AS (UPDATE {name} SET {set} WHERE {among} RETURNING {key} AS row_key, ROW({columns})::text AS written) \
         INSERT INTO crossfade.quarantine (run, step, table_name, reason, row_key, row_data, row_text, written) \
         SELECT {labels}, row_key, row_data, row_text, written FROM old JOIN new USING (row_key)",
        name = table.name,
        among = table.among(),
        key = table.key_json(),
        json = table.row_json(),
        text = table.row_text(),
        set = assignments(set),
        columns = list(set.iter().map(|(column, _)| column.to_string())),
        labels = labels(cx, table, reason),
    )
}

/// The statement that sets aside, without touching them, the rows of `table` that meet `condition`; `written` is what the
/// changed columns will be, `NULL` for rows that will go.
pub(in crate::step) fn keeping(cx: &Cx, table: &KeyedTable, condition: &str, written: &str, reason: &str) -> String {
    format!(
        "INSERT INTO crossfade.quarantine (run, step, table_name, reason, row_key, row_data, row_text, written) \
         SELECT {labels}, {key}, {json}, {text}, {written} FROM {name} WHERE {condition}",
        name = table.name,
        key = table.key_json(),
        json = table.row_json(),
        text = table.row_text(),
        labels = labels(cx, table, reason),
    )
}

/// How rows set aside go back.
pub(in crate::step) enum Back {
    /// They were removed: insert them. A row whose place is taken now stays set aside.
    Insert,
    /// These columns were changed: put their values back in rows that still hold what the step wrote.
    Update(Vec<Ident>),
}

/// Rows to be put back, last set aside first.
struct Restore<'a> {
    cx: &'a Cx,
    table: &'a KeyedTable,
    statement: String,
}

/// A type of this session with the columns the table had when its rows were set aside, so that columns added since are no
/// trouble.
pub(super) const ROW_TYPE: &str = "pg_temp.crossfade_row";

/// Makes [`ROW_TYPE`] for this table.
///
/// # Errors
/// When the role may not create temporary objects, or a column's type is gone.
pub(super) async fn make_row_type(session: &Session, table: &KeyedTable) -> anyhow::Result<()> {
    let columns = list(table.columns.iter().map(|column| format!("{} {}", column.name, column.sql_type)));
    session
        .batch_execute(&format!("DROP TYPE IF EXISTS {ROW_TYPE}; CREATE TYPE {ROW_TYPE} AS ({columns})"))
        .await
        .with_context(|| format!("cannot read the rows of {} that were set aside", table.name.plain()))
}

/// The key under the prefix `left` is that of the old row.
pub(super) fn same_key(table: &KeyedTable, left: &str) -> String {
    let pairs = table.key.iter().map(|column| format!("{left}{name} = (due.old).{name}", name = column.name));
    pairs.collect::<Vec<_>>().join(" AND ")
}

/// Puts back every row of `table` that the step set aside, that is still as the step left it and that meets `only`, a condition on
/// `due.old` (the row as it was) and `due.written` (the changed columns as the step wrote them). Returns how many, and how many stay
/// set aside.
///
/// # Errors
/// The server's errors (a column that is gone, a constraint added since); what is committed stays and is not put back twice.
pub(in crate::step) async fn restore(
    cx: &Cx,
    batches: &mut Batches<'_>,
    table: &KeyedTable,
    back: &Back,
    only: &str,
) -> anyhow::Result<(u64, u64)> {
    if !control_present(&batches.session).await? {
        return Ok((0, 0));
    }
    make_row_type(&batches.session, table).await?;
    let count =
        "SELECT count(*) FROM crossfade.quarantine WHERE run = $1 AND step = $2 AND table_name = $3 AND restored_at IS NULL";
    let name = table.name.plain();
    let labels: [&(dyn tokio_postgres::types::ToSql + Sync); 3] = [&cx.run.as_str(), &cx.step.as_str(), &name];
    let due: i64 = batches.session.query_one(count, &labels).await?.get(0);
    if due > 0 {
        // Freshly filled, it may have no statistics yet, and each batch would read the whole table.
        batches.session.batch_execute("ANALYZE crossfade.quarantine").await?;
    }
    let work = Restore { cx, table, statement: statement(cx, table, back, only) };
    let restored = batches.walk(&work, None, due.unsigned_abs(), "restore").await?;
    let left: i64 = batches.session.query_one(count, &labels).await?.get(0);
    Ok((restored, left.unsigned_abs()))
}

/// Takes `$1` (rows at most) and `$2` (below which id); gives the lowest id looked at, the rows looked at and put back.
fn statement(cx: &Cx, table: &KeyedTable, back: &Back, only: &str) -> String {
    let here = format!("{}.", table.name.name());
    let back = match back {
        Back::Insert => {
            let writable = || table.columns.iter().filter(|column| !column.generated);
            format!(
                "INSERT INTO {name} ({columns}) OVERRIDING SYSTEM VALUE SELECT {values} FROM due WHERE ({only}) ORDER BY due.id DESC \
                 ON CONFLICT DO NOTHING RETURNING {key}",
                name = table.name,
                columns = list(writable().map(|column| column.name.to_string())),
                values = list(writable().map(|column| format!("(due.old).{}", column.name))),
                key = table.key_list(),
            )
        }
        Back::Update(columns) => format!(
            "UPDATE {name} SET {set} FROM due WHERE {same} AND ROW({now})::text = due.written AND ({only}) RETURNING {key}",
            name = table.name,
            set = list(columns.iter().map(|column| format!("{column} = (due.old).{column}"))),
            same = same_key(table, &here),
            now = list(columns.iter().map(|column| format!("{here}{column}"))),
            key = list(table.key.iter().map(|column| format!("{here}{}", column.name))),
        ),
    };
    format!(
        "WITH looked AS MATERIALIZED (SELECT id, row_key, row_text, written FROM crossfade.quarantine \
                WHERE run = {run} AND step = {step} AND table_name = {table_name} AND restored_at IS NULL AND id < $2 \
                ORDER BY id DESC LIMIT $1), \
              due AS MATERIALIZED (SELECT DISTINCT ON (row_key) id, written, row_text::{ROW_TYPE} AS old FROM looked \
                ORDER BY row_key, id DESC), \
              back AS ({back}), \
              marked AS (UPDATE crossfade.quarantine q SET restored_at = clock_timestamp() FROM due JOIN back ON {same} \
                WHERE q.id = due.id RETURNING 1) \
         SELECT (SELECT min(id) FROM looked), (SELECT count(*) FROM looked), (SELECT count(*) FROM marked)",
        run = Literal::new(cx.run.as_str()),
        step = Literal::new(cx.step.as_str()),
        table_name = Literal::new(table.name.plain()),
        same = same_key(table, "back."),
    )
}

#[async_trait]
impl Batch for Restore<'_> {
    type Position = i64;

    fn statement(&self) -> String {
        self.statement.clone()
    }

    async fn run(&self, tx: &Transaction<'_>, from: Option<&i64>, rows: i64) -> anyhow::Result<Moved<i64>> {
        let below = from.copied().unwrap_or(i64::MAX);
        let row = tx
            .query_one(self.statement.as_str(), &[&rows, &below])
            .await
            .with_context(|| format!("rows of {} cannot be put back (run {})", self.table.name.plain(), self.cx.run))?;
        let (lowest, looked, restored): (Option<i64>, i64, i64) = (row.get(0), row.get(1), row.get(2));
        Ok(Moved { written: restored.unsigned_abs(), seen: looked.unsigned_abs(), next: lowest })
    }
}
