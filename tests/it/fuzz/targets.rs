//! What is tried, and what must hold.

use std::path::Path;

use bytes::Bytes;
use crossfade::capture::{Message, Value};
use crossfade::plan::{self, Plan};
use crossfade::projection;

use super::{journals, requests};
use crate::carried::{carried, read};
use crate::lint::one;

/// One thing that reads what others write.
pub struct Target {
    pub name: &'static str,
    /// Folders with more inputs to begin with.
    pub beside: &'static [&'static str],
    /// How many made inputs the tests try.
    pub few: u64,
    /// What must hold of any input.
    pub check: fn(&[u8]) -> Result<(), String>,
}

pub const TARGETS: &[Target] = &[
    Target { name: "lint", beside: &["tests/fixtures/lint/corpus"], few: 300, check: linted },
    Target { name: "rewrite", beside: &["tests/fixtures/lint/corpus"], few: 200, check: rewritten },
    Target { name: "plan", beside: &["plans"], few: 200, check: checked },
    Target {
        name: "projection",
        beside: &["plans/projections/hydra-2x", "plans/projections/hydra-1x-back"],
        few: 300,
        check: projected,
    },
    Target { name: "journal", beside: &[], few: 500, check: journals::check },
    Target { name: "oauth", beside: &[], few: 3000, check: requests::check },
    Target { name: "pgoutput", beside: &[], few: 5000, check: streamed },
];

/// Every byte belongs to a statement, a comment, data or a finding.
fn linted(input: &[u8]) -> Result<(), String> {
    read(&one(&String::from_utf8_lossy(input), input.len() % 2 == 1))
}

/// Everything is in the plan, or refused with its place.
fn rewritten(input: &[u8]) -> Result<(), String> {
    carried(&String::from_utf8_lossy(input), input.len() % 2 == 1).map(drop)
}

/// At least one problem with words, or a plan that is the same when it is written again.
fn checked(input: &[u8]) -> Result<(), String> {
    let root = tempfile::tempdir().map_err(|e| e.to_string())?;
    let repository = Path::new(env!("CARGO_MANIFEST_DIR"));
    std::os::unix::fs::symlink(repository.join("migrations"), root.path().join("migrations")).map_err(|e| e.to_string())?;
    let folder = root.path().join("plans");
    std::fs::create_dir(&folder).map_err(|e| e.to_string())?;
    for beside in ["projections", "audit", "repair", "revocations"] {
        std::os::unix::fs::symlink(repository.join("plans").join(beside), folder.join(beside)).map_err(|e| e.to_string())?;
    }
    let path = folder.join("plan.toml");
    std::fs::write(&path, input).map_err(|e| e.to_string())?;
    let first = match plan::load(&path) {
        Ok(first) => first,
        Err(problems) if problems.0.is_empty() => return Err("refused without a problem".to_owned()),
        Err(problems) => {
            let silent = problems.0.iter().find(|problem| problem.what.trim().is_empty() || problem.line == Some(0));
            return silent.map_or(Ok(()), |problem| Err(format!("a problem without words or with line 0: {problem:?}")));
        }
    };
    let text = std::str::from_utf8(input).map_err(|_| "a plan that is no text was read")?;
    let table: toml::Table = toml::from_str(text).map_err(|e| format!("a plan that is no TOML was read: {e}"))?;
    let again = toml::to_string_pretty(&table).map_err(|e| e.to_string())?;
    std::fs::write(&path, again).map_err(|e| e.to_string())?;
    let second = plan::load(&path).map_err(|problems| format!("written again it is refused: {problems}"))?;
    match said(&first) == said(&second) {
        true => Ok(()),
        false => Err(format!("written again it is another plan:\n{}\n{}", said(&first), said(&second))),
    }
}

fn said(plan: &Plan) -> String {
    let steps = plan.steps().iter().map(|step| {
        format!(
            "{} {:?} {} {} {} {:?}",
            step.id,
            step.phase,
            step.kind,
            step.description,
            step.fingerprint.as_str(),
            step.step.describe().effect
        )
    });
    let steps: Vec<String> = steps.collect();
    format!("{} {} {} {:?}\n{}", plan.name(), plan.description(), plan.fingerprint().as_str(), plan.limits(), steps.join("\n"))
}

/// At least one flaw at a line of the file, or projections.
fn projected(input: &[u8]) -> Result<(), String> {
    let folder = tempfile::tempdir().map_err(|e| e.to_string())?;
    std::fs::write(folder.path().join("t.toml"), input).map_err(|e| e.to_string())?;
    let lines = input.iter().filter(|byte| **byte == b'\n').count() + 1;
    let text = String::from_utf8_lossy(input);
    projection::anatomy(&text);
    projection::conditions(&text);
    match projection::load(folder.path()) {
        Ok((set, contents)) if set.projections.len() != 1 || contents.len() != 1 => {
            Err(format!("one file gave {} projections", set.projections.len()))
        }
        Ok(_) => Ok(()),
        Err(flaws) if flaws.is_empty() => Err("refused without a flaw".to_owned()),
        Err(flaws) => {
            let wrong =
                flaws.iter().find(|flaw| flaw.what.trim().is_empty() || flaw.line.is_some_and(|line| line == 0 || line > lines));
            wrong.map_or(Ok(()), |flaw| Err(format!("a flaw without words or outside the file: {flaw:?}")))
        }
    }
}

/// A message is read whole or refused; its values are parts of it.
fn streamed(input: &[u8]) -> Result<(), String> {
    let Ok(message) = Message::parse(Bytes::copy_from_slice(input)) else { return Ok(()) };
    let rows: Vec<&Vec<Value>> = match &message {
        Message::Insert { new, .. } => vec![new],
        Message::Update { old, new, .. } => old.iter().chain([new]).collect(),
        Message::Delete { old, .. } => vec![old],
        Message::Truncate { tables } if tables.len() * 4 > input.len() => return Err("more tables than bytes".to_owned()),
        Message::Relation(relation) if relation.columns.len() * 10 > input.len() => {
            return Err("more columns than bytes".to_owned());
        }
        _ => Vec::new(),
    };
    let values = || rows.iter().flat_map(|row| row.iter());
    let texts: usize = values().map(|value| if let Value::Text(text) = value { text.len() + 4 } else { 0 }).sum();
    if texts + values().count() > input.len() {
        return Err("more values than bytes".to_owned());
    }
    // What is cut off within what was read is refused, never half a row.
    let read = match &message {
        Message::Insert { .. } => 1 + 4 + 1 + 2 + texts + values().count(),
        _ => return Ok(()),
    };
    match Message::parse(Bytes::copy_from_slice(&input[..read - 1])) {
        Ok(_) => Err("a message that is cut off was read".to_owned()),
        Err(_) => Ok(()),
    }
}
