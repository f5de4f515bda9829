//! `clean_rows` steps, and changes of projections, for what was found, to be reviewed. Pure.

use super::definitions::TableKey;
use super::rows::Rows;
use crate::sql::Ident;

/// What ends a finding.
#[derive(Debug, Clone)]
pub(super) struct Fix {
    /// The condition of the rows.
    pub condition: String,
    /// The column that gets another value, and the value; none: such rows have to go.
    pub mend: Option<(Ident, String)>,
}

impl Fix {
    /// Rows that have to go.
    pub fn going(condition: impl Into<String>) -> Self {
        Self { condition: condition.into(), mend: None }
    }
}

/// A step as TOML. Without a condition that finds the rows, or a key that names them, it is a comment.
pub(super) fn clean_rows(rows: &Rows, key: &TableKey, reason: &str, count: u64, fix: Option<&Fix>) -> String {
    let table = rows.table.plain();
    let Some(Fix { condition, mend }) = fix else {
        return format!(
            "# {}: {reason}\n# No condition in SQL finds exactly these rows: look at them and write the step by hand.\n",
            rows.label
        );
    };
    let text = |value: &str| toml::Value::String(value.to_owned()).to_string();
    let named = match (key.columns.is_empty(), key.primary) {
        (true, _) => {
            return format!(
                "# {}: {reason}\n# Nothing names single rows of it: a clean_rows step needs a unique index on NOT NULL columns (create_index,\n\
                 # unique = true) and its columns in `key`.\n",
                rows.label
            );
        }
        (_, true) => String::new(),
        (_, false) => {
            let columns: Vec<String> = key.columns.iter().map(|column| text(column.as_str())).collect();
            format!("key = [{}]\n", columns.join(", "))
        }
    };
    let condition = condition.replace('\n', "");
    let action = match mend {
        Some((column, value)) => format!("set = {{ {} = {} }}", text(column.as_str()), text(value)),
        None => "delete = true".to_owned(),
    };
    let id = format!("clean-{}", crate::terms::key_digest(&format!("{table} {condition}")));
    format!(
        "[[step]]\nid = {}\nphase = \"expand\"\nkind = \"clean_rows\"\nside = \"{}\"\ntable = {}\n{named}where = {}\nreason = {}\n\
         max_rows = {count}\n{action}\n",
        text(&id),
        rows.side,
        text(&table),
        text(&condition),
        text(reason)
    )
}

/// What to change in a projection's file so that the rows come along mended, or are left out; blue stays as it is, and a run
/// accounts for what is left out. `fix` is about green's columns: each stands for its expression in a sub-select. Without one it is
/// a comment.
pub(super) fn projection(rows: &Rows, what: &str, fix: Option<&Fix>) -> String {
    let Some(fix) = fix else {
        return format!("# {}: {what}\n# Correct its expressions or its `where`; blue stays as it is.\n", rows.label);
    };
    let how = if fix.mend.is_some() { "They come along mended" } else { "They are left out; blue stays as it is" };
    let mut out = format!("# {}: {what}\n# {how} when its file says, beside what it says already:\n", rows.label);
    for source in &rows.sources {
        let asked = format!("{} {}", fix.condition, fix.mend.as_ref().map_or("", |(_, value)| value));
        let one = source.named_in(&asked).map(|(name, expression)| format!("({}) AS {name}", expression.trim()));
        let one = format!("(SELECT {}) AS one", one.collect::<Vec<_>>().join(", "));
        out += &format!("# [[source]] {}\n", source.alias.as_str());
        let text = |text: String| toml::Value::String(text).to_string();
        match &fix.mend {
            Some((column, value)) => {
                let value = format!("(SELECT CASE WHEN {} THEN {value} ELSE {column} END FROM {one})", fix.condition.trim());
                out += &format!("[source.columns]\n{} = {}\n", column.as_str(), text(value));
            }
            None => {
                let own = source.filter.as_ref().map_or(String::new(), |filter| format!("({}) AND ", filter.trim()));
                let value = format!("{own}NOT EXISTS (SELECT FROM {one} WHERE {})", fix.condition.trim());
                out += &format!("where = {}\n", text(value));
            }
        }
    }
    out
}
