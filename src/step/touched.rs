//! Which tables a step works on and how, as far as its own keys and statements say.

use crate::sql::{LockMode, QualifiedName, Statement, split};
use crate::terms::Side;

/// What a step does with a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Use {
    /// Reads rows.
    Reads,
    /// Reads all rows and expects every one of them, to carry or compare them.
    Carries,
    /// Writes rows by a statement of its own.
    Writes,
    /// Changes or removes rows batch by batch in key order.
    Walks,
    /// Changes its definition, which its owner alone may.
    Alters,
    /// Sets triggers on it, which its owner alone may.
    Captures,
    /// Reads its changes from a replication slot: its owner alone may publish it, a role with REPLICATION alone may read them.
    Streams,
    /// Loads it, indexes and constraints off: its owner alone may.
    Fills,
}

/// A table, or an index that stands for its table, and what a step does with it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Touched {
    /// Where.
    pub side: Side,
    /// Its name as the plan gives it. It may not be there yet.
    pub relation: QualifiedName,
    /// What for.
    pub how: Use,
}

impl Touched {
    /// One table.
    pub(super) fn new(side: Side, relation: &QualifiedName, how: Use) -> Self {
        Self { side, relation: relation.clone(), how }
    }

    /// The relations a statement names, by the lock it takes on them.
    pub(super) fn by(side: Side, statement: &Statement) -> impl Iterator<Item = Self> + '_ {
        statement.touches().unwrap_or_default().iter().map(move |touch| {
            let how = match touch.lock {
                LockMode::AccessShare | LockMode::RowShare => Use::Reads,
                LockMode::RowExclusive => Use::Writes,
                _ => Use::Alters,
            };
            Self::new(side, &touch.relation, how)
        })
    }

    /// The relations that the statements of a text name; none when it cannot be read.
    pub(super) fn by_text(side: Side, text: &str) -> Vec<Self> {
        split(text).unwrap_or_default().iter().flat_map(|statement| Self::by(side, statement)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lock_says_what_for() {
        let found = Touched::by_text(Side::Blue, "SELECT 1 FROM a; UPDATE b SET x = 1; ALTER TABLE c ADD COLUMN x int");
        let found: Vec<_> = found.iter().map(|touched| (touched.relation.plain(), touched.how)).collect();
        assert_eq!(found, [("a".to_owned(), Use::Reads), ("b".to_owned(), Use::Writes), ("c".to_owned(), Use::Alters)]);
        assert!(Touched::by_text(Side::Blue, "no SQL at all (").is_empty());
    }
}
