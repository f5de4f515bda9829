//! A walk over a table in key order: each batch looks at the next window of keys, locks the rows that meet a condition,
//! writes them, and moves the step's progress row, in one transaction.

use anyhow::{Context, bail};
use async_trait::async_trait;
use tokio_postgres::Transaction;

use super::batches::{Batch, Batches, Moved};
use super::keyed_table::{KeyedTable, Keys, list, parameters};
use crate::pg::{Session, control_present};
use crate::sql::Literal;
use crate::step::Cx;
use crate::step::Stop;
use crate::terms::{Extent, Finding, Severity};

/// What to do with the rows that meet a condition.
pub(in crate::step) struct KeyWalk<'a> {
    /// The run and step it belongs to.
    pub cx: &'a Cx,
    /// [`FORWARD`], [`UNDO`] or a name of the step's own: each has its own progress row.
    pub name: &'a str,
    /// The table.
    pub table: &'a KeyedTable,
    /// Which rows still need it. A written row must no longer meet it.
    pub condition: &'a str,
    /// `FOR UPDATE` before a DELETE, `FOR NO KEY UPDATE` before an UPDATE that leaves keys alone.
    pub lock: &'static str,
    /// What is done with the locked rows; each statement takes the arrays of [`KeyedTable::among`] as its parameters.
    pub statements: Vec<String>,
    /// The most rows the step may write in all.
    pub most: Option<u64>,
}

/// The walk that applies a step.
pub(in crate::step) const FORWARD: &str = "batch";
/// The walk that takes a step back.
pub(in crate::step) const UNDO: &str = "undo";

/// The progress row's `step`: the step, and for the undo's walk `<step>/undo`.
fn row_name(cx: &Cx, walk: &str) -> String {
    if walk == FORWARD { cx.step.to_string() } else { format!("{}/{walk}", cx.step) }
}

/// How far a step's walk has come (`crossfade.batch_progress`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Progress {
    /// The last key the walk has passed.
    last_key: Option<Vec<String>>,
    /// Rows written.
    rows_done: u64,
    /// A walk ended with no row left that met the condition.
    complete: bool,
}

impl Progress {
    /// Reads the progress of one of the step's walks; nothing where our tables are not there yet.
    ///
    /// # Errors
    /// When the session is gone.
    async fn read(session: &Session, cx: &Cx, walk: &str) -> anyhow::Result<Self> {
        if !control_present(session).await? {
            return Ok(Self::default());
        }
        let sql = "SELECT (SELECT array_agg(part ORDER BY place) FROM jsonb_array_elements_text(last_key) \
                          WITH ORDINALITY AS parts (part, place)), rows_done, complete \
                   FROM crossfade.batch_progress WHERE run = $1 AND step = $2";
        let row = session.query_opt(sql, &[&cx.run.as_str(), &row_name(cx, walk)]).await?;
        Ok(row.map_or_else(Self::default, |row| Self {
            last_key: row.get(0),
            rows_done: row.get::<_, i64>(1).unsigned_abs(),
            complete: row.get(2),
        }))
    }
}

/// The extent of a walk: complete when it said so in its own transaction, or when no row meets the condition.
///
/// # Errors
/// When the condition does not fit the table, or the session is gone.
pub(in crate::step) async fn extent(session: &Session, cx: &Cx, table: &KeyedTable, condition: &str) -> anyhow::Result<Extent> {
    let progress = Progress::read(session, cx, FORWARD).await?;
    if progress.complete || !table.any(session, condition).await? {
        return Ok(Extent::Complete);
    }
    Ok(match (progress.rows_done, progress.last_key) {
        (0, None) => Extent::Absent,
        (done, _) => Extent::Partial(format!("{done} rows of {} are done, others are not", table.name.plain())),
    })
}

