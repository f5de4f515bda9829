//! One table of a configuration file: takes keys out of it by their type, and notes everything that is wrong with its line.

use std::cell::RefCell;
use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// One thing that is wrong with a configuration file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong and what was expected.
    pub what: String,
}

/// Everything that is wrong with a configuration file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems {
    /// The file.
    pub file: std::path::PathBuf,
    /// The problems, by line.
    pub problems: Vec<Problem>,
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Problem { line, what } in &self.problems {
            writeln!(f, "{}:{line}: {what}", self.file.display())?;
        }
        let count = self.problems.len();
        write!(f, "{count} problem{} in the configuration; nothing was started", if count == 1 { "" } else { "s" })
    }
}

impl std::error::Error for Problems {}

/// The text of a file, and what is wrong with it so far.
pub(super) struct Text<'t> {
    text: &'t str,
    problems: RefCell<Vec<Problem>>,
}

impl<'t> Text<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        Self { text, problems: RefCell::default() }
    }

    /// Notes a problem at this byte.
    pub(super) fn problem(&self, at: usize, what: impl Into<String>) {
        let line = self.text.as_bytes()[..at.min(self.text.len())].iter().filter(|byte| **byte == b'\n').count() + 1;
        self.problems.borrow_mut().push(Problem { line, what: what.into() });
    }

    /// What is wrong, by line.
    pub(super) fn problems(self) -> Vec<Problem> {
        let mut problems = self.problems.into_inner();
        problems.sort_by_key(|problem| problem.line);
        problems.dedup();
        problems
    }
}

/// One table of the file.
pub(super) struct Section<'t, 'v> {
    text: &'t Text<'t>,
    table: Option<&'v DeTable<'v>>,
    name: String,
    /// Where it begins.
    pub at: usize,
    known: RefCell<Vec<&'static str>>,
}

impl<'t, 'v> Section<'t, 'v> {
    /// The table of the whole file.
    pub(super) fn root(text: &'t Text<'t>, table: &'v DeTable<'v>) -> Self {
        Self { text, table: Some(table), name: String::new(), at: 0, known: RefCell::default() }
    }

    fn within(&self, key: &str, value: &'v Spanned<DeValue<'v>>) -> Option<Self> {
        let at = value.span().start;
        match value.get_ref().as_table() {
            Some(table) => {
                Some(Self { text: self.text, table: Some(table), name: self.called(key), at, known: RefCell::default() })
            }
            None => {
                self.text.problem(at, format!("{} is a table", self.called(key)));
                None
            }
        }
    }

    fn called(&self, key: &str) -> String {
        if self.name.is_empty() { key.to_owned() } else { format!("{}.{key}", self.name) }
    }

    fn value(&self, key: &'static str) -> Option<&'v Spanned<DeValue<'v>>> {
        self.known.borrow_mut().push(key);
        self.table?.iter().find(|(name, _)| name.get_ref() == key).map(|(_, value)| value)
    }

    /// Notes a problem with a key, or with the table when the key is not there.
    pub(super) fn problem(&self, key: &'static str, what: impl fmt::Display) {
        let at = self
            .table
            .and_then(|table| table.iter().find(|(name, _)| name.get_ref() == key))
            .map(|(_, value)| value.span().start);
        self.text.problem(at.unwrap_or(self.at), format!("{}: {what}", self.called(key)));
    }

    /// Whether the key is there.
    pub(super) fn has(&self, key: &'static str) -> bool {
        self.value(key).is_some()
    }

    fn read<T>(&self, key: &'static str, expected: &str, read: impl FnOnce(&'v DeValue<'v>) -> Option<T>) -> Option<T> {
        let value = self.value(key)?;
        let found = read(value.get_ref());
        if found.is_none() {
            self.problem(key, format_args!("expected {expected}"));
        }
        found
    }

    /// A table in this one; one without keys when it is not there.
    pub(super) fn section(&self, key: &'static str) -> Self {
        let there = self.value(key).and_then(|value| self.within(key, value));
        there.unwrap_or_else(|| Self {
            text: self.text,
            table: None,
            name: self.called(key),
            at: self.at,
            known: RefCell::default(),
        })
    }

    /// A table in this one that need not be there.
    pub(super) fn optional(&self, key: &'static str) -> Option<Self> {
        self.value(key).and_then(|value| self.within(key, value))
    }

    /// A list of tables.
    pub(super) fn sections(&self, key: &'static str) -> Vec<Self> {
        let Some(value) = self.value(key) else { return Vec::new() };
        let Some(list) = value.get_ref().as_array() else {
            self.problem(key, format_args!("expected [[{key}]] tables"));
            return Vec::new();
        };
        list.iter().filter_map(|value| self.within(key, value)).collect()
    }

    pub(super) fn text(&self, key: &'static str) -> Option<String> {
        self.read(key, "a text that is not empty", |value| value.as_str().filter(|text| !text.is_empty()).map(str::to_owned))
    }

    /// A text that must be there.
    pub(super) fn required(&self, key: &'static str) -> String {
        if !self.has(key) {
            self.problem(key, "is missing");
        }
        self.text(key).unwrap_or_default()
    }

    pub(super) fn texts(&self, key: &'static str) -> Option<Vec<String>> {
        self.read(key, "a list of texts", |value| {
            value.as_array()?.iter().map(|value| value.get_ref().as_str().map(str::to_owned)).collect()
        })
    }

    pub(super) fn flag(&self, key: &'static str, default: bool) -> bool {
        self.read(key, "true or false", DeValue::as_bool).unwrap_or(default)
    }

    /// A whole number in a range.
    pub(super) fn count(&self, key: &'static str, default: usize, range: RangeInclusive<usize>) -> usize {
        let expected = format!("a whole number from {} to {}", range.start(), range.end());
        let read = |value: &DeValue<'_>| {
            let digits = value.as_integer()?;
            usize::from_str_radix(digits.as_str(), digits.radix()).ok().filter(|number| range.contains(number))
        };
        self.read(key, &expected, read).unwrap_or(default)
    }

    /// A duration such as `"200ms"`, in a range.
    pub(super) fn duration(&self, key: &'static str, default: Duration, range: RangeInclusive<Duration>) -> Duration {
        let shown = humantime::format_duration;
        let expected =
            format!("a duration such as \"{}\", from {} to {}", shown(default), shown(*range.start()), shown(*range.end()));
        let read = |value: &DeValue<'_>| humantime::parse_duration(value.as_str()?).ok().filter(|length| range.contains(length));
        self.read(key, &expected, read).unwrap_or(default)
    }

    /// Notes the keys that nobody asked for.
    pub(super) fn done(&self) {
        let known = self.known.borrow();
        for (name, _) in self.table.iter().flat_map(|table| table.iter()) {
            let key = name.get_ref().as_ref();
            if !known.contains(&key) {
                let near = known.iter().max_by(|a, b| strsim::jaro_winkler(a, key).total_cmp(&strsim::jaro_winkler(b, key)));
                let hint = match near.filter(|near| strsim::jaro_winkler(near, key) > 0.8) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => format!("known here: {}", known.join(", ")),
                };
                self.text.problem(name.span().start, format!("{}: there is no such key; {hint}", self.called(key)));
            }
        }
    }
}
