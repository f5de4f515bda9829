//! Migration files as they lie on disk.

use std::io::Read;
use std::path::{Path, PathBuf};

/// diesel's `metadata.toml`, Flyway's `<file>.conf`.
pub(super) fn runs_without_transaction(path: &Path) -> bool {
    let says = |path: PathBuf, key: &str| {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        text.lines().any(|line| line.split_once('=').is_some_and(|(name, value)| name.trim() == key && value.trim() == "false"))
    };
    says(path.with_file_name("metadata.toml"), "run_in_transaction")
        || says(PathBuf::from(format!("{}.conf", path.display())), "executeInTransaction")
}

/// A text file, or standard input. What is not UTF-8 is replaced, so that the rest can be looked at.
pub(super) fn read(path: &Path) -> std::io::Result<String> {
    let mut bytes = Vec::new();
    if path.as_os_str() == "-" {
        std::io::stdin().read_to_end(&mut bytes)?;
    } else {
        bytes = std::fs::read(path)?;
    }
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
    Ok(String::from_utf8_lossy(bytes).into_owned())
}

/// Every file below a folder, hidden ones aside.
pub(super) fn walk(folder: &Path, found: &mut Vec<PathBuf>, wrong: &mut Vec<String>) {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(e) => return wrong.push(format!("{}: {e}", folder.display())),
    };
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    for path in paths {
        let hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
        match path.is_dir() {
            _ if hidden => {}
            true => walk(&path, found, wrong),
            false => found.push(path),
        }
    }
}
