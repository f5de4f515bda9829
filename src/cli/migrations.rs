//! Migration files as they lie on disk, in the order of their tool: what `lint`, `rewrite`, `prove` and `trace` look at.

use std::collections::{BTreeSet, HashSet};
use std::ffi::OsString;
use std::fs::DirEntry;
use std::io::Read;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};

use crate::lint::Input;
use crate::lint::layout::{self, Direction, Placed};
use crate::step::Stop;

/// Which migrations to look at: of `lint` and `trace`.
#[derive(Debug, Args)]
pub(super) struct FilesArgs {
    /// Migration files and folders; `-` reads SQL from standard input
    pub paths: Vec<PathBuf>,
    /// Read the names of files from this file, one a line; `-` reads them from standard input (as of `git diff --name-only`)
    #[arg(long, value_name = "FILE")]
    pub files_from: Option<PathBuf>,
    /// Migrations up to this version count as applied: what they create is in use, and they are not reported
    #[arg(long, value_name = "VERSION")]
    pub applied: Option<String>,
    /// Whether each file runs as one transaction
    #[arg(long, value_enum, default_value_t = Wrapping::Auto)]
    pub transaction: Wrapping,
}

impl FilesArgs {
    /// The migrations of this direction. None only where a list of changed files names none.
    ///
    /// # Errors
    /// Everything that cannot be read, at once; when nothing was named, or nothing of that direction is there.
    pub fn migrations(&self, direction: Direction) -> anyhow::Result<Vec<Found>> {
        if self.paths.is_empty() && self.files_from.is_none() {
            return Err(usage("nothing to look at: name files or folders, or - for standard input".to_owned()));
        }
        let Self { paths, files_from, applied, transaction } = self;
        let wanted = Wanted { paths, files_from: files_from.as_deref(), applied: applied.as_deref(), transaction: *transaction };
        let found = wanted.find(direction)?;
        if found.is_empty() && files_from.is_none() {
            return Err(usage("no .sql file of that direction in what was named".to_owned()));
        }
        Ok(found)
    }
}

/// How files run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Wrapping {
    /// As the tool does that the names of the files are made for
    Auto,
    /// Each file in one transaction
    File,
    /// Each statement on its own
    None,
}

/// What is looked for.
pub(super) struct Wanted<'a> {
    /// Files and folders; `-` is standard input.
    pub paths: &'a [PathBuf],
    /// A file that names files, one a line.
    pub files_from: Option<&'a Path>,
    /// The last version that counts as applied.
    pub applied: Option<&'a str>,
    /// Whether each file runs as one transaction.
    pub transaction: Wrapping,
}

/// A migration.
#[derive(Debug)]
pub(super) struct Found {
    /// Its file.
    pub path: PathBuf,
    /// Its version, as its name tells; empty for plain files.
    pub version: String,
    /// Its text.
    pub text: String,
    /// Whether it runs as one transaction.
    pub wrapped: bool,
    /// Whether it counts as applied.
    pub applied: bool,
    /// Which direction of it was asked for.
    pub direction: Direction,
}

impl Found {
    /// Its file's name.
    pub fn file(&self) -> String {
        self.path.display().to_string()
    }

    /// As the linter takes it.
    pub fn input(&self) -> Input {
        let Self { text, wrapped, applied, direction, .. } = self;
        Input { name: self.file(), text: text.clone(), wrapped: *wrapped, applied: *applied, down: *direction == Direction::Down }
    }

    /// The same of one that nobody else needs.
    pub fn into_input(self) -> Input {
        let (name, down) = (self.file(), self.direction == Direction::Down);
        Input { name, text: self.text, wrapped: self.wrapped, applied: self.applied, down }
    }
}

