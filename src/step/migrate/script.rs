//! One SQL file: its directives and its units. Pure.
//!
//! Directives are comments of their own line, `-- crossfade: no-transaction`, `-- crossfade: records V1 V2`,
//! `-- crossfade: irreversible: reason`. Before the first statement they are about the file. A `no-transaction` in the
//! comment lines directly above a statement, other than the comment that opens the file, is about that statement.

use crate::pg::Class;
use crate::sql::{Block, Comment, Effect, Statement, comments, split};
use crate::terms::Fingerprint;

/// What is done and remembered as one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Unit {
    /// Statements of one transaction.
    Transaction(Vec<Statement>),
    /// A statement that runs outside a transaction block, or whose wait needs no limit; the catalog knows whether it is done.
    Alone(Statement),
}

impl Unit {
    /// Its statements.
    pub fn statements(&self) -> &[Statement] {
        match self {
            Unit::Transaction(statements) => statements,
            Unit::Alone(statement) => std::slice::from_ref(statement),
        }
    }

    /// Tells whether what was done is what the file says now.
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(self.statements().iter().map(|statement| statement.text().as_bytes()))
    }
}

/// A file as read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Script {
    /// Its units in order.
    pub units: Vec<Unit>,
    /// Other versions it stands for.
    pub records: Vec<String>,
    /// Why it cannot be undone.
    pub irreversible: Option<String>,
}

impl Script {
    /// Every statement.
    pub fn statements(&self) -> impl Iterator<Item = &Statement> {
        self.units.iter().flat_map(Unit::statements)
    }
}

/// Something wrong, with its line from 1.
pub(super) type Wrong = (usize, String);

/// Reads the text of a file.
pub(super) fn read(text: &str) -> Result<Script, Vec<Wrong>> {
    let statements = split(text).map_err(|faults| {
        faults.into_iter().map(|fault| (fault.line, format!("not SQL: {}", fault.what))).collect::<Vec<Wrong>>()
    })?;
    let mut wrong = Vec::new();
    let mut script = Script::default();
    let (mut whole, mut alone) = (false, vec![false; statements.len()]);
    let comments = comments(text);
    for (index, comment) in comments.iter().enumerate() {
        let Some(directive) = directive(comment) else { continue };
        let mut refuse = |what: String| wrong.push((comment.line, what));
        let place = place(&statements, &comments, index);
        match (directive, place) {
            (_, Place::Inside) => refuse("a directive in the middle of a statement".to_owned()),
            (Directive::Unknown(word), _) => {
                refuse(format!("unknown directive `{word}`: known are no-transaction, records, irreversible"))
            }
            (Directive::NoTransaction, Place::Head) => whole = true,
            (Directive::NoTransaction, Place::Above(statement)) => alone[statement] = true,
            (Directive::NoTransaction, Place::Loose) => {
                refuse("`no-transaction` stands directly above no statement and not in the file's first comment".to_owned())
            }
            (Directive::Records(versions), Place::Head | Place::Above(0)) => match versions.iter().find(|v| !is_version(v)) {
                _ if versions.is_empty() => refuse("`records` names no version".to_owned()),
                Some(odd) => refuse(format!("`records` names {odd:?}, which is no version: digits only")),
                None => script.records.extend(versions),
            },
            (Directive::Irreversible(why), Place::Head | Place::Above(0)) if !why.is_empty() => script.irreversible = Some(why),
            (Directive::Irreversible(_), Place::Head | Place::Above(0)) => {
                refuse("`irreversible` gives no reason: `-- crossfade: irreversible: reason`".to_owned())
            }
            (Directive::Records(_) | Directive::Irreversible(_), _) => {
                refuse("a directive about the whole file stands before its first statement".to_owned())
            }
        }
    }
    for statement in &statements {
        wrong.extend(unfit(statement).map(|what| (statement.line(), what)));
    }
    let mut together = Vec::new();
    for (statement, own) in statements.into_iter().zip(alone) {
        let apart = whole || own;
        if !apart && statement.block() == Block::Outside {
            let what = format!(
                "{} cannot run in a transaction: write `-- crossfade: no-transaction` directly above it, or at the top of the file",
                statement.kind()
            );
            wrong.push((statement.line(), what));
        }
        if apart {
            if !together.is_empty() {
                script.units.push(Unit::Transaction(std::mem::take(&mut together)));
            }
            script.units.push(match Class::of(&statement) {
                Class::Patient => Unit::Alone(statement),
                Class::Queueing | Class::Batch => Unit::Transaction(vec![statement]),
            });
        } else {
            together.push(statement);
        }
    }
    if !together.is_empty() {
        script.units.push(Unit::Transaction(together));
    }
    wrong.sort();
    if wrong.is_empty() { Ok(script) } else { Err(wrong) }
}

