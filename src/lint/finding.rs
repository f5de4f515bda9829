//! What a rule found.

use std::ops::Range;

use crate::sql::{LockMode, QualifiedName};

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// The rule is switched off.
    Off,
    /// Worth knowing.
    Note,
    /// Could hurt.
    Warning,
    /// Will hurt a busy database.
    Error,
}

impl Level {
    /// As in configuration files.
    pub fn as_str(self) -> &'static str {
        match self {
            Level::Off => "off",
            Level::Note => "note",
            Level::Warning => "warning",
            Level::Error => "error",
        }
    }

    /// From its word.
    pub fn parse(word: &str) -> Option<Self> {
        [Level::Off, Level::Note, Level::Warning, Level::Error].into_iter().find(|level| level.as_str() == word)
    }
}

/// A lock that the statement takes on an existing relation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lock {
    /// The relation; of an index named alone, the index (its table is locked as well).
    pub relation: QualifiedName,
    /// The mode.
    pub mode: LockMode,
}

/// How long the statement will keep others waiting, from the size of its table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Estimate {
    /// The table that is read or written in full.
    pub table: QualifiedName,
    /// Its rows, by the server's statistics.
    pub rows: u64,
    /// Its bytes, with indexes where they are written anew.
    pub bytes: u64,
    /// Milliseconds.
    pub milliseconds: u64,
}

/// A finding of a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The rule.
    pub rule: &'static str,
    /// How much it matters.
    pub level: Level,
    /// Index of the file among the inputs.
    pub file: usize,
    /// Its bytes in the file.
    pub at: Range<usize>,
    /// The statement's bytes in the file.
    pub statement: Range<usize>,
    /// What is wrong, with names.
    pub message: String,
    /// The locks that the statement takes on existing relations.
    pub locks: Vec<Lock>,
    /// What to write instead.
    pub safe_form: String,
    /// A query that counts the rows in the way.
    pub query: Option<String>,
    /// How long others will wait; only with a database's sizes.
    pub estimate: Option<Estimate>,
}

/// The line index of a text: from bytes to lines and columns, both from 1; columns count characters.
#[derive(Debug, Clone)]
pub struct Lines(Vec<usize>);

impl Lines {
    /// Of this text.
    pub fn of(text: &str) -> Self {
        Self(std::iter::once(0).chain(text.bytes().enumerate().filter(|(_, b)| *b == b'\n').map(|(at, _)| at + 1)).collect())
    }

    /// Line and column of a byte of the same text.
    pub fn place(&self, text: &str, byte: usize) -> (usize, usize) {
        let byte = byte.min(text.len());
        let line = self.0.partition_point(|start| *start <= byte);
        let start = self.0[line - 1];
        let before = text.get(start..byte).unwrap_or_default();
        (line, before.chars().count() + 1)
    }

    /// The text of a line without its end.
    pub fn line<'a>(&self, text: &'a str, line: usize) -> &'a str {
        let start = self.0.get(line - 1).copied().unwrap_or(text.len());
        let end = self.0.get(line).map_or(text.len(), |next| next - 1);
        text.get(start..end).unwrap_or_default().trim_end_matches('\r')
    }
}
