//! What green's schema demands of the rows that a copy brings.

use std::sync::Arc;

use async_trait::async_trait;

use super::ask::{Ask, no_label, no_value_of, of_string_type, too_long};
use super::definitions::Definitions;
use super::inspect::{Inspection, Parents, Repair};
use super::reader::Reader;
use super::rows::Rows;
use super::tally::Probe;
use super::{left_out, proof, raw, several};
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
    pub same: Option<Vec<Ident>>,
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
        let repair = self.same.as_ref().map_or(Repair::Projection, |key| Repair::CleanRows(key));
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
        let open: Vec<Demand> =
            demands.iter().filter(|demand| !proof::single(&demand.rule, &table.target, &sources)).cloned().collect();
        let (mut found, failing) = inspection.single(&open, self.asks()).await?;
        found.extend(self.several(&reader, &inspection).await?);
        if table.same.is_none() {
            found.extend(raw::inputs(&reader, table, &failing, cx.sample).await?);
            found.extend(left_out::rows(&reader, table).await?);
        }
        Ok(found)
    }
}

impl ProjectedCheck {
    fn table(&self) -> &Table {
        &self.brought.tables[self.number]
    }

    /// Rules about several rows that nothing proves: of this table, and of rows of any table that point to it.
    async fn several(&self, reader: &Reader, inspection: &Inspection<'_>) -> anyhow::Result<Vec<Violation>> {
        let (table, sources) = (self.table(), self.table().sources());
        let mut found = Vec::new();
        let mut keys: Vec<&Demand> = Vec::new();
        for demand in table.definitions.demands.iter().filter(|demand| demand.checked) {
            match &demand.rule {
                Rule::Unique { keys: of, nulls_same, .. } => {
                    let proved = !nulls_same && self.brought.bytewise && proof::unique(of, &sources);
                    keys.extend((!proved && !self.unique_on_blue(demand)).then_some(demand));
                }
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
        let mut pointing: Vec<(&Table, &Demand)> = Vec::new();
        for child in &self.brought.tables {
            for demand in child.definitions.demands.iter().filter(|demand| demand.checked) {
                let Rule::ForeignKey { columns, references, referenced, full } = &demand.rule else { continue };
                let proved = !full && proof::points_somewhere(columns, referenced, &child.sources(), &sources);
                if *references == table.target.table && !proved {
                    pointing.push((child, demand));
                }
            }
        }
        let rules: Vec<several::Keys> = keys.iter().filter_map(|demand| several::Keys::of(&demand.rule)).collect();
        let children: Vec<several::Child> =
            pointing.iter().filter_map(|(child, demand)| several::Child::of(&child.rows, &demand.rule)).collect();
        let kept = several::kept(reader, &table.rows, &rules, &children).await?.unwrap_or_default();
        let broken = |place: usize| !kept.get(place).copied().unwrap_or(false);
        for (_, demand) in keys.iter().enumerate().filter(|(place, _)| broken(*place)) {
            found.extend(inspection.several(demand, None).await?);
        }
        for (_, (child, demand)) in pointing.iter().enumerate().filter(|(place, _)| broken(rules.len() + place)) {
            let Rule::ForeignKey { referenced, .. } = &demand.rule else { continue };
            let parents = Ok((table.rows.all(None), referenced.clone()));
            let inspection = child.inspection(reader, inspection.sample);
            found.extend(inspection.several(demand, Some(parents)).await?);
        }
        Ok(found)
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
            if computed && !proof::at_hand(name, &sources) {
                let one = format!("gives no value for {} ({})", name.as_str(), column.full_type);
                let many = format!("give no value for {} ({})", name.as_str(), column.full_type);
                let mut ask = Ask::new("cast", Some(name), Probe::Fails(name.to_string()), one, many);
                if table.same.is_some() {
                    ask.fix = no_value_of(name, name.as_str(), &column.full_type).map(|condition| (condition, None));
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
        !key.is_empty()
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
        let found = several::orphans(reader, &alone, columns, parents, referenced, false).await?;
        Ok(found.is_ok_and(|found| found.rows == 0))
    }

    /// Rows of a green table that the copy does not fill.
    fn outside(&self, references: &QualifiedName, referenced: &[Ident]) -> Parents {
        let kept = self.brought.kept.iter().find(|(table, columns, _)| table == references && columns == referenced);
        kept.map_or_else(|| Err(format!("the rows of {} are not known", references.plain())), |(_, _, parents)| parents.clone())
    }
}
