//! What the whole set of migrations changes: some findings depend on a file that comes later.

use std::collections::{HashMap, HashSet};

use super::act::What;
use super::script::Script;
use super::state::key;
use super::{Finding, Level};
use crate::sql::QualifiedName;

/// What the files that are not applied change.
#[derive(Debug, Default)]
pub(super) struct Changes {
    /// Tables that get, lose or rename columns.
    columns: HashSet<QualifiedName>,
    /// Leading columns of the indexes that the set creates, by table.
    indexes: HashMap<QualifiedName, Vec<Vec<String>>>,
}

/// What is decided about a finding when every file was looked at.
#[derive(Debug)]
pub(super) enum Later {
    /// It has this level where the set changes the columns of the table.
    LevelWhereColumnsChange(QualifiedName, Level),
    /// It stands only where the set creates no index of the table that begins with these columns, in any order.
    UnlessIndexed(QualifiedName, Vec<String>),
}

impl Changes {
    /// Takes in a file.
    pub(super) fn take(&mut self, script: &Script) {
        if script.applied {
            return;
        }
        for act in script.pieces.iter().flat_map(|piece| &piece.acts) {
            match &act.what {
                What::AddColumn { table, .. } | What::DropColumn { table, .. } | What::RenameColumn { table, .. } => {
                    self.columns.insert(key(table));
                }
                What::CreateIndex { table, index } => self.indexes.entry(key(table)).or_default().push(index.keys.clone()),
                _ => {}
            }
        }
    }

    /// Decides about a finding; whether it stands. `configured` levels stay as they are.
    pub(super) fn decide(&self, later: &Later, finding: &mut Finding, configured: bool) -> bool {
        match later {
            Later::LevelWhereColumnsChange(table, level) => {
                if !configured && self.columns.contains(&key(table)) {
                    finding.level = *level;
                }
                true
            }
            Later::UnlessIndexed(table, columns) => {
                !self.indexes.get(&key(table)).is_some_and(|indexes| indexes.iter().any(|index| leads(index, columns)))
            }
        }
    }
}

/// Whether an index with these keys begins with the columns, in any order.
pub(super) fn leads(index: &[String], columns: &[String]) -> bool {
    columns.iter().all(|column| index.iter().take(columns.len()).any(|key| key == column))
}