/// Rows the step has written so far, over all attempts.
///
/// # Errors
/// When the session is gone.
pub(in crate::step) async fn rows_done(session: &Session, cx: &Cx) -> anyhow::Result<u64> {
    Ok(Progress::read(session, cx, FORWARD).await?.rows_done)
}

/// Forgets the progress of the step's walks.
///
/// # Errors
/// When the session is gone.
pub(in crate::step) async fn forget(session: &Session, cx: &Cx) -> anyhow::Result<()> {
    if control_present(session).await? {
        // A step id holds no `/`: what begins with the step's own and one belongs to it.
        let sql = "DELETE FROM crossfade.batch_progress WHERE run = $1 AND (step = $2 OR starts_with(step, $2 || '/'))";
        session.execute(sql, &[&cx.run.as_str(), &cx.step.as_str()]).await?;
    }
    Ok(())
}

/// How often the table is walked while new rows that meet the condition keep coming.
const WALKS: u32 = 5;

impl KeyWalk<'_> {
    /// Walks until no row meets the condition, from where the progress row stands. Returns the rows written now.
    ///
    /// # Errors
    /// [`Stop`] when interrupted or when `most` would be passed; when a walk changes nothing though rows meet the
    /// condition, or when they keep appearing; the server's errors.
    pub async fn finish(&self, batches: &mut Batches<'_>) -> anyhow::Result<u64> {
        let total = self.table.rows(&batches.session).await?;
        let mut written = 0;
        for _ in 0..WALKS {
            let from = Progress::read(&batches.session, self.cx, self.name).await?.last_key;
            let from_the_start = from.is_none();
            let now = batches.walk(self, from, total, self.name).await?;
            written += now;
            if !self.table.any(&batches.session, self.condition).await? {
                self.turn(&batches.session, true).await?;
                return Ok(written);
            }
            self.turn(&batches.session, false).await?;
            if now == 0 && from_the_start {
                bail!(
                    "rows of {} meet the condition, but a whole walk changed none of them: does a trigger or a policy skip them?",
                    self.table.name.plain()
                );
            }
        }
        bail!(
            "rows of {} that meet the condition keep appearing after {WALKS} walks: something still writes the old form; \
             give new rows their new form first (a default, a trigger, the application), then run again",
            self.table.name.plain()
        )
    }

    /// Walks once, from the beginning: for an undo, which is not after rows that come meanwhile. Returns the rows written.
    ///
    /// # Errors
    /// As [`Self::finish`].
    pub async fn once(&self, batches: &mut Batches<'_>) -> anyhow::Result<u64> {
        let total = self.table.rows(&batches.session).await?;
        let from = Progress::read(&batches.session, self.cx, self.name).await?.last_key;
        batches.walk(self, from, total, self.name).await
    }

    /// The walk is at its beginning again, or over.
    async fn turn(&self, session: &Session, complete: bool) -> anyhow::Result<()> {
        let sql = "INSERT INTO crossfade.batch_progress (run, step, complete) VALUES ($1, $2, $3) \
                   ON CONFLICT (run, step) DO UPDATE SET last_key = NULL, complete = $3, moved_at = clock_timestamp()";
        session.execute(sql, &[&self.cx.run.as_str(), &row_name(self.cx, self.name), &complete]).await?;
        Ok(())
    }

    /// The last key of the window after `from`, and how many keys are in it.
    async fn window(
        &self,
        tx: &Transaction<'_>,
        from: Option<&Vec<String>>,
        rows: i64,
    ) -> anyhow::Result<Option<(Vec<String>, i64)>> {
        let table = self.table;
        let after = from.map_or(String::new(), |_| format!("WHERE {}", table.compared(">", 1)));
        let last = list(table.key.iter().map(|column| format!("{} DESC", column.name)));
        let sql = format!(
            "SELECT count(*) OVER (), {} FROM (SELECT {keys} FROM {} {after} ORDER BY {keys} LIMIT {rows}) AS ahead \
             ORDER BY {last} LIMIT 1",
            table.key_text(),
            table.name,
            keys = table.key_list(),
        );
        let row = tx.query_opt(&sql, &parameters(from.map_or(&[][..], Vec::as_slice))).await?;
        Ok(row.map(|row| ((1..=table.key.len()).map(|n| row.get(n)).collect(), row.get(0))))
    }

    /// Locks the rows of the window that meet the condition, and gives their keys.
    async fn locked(&self, tx: &Transaction<'_>, from: Option<&Vec<String>>, to: &[String]) -> anyhow::Result<Keys> {
        let table = self.table;
        let width = table.key.len();
        let after = from.map_or(String::new(), |_| format!("{} AND ", table.compared(">", width + 1)));
        let sql = format!(
            "SELECT {} FROM {} WHERE {after}{} AND ({}\n) ORDER BY {} {}",
            table.key_text(),
            table.name,
            table.compared("<=", 1),
            self.condition,
            table.key_list(),
            self.lock,
        );
        let bounds: Vec<&String> = to.iter().chain(from.into_iter().flatten()).collect();
        let rows = tx.query(&sql, &parameters(&bounds)).await.context("cannot lock the rows of a batch")?;
        Ok((0..width).map(|n| rows.iter().map(|row| row.get(n)).collect()).collect())
    }

    fn refuse_more(&self, done: u64) -> anyhow::Result<()> {
        match self.most {
            Some(most) if done > most => Err(Stop::Findings(vec![Finding {
                severity: Severity::Blocks,
                object: self.table.name.plain(),
                what: format!("the next batch would take the step to {done} rows, above its max_rows of {most}"),
                next: "look at the rows; raise max_rows only when they are all meant".to_owned(),
            }])
            .into()),
            _ => Ok(()),
        }
    }
}

