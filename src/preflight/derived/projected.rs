//! What green's schema demands of the rows that a copy brings.

use std::sync::Arc;

use async_trait::async_trait;

use super::ask::{Ask, no_label, of_string_type, too_long};
use super::definitions::Definitions;
use super::inspect::{Inspection, Parents, Repair};
use super::reader::Reader;
use super::rows::Rows;
use super::tally::Probe;
use super::{left_out, raw};
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
}

/// Everything a copy brings.
pub(super) struct Brought {
    /// The tables.
    pub tables: Vec<Table>,
    /// Rows of other green tables that foreign keys point to: the table, its columns, and a `SELECT` of them.
    pub kept: Vec<(QualifiedName, Vec<Ident>, Parents)>,
    /// The function that shows whether a text has a form in green's encoding, when that is another: `f(` and `)`.
    pub encoding: Option<(String, String)>,
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
        let repair = table.same.as_ref().map_or(Repair::Projection, |key| Repair::CleanRows(key));
        let (sample, pending) = (cx.sample, None);
        let inspection = Inspection { reader: &reader, rows: &table.rows, sample, estimate: table.estimate, pending, repair };
        let demands = &table.definitions.demands;
        let (mut found, failing) = inspection.single(demands, self.asks()).await?;
        for demand in demands.iter().filter(|demand| demand.checked) {
            let parents = match &demand.rule {
                Rule::ForeignKey { references, referenced, .. } => Some(self.parents(references, referenced)),
                Rule::Unique { .. } if self.unique_on_blue(demand) => continue,
                _ => None,
            };
            found.extend(inspection.several(demand, parents).await?);
        }
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

    /// Questions beyond the catalog's demands: whether values can be had at all, and fit.
    fn asks(&self) -> Vec<Ask> {
        let table = self.table();
        let mut asks = Vec::new();
        for column in &table.target.columns {
            let name = &column.name;
            let computed = table.rows.sources.iter().any(|s| s.columns.iter().any(|(n, _)| n == name) && s.plain(name).is_none());
            if computed {
                let one = format!("gives no value for {} ({})", name.as_str(), column.full_type);
                let many = format!("give no value for {} ({})", name.as_str(), column.full_type);
                asks.push(Ask::new("cast", Some(name), Probe::Fails(name.to_string()), one, many));
            }
            let filled = table.bound.columns.iter().any(|bound| bound.name == *name);
            if let (true, (Some(_), Some(length))) = (filled, of_string_type(&column.full_type)) {
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

    fn parents(&self, references: &QualifiedName, referenced: &[Ident]) -> Parents {
        if let Some(parent) = self.brought.tables.iter().find(|table| table.target.table == *references) {
            return Ok((parent.rows.all(None), referenced.to_vec()));
        }
        let kept = self.brought.kept.iter().find(|(table, columns, _)| table == references && columns == referenced);
        kept.map_or_else(|| Err(format!("the rows of {} are not known", references.plain())), |(_, _, parents)| parents.clone())
    }
}
