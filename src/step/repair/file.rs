//! The repairs file: which rows of which tables are damaged, and where the right ones come from.

use std::path::Path;

use serde::Deserialize;
use toml::Spanned;

use crate::projection::ProjectionSet;
use crate::sql::{Ident, QualifiedName};

/// One table to repair.
#[derive(Debug)]
pub(super) struct Mend {
    /// The table of green.
    pub table: QualifiedName,
    /// Kept with each row that is set aside.
    pub reason: String,
    /// Columns that get the right values where they differ.
    pub update: Vec<Ident>,
    /// Rows of green that may be changed: those that still are as the damage left them.
    pub only: Option<String>,
    /// Rows that may be made, of the right ones under the table's name.
    pub insert_only: Option<String>,
    /// Where the right rows come from.
    pub right: Right,
    /// Where it stands in its file, from 1.
    pub line: usize,
}

/// Where the right rows come from.
#[derive(Debug)]
pub(super) enum Right {
    /// The projection of the table; rows of these sources are made where they are not there.
    Projected { insert_from: Vec<String> },
    /// Queries on green: `rows` gives key and `update`, `insert` whole rows.
    Declared { key: Vec<Ident>, rows: Option<String>, insert: Option<String> },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    table: Vec<Spanned<Written>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    table: QualifiedName,
    reason: String,
    #[serde(default)]
    update: Vec<Ident>,
    only: Option<String>,
    #[serde(default)]
    insert_from: Vec<String>,
    insert_only: Option<String>,
    key: Option<Vec<Ident>>,
    rows: Option<String>,
    insert: Option<String>,
}

/// A flaw and its line, from 1.
pub(super) type Flaw = (Option<usize>, String);

/// Reads a repairs file; also gives its content, for the fingerprint.
///
/// # Errors
/// Every flaw at once.
pub(super) fn load(path: &Path) -> Result<(Vec<Mend>, Vec<u8>), Vec<Flaw>> {
    let text = std::fs::read_to_string(path).map_err(|e| vec![(None, format!("cannot be read: {e}"))])?;
    Ok((parse(&text)?, text.into_bytes()))
}

fn parse(text: &str) -> Result<Vec<Mend>, Vec<Flaw>> {
    let line = |byte: usize| text.as_bytes()[..byte.min(text.len())].iter().filter(|b| **b == b'\n').count() + 1;
    let file: File = toml::from_str(text).map_err(|e| vec![(e.span().map(|span| line(span.start)), e.message().to_owned())])?;
    let (mut mends, mut flaws): (Vec<Mend>, Vec<Flaw>) = (Vec::new(), Vec::new());
    if file.table.is_empty() {
        flaws.push((None, "has no [[table]]".to_owned()));
    }
    for written in file.table {
        let at = line(written.span().start);
        let Written { table, reason, update, only, insert_from, insert_only, key, rows, insert } = written.into_inner();
        let mut flaw = |what: &str| flaws.push((Some(at), format!("table {}: {what}", table.plain())));
        if mends.iter().any(|known| known.table == table) {
            flaw("stands in this file before");
        }
        if reason.trim().is_empty() {
            flaw("`reason` is empty");
        }
        if !update.is_empty() && only.is_none() {
            flaw("`update` needs `only`: which rows still are as the damage left them; others were changed by somebody");
        }
        if update.is_empty() && only.is_some() {
            flaw("`only` belongs to `update`");
        }
        let declared = rows.is_some() || insert.is_some();
        if update.is_empty() && insert_from.is_empty() && insert.is_none() {
            flaw("gives neither `update` nor `insert_from` nor `insert`: nothing to repair");
        }
        if declared && !insert_from.is_empty() {
            flaw("`insert_from` belongs to projections, not to `rows` and `insert`");
        }
        if declared && rows.is_some() == update.is_empty() {
            flaw("`rows` and `update` come together: the right values, and the columns that get them");
        }
        if declared && key.is_none() {
            flaw("`rows` and `insert` need `key`");
        }
        if !declared && key.is_some() {
            flaw("`key` belongs to `rows` and `insert`; a projection names its own");
        }
        let makes = !insert_from.is_empty() || insert.is_some();
        if insert_only.is_some() && !makes {
            flaw("`insert_only` belongs to `insert_from` or `insert`");
        }
        let right = match declared {
            true => Right::Declared { key: key.unwrap_or_default(), rows, insert },
            false => Right::Projected { insert_from },
        };
        mends.push(Mend { table, reason, update, only, insert_only, right, line: at });
    }
    if flaws.is_empty() { Ok(mends) } else { Err(flaws) }
}

impl Mend {
    /// Whether the right rows come from a projection.
    pub fn projected(&self) -> bool {
        matches!(self.right, Right::Projected { .. })
    }

    /// The columns that name a row.
    pub fn key<'a>(&'a self, set: &'a ProjectionSet) -> Option<&'a [Ident]> {
        match &self.right {
            Right::Declared { key, .. } => Some(key),
            Right::Projected { .. } => {
                set.projections.iter().find(|projection| projection.table == self.table).map(|found| found.key.as_slice())
            }
        }
    }

    /// The queries on green, by the key of the file.
    pub fn queries(&self) -> Vec<(&'static str, &str)> {
        match &self.right {
            Right::Projected { .. } => Vec::new(),
            Right::Declared { rows, insert, .. } => {
                let rows = rows.as_deref().map(|query| ("rows", query));
                rows.into_iter().chain(insert.as_deref().map(|query| ("insert", query))).collect()
            }
        }
    }

    /// What does not fit these projections.
    pub fn against(&self, set: &ProjectionSet) -> Vec<String> {
        let Right::Projected { insert_from } = &self.right else { return Vec::new() };
        let table = self.table.plain();
        let Some(projection) = set.projections.iter().find(|projection| projection.table == self.table) else {
            return vec![format!("table {table} has no projection: name their directory with `projections`, or give `rows`")];
        };
        let named =
            |column: &&Ident| projection.sources.iter().any(|source| source.columns.iter().any(|(name, _)| name == *column));
        let columns = self.update.iter().filter(|column| !named(column));
        let sources = insert_from.iter().filter(|name| projection.sources.iter().all(|source| source.name != **name));
        columns
            .map(|column| format!("the projection of {table} does not fill {}", column.as_str()))
            .chain(sources.map(|name| format!("the projection of {table} has no source {name}")))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_changed_that_is_not_called_damaged() {
        let flaws = |text: &str| parse(text).err().map_or(0, |flaws| flaws.len());
        let base = "[[table]]\ntable = 't'\nreason = 'r'\n";
        assert_eq!(flaws(&format!("{base}update = ['a']\nonly = 'a = 1'")), 0);
        assert_eq!(flaws(&format!("{base}insert_from = ['s']")), 0);
        assert_eq!(flaws(&format!("{base}key = ['id']\nrows = 'SELECT'\nupdate = ['a']\nonly = 'true'")), 0);
        assert_eq!(flaws(&format!("{base}update = ['a']")), 1);
        assert_eq!(flaws(base), 1);
        assert_eq!(flaws(&format!("{base}insert = 'SELECT'\ninsert_from = ['s']\ninsert_only = 'x'")), 2);
        assert_eq!(flaws(""), 1);
    }
}
