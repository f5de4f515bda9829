//! The files of a projections directory: one `*.toml` per green table, and `constants.toml`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use toml::Spanned;

use super::expression::{self, Place};
use super::{Constant, DirtyEffect, DirtyRule, Projection, ProjectionSet, Source};
use crate::sql::{Ident, QualifiedName};

const CONSTANTS: &str = "constants.toml";

/// One thing wrong with a projection file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flaw {
    /// The file.
    pub file: PathBuf,
    /// The line, from 1, when it can be told.
    pub line: Option<usize>,
    /// What is wrong and what was expected.
    pub what: String,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    table: Spanned<QualifiedName>,
    key: Spanned<Vec<String>>,
    #[serde(default)]
    defaulted: Vec<Spanned<String>>,
    #[serde(default)]
    source: Vec<Spanned<SourceFile>>,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct SourceFile {
    name: String,
    drives: Drives,
    from: Spanned<String>,
    #[serde(rename = "where")]
    filter: Option<Spanned<String>>,
    columns: Pairs,
    apart: Option<String>,
    #[serde(default)]
    dirty: Vec<Spanned<DirtyFile>>,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Drives {
    table: QualifiedName,
    alias: String,
    key: Option<Vec<String>>,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct DirtyFile {
    table: QualifiedName,
    by: Option<Vec<String>>,
    rows: Option<Spanned<String>>,
    watch: Option<Vec<String>>,
    unaffected: Option<String>,
}

/// A table of strings that keeps order and places.
struct Pairs(Vec<(Spanned<String>, Spanned<String>)>);

impl<'de> Deserialize<'de> for Pairs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = Pairs;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("a table of `name = \"SQL\"`")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pairs, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Pairs(pairs))
            }
        }
        deserializer.deserialize_map(Collect)
    }
}

/// Reads every projection of a directory, in the order of the file names. Also gives the files' content, for a fingerprint.
///
/// # Errors
/// Every flaw of every file at once.
pub fn load(directory: &Path) -> Result<(ProjectionSet, Vec<Vec<u8>>), Vec<Flaw>> {
    let whole = |file: &Path, what: String| vec![Flaw { file: file.to_owned(), line: None, what }];
    let entries = std::fs::read_dir(directory).map_err(|e| whole(directory, format!("cannot be read: {e}")))?;
    let mut paths: Vec<PathBuf> = entries
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
        .collect();
    paths.sort();

    let (mut set, mut contents, mut flaws) = (ProjectionSet::default(), Vec::new(), Vec::new());
    let mut seen: BTreeMap<QualifiedName, PathBuf> = BTreeMap::new();
    for path in &paths {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) => {
                flaws.extend(whole(path, format!("cannot be read: {error}")));
                continue;
            }
        };
        let mut page = Page { path, text: &text, flaws: &mut flaws };
        if path.file_name().is_some_and(|name| name == CONSTANTS) {
            set.constants = page.constants();
        } else if let Some(projection) = page.projection() {
            if let Some(first) = seen.insert(projection.table.clone(), path.clone()) {
                let what = format!("table {} already has a projection in {}", projection.table.plain(), first.display());
                flaws.extend(whole(path, what));
            }
            set.projections.push(projection);
        }
        contents.push(text.into_bytes());
    }
    if set.projections.is_empty() && flaws.is_empty() {
        flaws.extend(whole(directory, "holds no projection: one `<table>.toml` per green table is expected".to_owned()));
    }
    if flaws.is_empty() { Ok((set, contents)) } else { Err(flaws) }
}

/// One file while it is read.
struct Page<'a> {
    path: &'a Path,
    text: &'a str,
    flaws: &'a mut Vec<Flaw>,
}

