//! The journal on disk: one directory per run, one line per event, synced before anything else happens.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::{Event, FORMAT, Line, State};
use crate::crash;

/// What is wrong with a journal.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// Another process drives this run.
    #[error("{path} is locked: another crossfade drives this run; wait for it or stop it")]
    Locked {
        /// The journal.
        path: PathBuf,
    },
    /// A whole line cannot be read: the file was changed by something else.
    #[error(
        "{path} line {line} cannot be read ({why}); a journal is only ever appended to: restore it from a copy, or start with --new"
    )]
    Damaged {
        /// The journal.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// Why.
        why: String,
    },
    /// The file system refused.
    #[error("{path}: {source}")]
    Io {
        /// The journal.
        path: PathBuf,
        /// The reason.
        source: std::io::Error,
    },
}

/// An open journal, locked for this process.
#[derive(Debug)]
pub struct Journal {
    file: File,
    path: PathBuf,
    lines: Vec<Line>,
    state: State,
    /// Why an earlier append failed: what the file holds of it is not known, so nothing may follow.
    broken: Option<String>,
}

impl Journal {
    /// Opens or creates `journal.jsonl` in a run's directory (mode 0700, file 0600), locks it, and cuts a torn last line:
    /// one without a line end, which a crash in the middle of a write leaves.
    ///
    /// # Errors
    /// When it is locked, damaged, or the file system refuses.
    pub fn open(directory: &Path) -> Result<Self, JournalError> {
        let path = directory.join("journal.jsonl");
        let io = |source| JournalError::Io { path: path.clone(), source };
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(io)?;
        let mut file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&path).map_err(io)?;
        file.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => JournalError::Locked { path: path.clone() },
            TryLockError::Error(source) => io(source),
        })?;
        sync_directory(directory).map_err(io)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(io)?;
        let whole = bytes.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
        if whole < bytes.len() {
            file.set_len(whole as u64).map_err(io)?;
            file.sync_all().map_err(io)?;
        }
        file.seek(SeekFrom::Start(whole as u64)).map_err(io)?;
        let lines = parse(&path, &bytes[..whole])?;
        let state = State::of(&lines).map_err(|why| JournalError::Damaged { path: path.clone(), line: lines.len(), why })?;
        Ok(Self { file, path, lines, state, broken: None })
    }

    /// Reads the lines of a journal that another process may be writing. A torn last line is left out.
    ///
    /// # Errors
    /// When it is damaged or cannot be read.
    pub fn read(directory: &Path) -> Result<Vec<Line>, JournalError> {
        let path = directory.join("journal.jsonl");
        let bytes = std::fs::read(&path).map_err(|source| JournalError::Io { path: path.clone(), source })?;
        let whole = bytes.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
        parse(&path, &bytes[..whole])
    }

    /// Writes an event and syncs it to disk. Only then may what it announces be done.
    ///
    /// # Errors
    /// When the file system refuses; nothing that depends on the event may be done then.
    pub fn append(&mut self, event: Event) -> Result<&Line, JournalError> {
        let label = event.label();
        crash::point(&format!("before/{label}"));
        let io = |source| JournalError::Io { path: self.path.clone(), source };
        if let Some(why) = &self.broken {
            return Err(io(std::io::Error::other(format!("an earlier line could not be written ({why}); run again"))));
        }
        self.state.take(&event).map_err(|why| JournalError::Damaged {
            path: self.path.clone(),
            line: self.lines.len() + 1,
            why,
        })?;
        let line = Line { v: FORMAT, seq: self.lines.len() as u64 + 1, at: jiff::Timestamp::now(), event };
        let mut text = serde_json::to_vec(&line).map_err(|e| io(e.into()))?;
        text.push(b'\n');
        let torn = format!("torn/{label}");
        if crash::is_next(&torn) {
            self.file.write_all(&text[..text.len() / 2]).map_err(io)?;
            crash::point(&torn);
        }
        let written = self.file.write_all(&text).and_then(|()| self.file.sync_data());
        self.broken = written.as_ref().err().map(ToString::to_string);
        written.map_err(io)?;
        crash::point(&format!("after/{label}"));
        self.lines.push(line);
        Ok(&self.lines[self.lines.len() - 1])
    }

    /// The state after all lines.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// All lines.
    pub fn lines(&self) -> &[Line] {
        &self.lines
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Closing the file would let go of the lock only once every copy of its descriptor is closed, and a child process that
/// is being started holds one between its fork and its exec (flock(2)).
impl Drop for Journal {
    fn drop(&mut self) {
        if let Err(error) = self.file.unlock() {
            tracing::debug!(%error, "the lock of the journal goes with its file");
        }
    }
}

fn parse(path: &Path, bytes: &[u8]) -> Result<Vec<Line>, JournalError> {
    let mut lines = Vec::new();
    for (index, text) in bytes.split(|b| *b == b'\n').enumerate().filter(|(_, text)| !text.is_empty()) {
        let damaged = |why: String| JournalError::Damaged { path: path.to_owned(), line: index + 1, why };
        let line: Line = serde_json::from_slice(text).map_err(|e| damaged(e.to_string()))?;
        if line.v != FORMAT {
            return Err(damaged(format!("format {} where this crossfade reads {FORMAT}", line.v)));
        }
        if line.seq != index as u64 + 1 {
            return Err(damaged(format!("sequence number {} out of order", line.seq)));
        }
        lines.push(line);
    }
    Ok(lines)
}

fn sync_directory(directory: &Path) -> std::io::Result<()> {
    File::open(directory)?.sync_all()?;
    match directory.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        Some(parent) => File::open(parent)?.sync_all(),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_torn_tail_is_cut_and_the_rest_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let mut journal = Journal::open(dir.path()).unwrap();
        journal.append(Event::run_started_example()).unwrap();
        journal.append(Event::RunDone).unwrap();
        drop(journal);
        let path = dir.path().join("journal.jsonl");
        let whole = std::fs::read(&path).unwrap();
        for cut in 1..20 {
            std::fs::write(&path, &whole[..whole.len() - cut]).unwrap();
            let mut journal = Journal::open(dir.path()).unwrap();
            assert_eq!(journal.lines().len(), 1);
            journal.append(Event::RunDone).unwrap();
            assert!(journal.state().finished);
        }
    }

    #[test]
    fn nothing_follows_a_line_that_could_not_be_written() {
        let dir = tempfile::tempdir().unwrap();
        let mut journal = Journal::open(dir.path()).unwrap();
        journal.append(Event::run_started_example()).unwrap();
        let read_only = File::open(journal.path()).unwrap();
        let good = std::mem::replace(&mut journal.file, read_only);
        assert!(journal.append(Event::RunDone).is_err(), "the file is open for reading only");
        journal.file = good;
        assert!(journal.append(Event::Stopped { exit: crate::terms::Exit::Stopped }).is_err());
        drop(journal);
        assert_eq!(Journal::open(dir.path()).unwrap().lines().len(), 1);
    }

    #[test]
    fn one_driver_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let _first = Journal::open(dir.path()).unwrap();
        assert!(matches!(Journal::open(dir.path()), Err(JournalError::Locked { .. })));
    }

    #[test]
    fn a_changed_line_is_refused_with_its_number() {
        let dir = tempfile::tempdir().unwrap();
        let mut journal = Journal::open(dir.path()).unwrap();
        journal.append(Event::run_started_example()).unwrap();
        drop(journal);
        let path = dir.path().join("journal.jsonl");
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, format!("{{}}\n{text}")).unwrap();
        assert!(matches!(Journal::open(dir.path()), Err(JournalError::Damaged { line: 1, .. })));
    }
}