impl Wanted<'_> {
    /// The migrations of this direction, in their tool's order, standard input first.
    ///
    /// # Errors
    /// Everything that cannot be read, at once.
    pub fn find(&self, direction: Direction) -> anyhow::Result<Vec<Found>> {
        let listed = match self.files_from {
            Some(from) => read(from).map_err(|e| usage(format!("--files-from {}: {e}", from.display())))?,
            None => String::new(),
        };
        let (mut found, mut wrong) = (Vec::new(), Vec::new());
        let (mut chosen, mut files, mut all) = (Vec::new(), Vec::new(), Vec::new());
        for path in self.paths {
            if path.as_os_str() == "-" {
                let text = read(path).map_err(|e| usage(format!("standard input: {e}")))?;
                let wrapped = self.transaction == Wrapping::File;
                found.push(Found { path: path.clone(), version: String::new(), text, wrapped, applied: false, direction });
            } else if path.is_dir() {
                let before = all.len();
                walk(path, &mut all, &mut wrong);
                chosen.extend_from_slice(&all[before..]);
            } else if path.exists() {
                files.push(path.clone());
            } else {
                wrong.push(format!("{} does not exist", path.display()));
            }
        }
        // A list of changed files also names files that are gone or are no SQL.
        for line in listed.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let path = PathBuf::from(line);
            if layout::is_sql(&path) && path.exists() {
                files.push(path);
            }
        }
        // What lies beside them tells the tool.
        for folder in files.iter().filter_map(|path| path.parent()).map(Path::to_path_buf).collect::<BTreeSet<_>>() {
            let entries = std::fs::read_dir(if folder.as_os_str().is_empty() { Path::new(".") } else { &folder });
            all.extend(entries.into_iter().flatten().flatten().map(|entry| folder.join(entry.file_name())));
        }
        chosen.append(&mut files);
        let mut seen = HashSet::new();
        chosen.retain(|path| seen.insert(path.clone()));
        let ordered = layout::order(&chosen, &all, direction);
        // A file that was named itself is looked at, whatever its direction.
        let (named, placed): (HashSet<&PathBuf>, HashSet<&PathBuf>) =
            (self.paths.iter().collect(), ordered.iter().map(|placed| &placed.path).collect());
        let asked = |path: &&PathBuf| named.contains(path) && !placed.contains(path);
        let beside: Vec<Placed> = chosen
            .iter()
            .filter(asked)
            .map(|path| Placed { path: path.clone(), version: String::new(), wrapped: true })
            .collect();
        let placed: Vec<Placed> = ordered.into_iter().chain(beside).collect();
        let there = (self.transaction == Wrapping::Auto).then(|| all.iter().map(PathBuf::as_path).collect());
        let texts = read_all(&placed, there.as_ref());
        for (Placed { path, version, wrapped }, (text, alone)) in placed.into_iter().zip(texts) {
            let wrapped = match self.transaction {
                Wrapping::Auto => wrapped && !alone,
                Wrapping::File => true,
                Wrapping::None => false,
            };
            let applied = self.applied.is_some_and(|last| !version.is_empty() && layout::compare(&version, last).is_le());
            match text {
                Ok(text) => found.push(Found { path, version, text, wrapped, applied, direction }),
                Err(e) => wrong.push(format!("{}: {e}", path.display())),
            }
        }
        if wrong.is_empty() { Ok(found) } else { Err(usage(wrong.join("; "))) }
    }
}

fn usage(what: String) -> anyhow::Error {
    Stop::Usage(what).into()
}

/// diesel's `metadata.toml`, Flyway's `<file>.conf`, where they are among the files `beside` it.
fn runs_without_transaction(path: &Path, beside: &HashSet<&Path>) -> bool {
    let says = |path: PathBuf, key: &str| {
        let text = beside.get(path.as_path()).and_then(|path| std::fs::read_to_string(path).ok()).unwrap_or_default();
        text.lines().any(|line| line.split_once('=').is_some_and(|(name, value)| name.trim() == key && value.trim() == "false"))
    };
    says(path.with_file_name("metadata.toml"), "run_in_transaction")
        || says(PathBuf::from(format!("{}.conf", path.display())), "executeInTransaction")
}

/// The text of each file, and whether what lies `beside` it makes it run without a transaction; on as many threads as there are
/// processors.
fn read_all(placed: &[Placed], beside: Option<&HashSet<&Path>>) -> Vec<(std::io::Result<String>, bool)> {
    let alone = |file: &Placed| file.wrapped && beside.is_some_and(|beside| runs_without_transaction(&file.path, beside));
    let one = |file: &Placed| (read(&file.path), alone(file));
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let part = placed.len().div_ceil(threads).max(64);
    std::thread::scope(|scope| {
        let all = placed.chunks(part).map(|part| (part, scope.spawn(move || part.iter().map(one).collect::<Vec<_>>())));
        let all: Vec<_> = all.collect();
        // Nothing in it panics; if it did, the files would be read here.
        all.into_iter().flat_map(|(part, read)| read.join().unwrap_or_else(|_| part.iter().map(one).collect())).collect()
    })
}

/// A text file, or standard input. What is not UTF-8 is replaced, so that the rest can be looked at.
pub(super) fn read(path: &Path) -> std::io::Result<String> {
    let mut bytes = Vec::new();
    if path.as_os_str() == "-" {
        std::io::stdin().read_to_end(&mut bytes)?;
    } else {
        bytes = std::fs::read(path)?;
    }
    if bytes.starts_with(b"\xef\xbb\xbf") {
        bytes.drain(..3);
    }
    Ok(String::from_utf8(bytes).unwrap_or_else(|other| String::from_utf8_lossy(other.as_bytes()).into_owned()))
}

/// Every file below a folder, hidden ones aside.
pub(super) fn walk(folder: &Path, found: &mut Vec<PathBuf>, wrong: &mut Vec<String>) {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(e) => return wrong.push(format!("{}: {e}", folder.display())),
    };
    // Only a link has to be followed to know.
    let plain = |entry: &DirEntry| entry.file_type().is_ok_and(|kind| kind.is_file());
    let named = entries.flatten().map(|entry| (entry.file_name(), plain(&entry)));
    let mut visible: Vec<(OsString, bool)> = named.filter(|(name, _)| !name.as_encoded_bytes().starts_with(b".")).collect();
    visible.sort_unstable();
    for (name, plain) in visible {
        let path = folder.join(name);
        match !plain && path.is_dir() {
            true => walk(&path, found, wrong),
            false => found.push(path),
        }
    }
}
