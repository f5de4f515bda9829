//! Values and names come into SQL through `Literal`, `Ident` and `QualifiedName` alone, which quote what needs it: no template of a
//! statement puts something between quotes of its own. This reads every template of `src/`.

use std::path::Path;

use crate::layers::rust_files;

/// Words that make a template SQL.
const VERBS: [&str; 14] = [
    "SELECT ",
    "INSERT INTO ",
    "UPDATE ",
    "DELETE FROM ",
    "ALTER ",
    "CREATE ",
    "DROP ",
    "SET ",
    "LOCK TABLE ",
    "TRUNCATE ",
    "COMMENT ON ",
    "GRANT ",
    "REVOKE ",
    "COPY ",
];

/// Templates that are no SQL though they speak of it.
const OTHER: [(&str, &str); 1] = [("src/projection/rules.rs", "say which rows: ")];

/// A string literal of a source file that a macro fills in.
#[derive(Debug, PartialEq, Eq)]
struct Template {
    line: usize,
    text: String,
}

/// The templates of a Rust file: literals that come first in a macro call, or after a first argument, as those of `write!` do.
fn templates(source: &str) -> Vec<Template> {
    let (bytes, mut found, mut at) = (source.as_bytes(), Vec::new(), 0);
    while at < bytes.len() {
        let rest = &source[at..];
        if rest.starts_with("//") {
            at += rest.find('\n').unwrap_or(rest.len());
        } else if bytes[at] == b'\'' {
            // A character or a lifetime.
            let escaped = usize::from(rest[1..].starts_with('\\'));
            let width = rest[1 + escaped..].chars().next().map_or(0, char::len_utf8);
            let end = 1 + escaped + width;
            at += if rest.get(end..).is_some_and(|after| after.starts_with('\'')) { end + 1 } else { 1 };
        } else if let Some((open, close)) = raw(rest).or_else(|| (bytes[at] == b'"').then(|| (1, "\"".to_owned()))) {
            let (from, plain) = (at + open, open == 1);
            let mut end = from;
            while !source[end..].starts_with(&close) {
                end += if plain && bytes[end] == b'\\' { 2 } else { source[end..].chars().next().map_or(1, char::len_utf8) };
            }
            if is_filled_in(&source[..at]) {
                let line = source[..at].matches('\n').count() + 1;
                let text = source[from..end].to_owned();
                found.push(Template { line, text: if plain { text.replace("\\\"", "\"") } else { text } });
            }
            at = end + close.len();
        } else {
            at += source[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    found
}

/// The length of a raw literal's beginning, and its end.
fn raw(rest: &str) -> Option<(usize, String)> {
    let after = rest.strip_prefix('r')?;
    let marks = after.len() - after.trim_start_matches('#').len();
    after[marks..].starts_with('"').then(|| (2 + marks, format!("\"{}", "#".repeat(marks))))
}

fn is_filled_in(before: &str) -> bool {
    let before = before.trim_end();
    let first = |text: &str| text.ends_with("!(") && !text.ends_with("concat!(");
    let argument = |text: &str| {
        let name = text.trim_end_matches(|c: char| c.is_alphanumeric() || matches!(c, '_' | '.' | '&' | '*' | ' '));
        ["write!(", "writeln!(", "ensure!(", "debug!(", "assert!("].iter().any(|macro_name| name.ends_with(macro_name))
    };
    first(before) || before.strip_suffix(',').is_some_and(argument)
}

/// What a template puts between quotes of its own, apart from constants of ours.
fn quoted(template: &str) -> Vec<String> {
    if !VERBS.iter().any(|verb| template.contains(verb)) {
        return Vec::new();
    }
    let (mut found, mut quote, mut rest) = (Vec::new(), None, template);
    while let Some(c) = rest.chars().next() {
        if let Some(after) = rest.strip_prefix("{{").or_else(|| rest.strip_prefix("}}")) {
            rest = after;
            continue;
        }
        if c == '{'
            && let Some(end) = rest.find('}')
        {
            let name = rest[1..end].split(':').next().unwrap_or_default();
            let constant = !name.is_empty() && name.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_');
            if quote.is_some() && !constant {
                found.push(rest[..=end].to_owned());
            }
            rest = &rest[end + 1..];
            continue;
        }
        match quote {
            None if c == '\'' || c == '"' => quote = Some(c),
            Some(open) if open == c => quote = None,
            _ => {}
        }
        rest = &rest[c.len_utf8()..];
    }
    found
}

#[test]
fn values_and_names_come_into_sql_through_one_quoting_type_each() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (mut seen, mut wrong) = (0, Vec::new());
    for file in rust_files(&root.join("src")) {
        let text = std::fs::read_to_string(&file).unwrap();
        let product = text.split("#[cfg(test)]\nmod ").next().unwrap();
        for template in templates(product) {
            seen += usize::from(VERBS.iter().any(|verb| template.text.contains(verb)));
            let at = file.strip_prefix(root).unwrap().display().to_string();
            if OTHER.iter().any(|(file, text)| *file == at && template.text.contains(text)) {
                continue;
            }
            wrong.extend(quoted(&template.text).iter().map(|what| format!("{at}:{}: {what} between quotes", template.line)));
        }
    }
    assert!(seen > 200, "{seen} templates of statements: are they still found?");
    assert!(wrong.is_empty(), "use Literal, Ident or QualifiedName:\n{}", wrong.join("\n"));
}

#[test]
fn what_the_reader_of_templates_finds() {
    let source = "// format!(\"SELECT '{a}'\")\nlet c = '\"'; let s = \"SELECT '{no}'\";\nq(&format!(\"SELECT \\\"{a}\\\", '{b}' {c} '{{}}'\"));\n\
                  write!(out, r#\"DROP TABLE \"{t}\"\"#)?; bail!(\"{x}: '{y}'\"); format!(\"SET a = '{LIMIT}'\")";
    let found: Vec<(usize, Vec<String>)> = templates(source).iter().map(|t| (t.line, quoted(&t.text))).collect();
    let some = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    assert_eq!(found, [(3, some(&["{a}", "{b}"])), (4, some(&["{t}"])), (4, vec![]), (4, vec![])]);
}
