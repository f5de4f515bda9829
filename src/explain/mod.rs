//! What a code means and what to do: exit codes, SQLSTATEs, preflight checks, rules of `lint`, step kinds. One source for
//! `crossfade explain` and docs/codes.md.

mod checks;
mod exits;
mod sqlstates;

use crate::lint::render::page as lint_page;
use crate::lint::rules;
use crate::step::KINDS;
use crate::suggest::nearest;

const REFERENCE: &str = include_str!("../../plans/reference.md");

/// A code that is explained here.
#[derive(Debug, Clone, Copy)]
pub struct Entry {
    /// As commands print it.
    pub code: &'static str,
    /// What it means, a sentence or two.
    pub means: &'static str,
    /// What to do then.
    pub next: &'static str,
}

/// The codes explained here, by sort, in the order of docs/codes.md.
pub const SECTIONS: [(&str, &[Entry]); 4] = [
    ("Exit codes", exits::EXITS),
    ("SQLSTATEs", sqlstates::SQLSTATES),
    ("Preflight: rows", checks::ROWS),
    ("Preflight: surroundings", checks::SURROUNDINGS),
];

/// What an error text says of a resource that the server lacks (SQLSTATE class 53) or of writes that it refuses (25006): its meaning and
/// what to do, for the end of a message.
pub fn advice(text: &str) -> Option<String> {
    let code = text.split("(SQLSTATE ").skip(1).filter_map(|rest| rest.split(')').next());
    let code = code.into_iter().find(|code| code.starts_with("53") || *code == "25006")?;
    let entry = sqlstates::SQLSTATES.iter().find(|entry| entry.code == code)?;
    Some(format!("{} {}", entry.means, entry.next))
}

/// The text about a code.
///
/// # Errors
/// For a code that is not known: the nearest one, or the sorts of codes there are.
pub fn explain(code: &str) -> Result<String, String> {
    let wanted = code.to_lowercase().replace('_', "-");
    for (sort, entries) in SECTIONS {
        if let Some(entry) = entries.iter().find(|entry| entry.code.to_lowercase().replace('_', "-") == wanted) {
            return Ok(format!("{} ({})\n\n{}\n\nnext: {}\n", entry.code, one(sort), entry.means, entry.next));
        }
    }
    if let Some(rule) = rules::find(&wanted) {
        return Ok(lint_page::page(rule));
    }
    if let Some(kind) = KINDS.iter().find(|kind| kind.name.replace('_', "-") == wanted) {
        let (_, rest) = REFERENCE.split_once(&format!("\n## {}\n", kind.name)).unwrap_or_default();
        return Ok(format!("{} (step kind)\n\n{}\n", kind.name, rest.split("\n## ").next().unwrap_or_default().trim()));
    }
    match nearest(code, codes()) {
        Some(near) => Err(format!("`{code}` is no code that is explained: did you mean {near}? (crossfade explain --list)")),
        None => Err(format!(
            "`{code}` is no exit code, SQLSTATE that crossfade meets, preflight check, rule of lint or step kind: \
             crossfade explain --list has all"
        )),
    }
}

/// Every code, in one order.
pub fn codes() -> impl Iterator<Item = &'static str> {
    let here = SECTIONS.into_iter().flat_map(|(_, entries)| entries.iter().map(|entry| entry.code));
    here.chain(rules::all().map(|rule| rule.id)).chain(KINDS.iter().map(|kind| kind.name))
}

/// All codes with a line each, for a terminal.
pub fn list() -> String {
    let mut out = String::new();
    for (sort, entries) in SECTIONS {
        out += &format!("{sort}\n");
        entries.iter().for_each(|entry| out += &format!("  {:<28} {}\n", entry.code, first(entry.means)));
    }
    out += "Rules of lint\n";
    rules::all().for_each(|rule| out += &format!("  {:<28} {}\n", rule.id, rule.title));
    out += "Step kinds\n";
    KINDS.iter().for_each(|kind| out += &format!("  {:<28} {}\n", kind.name, kind.about));
    out
}

/// docs/codes.md.
pub fn page() -> String {
    let mut out = String::from(
        "# Codes\n\nGenerated (tests/it/explain.rs holds this page to the program); `crossfade explain CODE` prints one. The rules of \
         `crossfade lint` are in [lint/](lint/README.md), the step kinds in [plans/reference.md](../plans/reference.md).\n",
    );
    for (sort, entries) in SECTIONS {
        out += &format!("\n## {sort}\n\n| code | means | next |\n| --- | --- | --- |\n");
        entries.iter().for_each(|entry| out += &format!("| `{}` | {} | {} |\n", entry.code, entry.means, entry.next));
    }
    out
}

/// The first sentence, without its full stop.
fn first(text: &str) -> &str {
    text.split(". ").next().unwrap_or_default().trim_end_matches('.')
}

/// What one code of a section is.
fn one(section: &str) -> &str {
    match section {
        "Exit codes" => "exit code",
        "SQLSTATEs" => "SQLSTATE",
        _ => "preflight check",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_sort_of_code_is_explained() {
        for (code, said) in [
            ("11", "resuming"),
            ("55P03", "lock_timeout"),
            ("55p03", "lock_timeout"),
            ("not_null", "NULL"),
            ("not-null", "NULL"),
            ("long-transactions", "pg_stat_activity"),
            ("drop-column", "Silence it"),
            ("set_not_null", "Undo:"),
        ] {
            let text = explain(code).unwrap();
            assert!(text.contains(said), "{code}: {text}");
        }
        assert!(explain("log-transactions").unwrap_err().contains("did you mean long-transactions"));
        assert!(explain("?").unwrap_err().contains("--list"));
    }

    #[test]
    fn a_lack_is_explained_where_a_message_ends() {
        let said = advice("write on green: could not extend file (SQLSTATE 53100), table t").unwrap();
        assert!(said.starts_with("The server's disk is full. Make room"), "{said}");
        assert_eq!(advice("duplicate key (SQLSTATE 23505)"), None);
        assert_eq!(advice("connection closed"), None);
    }

    #[test]
    fn no_code_is_there_twice() {
        let mut all: Vec<String> = codes().map(|code| code.to_lowercase().replace('_', "-")).collect();
        all.sort();
        let before = all.len();
        all.dedup();
        assert_eq!(all.len(), before);
    }
}
