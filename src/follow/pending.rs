//! From changed keys to staged rows.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use anyhow::Context;
use futures_util::future::try_join_all;
use futures_util::{StreamExt, TryStreamExt, stream};
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{RowStream, Statement};

use super::green::Green;
use super::path::{Path, Paths};
use super::stage::{Columns, Form, stage};
use crate::pg::Session;
use crate::projection::{Blocks, Bound};

/// A driving key as text.
type Key = Vec<String>;

/// So many driving keys of a source are gathered before their rows are derived.
const MANY: usize = 10_000;

/// The projections that a batch touches, each with what must be done before its rows are used.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Used {
    /// Their places.
    pub places: BTreeSet<usize>,
    /// Those of which a row may be staged more than once.
    pub repeated: BTreeSet<usize>,
    /// Those with several sources.
    pub several: BTreeSet<usize>,
    /// Those of which every row of the table may go; their keys are not staged yet.
    pub whole: BTreeSet<usize>,
}

/// How rows get into the staging tables of a projection.
pub(super) struct Into {
    keys: Statement,
    rows: Statement,
}

/// The projections whose staging tables are there, in a session of green.
pub(super) type Staged = BTreeMap<usize, Into>;

/// So many values of rules are gathered before blue is asked where they lead.
const WALKED: usize = 5_000;

/// So many questions are on their way at a time: nobody waits for the way there and back of each.
const AHEAD: usize = 8;

/// Driving keys of a batch, gathered until their rows are derived and staged.
pub(super) struct Pending<'a> {
    bound: &'a [Bound],
    paths: &'a Paths,
    blue: &'a Session,
    walker: &'a Session,
    green: &'a Session,
    described: &'a Green,
    staged: &'a mut Staged,
    /// Values of rules, not yet walked from.
    walks: Vec<(&'a Path, Columns)>,
    keys: Vec<Vec<HashSet<Key>>>,
    flushed: HashSet<(usize, usize)>,
    used: Used,
    begun: bool,
}