impl Page<'_> {
    fn flaw(&mut self, at: Option<usize>, what: impl Into<String>) {
        let line = at.map(|byte| self.text.as_bytes()[..byte.min(self.text.len())].iter().filter(|b| **b == b'\n').count() + 1);
        self.flaws.push(Flaw { file: self.path.to_owned(), line, what: what.into() });
    }

    fn parse<T: serde::de::DeserializeOwned>(&mut self) -> Option<T> {
        toml::from_str(self.text).map_err(|error| self.flaw(error.span().map(|span| span.start), error.message().to_owned())).ok()
    }

    fn sql(&mut self, what: &str, place: Place, text: &Spanned<String>) {
        for flaw in expression::flaws(place, text.get_ref()) {
            self.flaw(Some(text.span().start), format!("{what} {flaw}"));
        }
    }

    fn constants(&mut self) -> Vec<Constant> {
        let Some(Pairs(pairs)) = self.parse::<Pairs>() else { return Vec::new() };
        for (name, query) in &pairs {
            let text = format!("({})", query.get_ref());
            for flaw in expression::flaws(Place::Column, &text) {
                self.flaw(Some(query.span().start), format!("constant {} {flaw}", name.get_ref()));
            }
        }
        pairs
            .into_iter()
            .map(|(name, query)| Constant { name: Ident::new(name.into_inner()), query: query.into_inner() })
            .collect()
    }

    fn projection(&mut self) -> Option<Projection> {
        let file: File = self.parse()?;
        let before = self.flaws.len();
        let key_at = file.key.span().start;
        let (key, table) = (file.key.into_inner(), file.table.into_inner());
        if key.is_empty() {
            self.flaw(Some(key_at), "key names no column");
        }
        if file.source.is_empty() {
            self.flaw(None, "has no [[source]]");
        }
        let mut names = BTreeSet::new();
        let mut first_columns: Option<BTreeSet<String>> = None;
        let mut sources = Vec::new();
        for written in file.source {
            let at = written.span().start;
            let source = written.into_inner();
            let what = format!("source {}:", source.name);
            if !names.insert(source.name.clone()) {
                self.flaw(Some(at), format!("{what} the name is taken by another source of this table"));
            }
            let columns: BTreeSet<String> = source.columns.0.iter().map(|(name, _)| name.get_ref().clone()).collect();
            if columns.is_empty() {
                self.flaw(Some(at), format!("{what} names no column"));
            }
            for column in key.iter().filter(|column| !columns.contains(*column)) {
                self.flaw(Some(at), format!("{what} the key column {column} is not among its columns"));
            }
            for column in file.defaulted.iter().filter(|column| columns.contains(column.get_ref())) {
                self.flaw(Some(column.span().start), format!("{what} {} is defaulted and named", column.get_ref()));
            }
            let first = first_columns.get_or_insert_with(|| columns.clone());
            let other: Vec<&str> = first.symmetric_difference(&columns).map(String::as_str).collect();
            if !other.is_empty() {
                let other = other.join(", ");
                self.flaw(Some(at), format!("{what} the sources of a table name the same columns; these differ: {other}"));
            }
            self.sql(&format!("{what} from"), Place::From, &source.from);
            if let Some(flaw) = expression::undivided(source.from.get_ref(), &source.drives.alias) {
                self.flaw(Some(source.from.span().start), format!("{what} from {flaw}"));
            }
            if let Some(filter) = &source.filter {
                self.sql(&format!("{what} where"), Place::Where, filter);
            }
            for (name, text) in &source.columns.0 {
                self.sql(&format!("{what} column {}", name.get_ref()), Place::Column, text);
            }
            let dirty = source.dirty.into_iter().filter_map(|rule| self.dirty(&what, rule)).collect();
            let pair = |(name, text): (Spanned<String>, Spanned<String>)| (Ident::new(name.into_inner()), text.into_inner());
            sources.push(Source {
                name: source.name,
                drives: source.drives.table,
                alias: Ident::new(source.drives.alias),
                from: source.from.into_inner(),
                filter: source.filter.map(Spanned::into_inner),
                columns: source.columns.0.into_iter().map(pair).collect(),
                driving: source.drives.key.map(|key| key.into_iter().map(Ident::new).collect()),
                dirty,
                apart: source.apart,
            });
        }
        let defaulted = file.defaulted.into_iter().map(|column| Ident::new(column.into_inner())).collect();
        let key = key.into_iter().map(Ident::new).collect();
        (self.flaws.len() == before).then_some(Projection { table, key, defaulted, sources, identity: false })
    }
}

impl Page<'_> {
    /// One `[[source.dirty]]`.
    fn dirty(&mut self, what: &str, written: Spanned<DirtyFile>) -> Option<DirtyRule> {
        let at = written.span().start;
        let DirtyFile { table, by, rows, watch, unaffected } = written.into_inner();
        let what = format!("{what} dirty {}:", table.plain());
        let idents = |names: Vec<String>| names.into_iter().map(Ident::new).collect::<Vec<_>>();
        match (by, unaffected) {
            (None, Some(why)) if rows.is_none() && watch.is_none() => {
                Some(DirtyRule { table, effect: DirtyEffect::Unaffected(why) })
            }
            (Some(by), None) if !by.is_empty() => {
                if let Some(rows) = &rows {
                    self.sql(
                        &format!("{what} rows"),
                        Place::Column,
                        &Spanned::new(rows.span(), format!("({}\n)", rows.get_ref())),
                    );
                }
                let effect = DirtyEffect::Rows { by: idents(by), rows: rows.map(Spanned::into_inner), watch: watch.map(idents) };
                Some(DirtyRule { table, effect })
            }
            _ => {
                self.flaw(Some(at), format!("{what} give `by` (columns, with `rows` and `watch` if needed) or `unaffected`"));
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory(files: &[(&str, &str)]) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        for (name, text) in files {
            std::fs::write(directory.path().join(name), text).unwrap();
        }
        directory
    }

    const GOOD: &str = r#"
table = "a"
key = ["id"]
[[source]]
name = "all"
drives = { table = "b", alias = "t" }
from = "b AS t"
[source.columns]
id = "t.id"
name = "lower(t.name)"
"#;

    #[test]
    fn a_directory_gives_its_projections_and_constants() {
        let directory = directory(&[("a.toml", GOOD), ("constants.toml", "nid = \"SELECT id FROM networks\"")]);
        let (set, contents) = load(directory.path()).unwrap();
        assert_eq!(contents.len(), 2);
        assert_eq!(set.constants.len(), 1);
        assert_eq!(set.projections[0].sources[0].columns[1], (Ident::new("name"), "lower(t.name)".to_owned()));
    }

    #[test]
    fn every_flaw_is_found_at_once_with_its_line() {
        let bad = GOOD.replace("lower(t.name)", "now()").replace("[\"id\"]", "[\"nr\"]");
        let directory = directory(&[("a.toml", GOOD), ("b.toml", &bad), ("c.toml", GOOD), ("d.toml", "tabel = 1")]);
        let flaws = load(directory.path()).unwrap_err();
        let found: Vec<(String, Option<usize>)> =
            flaws.iter().map(|flaw| (flaw.file.file_name().unwrap().to_str().unwrap().to_owned(), flaw.line)).collect();
        let expected = [("b.toml", Some(4)), ("b.toml", Some(10)), ("c.toml", None), ("d.toml", Some(1))];
        assert_eq!(found, expected.map(|(file, line)| (file.to_owned(), line)), "{flaws:?}");
    }

    #[test]
    fn the_shipped_projections_have_no_flaw() {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("plans/projections/hydra-2x");
        let (set, _) = load(&directory).unwrap();
        assert!(set.projections.iter().any(|projection| projection.table.plain() == "hydra_oauth2_flow"));
    }
}
