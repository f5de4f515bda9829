//! What green's schema demands of the rows that a copy brings.

use std::sync::Arc;

use async_trait::async_trait;

use super::ask::{Ask, no_label, no_value_of, of_string_type, too_long};
use super::definitions::{Definitions, TableKey};
use super::inspect::{Inspection, Parents, Repair};
use super::reader::Reader;
use super::rows::Rows;
use super::suggest::Fix;
use super::survey::{self, Places, Survey, Surveyed};
use super::tally::Probe;
use super::{inspect, left_out, proof, raw, several};
use crate::preflight::{Check, Violation};
use crate::projection::{Bound, Target};
use crate::sql::{Demand, Ident, QualifiedName, Rule};
use crate::step::Cx;
use crate::terms::{Finding, Side};

/// One green table and what comes into it.
pub(super) struct Table {
    /// The rows.
    pub rows: Rows,
    /// The projection; also that of a table which is the same on both sides.
    pub bound: Bound,
    /// Green's table.
    pub target: Target,
    /// What green demands.
    pub definitions: Definitions,
    /// Of a table which is the same on both sides: its key.
    pub same: Option<TableKey>,
    /// Blue's estimate of the driving rows.
    pub estimate: u64,
    /// An earlier step that changes blue's rows in a way that cannot be looked ahead.
    pub pending: Option<String>,
    /// What is known of each source.
    pub known: Vec<proof::Known>,
}

impl Brought {
    fn table(&self, name: &QualifiedName) -> Option<&Table> {
        self.tables.iter().find(|table| table.target.table == *name)
    }
}

impl Table {
    fn inspection<'a>(&'a self, reader: &'a Reader, sample: Option<f64>) -> Inspection<'a> {
        let repair = self.same.as_ref().map_or(Repair::Projection, Repair::CleanRows);
        Inspection { reader, rows: &self.rows, sample, estimate: self.estimate, pending: self.pending.clone(), repair }
    }

    fn sources(&self) -> Vec<proof::Source<'_>> {
        self.rows.sources.iter().zip(&self.known).map(|(rows, known)| proof::Source { rows, known }).collect()
    }
}

/// Everything a copy brings.
pub(super) struct Brought {
    /// The tables.
    pub tables: Vec<Table>,
    /// Rows of other green tables that foreign keys point to: the table, its columns, and a `SELECT` of them.
    pub kept: Vec<(QualifiedName, Vec<Ident>, Parents)>,
    /// The function that shows whether a text has a form in green's encoding, when that is another: `f(` and `)`.
    pub encoding: Option<(String, String)>,
    /// Whether texts are equal on green only where they are the same: no collation there says otherwise.
    pub bytewise: bool,
}

/// The check of one table.
pub(super) struct ProjectedCheck {
    /// All tables.
    pub brought: Arc<Brought>,
    /// This one.
    pub number: usize,
}

#[async_trait]
impl Check for ProjectedCheck {
    fn name(&self) -> String {
        self.table().rows.label.clone()
    }

    async fn run(&self, cx: &Cx) -> anyhow::Result<Vec<Finding>> {
        Ok(self.look(cx).await?.into_iter().map(Finding::from).collect())
    }

    async fn look(&self, cx: &Cx) -> anyhow::Result<Vec<Violation>> {
        let table = self.table();
        let reader = Reader::open(cx, Side::Blue).await?;
        let inspection = table.inspection(&reader, cx.sample);
        let sources = table.sources();
        let demands = &table.definitions.demands;
        let open = demands.iter().filter(|demand| !proof::single(&demand.rule, &table.target, &sources));
        let asks = inspection.asks(open, self.asks());
        let (keys, pointing) = (self.keys(&sources), self.pointing(&sources));
        let surveyed = self.survey(&reader, &asks, &keys, &pointing, cx.sample.is_none()).await?;
        let mut found = match surveyed.clean {
            Some(true) => Vec::new(),
            _ => inspection.single(&asks).await?,
        };
        found.extend(self.outside_the_copy(&reader, &inspection).await?);
        for (demand, unique) in keys.iter().zip(surveyed.unique.iter().map(Some).chain(std::iter::repeat(None))) {
            if unique != Some(&true) {
                found.extend(inspection.several(demand, None).await?);
            }
        }
        for (number, (child, demand)) in pointing.iter().enumerate() {
            found.extend(self.lost(&reader, child, demand, surveyed.lost.get(number), cx.sample).await?);
        }
        if table.same.is_none() {
            found.extend(left_out::rows(&reader, table, &surveyed.left_out).await?);
        }
        Ok(found)
    }
}