impl<'a> Pending<'a> {
    pub fn new(
        bound: &'a [Bound],
        paths: &'a Paths,
        blue: &'a Session,
        walker: &'a Session,
        green: &'a Session,
        described: &'a Green,
        staged: &'a mut Staged,
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
            walks: Vec::new(),
            keys,
            flushed: HashSet::new(),
            used: Used::default(),
            begun: false,
        }
    }

    /// Takes in changed keys of a captured table; see [`crate::capture::Piece`].
    pub async fn rows(&mut self, table: usize, keys: Vec<Vec<Option<String>>>, moved: bool) -> anyhow::Result<()> {
        for path in &self.paths.from[table] {
            let rule = &self.bound[path.projection].sources[path.source].rules[path.rule];
            if self.used.whole.contains(&path.projection) || !(moved || rule.any_update()) {
                continue;
            }
            let mut seen = HashSet::with_capacity(keys.len());
            let mut columns: Columns = vec![Vec::new(); path.columns.len()];
            for key in &keys {
                let by: Vec<Option<&String>> = path.columns.iter().map(|place| key[*place].as_ref()).collect();
                if seen.insert(by.clone()) {
                    for (column, value) in columns.iter_mut().zip(by) {
                        column.push(value.cloned());
                    }
                }
            }
            self.walks.push((path, columns));
        }
        let waiting: usize = self.walks.iter().map(|(_, columns)| columns.first().map_or(0, Vec::len)).sum();
        if waiting >= WALKED { self.walk().await } else { Ok(()) }
    }

    /// All rows of a captured table went: every row that could lean on one is derived anew.
    pub async fn truncated(&mut self, table: usize) -> anyhow::Result<()> {
        let places: BTreeSet<usize> = self.paths.from[table].iter().map(|path| path.projection).collect();
        for place in places {
            if !self.used.whole.insert(place) {
                continue;
            }
            self.prepare(place).await?;
            self.used.repeated.insert(place);
            let bound = &self.bound[place];
            for (source, from) in bound.sources.iter().enumerate() {
                self.keys[place][source].clear();
                let query = as_text(bound, bound.rows(from, Blocks::ALL));
                let rows = self.blue.query_typed_raw::<&str, _>(&query, []).await.with_context(|| what(bound, source))?;
                let Into { rows: into, .. } = &self.staged[&place];
                stage(rows, self.green, into, form(bound, source)?).await.with_context(|| what(bound, source))?;
            }
        }
        Ok(())
    }

    /// Derives what is left; gives the projections that have something staged. Nothing of green's tables was read. Green is in a transaction then.
    pub async fn finish(mut self) -> anyhow::Result<Used> {
        self.walk().await?;
        let every = |place: usize| (0..self.bound[place].sources.len()).map(move |source| (place, source));
        let sources: Vec<(usize, usize)> = (0..self.bound.len()).flat_map(every).collect();
        self.flush(&sources).await?;
        self.begin().await?;
        Ok(self.used)
    }

    /// From the values of rules to driving keys.
    async fn walk(&mut self) -> anyhow::Result<()> {
        let walks = std::mem::take(&mut self.walks);
        let (bound, walker) = (self.bound, self.walker);
        let ask = async |(path, columns): (&'a Path, Columns)| {
            let from = &bound[path.projection];
            let source = &from.sources[path.source];
            let rule = &source.rules[path.rule];
            let explained = || format!("{}: which rows changes of {} concern", what(from, path.source), rule.table.plain());
            let Some(statement) = from.driving_keys(source, rule) else { return anyhow::Ok((path, Err(columns))) };
            let parameters: Vec<(&Vec<Option<String>>, Type)> = columns.iter().map(|column| (column, Type::TEXT_ARRAY)).collect();
            let rows = walker.query_typed_raw(&statement, parameters).await.with_context(explained)?;
            Ok((path, Ok(rows)))
        };
        let mut answers = std::pin::pin!(stream::iter(walks).map(ask).buffered(AHEAD));
        while let Some((path, answer)) = answers.try_next().await? {
            match answer {
                Err(columns) => {
                    for row in 0..columns.first().map_or(0, Vec::len) {
                        let key: Option<Key> = columns.iter().map(|column| column[row].clone()).collect();
                        self.add(path, key).await?;
                    }
                }
                Ok(rows) => {
                    let mut rows = Box::pin(rows);
                    while let Some(row) = rows.try_next().await.with_context(|| what(&bound[path.projection], path.source))? {
                        let key: Result<Option<Key>, _> = (0..row.len()).map(|place| row.try_get(place)).collect();
                        self.add(path, key?).await?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Adds one driving key, for every source to which it names a row. A key with NULL names none.
    async fn add(&mut self, path: &Path, key: Option<Key>) -> anyhow::Result<()> {
        let Some(key) = key else { return Ok(()) };
        let paths = self.paths;
        for (other, places) in paths.same[path.projection][path.source].iter().enumerate() {
            if let Some(places) = places {
                let same = places.iter().map(|place| key[*place].clone()).collect();
                self.keys[path.projection][other].insert(same);
                self.full(path.projection, other).await?;
            }
        }
        self.keys[path.projection][path.source].insert(key);
        self.full(path.projection, path.source).await
    }

    async fn full(&mut self, place: usize, source: usize) -> anyhow::Result<()> {
        if self.keys[place][source].len() >= MANY { self.flush(&[(place, source)]).await } else { Ok(()) }
    }

    /// Derives and stages the rows of the gathered driving keys of these sources.
    async fn flush(&mut self, sources: &[(usize, usize)]) -> anyhow::Result<()> {
        let (mut queries, mut keys) = (Vec::new(), Vec::new());
        for (place, source) in sources.iter().copied() {
            let gathered = std::mem::take(&mut self.keys[place][source]);
            if gathered.is_empty() {
                continue;
            }
            self.prepare(place).await?;
            if !self.flushed.insert((place, source)) {
                self.used.repeated.insert(place);
            }
            let bound = &self.bound[place];
            let from = &bound.sources[source];
            let mut columns: Columns = vec![Vec::with_capacity(gathered.len()); from.driving.len()];
            for key in gathered {
                for (column, value) in columns.iter_mut().zip(key) {
                    column.push(Some(value));
                }
            }
            let columns = std::sync::Arc::new(columns);
            let Into { keys: keys_into, rows: rows_into } = &self.staged[&place];
            let form = form(bound, source)?;
            let mut ask =
                |query, into: &Statement, form| queries.push((place, source, query, columns.clone(), into.clone(), form));
            match &self.paths.direct[place][source] {
                Some(direct) => {
                    let types = direct.iter().map(|driving| from.driving[*driving].of_type.as_str());
                    keys.push((self.described.stage_keys(place, types), direct, columns.clone()));
                }
                None => ask(as_text_of(bound, &bound.dirty_keys(from), &bound.key), keys_into, Form { tag: None, ..form }),
            }
            ask(as_text(bound, bound.dirty_rows(from)), rows_into, form);
        }
        let (bound, blue, green) = (self.bound, self.blue, self.green);
        // Sent before the first COPY begins: answers come in the order of the questions.
        let keys = keys.iter().map(async |(statement, direct, columns)| {
            let parameters: Vec<(&(dyn ToSql + Sync), Type)> =
                direct.iter().map(|place| (&columns[*place] as &(dyn ToSql + Sync), Type::TEXT_ARRAY)).collect();
            green.execute_typed(statement, &parameters).await.context("green refuses a key that blue's change gives")
        });
        let ask =
            async |(place, source, query, columns, into, form): (_, _, String, std::sync::Arc<Columns>, Statement, Form)| {
                let explained = || what(&bound[place], source);
                let parameters: Vec<(&Vec<Option<String>>, Type)> =
                    columns.iter().map(|column| (column, Type::TEXT_ARRAY)).collect();
                let rows: RowStream =
                    blue.query_typed_raw(&query, parameters).await.context("read on blue").with_context(explained)?;
                anyhow::Ok((place, source, rows, into, form))
            };
        let rows = async {
            let mut answers = std::pin::pin!(stream::iter(queries).map(ask).buffered(AHEAD));
            while let Some((place, source, rows, into, form)) = answers.try_next().await? {
                stage(rows, green, &into, form).await.with_context(|| what(&bound[place], source))?;
            }
            Ok(())
        };
        tokio::try_join!(try_join_all(keys), rows)?;
        Ok(())
    }

    /// Begins the transaction of the batch, and makes a projection's staging tables where they are missing.
    async fn prepare(&mut self, place: usize) -> anyhow::Result<()> {
        self.begin().await?;
        if !self.staged.contains_key(&place) {
            self.green.batch_execute(&self.described.create_stage(place)).await.context("staging on green")?;
            let format = if self.bound[place].binary { "binary" } else { "text" };
            let copy = |into: String| format!("COPY {into} FROM STDIN (FORMAT {format})");
            let (keys, rows) = (copy(self.described.keys_into(place)), copy(self.described.rows_into(place)));
            let (keys, rows) =
                tokio::try_join!(self.green.prepare(&keys), self.green.prepare(&rows)).context("staging on green")?;
            self.staged.insert(place, Into { keys, rows });
        }
        self.used.places.insert(place);
        if self.bound[place].sources.len() > 1 {
            self.used.several.insert(place);
        }
        Ok(())
    }

    async fn begin(&mut self) -> anyhow::Result<()> {
        if !std::mem::replace(&mut self.begun, true) {
            // Each statement sees what is committed when it begins: the batch before this one may be on its way.
            self.green.batch_execute("BEGIN ISOLATION LEVEL READ COMMITTED; SET CONSTRAINTS ALL DEFERRED").await?;
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
