//! Projections: what one green table must hold, as one `SELECT` per source over blue tables.
//!
//! The journey: files → [`load`] (syntax, every flaw at once) → [`ProjectionSet`] → [`bind`] (both catalogs, every
//! finding at once) → [`Bound`], from which copy, verify and later follow and repair compose their statements.

mod anatomy;
mod bind;
mod dirty;
mod expression;
mod file;
mod identity;
mod parts;
mod read_plan;
mod rules;
mod statement;
mod target;

pub use anatomy::{Anatomy, Reference, anatomy, conditions, plain_column, reads_json};
pub use bind::{Binding, bind, bind_to_blue};
pub use dirty::{BoundRule, Captured, DirtyEffect, DirtyRule, TypedColumn, captured};
pub use file::{Flaw, load};
pub use identity::identity;
pub use parts::{Part, cut};
pub use read_plan::{ReadPlan, Spill};
pub use statement::{AsBefore, Blocks, Bound, BoundColumn, BoundSource};
pub use target::{Target, TargetColumn, read_target};

use crate::sql::{Ident, QualifiedName};

/// The rows one green table must hold: all rows of all sources together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Projection {
    /// The green table.
    pub table: QualifiedName,
    /// The columns that name a row; a unique index or the primary key of the table covers exactly these.
    pub key: Vec<Ident>,
    /// Columns left to the table's defaults.
    pub defaulted: Vec<Ident>,
    /// Where the rows come from; never empty, the sources' keys are disjoint, all name the same columns.
    pub sources: Vec<Source>,
    /// Same table and columns on both sides: sequences take blue's values.
    pub identity: bool,
}

/// One `SELECT` over blue tables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Its name within the projection.
    pub name: String,
    /// The blue table whose block ranges are the parts of a copy. It stands first in `from`, and every row has one of its rows.
    pub drives: QualifiedName,
    /// That table's alias in `from`.
    pub alias: Ident,
    /// The text after FROM.
    pub from: String,
    /// The text after WHERE.
    pub filter: Option<String>,
    /// Green column and expression over blue, in the order of the file.
    pub columns: Vec<(Ident, String)>,
    /// The driving key, where the file names it: columns of the driving table that the green key follows from.
    pub driving: Option<Vec<Ident>>,
    /// What changes of the tables it reads do, but for the driving table's own rows.
    pub dirty: Vec<DirtyRule>,
    /// Why no other source can give its keys, whatever the rows; `None` when the file does not say so.
    pub apart: Option<String>,
}

/// A value read once from green: a query that gives one row with one column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Constant {
    /// What expressions call it: `(SELECT name FROM green)`.
    pub name: Ident,
    /// The query.
    pub query: String,
}

/// All projections of a step and the constants they share.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProjectionSet {
    /// The projections, at most one per table.
    pub projections: Vec<Projection>,
    /// Their constants.
    pub constants: Vec<Constant>,
}

impl ProjectionSet {
    /// The names of functions that any expression, `from` or `where` calls: `(name, called at the top level)`.
    fn calls(&self) -> Vec<(String, bool)> {
        let mut calls: Vec<(String, bool)> = self.projections.iter().flat_map(|p| &p.sources).flat_map(Source::calls).collect();
        calls.sort();
        calls.dedup();
        calls
    }
}

impl Source {
    fn calls(&self) -> Vec<(String, bool)> {
        let mut calls = expression::calls(expression::Place::From, &self.from);
        calls.extend(self.filter.iter().flat_map(|filter| expression::calls(expression::Place::Where, filter)));
        calls.extend(self.columns.iter().flat_map(|(_, text)| expression::calls(expression::Place::Column, text)));
        calls
    }
}
