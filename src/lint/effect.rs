//! What a statement does to the relations that are there: its locks with those that only the state knows of, what it reads
//! in full and what it writes anew.

use std::borrow::Cow;
use std::ops::Range;

use super::act::{Demands, Volatility, What};
use super::finding::Lock;
use super::rules::form::{Change, bounded, nullable_keys, proven, widening};
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
pub(super) fn resolved<'a>(piece: &'a Piece, state: &State, pg: u32) -> Cow<'a, Piece> {
    let mut more: Vec<Touch> = Vec::new();
    let mut less: Vec<&QualifiedName> = Vec::new();
    let touch = |relation: QualifiedName, lock, scans| Touch { relation, lock, scans };
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
                more.extend(state.indexes.get(&key(index)).map(|known| touch(known.table.clone(), mode, false)));
            }
            // Seen on a server of 13: the partition itself was locked less than it is since 14.
            What::DetachPartition { partition, .. } if pg < 14 => less.push(partition),
            What::DropConstraint { table, name } => {
                more.extend(ends(table, Some(name)).into_iter().map(|other| touch(other, LockMode::AccessExclusive, false)));
            }
            What::ValidateConstraint { table, name } => {
                more.extend(ends(table, Some(name)).into_iter().map(|other| touch(other, LockMode::RowShare, true)));
            }
            What::DropTable { table, .. } if state.table(table).is_some_and(|known| known.partitions.is_empty()) => {
                more.extend(ends(table, None).into_iter().map(|other| touch(other, LockMode::AccessExclusive, false)));
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
                let own = piece.touches.iter().flatten().find(|touch| touch.relation == *table);
                let partitions = state.table(table).into_iter().flat_map(|known| &known.partitions);
                let partitions = partitions.filter(|_| !piece.only);
                more.extend(partitions.filter_map(|partition| own.map(|own| touch(partition.clone(), own.lock, own.scans))));
            }
            _ => {}
        }
    }
    if (more.is_empty() && less.is_empty()) || piece.touches.is_none() {
        return Cow::Borrowed(piece);
    }
    let mut known = piece.clone();
    let touches = known.touches.get_or_insert_default();
    for touch in touches.iter_mut().filter(|touch| less.contains(&&touch.relation)) {
        touch.lock = LockMode::ShareUpdateExclusive;
    }
    for Touch { relation, lock, scans } in more {
        match touches.iter_mut().find(|touch| key(&touch.relation) == key(&relation)) {
            Some(touch) => {
                touch.lock = touch.lock.max(lock);
                touch.scans |= scans;
            }
            None => touches.push(Touch { relation, lock, scans }),
        }
    }
    Cow::Owned(known)
}

/// Whether the statement reads every row of a relation that it touches: the text says that it may, and what is known of the table does
/// not spare it; or the text does not tell and what is known does.
fn scanned(piece: &Piece, state: &State, touch: &Touch) -> bool {
    let of = |table: &QualifiedName| key(table) == key(&touch.relation);
    let mut spared = false;
    for act in &piece.acts {
        match &act.what {
            What::SetNotNull { table, column } if of(table) => {
                let refused = state.table(table).and_then(|known| known.columns.get(column)).is_some_and(|known| known.not_null);
                if !refused && !proven(piece, state, table, column) {
                    return true;
                }
                spared = true;
            }
            What::SetType { table, column, ty, using } if of(table) => {
                if widening(state.column_type(table, column), ty, using.is_some()) != Change::None {
                    return true;
                }
                spared = true;
            }
            What::AttachPartition { partition, .. } if of(partition) => {
                if !bounded(state, partition) {
                    return true;
                }
                spared = true;
            }
            What::AddConstraint { table, constraint } if of(table) => {
                let reads = match constraint.using_index {
                    Some(_) => !nullable_keys(state, table, constraint).is_empty(),
                    None => !constraint.not_valid,
                };
                if reads {
                    return true;
                }
            }
            What::AddColumn { table, column, .. } if of(table) && (column.stored || !column.constraints.is_empty()) => {
                return touch.scans;
            }
            What::SetExpression { table, .. } | What::Rewrite { table, .. } if of(table) => return true,
            _ => {}
        }
    }
    touch.scans && !spared
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
            What::Refresh { view, concurrently: false } => Some(view),
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
    let taken = |touches: &[Touch]| {
        let mut locks = Vec::with_capacity(touches.len());
        locks.extend(touches.iter().filter(hot).map(|touch| Lock { relation: touch.relation.clone(), mode: touch.lock }));
        locks
    };
    Described {
        file,
        at: piece.at.clone(),
        kind: piece.kind.clone(),
        locks: touches.map(taken),
        scans: touches
            .iter()
            .flat_map(|touches| touches.iter())
            .filter(hot)
            .filter(|touch| scanned(piece, state, touch))
            .map(|touch| touch.relation.clone())
            .collect(),
        rewrites: rewrites(piece, state, pg),
        block: piece.block,
    }
}
