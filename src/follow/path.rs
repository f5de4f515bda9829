//! The ways from changes of captured tables to green's rows, worked out once.

use anyhow::Context;

use super::Refused;
use super::coverage::uncaptured;
use crate::capture::Outbox;
use crate::projection::{Bound, BoundSource, TypedColumn, plain_column};
use crate::sql::Ident;

/// The way from a change of a captured table to a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Path {
    /// The projection.
    pub projection: usize,
    /// The source.
    pub source: usize,
    /// The rule of it.
    pub rule: usize,
    /// Where the rule's columns are among the captured ones.
    pub columns: Vec<usize>,
}

/// All that follows from the projections and from what is captured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Paths {
    /// Per captured table, in the outbox's order, the ways to all sources.
    pub from: Vec<Vec<Path>>,
    /// Per projection and two of its sources: how a driving key of the one becomes one of the other; see [`Bound::same_key`].
    pub same: Vec<Vec<Vec<Option<Vec<usize>>>>>,
    /// Per projection and source, for each green key column the driving column that it is; `None` where only blue can tell.
    pub direct: Vec<Vec<Option<Vec<usize>>>>,
}

impl Paths {
    /// # Errors
    /// [`Refused`] when something needed is not captured.
    pub fn new(bound: &[Bound], outbox: &Outbox) -> anyhow::Result<Self> {
        let findings = uncaptured(bound, outbox.tables());
        if !findings.is_empty() {
            return Err(Refused { findings }.into());
        }
        let mut from = Vec::new();
        for table in outbox.tables() {
            let mut paths = Vec::new();
            for (projection, bound) in bound.iter().enumerate() {
                for (source, of) in bound.sources.iter().enumerate() {
                    for (rule, way) in of.rules.iter().enumerate().filter(|(_, rule)| rule.table == table.table) {
                        let place = |name| table.columns.iter().position(|column| column == name);
                        let columns: Option<Vec<usize>> = way.by.iter().map(|column| place(&column.name)).collect();
                        let columns = columns.context("a captured table lost a column")?;
                        paths.push(Path { projection, source, rule, columns });
                    }
                }
            }
            from.push(paths);
        }
        let same = |bound: &Bound| {
            let others = |one: usize, from: &BoundSource| {
                let other = |(place, to): (usize, &BoundSource)| if place == one { None } else { bound.same_key(from, to) };
                bound.sources.iter().enumerate().map(other).collect()
            };
            bound.sources.iter().enumerate().map(|(place, from)| others(place, from)).collect()
        };
        let directs = |bound: &Bound| bound.sources.iter().map(|source| direct(bound, source)).collect();
        Ok(Self { from, same: bound.iter().map(same).collect(), direct: bound.iter().map(directs).collect() })
    }
}

/// Types whose text means the same value on both sides.
const PLAIN: [&str; 6] = ["text", "character varying", "uuid", "smallint", "integer", "bigint"];

/// The driving columns that the green key is made of, where it is these alone.
fn direct(bound: &Bound, source: &BoundSource) -> Option<Vec<usize>> {
    let of = |key: &Ident| {
        let place = bound.columns.iter().position(|column| column.name == *key)?;
        let (text, cast) = source.expressions.get(place)?;
        let (alias, name) = plain_column(text)?;
        let driving = source.driving.iter().position(|column| alias == source.alias.as_str() && column.name.as_str() == name)?;
        let TypedColumn { of_type, .. } = &source.driving[driving];
        let same = PLAIN.contains(&of_type.as_str()) && cast.as_ref().is_none_or(|cast| cast == of_type);
        same.then_some(driving)
    };
    bound.key.iter().map(of).collect()
}
