//! The words every part of crossfade shares. One word, one meaning (the glossary is in the README).

mod account;
mod markup;

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

pub use account::{Account, Origin};
pub use markup::escaped;

/// One of the two databases of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// The database that serves now.
    Blue,
    /// The database that will serve.
    Green,
}

impl Side {
    /// The one that is not this one.
    pub fn other(self) -> Self {
        match self {
            Side::Blue => Side::Green,
            Side::Green => Side::Blue,
        }
    }
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Side::Blue => "blue",
            Side::Green => "green",
        })
    }
}

/// The phases of a plan, in the order that is the safety argument: a step of a later phase never runs before one of an
/// earlier phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// Read-only checks.
    Preflight,
    /// Additive changes that the application of today does not notice.
    Expand,
    /// Begin to record which rows change.
    Capture,
    /// Move the rows.
    Copy,
    /// Change rows to their new form.
    Convert,
    /// Keep green current.
    Follow,
    /// Switch the traffic.
    Cutover,
    /// Compare the service with its baseline.
    Watch,
    /// Remove what the application of yesterday needed.
    Contract,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Phase::Preflight => "preflight",
            Phase::Expand => "expand",
            Phase::Capture => "capture",
            Phase::Copy => "copy",
            Phase::Convert => "convert",
            Phase::Follow => "follow",
            Phase::Cutover => "cutover",
            Phase::Watch => "watch",
            Phase::Contract => "contract",
        })
    }
}

/// The name of a step within its plan: lower-case letters, digits and `-`, 1 to 30 characters, so that it fits into
/// `application_name` beside the run (63 bytes, PostgreSQL manual 20.8).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct StepId(String);

impl StepId {
    /// Checks the form of the name.
    ///
    /// # Errors
    /// Says what the form is when `name` does not have it.
    pub fn new(name: &str) -> Result<Self, String> {
        let fits = !name.is_empty()
            && name.len() <= 30
            && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        if fits {
            Ok(Self(name.to_owned()))
        } else {
            Err(format!("`{name}` is not a step id: 1 to 30 lower-case letters, digits and `-`"))
        }
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for StepId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The name of a run: the UTC millisecond it began and four random hex digits, `20261122t011500123-3fa9`. Sorts by time.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RunId(String);

impl RunId {
    /// A new name for a run that begins now.
    pub fn fresh() -> Self {
        let now = jiff::Timestamp::now().strftime("%Y%m%dt%H%M%S%3f");
        Self(format!("{now}-{:04x}", fastrand::u16(..)))
    }

    /// The name of an existing run, as its directory is called.
    pub fn existing(name: &str) -> Self {
        Self(name.to_owned())
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How much of a step's effect is there, as the systems themselves answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Extent {
    /// Nothing of it.
    Absent,
    /// Some of it; the text says what, without row values.
    Partial(String),
    /// All of it.
    Complete,
}

impl fmt::Display for Extent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Extent::Absent => f.write_str("absent"),
            Extent::Partial(what) => write!(f, "partly there: {what}"),
            Extent::Complete => f.write_str("complete"),
        }
    }
}

/// What an undo of a step will need, written to the journal before the effect. Definitions and names, never row values:
/// rows that a step removes or changes are set aside in the database.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Before(pub serde_json::Value);

impl Before {
    /// Keeps `facts` for the undo.
    ///
    /// # Errors
    /// When `facts` has no JSON form.
    pub fn of(facts: &impl Serialize) -> anyhow::Result<Self> {
        Ok(Self(serde_json::to_value(facts)?))
    }

    /// Reads the facts back.
    ///
    /// # Errors
    /// When the journal holds facts of another form (another version of crossfade wrote them).
    pub fn read<T: serde::de::DeserializeOwned>(&self) -> anyhow::Result<T> {
        serde_json::from_value(self.0.clone())
            .map_err(|e| anyhow::anyhow!("the journal's undo information has another form than this version reads: {e}"))
    }
}

/// SHA-256 over a plan, a step or a file, in hex: tells whether what was reviewed is what runs.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Fingerprint(String);

impl Fingerprint {
    /// The fingerprint of these parts; the boundary between parts counts.
    pub fn of<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut hash = Sha256::new();
        for part in parts {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        Self(hex(&hash.finalize()))
    }

