//! What is wrong with a plan.

use std::fmt;
use std::path::PathBuf;

use serde::Serialize;

/// One thing that is wrong with a plan file or a file it names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// The file it is in.
    pub file: PathBuf,
    /// The line, from 1, when it can be told.
    pub line: Option<usize>,
    /// The step it belongs to, when it belongs to one.
    pub step: Option<String>,
    /// What is wrong and what was expected.
    pub what: String,
}

impl Problem {
    /// A problem of a whole file.
    pub fn in_file(file: impl Into<PathBuf>, what: impl Into<String>) -> Self {
        Self { file: file.into(), line: None, step: None, what: what.into() }
    }

    /// The same, at a line from 1.
    pub fn at(mut self, line: usize) -> Self {
        self.line = Some(line);
        self
    }

    /// The same, belonging to a step.
    pub fn of_step(mut self, step: &str) -> Self {
        self.step = Some(step.to_owned());
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        if let Some(step) = &self.step {
            write!(f, ": step {step}")?;
        }
        write!(f, ": {}", self.what)
    }
}

/// Every problem of a plan, none left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Problems(pub Vec<Problem>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for problem in &self.0 {
            writeln!(f, "{problem}")?;
        }
        let count = self.0.len();
        write!(f, "{count} problem{} in the plan; nothing was run", if count == 1 { "" } else { "s" })
    }
}

impl std::error::Error for Problems {}
