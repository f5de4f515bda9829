//! What a statement does to the relations that are there: its locks with those that only the state knows of, what it reads
//! in full and what it writes anew.

use std::borrow::Cow;
use std::ops::Range;

use super::act::{Demands, Volatility, What};
use super::finding::Lock;
use super::rules::form::{Change, widening};
use super::script::Piece;
use super::state::{State, key};
use crate::sql::{Block, LockMode, QualifiedName, Touch};

/// A statement, described.
#[derive(Debug, Clone)]
pub struct Described {
    /// Index of its file.
    pub file: usize,
    /// Its bytes in the file.
    pub at: Range<usize>,
    /// The kind in SQL's words.
    pub kind: String,
    /// Its locks on existing relations; `None` when they are not known.
    pub locks: Option<Vec<Lock>>,
    /// Relations of which it may read every row.
    pub scans: Vec<QualifiedName>,
    /// Tables that it writes anew.
    pub rewrites: Vec<QualifiedName>,
    /// How it stands to a transaction block.
    pub block: Block,
}

/// The statement with the locks that follow from what is known: of an index its table, of a foreign key the table it points
/// to (each was observed on a server: DROP CONSTRAINT and DROP TABLE lock the other end of a foreign key too).
pub(super) fn resolved<'a>(piece: &'a Piece, state: &State) -> Cow<'a, Piece> {
    let mut more: Vec<(QualifiedName, LockMode)> = Vec::new();
    let ends = |table: &QualifiedName, name: Option<&str>| -> Vec<QualifiedName> {
        let known = state.table(table).into_iter().flat_map(|known| &known.constraints);
        let keys = known.filter(|c| name.is_none() || c.name.as_deref() == name);
        keys.filter_map(|c| match &c.demands {
            Demands::ForeignKey { references, .. } => Some(references.clone()),
            _ => None,
        })
        .collect()
    };
    for act in &piece.acts {
        match &act.what {
            What::DropIndex { index, concurrently } => {
                let mode = if *concurrently { LockMode::ShareUpdateExclusive } else { LockMode::AccessExclusive };
                more.extend(state.indexes.get(&key(index)).map(|known| (known.table.clone(), mode)));
            }
            What::DropConstraint { table, name } => {
                more.extend(ends(table, Some(name)).into_iter().map(|other| (other, LockMode::AccessExclusive)));
            }
            What::DropTable { table, .. } if state.table(table).is_some_and(|known| known.partitions.is_empty()) => {
                more.extend(ends(table, None).into_iter().map(|other| (other, LockMode::AccessExclusive)));
            }
            // These go on to the partitions.
            What::CreateIndex { table, .. }
            | What::AddColumn { table, .. }
            | What::DropColumn { table, .. }
            | What::SetType { table, .. }
            | What::SetNotNull { table, .. }
            | What::AddConstraint { table, .. }
            | What::Truncate { table }
            | What::DropTable { table, .. } => {
                let mode = piece.touches.iter().flatten().find(|touch| touch.relation == *table).map(|touch| touch.lock);
                let partitions = state.table(table).into_iter().flat_map(|known| &known.partitions);
                let only = piece.only;
                more.extend(partitions.filter(|_| !only).filter_map(|partition| Some((partition.clone(), mode?))));
            }
            _ => {}
        }
    }
    if more.is_empty() || piece.touches.is_none() {
        return Cow::Borrowed(piece);
    }
    let mut piece = piece.clone();
    let touches = piece.touches.get_or_insert_default();
    for (relation, lock) in more {
        match touches.iter_mut().find(|touch| key(&touch.relation) == key(&relation)) {
            Some(touch) => touch.lock = touch.lock.max(lock),
            None => touches.push(Touch { relation, lock, scans: false }),
        }
    }
    Cow::Owned(piece)
}

/// Tables in use that the statement writes anew.
pub(super) fn rewrites(piece: &Piece, state: &State, pg: u32) -> Vec<QualifiedName> {
    let mut found: Vec<QualifiedName> = piece
        .acts
        .iter()
        .filter_map(|act| match &act.what {
            What::AddColumn { table, column, .. } => {
                let computed = column.stored || column.identity || column.serial();
                let default = column.default.as_ref().is_some_and(|d| pg < 11 || d.volatility != Volatility::Stable);
                (computed || default).then_some(table)
            }
            What::SetType { table, column, ty, using } => {
                (widening(state.column_type(table, column), ty, using.is_some()) == Change::Rewrite).then_some(table)
            }
            What::SetExpression { table, .. } | What::Rewrite { table, .. } => Some(table),
            What::Cluster { table } => table.as_ref(),
            What::Vacuum { tables, full: true } => tables.first(),
            _ => None,
        })
        .filter(|table| state.hot(table))
        .cloned()
        .collect();
    found.dedup();
    found
}

/// Describes a statement.
pub(super) fn describe(file: usize, piece: &Piece, state: &State, pg: u32) -> Described {
    let hot = |touch: &&Touch| state.hot(&touch.relation);
    let touches = piece.touches.as_deref();
    Described {
        file,
        at: piece.at.clone(),
        kind: piece.kind.clone(),
        locks: touches
            .map(|touches| touches.iter().filter(hot).map(|t| Lock { relation: t.relation.clone(), mode: t.lock }).collect()),
        scans: touches.iter().flat_map(|t| t.iter()).filter(hot).filter(|t| t.scans).map(|t| t.relation.clone()).collect(),
        rewrites: rewrites(piece, state, pg),
        block: piece.block,
    }
}