/// Whether `text` is a version: digits only.
pub(super) fn is_version(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

/// Why this statement cannot be part of a migration, wherever it stands.
fn unfit(statement: &Statement) -> Option<String> {
    let kind = statement.kind();
    match (statement.block(), statement.effect()) {
        (Block::Control, _) => Some(format!("{kind}: crossfade begins and ends the transactions itself; take it out")),
        (_, Effect::SessionSetting) => Some(format!("{kind} lasts beyond this file: write SET LOCAL in a transaction")),
        (_, Effect::ClientCopy) => Some(format!("{kind} from or to the client has no place in a migration: write INSERT")),
        (_, Effect::BuildIndex { index: None, .. }) => {
            Some(format!("{kind} without a name: name the index, so that it can be asked for after a crash"))
        }
        (_, Effect::DropIndex(indexes)) if indexes.len() != 1 => Some(format!("{kind} takes one index at a time")),
        (Block::Outside, Effect::Other) => {
            Some(format!("{kind} runs outside transactions, and whether it is done cannot be asked after a crash: not supported"))
        }
        _ => None,
    }
}

enum Directive {
    NoTransaction,
    Records(Vec<String>),
    Irreversible(String),
    Unknown(String),
}

fn directive(comment: &Comment) -> Option<Directive> {
    let text = comment.text.strip_prefix("--")?.trim_start().strip_prefix("crossfade:")?.trim();
    let (word, rest) = match text.find(|c: char| c.is_whitespace() || c == ':') {
        Some(at) => (&text[..at], text[at..].trim_start_matches(|c: char| c.is_whitespace() || c == ':').trim_end()),
        None => (text, ""),
    };
    Some(match word {
        "no-transaction" if rest.is_empty() => Directive::NoTransaction,
        "records" => Directive::Records(rest.split_whitespace().map(str::to_owned).collect()),
        "irreversible" => Directive::Irreversible(rest.to_owned()),
        _ => Directive::Unknown(text.to_owned()),
    })
}

/// Where a comment stands.
enum Place {
    /// In the comment lines that open the file.
    Head,
    /// In the comment lines directly above this statement.
    Above(usize),
    /// Between statements, or after the last.
    Loose,
    /// In the middle of a statement.
    Inside,
}

fn place(statements: &[Statement], comments: &[Comment], index: usize) -> Place {
    let at = comments[index].start;
    if statements.iter().any(|statement| statement.range().contains(&at)) {
        return Place::Inside;
    }
    let next = statements.iter().position(|statement| statement.range().start > at);
    // The first line after the run of comment lines that this comment is part of, and the first line of that run.
    let mut after = last_line(&comments[index]) + 1;
    for later in &comments[index + 1..] {
        if later.line == after {
            after = last_line(later) + 1;
        }
    }
    let mut first = index;
    while first > 0 && last_line(&comments[first - 1]) + 1 == comments[first].line {
        first -= 1;
    }
    match next {
        Some(0) | None if first == 0 && statements.first().is_none_or(|s| s.range().start > at) => Place::Head,
        Some(next) if statements[next].line() == after => Place::Above(next),
        _ => Place::Loose,
    }
}

fn last_line(comment: &Comment) -> usize {
    comment.line + comment.text.trim_end().bytes().filter(|b| *b == b'\n').count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(text: &str) -> String {
        let unit = |unit: &Unit| match unit {
            Unit::Transaction(statements) => format!("[{}]", statements.len()),
            Unit::Alone(_) => "alone".to_owned(),
        };
        read(text).unwrap().units.iter().map(unit).collect::<Vec<_>>().join(" ")
    }

    fn wrong(text: &str) -> String {
        read(text).unwrap_err().iter().map(|(line, what)| format!("{line}: {what}")).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn a_file_is_one_transaction() {
        assert_eq!(shape("-- a\nCREATE TABLE a ();\nCREATE TABLE b ();"), "[2]");
        assert_eq!(shape("-- nothing"), "");
    }

    #[test]
    fn no_transaction_for_a_file_or_a_statement() {
        let file = "-- prose\n-- crossfade: no-transaction\n-- more\nCREATE SCHEMA s;\nCREATE INDEX CONCURRENTLY i ON t (a);\n\
                    ALTER TABLE t VALIDATE CONSTRAINT c;\nANALYZE t;";
        assert_eq!(shape(file), "[1] alone alone alone");
        let one = "-- head\nCREATE TABLE a ();\nCREATE TABLE b ();\n\n-- why\n-- crossfade: no-transaction\n\
                   CREATE INDEX CONCURRENTLY i ON t (a);\nCREATE TABLE c ();";
        assert_eq!(shape(one), "[2] alone [1]");
        let first = "-- head\n\n-- crossfade: no-transaction\nDROP INDEX CONCURRENTLY i;\nCREATE TABLE c ();";
        assert_eq!(shape(first), "alone [1]");
    }

    #[test]
    fn directives_of_the_file() {
        let script =
            read("-- crossfade: records 1 2\n-- x\n-- crossfade: records 30\n-- crossfade: irreversible: rows go\n\nSELECT 1;");
        let script = script.unwrap();
        assert_eq!(script.records, ["1", "2", "30"]);
        assert_eq!(script.irreversible.as_deref(), Some("rows go"));
        assert_eq!(read("SELECT '-- crossfade: nonsense';").unwrap().records.len(), 0);
    }

    #[test]
    fn what_does_not_fit_is_a_fault_with_its_line() {
        assert!(wrong("SELECT 1;\n\n-- crossfade: no-transaktion\nSELECT 2;").starts_with("3: unknown directive"));
        assert!(wrong("-- crossfade: records x1\nSELECT 1;").starts_with("1: `records` names \"x1\""));
        assert!(wrong("-- crossfade: records\nSELECT 1;").starts_with("1: `records` names no version"));
        assert!(wrong("-- crossfade: irreversible\nSELECT 1;").starts_with("1: `irreversible` gives no reason"));
        assert!(wrong("SELECT 1;\n-- crossfade: records 1\nSELECT 2;").starts_with("2: a directive about the whole file"));
        assert!(wrong("SELECT 1;\n-- crossfade: no-transaction\n\nSELECT 2;").starts_with("2: `no-transaction` stands"));
        assert!(wrong("SELECT 1,\n-- crossfade: no-transaction\n2;").starts_with("2: a directive in the middle"));
        assert!(wrong("SELECT 1;\nCREATE INDEX CONCURRENTLY i ON t (a);").starts_with("2: CREATE INDEX CONCURRENTLY cannot run"));
        assert!(wrong("-- crossfade: no-transaction\nCREATE INDEX CONCURRENTLY ON t (a);").contains("without a name"));
        assert!(wrong("BEGIN;\nSELECT 1;\nCOMMIT;").starts_with("1: BEGIN: crossfade begins"));
        assert!(wrong("SET search_path = x;").contains("SET LOCAL"));
        assert!(wrong("-- crossfade: no-transaction\nCREATE DATABASE d;").contains("not supported"));
        assert!(wrong("SELECT 1;\nSELEKT 2;").starts_with("2: not SQL"));
    }
}