    /// All 64 hex digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A short digest that names a row's key without showing it: the first 12 hex digits of its SHA-256.
pub fn key_digest(key: &str) -> String {
    hex(&Sha256::digest(key.as_bytes())[..6])
}

fn hex(bytes: &[u8]) -> String {
    use fmt::Write;
    bytes.iter().fold(String::new(), |mut out, byte| {
        let _ = write!(out, "{byte:02x}"); // writing to a String cannot fail
        out
    })
}

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth knowing.
    Note,
    /// Could hurt; the run goes on.
    Warning,
    /// The run must not go on.
    Blocks,
}

/// What a check found: the object, its state, what to do next. Never row values.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// How much it matters.
    pub severity: Severity,
    /// The object it is about: a table, an index, a setting, a file.
    pub object: String,
    /// The object's state and what that means.
    pub what: String,
    /// The command or edit that comes next.
    pub next: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mark = match self.severity {
            Severity::Note => "note",
            Severity::Warning => "warning",
            Severity::Blocks => "blocks",
        };
        write!(f, "{mark}: {}: {}", self.object, self.what)?;
        if !self.next.is_empty() {
            write!(f, "\n  next: {}", self.next)?;
        }
        Ok(())
    }
}

/// The documented exit codes of every command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[repr(u8)]
pub enum Exit {
    /// Done.
    Done = 0,
    /// Unforeseen: a fault of crossfade or of its surroundings.
    Unforeseen = 1,
    /// Wrong usage, or a plan that is not right.
    Usage = 2,
    /// Findings that block.
    Findings = 10,
    /// Stopped; the same command resumes.
    Stopped = 11,
    /// Waiting for an approval.
    Waiting = 12,
    /// An undo failed; a person is needed.
    UndoFailed = 13,
    /// Verification or audit found divergence.
    Divergence = 14,
    /// Interrupted by a signal.
    Interrupted = 130,
}

impl Exit {
    /// Every one.
    pub const ALL: [Exit; 9] = [
        Exit::Done,
        Exit::Unforeseen,
        Exit::Usage,
        Exit::Findings,
        Exit::Stopped,
        Exit::Waiting,
        Exit::UndoFailed,
        Exit::Divergence,
        Exit::Interrupted,
    ];

    /// Its number as text.
    pub const fn code(self) -> &'static str {
        match self {
            Exit::Done => "0",
            Exit::Unforeseen => "1",
            Exit::Usage => "2",
            Exit::Findings => "10",
            Exit::Stopped => "11",
            Exit::Waiting => "12",
            Exit::UndoFailed => "13",
            Exit::Divergence => "14",
            Exit::Interrupted => "130",
        }
    }

    /// What it means, as the README says it.
    pub const fn meaning(self) -> &'static str {
        match self {
            Exit::Done => "done",
            Exit::Unforeseen => "unforeseen",
            Exit::Usage => "wrong usage, or a plan that is not right; nothing was changed",
            Exit::Findings => "findings that block",
            Exit::Stopped => {
                "stopped, or a server could not be reached before anything began; the same command goes on, resuming the run"
            }
            Exit::Waiting => "waiting for an approval (`--approve STEP`)",
            Exit::UndoFailed => "an undo failed or is not possible; a person is needed",
            Exit::Divergence => {
                "verification found divergence; two ends differ (`prove`, `rehearse`); the linter says otherwise than a server did (`trace`)"
            }
            Exit::Interrupted => {
                "interrupted by a signal: the first stops after the step, the second cancels the query; the same command resumes"
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn step_ids_have_one_form() {
        assert!(StepId::new("copy-flow-2").is_ok());
        for wrong in ["", "Copy", "a b", "ä", &"x".repeat(31)] {
            assert!(StepId::new(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn fingerprints_see_the_boundary_between_parts() {
        let a = Fingerprint::of([b"ab".as_slice(), b"c"]);
        let b = Fingerprint::of([b"a".as_slice(), b"bc"]);
        assert_ne!(a, b);
        assert_eq!(a.as_str().len(), 64);
    }

    #[test]
    fn run_ids_have_one_form() {
        let id = RunId::fresh();
        assert_eq!(id.as_str().len(), "20261122t011500123-3fa9".len(), "{id}");
    }

    #[test]
    fn phases_are_ordered() {
        assert!(Phase::Preflight < Phase::Expand && Phase::Cutover < Phase::Contract);
    }
}
