//! `set = { column = "expression" }` of a plan, and what can be said about it before any database is asked.

use crate::pg::Session;
use crate::sql::Ident;
use crate::step::Fault;
use crate::terms::{Finding, Severity};

use super::keyed_table::KeyedTable;
use super::set_aside::assignments;

/// Columns and the SQL expressions they are set to, in the plan's order.
pub(in crate::step) type Set = Vec<(Ident, String)>;

/// Reads `key` of a plan.
///
/// # Errors
/// One fault per value that is not a string, and one when there is no column at all.
pub(in crate::step) fn read(key: &str, table: &toml::Table) -> Result<Set, Vec<Fault>> {
    let mut faults = Vec::new();
    let mut set = Vec::new();
    for (column, value) in table {
        match value.as_str().filter(|text| !text.trim().is_empty()) {
            Some(expression) => set.push((Ident::new(column.as_str()), expression.to_owned())),
            None => faults.push(Fault::key(key, format!("`{key}.{column}` must be a string that holds an SQL expression"))),
        }
    }
    if table.is_empty() {
        faults.push(Fault::key(key, format!("`{key}` names no column; expected {{ column = \"expression\" }}")));
    }
    if faults.is_empty() { Ok(set) } else { Err(faults) }
}

/// Whether `condition` states at its top level that `column` is NULL: `... AND column IS NULL AND ...`. Says no when in doubt.
pub(in crate::step) fn states_null(condition: &str, column: &Ident) -> bool {
    let Some(words) = words(condition) else { return false };
    let any = |word: &str| words.iter().any(|w| w.eq_ignore_ascii_case(word));
    if any("or") || any("between") || any("case") {
        return false;
    }
    words.split(|word| word.eq_ignore_ascii_case("and")).any(|part| {
        matches!(part, [name, is, null]
            if is.eq_ignore_ascii_case("is") && null.eq_ignore_ascii_case("null")
                && (*name == column.to_string() || (name.to_ascii_lowercase() == column.as_str() && !name.starts_with('"'))))
    })
}

/// Words outside of parentheses; a quoted name is one word, anything in parentheses is the word `()`. `None` for texts
/// with comments or unbalanced marks.
fn words(text: &str) -> Option<Vec<String>> {
    if text.contains("--") || text.contains("/*") || text.contains('$') {
        return None;
    }
    let (mut words, mut word, mut depth, mut quote) = (Vec::new(), String::new(), 0u32, None);
    for c in text.chars() {
        match (quote, c) {
            (Some(open), c) => {
                word.push(c);
                if c == open {
                    quote = None;
                }
            }
            (None, '\'' | '"') => {
                word.push(c);
                quote = Some(c);
            }
            (None, '(') => depth += 1,
            (None, ')') => {
                depth = depth.checked_sub(1)?;
                if depth == 0 {
                    word = format!("{}()", word);
                }
            }
            (None, c) if depth == 0 && c.is_whitespace() => words.push(std::mem::take(&mut word)),
            (None, c) => word.push(c),
        }
        if depth > 0 {
            word.clear();
        }
    }
    words.push(word);
    words.retain(|word| !word.is_empty());
    (depth == 0 && quote.is_none()).then_some(words)
}

/// What speaks against setting these columns of this table; asks the server whether the expressions fit.
///
/// # Errors
/// The server's words when an expression does not fit its column.
pub(in crate::step) async fn check(session: &Session, table: &KeyedTable, set: &Set) -> anyhow::Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for (column, _) in set {
        let why = if !table.has(column) {
            "is not a column of the table"
        } else if table.key.iter().any(|key| key.name == *column) {
            "belongs to the key the rows are walked by"
        } else if table.columns.iter().any(|known| known.name == *column && known.generated) {
            "is a generated column"
        } else {
            continue;
        };
        findings.push(Finding {
            severity: Severity::Blocks,
            object: table.name.plain(),
            what: format!("`set` names {column}, which {why}"),
            next: "name another column in `set`, or another unique index with `key`".to_owned(),
        });
    }
    if findings.is_empty() {
        let sql = format!("UPDATE {} SET {} WHERE false", table.name, assignments(set));
        session.prepare(&sql).await.map_err(|e| anyhow::Error::from(e).context("an expression of `set` does not fit"))?;
    }
    Ok(findings)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_plain_conjunct_states_null() {
        let nid = Ident::new("nid");
        for yes in ["nid IS NULL", "a = 'x or y' AND nid is  null", "(a OR b) and NID IS NULL", "\"nid\" IS NULL AND b"] {
            assert!(states_null(yes, &nid), "{yes}");
        }
        for no in [
            "nid IS NOT NULL",
            "nid IS NULL OR a",
            "NOT nid IS NULL",
            "(nid IS NULL)",
            "\"NID\" IS NULL",
            "a IS NULL -- nid IS NULL",
            "a AND b BETWEEN 1 AND nid IS NULL",
            "f(nid IS NULL",
            "other IS NULL",
        ] {
            assert!(!states_null(no, &nid), "{no}");
        }
    }

    #[test]
    fn values_must_be_expressions() {
        let table: toml::Table = toml::from_str("a = 'b + 1'\nc = 3").unwrap();
        assert_eq!(read("set", &table).unwrap_err().len(), 1);
        assert!(read("set", &toml::Table::new()).is_err());
    }
}
