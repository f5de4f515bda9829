//! A first plan for two databases: which tables are the same, projections for those that are not, and what a person must decide.
//!
//! [`read`] asks both catalogs, [`decide`] makes the draft (pure), [`Draft::files`] writes it down. What cannot be told from the
//! catalogs is written as `"?"`, which `check` refuses, and is listed as a [`Decision`].

mod decide;
mod files;
mod inventory;

use serde::Serialize;

use crate::sql::QualifiedName;

pub use decide::decide;
pub use inventory::{Inventory, Parent, Table, read};

/// What stands where somebody must decide.
pub const OPEN: &str = "?";

/// Something a person must decide: a place in a file that holds `"?"`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Decision {
    /// The file, beside the plan.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
    /// The green table.
    pub table: String,
    /// What is to be decided and what is known about it.
    pub what: String,
}

/// A plan and its projections.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Draft {
    /// Tables that are the same on both sides.
    same: Vec<String>,
    /// Projections of the others.
    projections: Vec<Drafted>,
    /// Constants, by name: a query on green.
    constants: Vec<(String, String)>,
    /// What a person should know, and need not decide.
    pub notes: Vec<String>,
}

/// One projection.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Drafted {
    /// The green table.
    table: String,
    /// The blue table; `None` where it is not known.
    from: Option<QualifiedName>,
    /// What to say about that.
    alike: String,
    key: Vec<String>,
    defaulted: Vec<String>,
    columns: Vec<Column>,
    /// What to say above it.
    remarks: Vec<String>,
}

/// A column of green and what fills it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Column {
    name: String,
    /// The expression; `None` where it is not known.
    expression: Option<String>,
    /// What to say about that.
    what: String,
}
