//! Parts of a copy that are not in: planned once, kept in `crossfade.copy_missing` on green, taken by whoever loads.
//!
//! Who takes a part locks its row; the transaction that brings the part's rows takes the row away and adds that of
//! `crossfade.copy_part`. So a part is in or missing, never half, whoever dies, and its lock ends with who held it.

use std::collections::BTreeSet;

use anyhow::{Context, anyhow};
use tokio_postgres::{SimpleQueryMessage, SimpleQueryRow};

use super::transfer::Amount;
use crate::pg::Session;
use crate::projection::{Bound, cut};
use crate::sql::{Literal, QualifiedName};
use crate::terms::{RunId, StepId};

/// Up to this size a table's rows and everything else of it are one transaction, of the driver's.
const SMALL: u64 = 256 << 10;

/// How the rows of a part are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// A whole table, which is small.
    Small,
    /// A whole table: its rows are frozen as they are written.
    Frozen,
    /// Rows that come to others.
    Plain,
}

impl Form {
    const ALL: [Form; 3] = [Form::Small, Form::Frozen, Form::Plain];

    fn name(self) -> &'static str {
        match self {
            Form::Small => "small",
            Form::Frozen => "frozen",
            Form::Plain => "plain",
        }
    }
}

/// A part that is not in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// The table on green.
    pub table: QualifiedName,
    /// The source of its projection.
    pub(super) source: String,
    /// The part's number within the source, from 0.
    pub(super) number: i32,
    /// Bytes of the whole table: the biggest come first.
    pub bytes: u64,
    pub(super) form: Form,
    /// `COPY ... TO STDOUT`, for blue.
    pub(super) read: String,
    /// `COPY ... FROM STDIN`, for green.
    pub(super) write: String,
}

/// A table whose rows are to come.
#[derive(Debug)]
pub struct Filling {
    /// Its projection.
    pub bound: Bound,
    /// Per source the size of its driving table in blocks.
    pub blocks: Vec<u32>,
    /// Bytes of the large values of these, which are stored apart (TOAST): they make a table big, not its parts more.
    pub toast: u64,
    /// Whether nobody else's rows are in it: those of an extension may be.
    pub empty: bool,
}

/// Every part of these tables, biggest table first. `ranges`: whether blue reads a range of blocks without reading the whole table.
/// Pure.
pub fn parts(fillings: &[Filling], block_size: u32, jobs: usize, ranges: bool) -> Vec<Missing> {
    let (mut places, mut blocks) = (Vec::new(), Vec::new());
    for (table, filling) in fillings.iter().enumerate() {
        for (source, count) in filling.blocks.iter().enumerate() {
            places.push((table, source));
            blocks.push(*count);
        }
    }
    let parts = cut(&blocks, block_size, jobs, ranges);
    let mut counts = vec![0; fillings.len()];
    parts.iter().for_each(|part| counts[places[part.of].0] += 1);
    let missing = parts.iter().map(|part| {
        let (table, source) = places[part.of];
        let Filling { bound, blocks, toast, empty } = &fillings[table];
        let bytes = toast + blocks.iter().map(|count| u64::from(*count) * u64::from(block_size)).sum::<u64>();
        let form = match counts[table] == 1 && *empty {
            true if bytes <= SMALL => Form::Small,
            true => Form::Frozen,
            false => Form::Plain,
        };
        let from = &bound.sources[source];
        Missing {
            table: bound.table.clone(),
            source: from.name.clone(),
            number: part.number,
            bytes,
            form,
            read: bound.copy_out(from, part.blocks),
            write: if form == Form::Frozen { bound.copy_in_frozen() } else { bound.copy_in() },
        }
    });
    missing.collect()
}

/// Writes down all parts of a copy, none of which is in. `settings`: statements that set up each session that loads.
///
/// # Errors
/// When the session is gone, or nobody holds a snapshot for this copy.
pub async fn plan(green: &Session, run: &RunId, step: &StepId, settings: &str, parts: &[Missing]) -> anyhow::Result<()> {
    let of = of(run, step);
    let mut statements = vec!["BEGIN".to_owned(), format!("DELETE FROM crossfade.copy_missing WHERE {of}")];
    let literal = |text: &str| Literal::new(text).to_string();
    for some in parts.chunks(200) {
        let rows = some.iter().map(|part| {
            format!(
                "({}, {}, {}, {}, {}, {}, '{}', {}, {})",
                literal(run.as_str()),
                literal(step.as_str()),
                literal(&part.table.plain()),
                literal(&part.source),
                part.number,
                part.bytes,
                part.form.name(),
                literal(&part.read),
                literal(&part.write)
            )
        });
        let rows = rows.collect::<Vec<_>>().join(",\n");
        statements.push(format!("INSERT INTO crossfade.copy_missing ({COLUMNS}) VALUES\n{rows}"));
    }
    statements.push(format!("UPDATE crossfade.copy_snapshot SET planned = true, settings = {} WHERE {of}", literal(settings)));
    statements.push("COMMIT".to_owned());
    // Each is found by its key: without statistics a search passes over all.
    statements.push("ANALYZE crossfade.copy_missing".to_owned());
    green.batch_execute(&statements.join(";\n")).await.context("planning the parts on green")
}

