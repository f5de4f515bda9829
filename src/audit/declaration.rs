//! The facts file: which rows to compare, what their columns are, and which damage has which cause.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;
use toml::Spanned;

use super::Cause;
use super::cause::{Condition, Written as WrittenCause};
use crate::sql::{QualifiedName, split};
use crate::terms::Fingerprint;

/// Columns that every query gives, beside the declared fields.
pub(super) const FIXED: [&str; 3] = ["key", "state", "valid"];

/// A facts file.
#[derive(Debug, Clone)]
pub struct Declaration {
    /// What it is about.
    pub describes: String,
    /// The sets of rows, in the order of the file.
    pub sets: Vec<Facts>,
}

/// One set of rows that both sides give.
#[derive(Debug, Clone)]
pub struct Facts {
    /// Its name: `sessions`.
    pub name: String,
    /// The query on blue.
    pub blue: String,
    /// The query on green.
    pub green: String,
    /// The columns beside key, state and valid.
    pub fields: Vec<Field>,
    /// Rules that name causes; the first that fits counts.
    pub causes: Vec<Cause>,
}

/// A column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    /// Its name.
    pub name: String,
    /// How it is compared.
    pub kind: FieldKind,
}

/// How a field is compared, and the SQL type it must have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FieldKind {
    /// `text`: equal or not.
    Text,
    /// `text[]`: as a set.
    Set,
    /// `timestamptz`: equal or not, to the microsecond.
    Time,
    /// `timestamptz`: when a valid row stops being good; NULL never.
    End,
    /// `boolean`.
    Flag,
    /// `text`: the row it belongs to; NULL on green where blue has one is an unlinked row.
    Link,
    /// `text`: for rules alone; a side may leave it out.
    Evidence,
}

impl FieldKind {
    /// The types it may have, the first as it is asked for.
    pub(super) fn types(self) -> &'static [&'static str] {
        match self {
            FieldKind::Text | FieldKind::Link | FieldKind::Evidence => &["text", "varchar", "name"],
            FieldKind::Set => &["_text", "_varchar"],
            FieldKind::Time | FieldKind::End => &["timestamptz"],
            FieldKind::Flag => &["bool"],
        }
    }
}

/// One thing wrong with a facts file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flaw {
    /// The line, from 1, when it can be told.
    pub line: Option<usize>,
    /// What is wrong and what was expected.
    pub what: String,
}

impl Facts {
    /// Changes with the query on blue and with the fields: facts saved under another one are not comparable.
    pub(super) fn fingerprint(&self) -> Fingerprint {
        let fields: Vec<String> = self.fields.iter().map(|field| format!("{} {:?}", field.name, field.kind)).collect();
        Fingerprint::of([self.blue.as_bytes()].into_iter().chain(fields.iter().map(String::as_bytes)))
    }

