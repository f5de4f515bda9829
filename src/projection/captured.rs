//! What must be recorded of blue's changes, so that the rows they touch on green can be found again.

use std::collections::{BTreeMap, BTreeSet};

use super::{Bound, anatomy};
use crate::sql::{Ident, QualifiedName};

/// A blue table whose changes matter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Captured {
    /// The table, with its schema.
    pub table: QualifiedName,
    /// The columns whose old and new values are recorded, sorted.
    pub columns: Vec<Ident>,
    /// An UPDATE that changes none of these nor of `columns` touches nothing; `None`: any UPDATE counts.
    pub watch: Option<Vec<Ident>>,
}

/// The tables that these projections are driven by, each with the columns that their keys are made of.
pub fn captured(bound: &[Bound]) -> Vec<Captured> {
    let mut tables: BTreeMap<QualifiedName, BTreeSet<Ident>> = BTreeMap::new();
    for projection in bound {
        for source in &projection.sources {
            let anatomy = anatomy(&source.from);
            let columns = tables.entry(source.drives.clone()).or_default();
            for (column, (expression, _)) in projection.columns.iter().zip(&source.expressions) {
                if projection.key.contains(&column.name) {
                    let read = anatomy.reads(expression).into_iter().filter(|(alias, _)| alias == source.alias.as_str());
                    columns.extend(read.map(|(_, name)| Ident::new(name)));
                }
            }
        }
    }
    tables.into_iter().map(|(table, columns)| Captured { table, columns: columns.into_iter().collect(), watch: None }).collect()
}