/// The parts that are not in.
///
/// # Errors
/// When the session is gone.
pub async fn read(green: &Session, run: &RunId, step: &StepId) -> anyhow::Result<Vec<Missing>> {
    let sql = format!("SELECT {COLUMNS} FROM crossfade.copy_missing WHERE {} ORDER BY {ORDER}", of(run, step));
    rows(green.simple_query(&sql).await?).iter().map(missing).collect()
}

/// The statements that forget the parts and let the snapshot go.
pub fn forget(run: &RunId, step: &StepId) -> Vec<String> {
    let of = of(run, step);
    ["copy_missing", "copy_snapshot"].map(|table| format!("DELETE FROM crossfade.{table} WHERE {of}")).to_vec()
}

/// Begins a transaction and takes a part that another may have in hand: the biggest of those that `where_` leaves. Without one
/// there is no transaction.
///
/// # Errors
/// When the session is gone.
pub(super) async fn take(green: &Session, where_: &str) -> anyhow::Result<Option<Missing>> {
    let sql = format!(
        "BEGIN; SELECT {COLUMNS} FROM crossfade.copy_missing WHERE {where_} ORDER BY {ORDER} LIMIT 1 FOR UPDATE SKIP LOCKED"
    );
    let taken = rows(green.simple_query(&sql).await?).first().map(missing).transpose()?;
    if taken.is_none() {
        green.batch_execute("ROLLBACK").await?;
    }
    Ok(taken)
}

/// Begins a transaction and takes those of these small tables that nobody has in hand; gives their places. Without one there is no
/// transaction.
///
/// # Errors
/// When the session is gone.
pub(super) async fn take_together(
    green: &Session,
    run: &RunId,
    step: &StepId,
    tables: &[&Missing],
) -> anyhow::Result<Vec<usize>> {
    let these = together(run, step, tables.iter().copied());
    let sql = format!("BEGIN; SELECT projection FROM crossfade.copy_missing WHERE {these} FOR UPDATE SKIP LOCKED");
    let found = rows(green.simple_query(&sql).await?);
    let found: BTreeSet<&str> = found.iter().filter_map(|row| row.get(0)).collect();
    if found.is_empty() {
        green.batch_execute("ROLLBACK").await?;
    }
    Ok((0..tables.len()).filter(|at| found.contains(tables[*at].table.plain().as_str())).collect())
}

const COLUMNS: &str = "run, step, projection, source, part, bytes, form, read, write";

const ORDER: &str = "bytes DESC, projection, source, part";

impl Missing {
    /// The condition that names the part.
    pub(super) fn is(&self, run: &RunId, step: &StepId) -> String {
        format!(
            "{} AND projection = {} AND source = {} AND part = {}",
            of(run, step),
            Literal::new(self.table.plain()),
            Literal::new(&self.source),
            self.number
        )
    }

    /// Rows of the part, when it is in.
    ///
    /// # Errors
    /// When the session is gone.
    pub(super) async fn is_in(&self, green: &Session, run: &RunId, step: &StepId) -> anyhow::Result<Option<u64>> {
        let sql = format!("SELECT rows FROM crossfade.copy_part WHERE {}", self.is(run, step));
        Ok(green.query_opt(&sql, &[]).await?.map(|row| row.get::<_, i64>(0).unsigned_abs()))
    }

    /// The statements that say of the part that it is in.
    pub(super) fn done(&self, run: &RunId, step: &StepId, brought: Amount) -> [String; 2] {
        let (is, Amount { rows, bytes }) = (self.is(run, step), brought);
        [
            format!(
                "INSERT INTO crossfade.copy_part (run, step, projection, source, part, rows, bytes) \
                 SELECT run, step, projection, source, part, {rows}, {bytes} FROM crossfade.copy_missing WHERE {is}"
            ),
            format!("DELETE FROM crossfade.copy_missing WHERE {is}"),
        ]
    }
}

