//! How a step changes rows, for those who look ahead.

use crate::sql::{Ident, QualifiedName};

/// A change of the rows of one table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowChange {
    /// The table.
    pub table: QualifiedName,
    /// Which rows, as an SQL condition, and what becomes of them; `None` when the plan does not say so in a form that can be
    /// looked ahead.
    pub known: Option<(String, Becomes)>,
}

/// What becomes of a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Becomes {
    /// It goes.
    Gone,
    /// Its columns get these values.
    Set(Vec<(Ident, String)>),
}
