//! What one step demands of the rows of a table that is there.

use async_trait::async_trait;

use super::definitions::{constraint, key_of};
use super::inspect::{Inspection, Parents, Repair};
use super::reader::Reader;
use super::rows::Rows;
use crate::pg::{Session, constraint_state};
use crate::preflight::{Check, Violation};
use crate::projection::read_target;
use crate::sql::{Demand, Ident, QualifiedName, Rule};
use crate::step::{Cx, RowChange};
use crate::terms::{Finding, Severity, Side};

/// The demands of one step on one table.
pub(super) struct TableCheck {
    /// The step.
    pub step: String,
    /// The side.
    pub side: Side,
    /// The table.
    pub table: QualifiedName,
    /// The demands; all are about the table.
    pub demands: Vec<Demand>,
    /// What earlier steps do to its rows.
    pub changes: Vec<RowChange>,
    /// An earlier step whose changes cannot be looked ahead.
    pub pending: Option<String>,
}

#[async_trait]
impl Check for TableCheck {
    fn name(&self) -> String {
        format!("step {}, table {} on {}", self.step, self.table.plain(), self.side)
    }

    async fn run(&self, cx: &Cx) -> anyhow::Result<Vec<Finding>> {
        Ok(self.look(cx).await?.into_iter().map(Finding::from).collect())
    }

    async fn look(&self, cx: &Cx) -> anyhow::Result<Vec<Violation>> {
        let reader = Reader::open(cx, self.side).await?;
        let session = reader.session();
        let Some(target) = read_target(session, &self.table).await? else {
            let what = format!("is not on {} yet: what step {} asks of its rows cannot be told before", self.side, self.step);
            let finding =
                Finding { severity: Severity::Note, object: format!("table {}", self.table.plain()), what, next: String::new() };
            return Ok(vec![Violation::from(finding)]);
        };
        let key = key_of(session, &target.table).await?;
        let rows = Rows::of_table(self.side, &target, key.columns.clone(), &self.changes);
        let demands = self.resolved(session).await?;
        let inspection = Inspection {
            reader: &reader,
            rows: &rows,
            sample: cx.sample,
            estimate: target.estimated_rows.max(0).unsigned_abs(),
            pending: self.pending.clone(),
            repair: Repair::CleanRows(&key),
        };
        let mut found = inspection.single(&inspection.asks(demands.iter(), Vec::new())).await?;
        for demand in demands.iter().filter(|demand| demand.checked) {
            let parents = match &demand.rule {
                Rule::ForeignKey { references, referenced, .. } => Some(parents(session, references, referenced).await?),
                _ => None,
            };
            found.extend(inspection.several(demand, parents).await?);
        }
        for violation in &mut found {
            violation.finding.what += &format!(" (step {})", self.step);
        }
        Ok(found)
    }
}

impl TableCheck {
    /// Constraints added NOT VALID are looked at where a later demand validates them; one that is there already is read.
    async fn resolved(&self, session: &Session) -> anyhow::Result<Vec<Demand>> {
        let mut demands = self.demands.clone();
        for demand in &self.demands {
            let Rule::Validated(name) = &demand.rule else { continue };
            let added = demands.iter_mut().filter(|known| known.name == name.as_str() && !known.checked);
            if added.map(|known| known.checked = true).count() == 0
                && let Some(there) = constraint_state(session, &self.table, name).await?
                && !there.validated
            {
                let definition = there.definition.trim_end_matches(" NOT VALID");
                demands.extend(constraint(&self.table, name, definition));
            }
        }
        Ok(demands)
    }
}

/// The rows a foreign key points to, in a table of the same database.
pub(super) async fn parents(session: &Session, references: &QualifiedName, referenced: &[Ident]) -> anyhow::Result<Parents> {
    let referenced = if referenced.is_empty() { key_of(session, references).await?.columns } else { referenced.to_vec() };
    if referenced.is_empty() {
        return Ok(Err(format!("{} is not there yet or has no key", references.plain())));
    }
    let list = referenced.iter().map(Ident::to_string).collect::<Vec<_>>().join(", ");
    Ok(Ok((format!("SELECT {list} FROM {references}"), referenced)))
}