/// The statements that say of small tables that they are in.
pub(super) fn done_together(run: &RunId, step: &StepId, tables: &[(&Missing, Amount)]) -> [String; 2] {
    let values = tables.iter().map(|(table, Amount { rows, bytes })| {
        format!("({}, {rows}::bigint, {bytes}::bigint)", Literal::new(table.table.plain()))
    });
    let values = values.collect::<Vec<_>>().join(", ");
    let these = together(run, step, tables.iter().map(|(table, _)| *table));
    [
        format!(
            "INSERT INTO crossfade.copy_part (run, step, projection, source, part, rows, bytes) \
             SELECT run, step, projection, source, part, v.rows, v.bytes FROM crossfade.copy_missing \
             JOIN (VALUES {values}) AS v (projection, rows, bytes) USING (projection) WHERE {these}"
        ),
        format!("DELETE FROM crossfade.copy_missing WHERE {these}"),
    ]
}

/// The condition that names small tables, each of which is one part.
fn together<'a>(run: &RunId, step: &StepId, tables: impl Iterator<Item = &'a Missing>) -> String {
    let names: Vec<String> = tables.map(|table| Literal::new(table.table.plain()).to_string()).collect();
    format!("{} AND projection IN ({})", of(run, step), names.join(", "))
}

/// The condition that names a copy.
pub(super) fn of(run: &RunId, step: &StepId) -> String {
    format!("run = {} AND step = {}", Literal::new(run.as_str()), Literal::new(step.as_str()))
}

fn rows(messages: Vec<SimpleQueryMessage>) -> Vec<SimpleQueryRow> {
    let row = |message| match message {
        SimpleQueryMessage::Row(row) => Some(row),
        _ => None,
    };
    messages.into_iter().filter_map(row).collect()
}

/// A row of [`COLUMNS`].
fn missing(row: &SimpleQueryRow) -> anyhow::Result<Missing> {
    let text = |column| row.get(column).context("a part without a name");
    let form = text(6)?;
    Ok(Missing {
        table: QualifiedName::try_from(text(2)?.to_owned()).map_err(|why| anyhow!(why))?,
        source: text(3)?.to_owned(),
        number: text(4)?.parse()?,
        bytes: text(5)?.parse()?,
        form: Form::ALL.into_iter().find(|known| known.name() == form).context("a part of an unknown form")?,
        read: text(7)?.to_owned(),
        write: text(8)?.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::projection::BoundSource;
    use crate::sql::Ident;

    fn filling(name: &str, blocks: &[u32]) -> Filling {
        let source = |number: usize| BoundSource {
            name: format!("s{number}"),
            drives: QualifiedName::bare("t"),
            alias: Ident::new("t"),
            from: "t".to_owned(),
            filter: None,
            expressions: Vec::new(),
            driving: Vec::new(),
            rules: Vec::new(),
            apart: false,
        };
        let bound = Bound {
            table: QualifiedName::new("public", name),
            key: Vec::new(),
            columns: Vec::new(),
            sources: (0..blocks.len()).map(source).collect(),
            prelude: String::new(),
            binary: true,
            identity: false,
        };
        Filling { bound, blocks: blocks.to_vec(), toast: 0, empty: true }
    }

    #[test]
    fn a_table_of_one_part_is_frozen_unless_it_is_small_or_holds_others_rows() {
        let extension = Filling { empty: false, ..filling("extension", &[3]) };
        let documents = Filling { toast: SMALL, ..filling("documents", &[3]) };
        let all = [
            filling("small", &[3]),
            filling("whole", &[400]),
            filling("two", &[1, 1]),
            filling("big", &[5000]),
            extension,
            documents,
        ];
        let found = parts(&all, 8192, 2, true);
        let of = |name: &str| -> Vec<Form> {
            found.iter().filter(|part| part.table.name().as_str() == name).map(|part| part.form).collect()
        };
        assert_eq!((of("small"), of("whole"), of("two")), (vec![Form::Small], vec![Form::Frozen], vec![Form::Plain; 2]));
        assert!(of("big").len() > 4 && of("big").iter().all(|form| *form == Form::Plain));
        assert_eq!((of("extension"), of("documents")), (vec![Form::Plain], vec![Form::Frozen]));
        assert_eq!(found[0].table.name().as_str(), "big");
        assert!(found.iter().all(|part| part.write.contains("FREEZE") == (part.form == Form::Frozen)));
    }
}