/// The check of the values that one table's projection reads: beside [`ProjectedCheck`], which takes long enough.
pub(super) struct InputsCheck {
    /// All tables.
    pub brought: Arc<Brought>,
    /// This one.
    pub number: usize,
}

#[async_trait]
impl Check for InputsCheck {
    fn name(&self) -> String {
        format!("what {} reads", self.brought.tables[self.number].rows.label)
    }

    async fn run(&self, cx: &Cx) -> anyhow::Result<Vec<Finding>> {
        Ok(self.look(cx).await?.into_iter().map(Finding::from).collect())
    }

    async fn look(&self, cx: &Cx) -> anyhow::Result<Vec<Violation>> {
        let reader = Reader::open(cx, Side::Blue).await?;
        raw::inputs(&reader, &self.brought.tables[self.number], cx.sample).await
    }
}

impl ProjectedCheck {
    fn table(&self) -> &Table {
        &self.brought.tables[self.number]
    }

    /// What one pass over the rows tells; where values make it fail, one that asks nothing of single rows.
    async fn survey(
        &self,
        reader: &Reader,
        asks: &[Ask],
        keys: &[&Demand],
        pointing: &[(&Table, &Demand)],
        every_row: bool,
    ) -> anyhow::Result<Surveyed> {
        let table = self.table();
        let probes: Vec<Probe> = asks.iter().filter(|_| every_row).map(|ask| ask.probe.clone()).collect();
        let keys: Vec<several::Keys> = keys.iter().filter_map(|demand| several::Keys::of(&demand.rule)).collect();
        let children: Vec<several::Child> =
            pointing.iter().filter_map(|(child, demand)| several::Child::of(&child.rows, &demand.rule)).collect();
        let drives = if table.same.is_none() { left_out::tables(table) } else { Vec::new() };
        let all = Survey { rows: &table.rows, probes: &probes, keys: &keys, children: &children, drives: &drives };
        if let Some(surveyed) = survey::ask(reader, &all).await? {
            return Ok(surveyed);
        }
        Ok(survey::ask(reader, &Survey { probes: &[], ..all }).await?.unwrap_or_default())
    }

