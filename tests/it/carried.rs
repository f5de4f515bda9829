//! What must hold of any text that `lint` and `rewrite` are given.

use std::collections::BTreeMap;

use crossfade::lint::rewrite::{Form, Part, Rewritten, Version, emit, rewrite};
use crossfade::lint::{Config, Input, Known, Report, Script, Within, lint, render};

/// Words that a form says in another way: `serial` as a type with a sequence, UPDATE and DELETE as steps, the names of constraints' kinds,
/// SET SESSION as SET LOCAL.
const RESTATED: &[&str] = &[
    "update",
    "set",
    "delete",
    "from",
    "where",
    "as",
    "serial",
    "bigserial",
    "smallserial",
    "serial2",
    "serial4",
    "serial8",
    "restrict",
    "only",
    "session",
];

fn input(text: &str, wrapped: bool) -> Input {
    Input { name: "x.sql".to_owned(), text: text.to_owned(), wrapped, ..Input::default() }
}

/// The text of a script that belongs to nothing.
fn skipped(script: &Script) -> String {
    let mut covered = vec![false; script.text.len()];
    let pieces = script.pieces.iter().map(|piece| &piece.at);
    let faults = script.faults.iter().map(|fault| &fault.at);
    for range in pieces.chain(faults).chain(&script.data).chain(&script.comments) {
        covered[range.clone()].fill(true);
    }
    let left = script.text.char_indices().filter(|(at, c)| !covered[*at] && !c.is_whitespace() && *c != ';' && *c != '\u{feff}');
    left.map(|(_, c)| c).collect()
}

/// What must hold of every report of the linter: every byte belongs to a statement, a comment, data or a fault, and every finding has
/// its place. Says what does not hold.
pub fn read(report: &Report) -> Result<(), String> {
    for script in &report.scripts {
        let left = skipped(script);
        if !left.is_empty() {
            return Err(format!("{}: nothing is said about {left:?}", script.name));
        }
        if let Some(fault) = script.faults.iter().find(|fault| fault.message.contains("parser failed")) {
            return Err(format!("{}: {}", script.name, fault.message));
        }
    }
    for finding in &report.findings {
        let script = &report.scripts[finding.file];
        if script.text.get(finding.at.clone()).is_none() {
            return Err(format!("{}: {:?} is no range of {}", finding.rule, finding.at, script.name));
        }
    }
    render::text(report);
    render::sarif(report);
    Ok(())
}

/// What became of a text.
#[derive(Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is in the plan and its files.
    Carried,
    /// Nothing is written: these lines say what has no place in a plan.
    Refused(Vec<String>),
}

/// What must hold of every rewrite: every statement and every comment is in the plan's files, or in its steps, or waits for an approval
/// there; or the whole is refused with places. Says what does not hold.
pub fn carried(text: &str, wrapped: bool) -> Result<Fate, String> {
    let version = Version { version: "1".to_owned(), name: "x".to_owned(), input: input(text, wrapped) };
    let done = match rewrite(vec![version], Known::new()) {
        Ok(done) => done,
        Err(wrong) => {
            let placed = |line: &String| {
                let mut parts = line.splitn(3, ':');
                parts.next() == Some("x.sql") && parts.next().is_some_and(|line| line.parse::<usize>().is_ok_and(|n| n > 0))
            };
            return match wrong.iter().all(placed) && !wrong.is_empty() {
                true => Ok(Fate::Refused(wrong)),
                false => Err(format!("refused without a place: {wrong:?}")),
            };
        }
    };
    let report = lint(vec![input(text, wrapped)], &Config::default(), Known::new())?;
    let script = &report.scripts[0];
    let mut wanted: BTreeMap<usize, String> = BTreeMap::new();
    for piece in script.pieces.iter().filter(|piece| piece.within == Within::File) {
        let line = script.lines.place(&script.text, piece.at.start).0;
        *wanted.entry(line).or_default() += &format!(" {}", &script.text[piece.at.clone()]);
    }
    for (line, wanted) in wanted {
        let parts = done.iter().flat_map(|version| &version.parts).filter(|part| part.line == line);
        let forms: String = parts.map(|part| format!(" {}", text_of(part))).collect();
        if let Some(word) = missing(&wanted, &forms) {
            return Err(format!("line {line}: {word:?} of {wanted:?} is in no form: {forms:?}"));
        }
    }
    written(&done, script)?;
    Ok(Fate::Carried)
}

