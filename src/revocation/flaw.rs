//! What is wrong with a rules file.

use std::path::PathBuf;

/// One thing wrong with a rules file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flaw {
    /// The file.
    pub file: PathBuf,
    /// The line, from 1, when it can be told.
    pub line: Option<usize>,
    /// What is wrong and what was expected.
    pub what: String,
}