    /// Keys that must not repeat, where nothing proves it.
    fn keys(&self, sources: &[proof::Source<'_>]) -> Vec<&Demand> {
        let open = |demand: &&Demand| match &demand.rule {
            Rule::Unique { keys, nulls_same, .. } => {
                let proved = !nulls_same && self.brought.bytewise && proof::unique(keys, sources);
                demand.checked && !proved && !self.unique_on_blue(demand)
            }
            _ => false,
        };
        self.table().definitions.demands.iter().filter(open).collect()
    }

    /// Foreign keys of the copy's tables that point here, where nothing proves that they do.
    fn pointing(&self, sources: &[proof::Source<'_>]) -> Vec<(&Table, &Demand)> {
        let mut pointing = Vec::new();
        for child in &self.brought.tables {
            for demand in child.definitions.demands.iter().filter(|demand| demand.checked) {
                let Rule::ForeignKey { columns, references, referenced, full } = &demand.rule else { continue };
                let proved = !full && proof::points_somewhere(columns, referenced, &child.sources(), sources);
                if *references == self.table().target.table && !proved {
                    pointing.push((child, demand));
                }
            }
        }
        pointing
    }

    /// Rules about several rows that other rows of the copy have no part in.
    async fn outside_the_copy(&self, reader: &Reader, inspection: &Inspection<'_>) -> anyhow::Result<Vec<Violation>> {
        let mut found = Vec::new();
        for demand in self.table().definitions.demands.iter().filter(|demand| demand.checked) {
            match &demand.rule {
                Rule::ForeignKey { columns, references, referenced, .. } if self.brought.table(references).is_none() => {
                    let parents = self.outside(references, referenced);
                    if !self.constants_point_there(reader, columns, &parents).await? {
                        found.extend(inspection.several(demand, Some(parents)).await?);
                    }
                }
                Rule::Exclude { .. } => found.extend(inspection.several(demand, None).await?),
                _ => {}
            }
        }
        Ok(found)
    }

    /// Rows of `child` that point to no row here. `candidates` are those whose key does, before its joins and conditions.
    async fn lost(
        &self,
        reader: &Reader,
        child: &Table,
        demand: &Demand,
        candidates: Option<&Vec<Places>>,
        sample: Option<f64>,
    ) -> anyhow::Result<Option<Violation>> {
        let Rule::ForeignKey { columns, references, referenced, .. } = &demand.rule else { return Ok(None) };
        let inspection = child.inspection(reader, sample);
        let places: Option<Vec<&[String]>> = candidates.and_then(|all| all.iter().map(Places::all).collect());
        match (places, several::Child::of(&child.rows, &demand.rule)) {
            (Some(places), Some(of)) => {
                let found = several::lost_at(reader, &of, &places).await?;
                let fix = inspect::nowhere(columns, references, referenced);
                Ok(inspection.lost(&demand.name, references, found, Some(fix)))
            }
            _ => inspection.several(demand, Some(Ok((self.table().rows.all(None), referenced.clone())))).await,
        }
    }
}

impl ProjectedCheck {
    /// Questions beyond the catalog's demands: whether values can be had at all, and fit.
    fn asks(&self) -> Vec<Ask> {
        let table = self.table();
        let sources = table.sources();
        let mut asks = Vec::new();
        for column in &table.target.columns {
            let name = &column.name;
            let computed = table.rows.sources.iter().any(|s| s.columns.iter().any(|(n, _)| n == name) && s.plain(name).is_none());
            if computed && !proof::at_hand(name, &sources) && !proof::written(name, &sources) {
                let one = format!("gives no value for {} ({})", name.as_str(), column.full_type);
                let many = format!("give no value for {} ({})", name.as_str(), column.full_type);
                let mut ask = Ask::new("cast", Some(name), Probe::Fails(name.to_string()), one, many);
                if table.same.is_some() {
                    ask.fix = no_value_of(name, name.as_str(), &column.full_type).map(Fix::going);
                }
                asks.push(ask);
            }
            let filled = table.bound.columns.iter().any(|bound| bound.name == *name);
            if let (true, (Some(_), Some(length))) = (filled, of_string_type(&column.full_type))
                && !proof::short_enough(name, length, &sources)
            {
                asks.push(too_long(name, &format!("{name}::text"), length, &column.full_type));
            }
            if let (Some((open, close)), true) = (&self.brought.encoding, filled && column.category == 'S') {
                let words = format!("no form in green's encoding in {}", name.as_str());
                let probe = Probe::Fails(format!("{open}{name}::text{close}"));
                asks.push(Ask::new("encoding", Some(name), probe, format!("has {words}"), format!("have {words}")));
            }
        }
        asks.extend(table.definitions.labels.iter().map(|(column, labels)| no_label(column, labels)));
        for (column, expression) in &table.definitions.generated {
            let words = format!("no value for the generated column {}", column.as_str());
            let probe = Probe::Fails(expression.clone());
            asks.push(Ask::new("generated", Some(column), probe, format!("gives {words}"), format!("give {words}")));
        }
        asks
    }

    /// Whether blue's own unique index proves it: the same columns, untouched, from one table alone.
    fn unique_on_blue(&self, demand: &Demand) -> bool {
        let (Some(key), Rule::Unique { keys, predicate: None, .. }) = (&self.table().same, &demand.rule) else { return false };
        let named: Vec<String> = keys.iter().map(|key| key.trim_matches('"').to_owned()).collect();
        !key.columns.is_empty()
            && self
                .table()
                .rows
                .sources
                .iter()
                .all(|s| s.filter.is_none() && s.key.iter().all(|k| named.contains(&k.as_str().to_owned())))
    }

    /// Whether a key that is made of constants alone points to a parent: asked once, not of every row.
    async fn constants_point_there(&self, reader: &Reader, columns: &[Ident], parents: &Parents) -> anyhow::Result<bool> {
        let rows = &self.table().rows;
        let of = |source: &super::rows::RowSource| -> Option<Vec<(Ident, String)>> {
            let find =
                |name: &Ident| source.columns.iter().find(|(column, text)| column == name && proof::constant(text)).cloned();
            columns.iter().map(find).collect()
        };
        let all: Option<Vec<_>> = rows.sources.iter().map(of).collect();
        let (Some(all), Ok((parents, referenced))) = (all, parents) else { return Ok(false) };
        let Some(constants) = all.first().filter(|first| all.iter().all(|one| one == *first)) else { return Ok(false) };
        let mut alone = rows.clone();
        alone.sources.truncate(1);
        for source in &mut alone.sources {
            source.columns.clone_from(constants);
            source.filter = None;
            source.key = Vec::new();
            source.from = format!("(SELECT '(0,1)'::tid AS ctid) AS {}", source.alias);
        }
        let child = several::Child { rows: &alone, columns, referenced, full: false };
        let found = several::orphans(reader, &child, parents).await?;
        Ok(found.is_ok_and(|found| found.rows == 0))
    }

    /// Rows of a green table that the copy does not fill.
    fn outside(&self, references: &QualifiedName, referenced: &[Ident]) -> Parents {
        let kept = self.brought.kept.iter().find(|(table, columns, _)| table == references && columns == referenced);
        kept.map_or_else(|| Err(format!("the rows of {} are not known", references.plain())), |(_, _, parents)| parents.clone())
    }
}
