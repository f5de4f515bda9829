//! What existing rows must keep to, derived from the plan: from its steps' own demands, from the statements of its migrations,
//! and, for a copy, from green's schema held against the rows that the projections give. Nobody writes SQL for it.

mod ask;
mod brought;
mod dangling;
mod definitions;
mod green;
mod inspect;
mod labels;
mod left_out;
mod projected;
mod proof;
mod raw;
mod reader;
mod rows;
mod several;
mod suggest;
mod survey;
mod table;
mod tally;

use std::collections::BTreeSet;

use async_trait::async_trait;

use super::{Check, Violation};
use crate::plan::{Plan, PlannedStep};
use crate::sql::QualifiedName;
use crate::step::{Cx, RowChange};
use crate::terms::{Extent, Finding, Side};

/// Where checks go as soon as they are known.
pub(super) type Begin<'a> = &'a mut (dyn FnMut(Box<dyn Check>) + Send);

/// Every derived check of a plan, one per step and table. Steps whose effect is there already demand nothing more. (Whether an index
/// or a check that is there is the plan's would take a trial, which is a write: its rows are looked at again.)
///
/// # Errors
/// When a server cannot be reached.
pub async fn checks(plan: &Plan, cx: &Cx, begin: Begin<'_>) -> anyhow::Result<()> {
    let mut changes: Vec<(Side, String, RowChange)> = Vec::new();
    let mut copied = BTreeSet::new();
    let blue_green = plan.steps().iter().any(|step| step.step.brings().is_some());
    for step in plan.steps() {
        if let Some(projected) = step.step.brings() {
            let on_blue = changes.iter().filter(|(side, ..)| *side == Side::Blue);
            let on_blue: Vec<(String, RowChange)> = on_blue.map(|(_, step, change)| (step.clone(), change.clone())).collect();
            brought::checks(plan, cx, step, projected, &mut copied, &on_blue, begin).await?;
            continue;
        }
        let [side] = step.step.sides()[..] else { continue };
        let mut own = cx.clone();
        own.step = step.id.clone();
        if step.step.reads_only() || matches!(step.step.observe(&own).await, Ok(Extent::Complete)) {
            continue;
        }
        // What a blue-green plan asks of green's rows is asked of the rows that the copy brings.
        if !(blue_green && side == Side::Green) {
            of_step(step, side, &changes).into_iter().for_each(&mut *begin);
        }
        changes.extend(step.step.row_changes().into_iter().map(|change| (side, step.id.to_string(), change)));
    }
    Ok(())
}

fn of_step(step: &PlannedStep, side: Side, changes: &[(Side, String, RowChange)]) -> Vec<Box<dyn Check>> {
    let demands = step.step.demands();
    let tables: BTreeSet<&QualifiedName> = demands.iter().map(|demand| &demand.table).collect();
    let own = step.step.row_changes();
    let check = |table: &QualifiedName| {
        let ahead = changes.iter().filter(|(of, _, change)| *of == side && same_table(&change.table, table));
        let unknown = ahead.clone().find(|(_, _, change)| change.known.is_none()).map(|(_, step, _)| step.clone());
        let within = own.iter().any(|change| same_table(&change.table, table)).then(|| step.id.to_string());
        table::TableCheck {
            step: step.id.to_string(),
            side,
            table: table.clone(),
            demands: demands.iter().filter(|demand| demand.table == *table).cloned().collect(),
            changes: ahead.map(|(_, _, change)| change.clone()).collect(),
            pending: unknown.or(within),
        }
    };
    tables.into_iter().map(|table| Box::new(check(table)) as Box<dyn Check>).collect()
}

/// Whether two names may mean the same table: a name without a schema means any.
fn same_table(one: &QualifiedName, other: &QualifiedName) -> bool {
    one.name() == other.name() && (one.schema().is_none() || other.schema().is_none() || one.schema() == other.schema())
}

/// Findings that are known already.
struct Known(String, Vec<Finding>);

#[async_trait]
impl Check for Known {
    fn name(&self) -> String {
        self.0.clone()
    }

    async fn run(&self, _: &Cx) -> anyhow::Result<Vec<Finding>> {
        Ok(self.1.clone())
    }

    async fn look(&self, _: &Cx) -> anyhow::Result<Vec<Violation>> {
        Ok(self.1.iter().cloned().map(Violation::from).collect())
    }
}
