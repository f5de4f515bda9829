//! What migrations really do to a database that others use: each statement is run on a throw-away server while its locks, the files
//! and counters of its tables, and a reader and a writer beside it are watched; and what the linter says is held to that.
//!
//! The journey: a [`Scratch`] is what the migrations begin with; [`trace`] runs the scripts of a report of the linter there, in their
//! transactions; each statement becomes an [`Observed`].

mod claim;
mod compare;
mod held;
mod observe;
mod probe;
mod relation;
mod run;
mod scratch;

use std::time::Duration;

pub use compare::{About, Difference};
pub use run::{trace, unrunnable};
pub use scratch::Scratch;

use crate::sql::{LockMode, QualifiedName};

/// What was seen.
#[derive(Debug, Default)]
pub struct Trace {
    /// Every statement that ran, in order.
    pub statements: Vec<Observed>,
    /// Transactions of more than one statement, and their ends.
    pub transactions: Vec<Transaction>,
    /// Where and why it ended early.
    pub failure: Option<Failure>,
}

impl Trace {
    /// How many statements the linter describes otherwise than they were.
    pub fn differing(&self) -> usize {
        self.statements.iter().filter(|statement| !statement.differences.is_empty()).count()
    }
}

/// A statement that the server refused. Those after it were not run.
#[derive(Debug, Clone)]
pub struct Failure {
    /// Index of its file in the report.
    pub file: usize,
    /// Its line.
    pub line: usize,
    /// The SQLSTATE (PostgreSQL manual, appendix A).
    pub code: String,
    /// The server's words, without values.
    pub why: String,
}

/// One statement that ran.
#[derive(Debug)]
pub struct Observed {
    /// Index of its file in the report.
    pub file: usize,
    /// Its bytes in the file.
    pub at: std::ops::Range<usize>,
    /// Its line.
    pub line: usize,
    /// Its kind in SQL's words.
    pub kind: String,
    /// Index of its transaction, where it shared one.
    pub transaction: Option<usize>,
    /// Whether it ran outside a transaction: then its locks are those that an observer saw while it ran.
    pub alone: bool,
    /// How long it ran.
    pub took: Duration,
    /// The strongest lock on each table, view or index that others use.
    pub locks: Vec<Taken>,
    /// Tables in use that got a new file.
    pub rewritten: Vec<QualifiedName>,
    /// Scans of tables in use and their indexes; `None` where the server cannot tell.
    pub scans: Option<Vec<Scan>>,
    /// Tables in use whose readers or writers had to wait.
    pub blocked: Vec<Blocked>,
    /// Whether the linter says which locks it takes.
    pub claimed: bool,
    /// What the linter says otherwise.
    pub differences: Vec<Difference>,
}

/// A lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taken {
    /// The relation.
    pub relation: QualifiedName,
    /// The strongest mode.
    pub mode: LockMode,
    /// Whether an earlier statement of the transaction took it already.
    pub before: bool,
}

/// Scans of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scan {
    /// The table, or the index.
    pub relation: QualifiedName,
    /// Whether it is an index.
    pub index: bool,
    /// Scans begun.
    pub scans: u64,
    /// Rows, or entries of the index, that they gave.
    pub rows: u64,
}

/// For how long a probe had to wait. To a few milliseconds; `None` where it never had to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blocked {
    /// The table.
    pub relation: QualifiedName,
    /// Readers.
    pub reads: Option<Duration>,
    /// Writers.
    pub writes: Option<Duration>,
}

/// A transaction of several statements. Its locks are held to its end.
#[derive(Debug)]
pub struct Transaction {
    /// Index of its file in the report.
    pub file: usize,
    /// How long its statements and its end took, without the time that we looked around in.
    pub took: Duration,
    /// Whose readers and writers had to wait for how long in all.
    pub blocked: Vec<Blocked>,
}
