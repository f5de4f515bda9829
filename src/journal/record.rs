//! The record of a run: what was measured while it went on, beside the journal in the same directory. Nothing is decided by it, so
//! it is not synced, a line that cannot be read is left out, and a run whose record cannot be written goes on. No row values.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::FORMAT;
use crate::pg::Reading;
use crate::terms::{Side, StepId};

/// The name of the file in a run's directory.
const FILE: &str = "record.jsonl";

/// One line of the record.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// [`FORMAT`].
    pub v: u32,
    /// When it was written, by the driver's clock.
    pub at: jiff::Timestamp,
    /// The step it is about; `follow` for `crossfade follow`.
    pub step: StepId,
    /// What it is.
    #[serde(flatten)]
    pub what: Record,
}

impl Entry {
    /// Of now.
    pub fn now(step: StepId, what: Record) -> Self {
        Self { v: FORMAT, at: jiff::Timestamp::now(), step, what }
    }
}

/// What is recorded.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "record", rename_all = "snake_case")]
pub enum Record {
    /// How things stood at a moment of a step.
    Sample(Sample),
    /// A statement of an attempt at a step, and what it has taken so far; the last line of a statement and attempt counts.
    Statement(Ran),
    /// What a `watch` compared.
    Measured {
        /// One for each measure.
        measures: Vec<Measured>,
    },
    /// What an `audit` counted.
    Audited {
        /// The set of facts.
        set: String,
        /// Blue's state, green's, and the rows of the pair; no state: the side has no row.
        matrix: Vec<(Option<String>, Option<String>, u64)>,
        /// Classes of differences: the class, whether it harms, and rows.
        found: Vec<(String, bool, u64)>,
    },
    /// What a `verify` compared.
    Verified {
        /// One for each table.
        tables: Vec<Verified>,
    },
    /// Rows that a step has set aside so far in one table.
    SetAside {
        /// The side.
        side: Side,
        /// The table.
        table: String,
        /// The reason, as the plan says it.
        reason: String,
        /// Rows.
        rows: u64,
    },
}

/// How things stood at a moment of a step.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Sample {
    /// How far the step is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<Progress>,
    /// How far the side that follows is behind, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lag_ms: Option<u64>,
    /// The part of the step that goes on: the beat of a switch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub doing: Option<String>,
    /// What each database said.
    pub sides: BTreeMap<Side, Reading>,
}

/// How far a step is: `done` of `total` `unit`s (total 0: not known).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Units done.
    pub done: u64,
    /// Units in all, 0 when not known.
    pub total: u64,
    /// `rows`, `parts`, `statements`, `blocks`...
    pub unit: String,
}

/// A statement and what it took.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ran {
    /// The side.
    pub side: Side,
    /// Its text without values.
    pub statement: String,
    /// The strongest lock such a statement takes and on what, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lock: Option<String>,
    /// The attempt at the step.
    #[serde(default)]
    pub attempt: u32,
    /// How often it ran.
    pub times: u64,
    /// Seconds in all.
    pub seconds: f64,
    /// The longest one, in seconds.
    pub longest_seconds: f64,
    /// Rows it wrote.
    pub rows: u64,
}

/// One measure of a `watch`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// Its name.
    pub name: String,
    /// Before the switch.
    pub before: Option<f64>,
    /// After it.
    pub after: Option<f64>,
    /// `healthy`, `degraded`, `roll back`.
    pub verdict: String,
    /// Why it is not healthy; empty when it is.
    pub why: String,
}

/// One table of a `verify`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verified {
    /// The table.
    pub table: String,
    /// Rows compared.
    pub rows: u64,
    /// Keys that differ.
    pub differing: u64,
}

/// An open record.
#[derive(Debug)]
pub struct Recorder {
    file: File,
    failed: bool,
}

impl Recorder {
    /// Opens or creates the record in a run's directory (file 0600). Several processes may append: every line is one write.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn open(directory: &Path) -> std::io::Result<Self> {
        let path = directory.join(FILE);
        let torn = std::fs::read(&path).is_ok_and(|bytes| bytes.last().is_some_and(|last| *last != b'\n'));
        let mut file = OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
        if torn {
            file.write_all(b"\n")?; // what a crash left of a line stays unreadable, and alone
        }
        Ok(Self { file, failed: false })
    }

    /// Adds an entry. A failure is said once and stops nothing.
    pub fn write(&mut self, entry: &Entry) {
        let written = serde_json::to_vec(entry).map_err(std::io::Error::from).and_then(|mut line| {
            line.push(b'\n');
            self.file.write_all(&line)
        });
        if let Err(error) = written
            && !std::mem::replace(&mut self.failed, true)
        {
            tracing::warn!(%error, "the record of the run cannot be written: its report will have gaps");
        }
    }
}

/// The record of a run, in the order in which it was written; empty where there is none. Lines that cannot be read are left out:
/// another version wrote them, or a crash cut them.
pub fn read_record(directory: &Path) -> Vec<Entry> {
    let bytes = std::fs::read(directory.join(FILE)).unwrap_or_default();
    let entries = bytes.split(|b| *b == b'\n').filter_map(|line| serde_json::from_slice::<Entry>(line).ok());
    entries.filter(|entry| entry.v == FORMAT).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(done: u64) -> Entry {
        let progress = Some(Progress { done, total: 9, unit: "rows".to_owned() });
        let sides = BTreeMap::from([(Side::Green, Reading::default())]);
        Entry::now(StepId::new("copy").unwrap(), Record::Sample(Sample { progress, lag_ms: Some(7), doing: None, sides }))
    }

    #[test]
    fn what_is_written_is_read_even_after_a_torn_line() {
        let dir = tempfile::tempdir().unwrap();
        assert!(read_record(dir.path()).is_empty());
        Recorder::open(dir.path()).unwrap().write(&entry(1));
        let path = dir.path().join(FILE);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes.extend_from_slice(&bytes.clone()[..40]);
        std::fs::write(&path, &bytes).unwrap();
        Recorder::open(dir.path()).unwrap().write(&entry(2));
        let done: Vec<u64> = read_record(dir.path())
            .iter()
            .filter_map(|entry| match &entry.what {
                Record::Sample(sample) => sample.progress.as_ref().map(|progress| progress.done),
                _ => None,
            })
            .collect();
        assert_eq!(done, [1, 2]);
    }
}
