//! From changed keys to staged rows.

use std::collections::{BTreeSet, HashSet};

use anyhow::Context;
use futures_util::TryStreamExt;
use tokio_postgres::types::Type;

use super::Refused;
use super::green::Green;
use super::stage::{Columns, Form, stage};
use super::worker::uncaptured;
use crate::capture::Outbox;
use crate::pg::Session;
use crate::projection::{Blocks, Bound};

/// A driving key as text.
type Key = Vec<String>;

/// So many driving keys of a source are gathered before their rows are derived.
const MANY: usize = 10_000;

/// The way from a change of a captured table to a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Path {
    /// The projection.
    projection: usize,
    /// The source.
    source: usize,
    /// The rule of it.
    rule: usize,
    /// Where the rule's columns are among the captured ones.
    columns: Vec<usize>,
}

/// Per captured table, in the outbox's order, the ways to all sources.
///
/// # Errors
/// [`Refused`] when something needed is not captured.
pub(super) fn paths(bound: &[Bound], outbox: &Outbox) -> anyhow::Result<Vec<Vec<Path>>> {
    let findings = uncaptured(bound, outbox.tables());
    if !findings.is_empty() {
        return Err(Refused { findings }.into());
    }
    let mut all = Vec::new();
    for table in outbox.tables() {
        let mut paths = Vec::new();
        for (projection, bound) in bound.iter().enumerate() {
            for (source, from) in bound.sources.iter().enumerate() {
                for (rule, way) in from.rules.iter().enumerate().filter(|(_, rule)| rule.table == table.table) {
                    let place = |name| table.columns.iter().position(|column| column == name);
                    let columns: Option<Vec<usize>> = way.by.iter().map(|column| place(&column.name)).collect();
                    let columns = columns.context("a captured table lost a column")?;
                    paths.push(Path { projection, source, rule, columns });
                }
            }
        }
        all.push(paths);
    }
    Ok(all)
}

/// The projections that a batch touches, each with what must be done before its rows are used.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Used {
    /// Their places.
    pub places: BTreeSet<usize>,
    /// Those of which a row may be staged more than once.
    pub repeated: BTreeSet<usize>,
    /// Those with several sources.
    pub several: BTreeSet<usize>,
}

/// Driving keys of a batch, gathered until their rows are derived and staged.
pub(super) struct Pending<'a> {
    bound: &'a [Bound],
    paths: &'a [Vec<Path>],
    blue: &'a Session,
    walker: &'a Session,
    green: &'a Session,
    described: &'a Green,
    staged: &'a mut BTreeSet<usize>,
    keys: Vec<Vec<HashSet<Key>>>,
    flushed: HashSet<(usize, usize)>,
    whole: BTreeSet<usize>,
    used: Used,
    begun: bool,
}

impl<'a> Pending<'a> {
    pub fn new(
        bound: &'a [Bound],
        paths: &'a [Vec<Path>],
        blue: &'a Session,
        walker: &'a Session,
        green: &'a Session,
        described: &'a Green,
        staged: &'a mut BTreeSet<usize>,
    ) -> Self {
        let keys = bound.iter().map(|bound| vec![HashSet::new(); bound.sources.len()]).collect();
        Self {
            bound,
            paths,
            blue,
            walker,
            green,
            described,
            staged,
            keys,
            flushed: HashSet::new(),
            whole: BTreeSet::new(),
            used: Used::default(),
            begun: false,
        }
    }

    /// Takes in changed keys of a captured table; see [`crate::capture::Piece`].
    pub async fn rows(&mut self, table: usize, keys: Vec<Vec<Option<String>>>, moved: bool) -> anyhow::Result<()> {
        for path in &self.paths[table] {
            let rule = &self.bound[path.projection].sources[path.source].rules[path.rule];
            if self.whole.contains(&path.projection) || !(moved || rule.any_update()) {
                continue;
            }
            let mut seen = HashSet::new();
            let mut columns: Columns = vec![Vec::new(); path.columns.len()];
            for key in &keys {
                let by: Vec<Option<&String>> = path.columns.iter().map(|place| key[*place].as_ref()).collect();
                if seen.insert(by.clone()) {
                    for (column, value) in columns.iter_mut().zip(by) {
                        column.push(value.cloned());
                    }
                }
            }
            self.walk(path, columns).await?;
        }
        Ok(())
    }

    /// All rows of a captured table went: every row that could lean on one is derived anew.
    pub async fn truncated(&mut self, table: usize) -> anyhow::Result<()> {
        let places: BTreeSet<usize> = self.paths[table].iter().map(|path| path.projection).collect();
        for place in places {
            if !self.whole.insert(place) {
                continue;
            }
            self.prepare(place).await?;
            self.used.repeated.insert(place);
            self.green.batch_execute(&self.described.every_key(place)).await.context("write on green")?;
            let bound = &self.bound[place];
            for (source, from) in bound.sources.iter().enumerate() {
                self.keys[place][source].clear();
                let form = form(bound, source)?;
                let rows = as_text(bound, bound.rows(from, Blocks::ALL));
                stage(self.blue, &rows, None, self.green, &self.described.rows_into(place), form)
                    .await
                    .with_context(|| what(bound, source))?;
            }
        }
        Ok(())
    }

