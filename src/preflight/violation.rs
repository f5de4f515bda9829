//! Rows that do not keep to something: how many, which, and what could be done.

use serde::Serialize;

use crate::terms::{Finding, Severity};

/// How a number of rows came about.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Counted {
    /// Every row was looked at.
    Exactly,
    /// Counting ended early: there are at least as many.
    AtLeast,
    /// This percentage of the blocks was looked at.
    Sampled {
        /// The percentage.
        percent: f64,
        /// Rows looked at.
        rows: u64,
        /// With 95 % certainty the whole table has at most this many, if such rows are spread evenly.
        at_most: u64,
    },
}

/// A finding with all that is known about the rows it is about.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Violation {
    /// For people.
    #[serde(flatten)]
    pub finding: Finding,
    /// The kind of rule: `not_null`, `check`, `unique`, `foreign_key`, `exclude`, `cast`, `index_row`, ...; `environment` for
    /// what is not about rows.
    pub rule: &'static str,
    /// What `crossfade explain` takes: the rule, or the check of the surroundings; empty for what a step or a guard says.
    pub code: String,
    /// The table whose rows these are.
    pub table: Option<String>,
    /// The column.
    pub column: Option<String>,
    /// The rows found.
    pub count: u64,
    /// How they were counted.
    pub counted: Counted,
    /// Digests of the keys of up to five of them ([`crate::terms::key_digest`] of the key as a JSON array of texts).
    pub keys: Vec<String>,
    /// A `clean_rows` step, as TOML, or a comment about where to correct it.
    pub suggestion: Option<String>,
}

impl From<Finding> for Violation {
    fn from(finding: Finding) -> Self {
        Self {
            finding,
            rule: "environment",
            code: String::new(),
            table: None,
            column: None,
            count: 0,
            counted: Counted::Exactly,
            keys: Vec::new(),
            suggestion: None,
        }
    }
}

impl From<Violation> for Finding {
    fn from(violation: Violation) -> Finding {
        violation.finding
    }
}

impl Violation {
    /// Whether the plan must not run.
    pub fn blocks(&self) -> bool {
        self.finding.severity == Severity::Blocks
    }
}
