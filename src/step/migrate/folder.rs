//! A directory of versioned SQL files.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::script::{self, Script};
use crate::step::Fault;

/// One version: a file and the file that takes it back.
#[derive(Debug, Clone)]
pub(super) struct Migration {
    /// The digits its name begins with.
    pub version: String,
    /// The file's name without its directory.
    pub file: String,
    /// What it does.
    pub up: Script,
    /// What takes it back.
    pub down: Option<Script>,
}

impl Migration {
    /// Its own version and those it stands for.
    pub fn versions(&self) -> impl Iterator<Item = &str> {
        std::iter::once(self.version.as_str()).chain(self.up.records.iter().map(String::as_str))
    }
}

/// What is read from a directory: the migrations by version, and the content of every file.
type Read = (Vec<Migration>, Vec<Vec<u8>>);

/// Reads every `*.sql` of the directory.
///
/// # Errors
/// Every fault of every file: names of another form, versions twice, directives, syntax, statements that do not fit.
pub(super) fn read(directory: &Path) -> Result<Read, Vec<Fault>> {
    let unreadable = |e: std::io::Error| vec![Fault::key("directory", format!("{} cannot be read: {e}", directory.display()))];
    let mut names = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("sql")) {
            names.push(path);
        }
    }
    names.sort();
    let mut faults = Vec::new();
    let mut files: BTreeMap<Version, [Option<(PathBuf, Script)>; 2]> = BTreeMap::new();
    let mut contents = Vec::new();
    for path in names {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let Some((version, down)) = parse_name(name) else {
            let what = "is named neither <version>_<name>.sql nor <version>_<name>.down.sql (version: digits; name: letters, \
                        digits, `_`, `-`); rename it or move it away";
            faults.push(Fault::file(&path, None, what));
            continue;
        };
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(e) => {
                faults.push(Fault::file(&path, None, format!("cannot be read: {e}")));
                continue;
            }
        };
        contents.push([name.as_bytes(), b"\n", text.as_bytes()].concat());
        let script = script::read(&text).unwrap_or_else(|wrong| {
            faults.extend(wrong.into_iter().map(|(line, what)| Fault::file(&path, Some(line), what)));
            Script::default()
        });
        if down && (!script.records.is_empty() || script.irreversible.is_some()) {
            faults.push(Fault::file(&path, None, "`records` and `irreversible` belong into the file that this one takes back"));
        }
        let slot = &mut files.entry(Version(version.to_owned())).or_default()[usize::from(down)];
        match slot {
            Some((other, _)) => {
                faults.push(Fault::file(&path, None, format!("has the version of {}", other.display())));
            }
            None => *slot = Some((path, script)),
        }
    }
    let mut migrations = Vec::new();
    for (version, pair) in files {
        match pair {
            [Some((path, up)), down] => {
                if let (Some((down, _)), Some(_)) = (&down, &up.irreversible) {
                    faults.push(Fault::file(down, None, "takes back a file that says it is irreversible"));
                }
                let file = path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
                migrations.push(Migration { version: version.0, file, up, down: down.map(|(_, script)| script) });
            }
            [None, Some((path, _))] => faults.push(Fault::file(path, None, "takes back a version that has no file")),
            [None, None] => {}
        }
    }
    let mut recorded: BTreeMap<&str, &str> = BTreeMap::new();
    for migration in &migrations {
        for version in migration.versions() {
            if let Some(other) = recorded.insert(version, &migration.file) {
                let what = format!("records version {version}, and so does {other}");
                faults.push(Fault::file(directory.join(&migration.file), None, what));
            }
        }
    }
    if migrations.is_empty() && faults.is_empty() {
        faults.push(Fault::key("directory", format!("{} holds no <version>_<name>.sql", directory.display())));
    }
    if faults.is_empty() { Ok((migrations, contents)) } else { Err(faults) }
}

/// Version and whether it is a down file.
fn parse_name(name: &str) -> Option<(&str, bool)> {
    let stem = name.strip_suffix(".sql")?;
    let (stem, down) = stem.strip_suffix(".down").map_or((stem, false), |stem| (stem, true));
    let (version, rest) = stem.split_once('_')?;
    let plain = !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    (plain && script::is_version(version)).then_some((version, down))
}

/// A version in its order: as numbers of any length, then as text.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Version(String);

impl Ord for Version {
    fn cmp(&self, other: &Self) -> Ordering {
        let number = |version: &Version| {
            let digits = version.0.trim_start_matches('0').to_owned();
            (digits.len(), digits)
        };
        number(self).cmp(&number(other)).then_with(|| self.0.cmp(&other.0))
    }
}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(files: &[(&str, &str)]) -> Result<Read, Vec<Fault>> {
        let directory = tempfile::tempdir().unwrap();
        for (name, text) in files {
            std::fs::write(directory.path().join(name), text).unwrap();
        }
        read(directory.path())
    }

    #[test]
    fn files_come_in_the_order_of_their_versions() {
        let files =
            [("10_b.sql", "SELECT 1"), ("9_a.sql", "SELECT 1"), ("9_a.down.sql", "SELECT 2"), ("100_c.sql", ""), ("x.md", "")];
        let (migrations, contents) = folder(&files).unwrap();
        assert_eq!(migrations.iter().map(|m| m.version.as_str()).collect::<Vec<_>>(), ["9", "10", "100"]);
        assert_eq!(migrations.iter().map(|m| m.down.is_some()).collect::<Vec<_>>(), [true, false, false]);
        assert_eq!(contents.len(), 4);
    }

    #[test]
    fn nothing_is_skipped_in_silence() {
        for (files, expected) in [
            (vec![("V1__x.sql", "SELECT 1")], "is named neither"),
            (vec![("1_x.SQL", "SELECT 1")], "is named neither"),
            (vec![("1_a.sql", ""), ("1_b.sql", "")], "has the version of"),
            (vec![("1_a.sql", "-- crossfade: records 2\n"), ("2_b.sql", "")], "records version 2"),
            (vec![("1_a.down.sql", "")], "has no file"),
            (vec![("1_a.sql", "-- crossfade: irreversible: x"), ("1_a.down.sql", "")], "irreversible"),
            (vec![("1_a.sql", ""), ("1_a.down.sql", "-- crossfade: records 1")], "belong into"),
            (vec![("1_a.sql", "SELEKT")], "not SQL"),
            (vec![], "holds no"),
        ] {
            let faults = folder(&files).map(drop).unwrap_err();
            assert!(faults.iter().any(|fault| fault.what.contains(expected)), "{expected}: {faults:?}");
        }
    }
}