    /// The tables that its query on this text names.
    pub fn relations(query: &str) -> Vec<QualifiedName> {
        let statements = split(query).unwrap_or_default();
        statements
            .iter()
            .flat_map(|statement| statement.touches().unwrap_or_default())
            .map(|touch| touch.relation.clone())
            .collect()
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    describes: String,
    #[serde(default)]
    facts: Vec<Spanned<SetFile>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SetFile {
    name: String,
    blue: String,
    green: String,
    #[serde(default)]
    fields: toml::Table,
    #[serde(default)]
    cause: Vec<Spanned<WrittenCause>>,
}

/// Reads a facts file; also gives its content, for a plan's fingerprint.
///
/// # Errors
/// Every flaw at once.
pub fn load(path: &Path) -> Result<(Declaration, Vec<u8>), Vec<Flaw>> {
    let whole = |what: String| vec![Flaw { line: None, what }];
    let text = std::fs::read_to_string(path).map_err(|e| whole(format!("cannot be read: {e}")))?;
    Ok((parse(&text)?, text.into_bytes()))
}

fn parse(text: &str) -> Result<Declaration, Vec<Flaw>> {
    let line = |byte: usize| Some(text.as_bytes()[..byte.min(text.len())].iter().filter(|b| **b == b'\n').count() + 1);
    let file: File = toml::from_str(text)
        .map_err(|e| vec![Flaw { line: e.span().and_then(|span| line(span.start)), what: e.message().to_owned() }])?;
    let mut flaws = Vec::new();
    if file.facts.is_empty() {
        flaws.push(Flaw { line: None, what: "has no [[facts]]".to_owned() });
    }
    let mut sets: Vec<Facts> = Vec::new();
    for written in file.facts {
        let at = line(written.span().start);
        let set = written.into_inner();
        let mut flaw =
            |at: Option<usize>, what: String| flaws.push(Flaw { line: at, what: format!("facts {}: {what}", set.name) });
        if set.name.is_empty() || sets.iter().any(|known| known.name == set.name) {
            flaw(at, "the name is empty or taken by facts before".to_owned());
        }
        for (side, query) in [("blue", &set.blue), ("green", &set.green)] {
            match split(query) {
                Ok(statements) if statements.len() == 1 => {}
                Ok(statements) => flaw(at, format!("`{side}` holds {} statements; one query is expected", statements.len())),
                Err(faults) => {
                    let why = faults.first().map(|fault| fault.what.clone()).unwrap_or_default();
                    flaw(at, format!("`{side}` is no SQL: {why}"));
                }
            }
        }
        let mut fields = Vec::new();
        for (name, kind) in &set.fields {
            match kind.clone().try_into::<FieldKind>() {
                _ if FIXED.contains(&name.as_str()) => flaw(at, format!("`{name}` is there anyway and no field")),
                Ok(kind) => fields.push(Field { name: name.clone(), kind }),
                Err(_) => flaw(at, format!("field {name}: the kinds are text, set, time, end, flag, link, evidence")),
            }
        }
        if fields.iter().filter(|field| field.kind == FieldKind::End).count() > 1 {
            flaw(at, "more than one field of kind `end`".to_owned());
        }
        let mut causes = Vec::new();
        for cause in set.cause {
            let at = line(cause.span().start);
            match cause.into_inner().check(&fields) {
                Ok(cause) => causes.push(cause),
                Err(more) => more.into_iter().for_each(|what| flaw(at, what)),
            }
        }
        sets.push(Facts { name: set.name.clone(), blue: set.blue, green: set.green, fields, causes });
    }
    if flaws.is_empty() { Ok(Declaration { describes: file.describes, sets }) } else { Err(flaws) }
}

/// Conditions as written: column → one value or several.
pub(super) fn conditions(written: &toml::Table, fields: &[Field]) -> Result<Condition, Vec<String>> {
    let (mut wanted, mut wrong) = (BTreeMap::new(), Vec::new());
    for (column, value) in written {
        let known = FIXED[1..].contains(&column.as_str()) || fields.iter().any(|field| field.name == *column);
        if !known {
            wrong.push(format!("a condition names {column}, which is no field, nor `state` or `valid`"));
        }
        let text = |value: &toml::Value| match value {
            toml::Value::String(text) => Some(text.clone()),
            toml::Value::Boolean(flag) => Some(flag.to_string()),
            _ => None,
        };
        let values: Option<Vec<String>> = match value {
            toml::Value::Array(values) => values.iter().map(text).collect(),
            one => text(one).map(|one| vec![one]),
        };
        match values {
            Some(values) => drop(wanted.insert(column.clone(), values)),
            None => wrong.push(format!("the condition on {column} is no text, boolean, or list of them")),
        }
    }
    if wrong.is_empty() { Ok(Condition(wanted)) } else { Err(wrong) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
describes = "a shop"
[[facts]]
name = "orders"
blue = "SELECT id AS key, 'open' AS state, true AS valid, tags, NULL::timestamptz AS until FROM orders"
green = "SELECT id AS key, 'open' AS state, true AS valid, tags, NULL::timestamptz AS until FROM orders"
fields = { tags = "set", until = "end" }
[[facts.cause]]
class = "changed"
field = "tags"
green = { tags = "(none)", valid = true }
cause = "lists were cut"
users_see = "no tags"
"#;

    #[test]
    fn a_file_gives_its_sets() {
        let declared = parse(GOOD).unwrap();
        assert_eq!(declared.sets[0].fields.len(), 2);
        assert_eq!(Facts::relations(&declared.sets[0].blue), [QualifiedName::bare("orders")]);
    }

    #[test]
    fn every_flaw_is_found_at_once() {
        let bad = GOOD
            .replace("until = \"end\"", "until = \"date\", key = \"text\"")
            .replace("field = \"tags\"", "field = \"nothing\"")
            .replace("FROM orders\"\nfields", "FROM orders; SELECT 1\"\nfields")
            .replace("valid = true }", "valid = 3 }");
        let flaws = parse(&bad).unwrap_err();
        assert_eq!(flaws.len(), 5, "{flaws:#?}");
        assert!(parse("describes = 1").unwrap_err()[0].line == Some(1));
    }

    #[test]
    fn the_shipped_facts_have_no_flaw() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("plans/audit");
        let mut seen = 0;
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "toml") {
                load(&path).unwrap_or_else(|flaws| panic!("{}: {flaws:?}", path.display()));
                seen += 1;
            }
        }
        assert!(seen > 0);
    }
}
