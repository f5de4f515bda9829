//! A file of notices, one JSON document a line, each event once. Whoever must hear of revocations reads it as it grows.

use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Seek, SeekFrom, Write};
use std::path::Path;

use anyhow::{Context, bail};

use super::Notice;

/// The file, and the identities that are in it.
pub struct Inbox {
    file: File,
    seen: HashSet<[u8; 32]>,
}

/// A copy of the descriptor in a child process that is being started would keep the lock after this.
impl Drop for Inbox {
    fn drop(&mut self) {
        let _ = self.file.unlock();
    }
}

impl Inbox {
    /// Opens or makes it, for one process at a time. A line that a crash tore is cut off: its message was not acknowledged.
    ///
    /// # Errors
    /// When it cannot be written, another process has it, or it holds something else.
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        let shown = path.display();
        let file = OpenOptions::new().read(true).append(true).create(true).open(path);
        let mut file = file.with_context(|| format!("cannot open {shown}"))?;
        if file.try_lock().is_err() {
            bail!("{shown} is in use by another process");
        }
        let (mut seen, mut whole, mut line) = (HashSet::new(), 0_u64, Vec::new());
        let mut reader = BufReader::new(&file);
        loop {
            line.clear();
            let read = reader.read_until(b'\n', &mut line).with_context(|| format!("cannot read {shown}"))?;
            if line.last() != Some(&b'\n') {
                break;
            }
            let notice: Notice =
                serde_json::from_slice(&line).map_err(|_| anyhow::anyhow!("{shown} holds a line that is no notice"))?;
            seen.insert(key(&notice).with_context(|| format!("{shown} holds an event without an identity"))?);
            whole += read as u64;
        }
        file.set_len(whole)?;
        file.seek(SeekFrom::End(0))?;
        Ok(Self { file, seen })
    }

    /// Appends those that are not there, and returns when they are on disk. Gives how many were new.
    ///
    /// # Errors
    /// When they cannot be written: nothing may be acknowledged then, and the file must be opened anew.
    pub fn add(&mut self, notices: &[Notice]) -> anyhow::Result<u64> {
        let (mut lines, mut new) = (Vec::new(), Vec::new());
        for notice in notices {
            let key = key(notice).context("a notice has no identity")?;
            if self.seen.insert(key) {
                serde_json::to_writer(&mut lines, notice)?;
                lines.push(b'\n');
                new.push(key);
            }
        }
        if new.is_empty() {
            return Ok(0);
        }
        let written = self.file.write_all(&lines).and_then(|()| self.file.sync_data());
        if let Err(error) = written {
            for key in &new {
                self.seen.remove(key);
            }
            return Err(anyhow::Error::from(error).context("cannot write notices"));
        }
        Ok(new.len() as u64)
    }

    /// How many events it holds.
    pub fn len(&self) -> usize {
        self.seen.len()
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.seen.is_empty()
    }
}

/// The 32 bytes that the identity's hex digits stand for.
fn key(notice: &Notice) -> Option<[u8; 32]> {
    let text = notice.event.as_bytes();
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    let mut key = [0; 32];
    for (place, byte) in key.iter_mut().enumerate() {
        *byte = u8::from_str_radix(notice.event.get(place * 2..place * 2 + 2)?, 16).ok()?;
    }
    Some(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn notice(event: u8) -> Notice {
        let none = None;
        let text = |text: &str| text.to_owned();
        Notice {
            event: format!("{event:064x}"),
            run: text("r"),
            what: text("token"),
            id: text("i"),
            client: none.clone(),
            subject: none,
            digests: true,
            revoked_at: text("-"),
        }
    }

    #[test]
    fn each_event_is_written_once_whatever_comes_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("inbox.jsonl");
        let mut inbox = Inbox::open(&path).unwrap();
        assert_eq!(inbox.add(&[notice(1), notice(2), notice(1)]).unwrap(), 2);
        assert!(Inbox::open(&path).is_err(), "two writers");
        drop(inbox);
        std::fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(b"{\"event\": \"torn").unwrap();
        let mut inbox = Inbox::open(&path).unwrap();
        assert_eq!((inbox.len(), inbox.is_empty()), (2, false));
        assert_eq!(inbox.add(&[notice(2), notice(3)]).unwrap(), 1);
        assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), 3);
        drop(inbox);
        std::fs::write(&path, "something else\n").unwrap();
        assert!(Inbox::open(&path).is_err());
    }
}