/// The words of a text that are not as often in another.
fn missing(wanted: &str, given: &str) -> Option<String> {
    let mut given = words(given);
    words(wanted)
        .into_iter()
        .find(|(word, count)| {
            let there = given.remove(word).unwrap_or_default();
            there < *count && !RESTATED.contains(&word.as_str())
        })
        .map(|(word, _)| word)
}

fn words(text: &str) -> BTreeMap<String, usize> {
    let mut counted = BTreeMap::new();
    for word in text.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| !word.is_empty()) {
        *counted.entry(word.to_lowercase()).or_default() += 1;
    }
    counted
}

/// Everything that a part holds.
fn text_of(part: &Part) -> String {
    match &part.form {
        Form::Sql(sql) | Form::Alone(sql) | Form::Later { sql, .. } | Form::Until { sql, .. } | Form::Unsafe { sql, .. } => {
            sql.clone()
        }
        Form::Left(what) | Form::Refused(what) => what.clone(),
        Form::Cut => String::new(),
        Form::Backfill(fill) => {
            let set: Vec<String> = fill.set.iter().map(|(column, value)| format!("{column} = {value}")).collect();
            format!("{} {} {}", fill.table, set.join(", "), fill.filter)
        }
        Form::Clean { table, filter } => format!("{table} {filter}"),
    }
}

/// Every form and every comment is in what is written.
fn written(done: &[Rewritten], script: &Script) -> Result<(), String> {
    let settings =
        emit::Settings { name: "x".to_owned(), folder: "x".to_owned(), history: None, downs: BTreeMap::new(), max_rows: 1 };
    let emitted = emit::emit(done, &settings);
    let plan: toml::Table = emitted.plan.parse().map_err(|e| format!("the plan is no TOML: {e}"))?;
    let mut out = String::new();
    strings(&toml::Value::Table(plan), &mut out);
    for (_, file) in &emitted.files {
        out += &format!("\n{file}");
    }
    for part in done.iter().flat_map(|version| &version.parts) {
        let there = match &part.form {
            Form::Backfill(fill) => fill.set.iter().all(|(_, value)| out.contains(value)) && out.contains(&fill.filter),
            Form::Clean { filter, .. } => out.contains(filter),
            _ => out.contains(&text_of(part)),
        };
        if !there {
            return Err(format!("line {}: {:?} is not written", part.line, part.form));
        }
        let place = format!("x.sql:{}: ", part.line);
        if matches!(part.form, Form::Unsafe { .. }) && !emitted.approvals.iter().any(|approval| approval.starts_with(&place)) {
            return Err(format!("line {}: nobody is asked about it", part.line));
        }
    }
    let inside = |at: usize| script.pieces.iter().any(|piece| piece.at.contains(&at));
    for comment in script.comments.iter().filter(|comment| !inside(comment.start)) {
        if !out.contains(script.text[comment.clone()].trim()) {
            return Err(format!("the comment {:?} is not written", &script.text[comment.clone()]));
        }
    }
    Ok(())
}

/// Every string of a document.
fn strings(value: &toml::Value, out: &mut String) {
    match value {
        toml::Value::String(text) => *out += &format!("\n{text}"),
        toml::Value::Array(all) => all.iter().for_each(|one| strings(one, out)),
        toml::Value::Table(table) => table.iter().for_each(|(key, one)| {
            *out += &format!("\n{key}");
            strings(one, out);
        }),
        _ => {}
    }
}