    /// Derives what is left; gives the projections that have something staged. Green is in a transaction then.
    pub async fn finish(mut self) -> anyhow::Result<Used> {
        for place in 0..self.bound.len() {
            for source in 0..self.bound[place].sources.len() {
                self.flush(place, source).await?;
            }
        }
        self.begin().await?;
        Ok(self.used)
    }

    /// From the values of a rule's columns to driving keys.
    async fn walk(&mut self, path: &Path, columns: Columns) -> anyhow::Result<()> {
        let bound = &self.bound[path.projection];
        let source = &bound.sources[path.source];
        let Some(statement) = bound.driving_keys(source, &source.rules[path.rule]) else {
            let count = columns.first().map_or(0, Vec::len);
            for row in 0..count {
                let key: Option<Key> = columns.iter().map(|column| column[row].clone()).collect();
                self.add(path, key).await?;
            }
            return Ok(());
        };
        let parameters: Vec<(&Vec<Option<String>>, Type)> = columns.iter().map(|column| (column, Type::TEXT_ARRAY)).collect();
        let explained =
            || format!("{}: which rows changes of {} concern", what(bound, path.source), source.rules[path.rule].table.plain());
        let walker = self.walker;
        let mut rows = Box::pin(walker.query_typed_raw(&statement, parameters).await.with_context(explained)?);
        while let Some(row) = rows.try_next().await.with_context(explained)? {
            let key: Result<Option<Key>, _> = (0..row.len()).map(|place| row.try_get(place)).collect();
            self.add(path, key?).await?;
        }
        Ok(())
    }

    /// Adds one driving key, for every source to which it names a row. A key with NULL names none.
    async fn add(&mut self, path: &Path, key: Option<Key>) -> anyhow::Result<()> {
        let Some(key) = key else { return Ok(()) };
        let bound = &self.bound[path.projection];
        if bound.sources.len() > 1 {
            for other in (0..bound.sources.len()).filter(|other| *other != path.source) {
                if let Some(places) = bound.same_key(&bound.sources[path.source], &bound.sources[other]) {
                    let same = places.iter().map(|place| key[*place].clone()).collect();
                    self.keys[path.projection][other].insert(same);
                    self.full(path.projection, other).await?;
                }
            }
        }
        self.keys[path.projection][path.source].insert(key);
        self.full(path.projection, path.source).await
    }

    async fn full(&mut self, place: usize, source: usize) -> anyhow::Result<()> {
        if self.keys[place][source].len() >= MANY { self.flush(place, source).await } else { Ok(()) }
    }

    /// Derives and stages the rows of the gathered driving keys of a source.
    async fn flush(&mut self, place: usize, source: usize) -> anyhow::Result<()> {
        let keys = std::mem::take(&mut self.keys[place][source]);
        if keys.is_empty() {
            return Ok(());
        }
        self.prepare(place).await?;
        if !self.flushed.insert((place, source)) {
            self.used.repeated.insert(place);
        }
        let bound = &self.bound[place];
        let from = &bound.sources[source];
        let mut columns: Columns = vec![Vec::with_capacity(keys.len()); from.driving.len()];
        for key in keys {
            for (column, value) in columns.iter_mut().zip(key) {
                column.push(Some(value));
            }
        }
        let form = form(bound, source)?;
        let keys = as_text_of(bound, &bound.dirty_keys(from), &bound.key);
        let (keys_into, rows_into) = (self.described.keys_into(place), self.described.rows_into(place));
        stage(self.blue, &keys, Some(&columns), self.green, &keys_into, Form { tag: None, ..form })
            .await
            .with_context(|| what(bound, source))?;
        let rows = as_text(bound, bound.dirty_rows(from));
        stage(self.blue, &rows, Some(&columns), self.green, &rows_into, form).await.with_context(|| what(bound, source))?;
        Ok(())
    }

    /// Begins the transaction of the batch, and makes a projection's staging tables where they are missing.
    async fn prepare(&mut self, place: usize) -> anyhow::Result<()> {
        self.begin().await?;
        if self.staged.insert(place) {
            self.green.batch_execute(&self.described.create_stage(place)).await.context("staging on green")?;
        }
        self.used.places.insert(place);
        if self.bound[place].sources.len() > 1 {
            self.used.several.insert(place);
        }
        Ok(())
    }

    async fn begin(&mut self) -> anyhow::Result<()> {
        if !std::mem::replace(&mut self.begun, true) {
            self.green.batch_execute("BEGIN; SET CONSTRAINTS ALL DEFERRED").await?;
        }
        Ok(())
    }
}

fn what(bound: &Bound, source: usize) -> String {
    format!("table {}, source {}", bound.table.plain(), bound.sources[source].name)
}

fn form(bound: &Bound, source: usize) -> anyhow::Result<Form> {
    Ok(Form { binary: bound.binary, tag: Some(i16::try_from(source)?) })
}

/// A query whose every column is text, where rows do not travel in binary form.
fn as_text(bound: &Bound, query: String) -> String {
    let names: Vec<_> = bound.columns.iter().map(|column| column.name.clone()).collect();
    as_text_of(bound, &query, &names)
}

fn as_text_of(bound: &Bound, query: &str, columns: &[crate::sql::Ident]) -> String {
    if bound.binary {
        return query.to_owned();
    }
    let columns: Vec<String> = columns.iter().map(|name| format!("p.{name}::text")).collect();
    format!("SELECT {} FROM (\n{query}) AS p", columns.join(", "))
}
