//! For people: the place, the line with a caret under it, the locks, the safe form.

use super::{message, summary};
use crate::lint::{Report, rules};
use crate::sql::{Block, QualifiedName};

/// Longest line of source that is shown whole.
const WIDEST: usize = 120;

/// The report as text.
pub fn text(report: &Report) -> String {
    let mut out = String::new();
    for finding in &report.findings {
        let script = &report.scripts[finding.file];
        let (line, column) = script.lines.place(&script.text, finding.at.start);
        let (last, end) = script.lines.place(&script.text, finding.at.end);
        out += &format!("{}[{}]: {}\n", finding.level.as_str(), finding.rule, message(finding));
        let margin = " ".repeat(line.to_string().len());
        out += &format!("{margin}--> {}:{line}:{column}\n", script.name);
        let source = script.lines.line(&script.text, line);
        let (shown, column) = window(source, column);
        let width = if last == line {
            end.saturating_sub(column).max(1)
        } else {
            shown.chars().count() + 1 - column.min(shown.chars().count())
        };
        let width = width.min(shown.chars().count().saturating_sub(column - 1)).max(1);
        let indent: String = shown.chars().take(column - 1).map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
        out += &format!("{margin} |\n{line} | {shown}\n{margin} | {indent}{}\n", "^".repeat(width));
        for lock in &finding.locks {
            out += &format!("{margin} = lock: {} on {}: blocks {}\n", lock.mode, lock.relation.plain(), lock.mode.blocks());
        }
        if let Some(rule) = rules::find(finding.rule) {
            out += &format!("{margin} = effect: {}\n", rule.effect);
        }
        out += &format!("{margin} = instead: {}\n", finding.safe_form.replace('\n', " "));
        if let Some(query) = &finding.query {
            out += &format!("{margin} = count: {query}\n");
        }
        out.push('\n');
    }
    out += &format!("{}\n", summary(report));
    out
}

/// The part of a long line around a column, and the column in it.
fn window(source: &str, column: usize) -> (String, usize) {
    let chars: Vec<char> = source.chars().collect();
    if chars.len() <= WIDEST {
        return (source.to_owned(), column.min(chars.len() + 1));
    }
    let start = (column - 1).saturating_sub(WIDEST / 3).min(chars.len() - WIDEST);
    (chars[start..start + WIDEST].iter().collect(), column - start)
}

/// Every statement with its locks and what it reads or writes in full.
pub fn statements(report: &Report) -> String {
    let mut out = String::new();
    for described in &report.described {
        let script = &report.scripts[described.file];
        let line = script.lines.place(&script.text, described.at.start).0;
        let locks = match &described.locks {
            None => "locks not known".to_owned(),
            Some(locks) if locks.is_empty() => "no lock on what is in use".to_owned(),
            Some(locks) => {
                let each = locks
                    .iter()
                    .map(|lock| format!("{} on {} (blocks {})", lock.mode, lock.relation.plain(), lock.mode.blocks()));
                each.collect::<Vec<_>>().join(", ")
            }
        };
        let names = |what: &str, relations: &[QualifiedName]| match relations.is_empty() {
            true => String::new(),
            false => format!("; {what} {}", relations.iter().map(QualifiedName::plain).collect::<Vec<_>>().join(", ")),
        };
        let alone = if described.block == Block::Outside { "; not in a transaction" } else { "" };
        out += &format!(
            "{}:{line}: {}: {locks}{}{}{alone}\n",
            script.name,
            described.kind,
            names("reads all of", &described.scans),
            names("rewrites", &described.rewrites)
        );
    }
    out
}
