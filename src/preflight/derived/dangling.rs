//! Foreign keys that blue has and its rows do not keep: triggers were once off.

use async_trait::async_trait;

use super::definitions;
use super::inspect::{Inspection, Repair};
use super::reader::Reader;
use super::rows::Rows;
use super::table::parents;
use crate::preflight::{Check, Violation};
use crate::projection::read_target;
use crate::sql::{QualifiedName, Rule};
use crate::step::Cx;
use crate::terms::{Finding, Severity, Side};

/// One blue table that a projection reads.
pub(super) struct Dangling {
    /// The table.
    pub table: QualifiedName,
}

#[async_trait]
impl Check for Dangling {
    fn name(&self) -> String {
        format!("foreign keys of {} on blue", self.table.plain())
    }

    async fn run(&self, cx: &Cx) -> anyhow::Result<Vec<Finding>> {
        Ok(self.look(cx).await?.into_iter().map(Finding::from).collect())
    }

    async fn look(&self, cx: &Cx) -> anyhow::Result<Vec<Violation>> {
        let reader = Reader::open(cx, Side::Blue).await?;
        let session = reader.session();
        let Some(target) = read_target(session, &self.table).await? else { return Ok(Vec::new()) };
        let key = definitions::key_of(session, &target.table).await?;
        let definitions = definitions::read(session, &target).await?;
        let rows = Rows::of_table(Side::Blue, &target, key.columns, &[]);
        let estimate = target.estimated_rows.max(0).unsigned_abs();
        let inspection =
            Inspection { reader: &reader, rows: &rows, sample: cx.sample, estimate, pending: None, repair: Repair::Projection };
        let mut found = Vec::new();
        for demand in &definitions.demands {
            let Rule::ForeignKey { references, referenced, .. } = &demand.rule else { continue };
            let parents = parents(session, references, referenced).await?;
            if let Some(mut violation) = inspection.several(demand, Some(parents)).await? {
                violation.rule = "dangling";
                violation.finding.severity = Severity::Note;
                violation.finding.what += ": blue has this foreign key, its triggers were once off";
                "look at what the projections make of them".clone_into(&mut violation.finding.next);
                violation.suggestion = None;
                found.push(violation);
            }
        }
        Ok(found)
    }
}