#[async_trait]
impl Batch for KeyWalk<'_> {
    type Position = Vec<String>;

    fn statement(&self) -> String {
        self.statements.last().cloned().unwrap_or_default()
    }

    async fn run(&self, tx: &Transaction<'_>, from: Option<&Vec<String>>, rows: i64) -> anyhow::Result<Moved<Vec<String>>> {
        let Some((to, seen)) = self.window(tx, from, rows).await? else {
            return Ok(Moved { written: 0, seen: 0, next: None });
        };
        let keys = self.locked(tx, from, &to).await?;
        let count = keys.first().map_or(0, Vec::len);
        if count > 0 {
            for statement in &self.statements {
                tx.execute(statement.as_str(), &parameters(&keys)).await?;
            }
            let still =
                format!("SELECT count(*) FROM {} WHERE {} AND ({}\n)", self.table.name, self.table.among(), self.condition);
            let still: i64 = tx.query_one(&still, &parameters(&keys)).await?.get(0);
            if still > 0 {
                bail!(
                    "{still} of {count} rows of {} still meet the condition after they were written, so the step would never end \
                     (the batch was rolled back): does the new value make the condition false, or does a trigger undo it?",
                    self.table.name.plain()
                );
            }
        }
        let last_key = list(to.iter().map(|part| Literal::new(part).to_string()));
        let sql = format!(
            "INSERT INTO crossfade.batch_progress AS p (run, step, last_key, rows_done) \
             VALUES ($1, $2, to_jsonb(ARRAY[{last_key}]::text[]), $3) \
             ON CONFLICT (run, step) DO UPDATE SET last_key = excluded.last_key, rows_done = p.rows_done + excluded.rows_done, \
               complete = false, moved_at = clock_timestamp() \
             RETURNING rows_done"
        );
        let written = i64::try_from(count)?;
        let done: i64 = tx.query_one(&sql, &[&self.cx.run.as_str(), &row_name(self.cx, self.name), &written]).await?.get(0);
        self.refuse_more(done.unsigned_abs())?;
        Ok(Moved { written: count as u64, seen: seen.unsigned_abs(), next: Some(to) })
    }
}
