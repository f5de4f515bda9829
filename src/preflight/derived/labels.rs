//! Text of blue on its way to an enum of green's: a copy of the table as it is refuses that, and blue does not know the type. Which
//! rows a projection that casts would have to mend is known beforehand.

use async_trait::async_trait;

use super::ask::no_label;
use super::definitions::key_of;
use super::inspect::{Inspection, Repair};
use super::reader::Reader;
use super::rows::Rows;
use crate::preflight::{Check, Violation};
use crate::projection::read_target;
use crate::sql::{Ident, QualifiedName};
use crate::step::Cx;
use crate::terms::{Finding, Side};

/// A table of the same name on both sides, whose columns are texts on blue and enums on green.
pub(super) struct Labels {
    /// The table on blue.
    pub table: QualifiedName,
    /// The columns and green's labels.
    pub labels: Vec<(Ident, Vec<String>)>,
}

#[async_trait]
impl Check for Labels {
    fn name(&self) -> String {
        format!("labels of green's types in {}", self.table.plain())
    }

    async fn run(&self, cx: &Cx) -> anyhow::Result<Vec<Finding>> {
        Ok(self.look(cx).await?.into_iter().map(Finding::from).collect())
    }

    async fn look(&self, cx: &Cx) -> anyhow::Result<Vec<Violation>> {
        let reader = Reader::open(cx, Side::Blue).await?;
        let Some(target) = read_target(reader.session(), &self.table).await? else { return Ok(Vec::new()) };
        let text = |name: &Ident| target.column(name).is_some_and(|column| column.category == 'S');
        let asks: Vec<_> =
            self.labels.iter().filter(|(name, _)| text(name)).map(|(name, labels)| no_label(name, labels)).collect();
        let key = key_of(reader.session(), &target.table).await?;
        let rows = Rows::of_table(Side::Blue, &target, key.columns.clone(), &[]);
        let estimate = target.estimated_rows.max(0).unsigned_abs();
        let repair = Repair::CleanRows(&key);
        let inspection = Inspection { reader: &reader, rows: &rows, sample: cx.sample, estimate, pending: None, repair };
        inspection.single(&asks).await
    }
}
