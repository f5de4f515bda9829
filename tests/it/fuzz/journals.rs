//! The journal: any file either reads or names the line that is damaged, and a torn end costs only itself.

use std::path::Path;

use crossfade::journal::{Journal, JournalError, Line};

pub fn check(input: &[u8]) -> Result<(), String> {
    let folder = tempfile::tempdir().map_err(|e| e.to_string())?;
    let whole = input.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    let lines = input[..whole].split(|byte| *byte == b'\n').count();
    put(folder.path(), input)?;
    let read = match Journal::read(folder.path()) {
        Ok(read) => read,
        Err(JournalError::Damaged { line, why, .. }) if (1..=lines).contains(&line) && !why.is_empty() => {
            return match Journal::open(folder.path()) {
                Err(JournalError::Damaged { line: again, .. }) if again == line => Ok(()),
                other => Err(format!("read names line {line}, open gives {:?}", other.map(|journal| journal.lines().len()))),
            };
        }
        Err(other) => return Err(format!("of {lines} lines: {other}")),
    };
    // The same lines, written again, say the same.
    for line in &read {
        let text = serde_json::to_string(line).map_err(|e| e.to_string())?;
        let again: Line = serde_json::from_str(&text).map_err(|e| format!("{text}: {e}"))?;
        if serde_json::to_string(&again).map_err(|e| e.to_string())? != text {
            return Err(format!("a line changes when it is written again: {text}"));
        }
    }
    match Journal::open(folder.path()) {
        Ok(journal) if journal.lines().len() == read.len() => drop(journal),
        Ok(journal) => return Err(format!("read gives {} lines, open {}", read.len(), journal.lines().len())),
        // Each line reads, and together they tell of no run.
        Err(JournalError::Damaged { line, .. }) if line <= lines.max(1) => return Ok(()),
        Err(other) => return Err(other.to_string()),
    }
    let kept = std::fs::read(folder.path().join("journal.jsonl")).map_err(|e| e.to_string())?;
    if kept != input[..whole] {
        return Err("open changed whole lines".to_owned());
    }
    // A crash in the middle of a write: what was whole stays.
    let cut = input.iter().fold(7usize, |sum, byte| sum.wrapping_mul(31).wrapping_add(usize::from(*byte))) % (whole + 1);
    put(folder.path(), &input[..cut])?;
    let ended = input[..cut].iter().filter(|byte| **byte == b'\n').count();
    let expected = read.len().min(ended);
    match Journal::read(folder.path()) {
        Ok(some) if some.len() == expected || input[..cut].windows(2).any(|pair| pair == b"\n\n") || input.starts_with(b"\n") => {
            Ok(())
        }
        Ok(some) => Err(format!("cut at byte {cut}: {} of {expected} lines", some.len())),
        Err(error) => Err(format!("cut at byte {cut}: {error}")),
    }
}

fn put(folder: &Path, bytes: &[u8]) -> Result<(), String> {
    std::fs::write(folder.join("journal.jsonl"), bytes).map_err(|e| e.to_string())
}
