//! From existing migrations to a plan that does the same and makes nobody wait. Pure: text in, text out.
//!
//! The journey: each statement becomes one or more [`Form`]s ([`form`], and [`alter`] for `ALTER TABLE`); a version whose statements
//! need nothing but SQL stays one file, under its own version, so that the application's own tool sees it as applied; backfills,
//! approvals, and what goes last, cut a version into pieces, whose last one carries the version. [`emit`] writes the plan.

mod alter;
pub mod emit;
mod form;
mod name;
mod retype;

pub use form::{Backfill, Form};

use super::script::{Piece, Script, Within};
use super::state::State;
use super::{Input, Known, read_all};
use crate::sql::parser::with_room;

/// One version to rewrite.
#[derive(Debug, Clone)]
pub struct Version {
    /// As its tool records it: digits.
    pub version: String,
    /// The rest of the file's name.
    pub name: String,
    /// The file.
    pub input: Input,
}

/// A statement's form with the comments above it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// The line of the statement.
    pub line: usize,
    /// Comments and blank lines in front of it.
    pub lead: String,
    /// What becomes of it.
    pub form: Form,
}

/// A version in parts, in their order.
#[derive(Debug)]
pub struct Rewritten {
    /// As its tool records it.
    pub version: String,
    /// The rest of its name.
    pub name: String,
    /// The file's name, for messages.
    pub file: String,
    /// The parts.
    pub parts: Vec<Part>,
    /// What stands behind the last statement.
    pub tail: String,
}

/// Rewrites versions in their order, with what a database told about its tables.
///
/// # Errors
/// Everything that cannot be carried over, each as `file:line: what`: nothing is left out in silence.
pub fn rewrite(versions: Vec<Version>, known: Known) -> Result<Vec<Rewritten>, Vec<String>> {
    let (names, inputs): (Vec<(String, String)>, Vec<Input>) =
        versions.into_iter().map(|version| ((version.version, version.name), version.input)).unzip();
    let scripts = read_all(inputs).map_err(|why| vec![why.to_owned()])?;
    let mut wrong = Vec::new();
    for script in &scripts {
        let mut refuse = |at: usize, what: &str| {
            let (line, _) = script.lines.place(&script.text, at);
            wrong.push(format!("{}:{line}: {what}", script.name));
        };
        script.faults.iter().for_each(|fault| refuse(fault.point, &fault.message));
        script
            .data
            .iter()
            .for_each(|data| refuse(data.start, "lines that are not SQL (COPY data, or a section of the other direction)"));
    }
    if !wrong.is_empty() {
        return Err(wrong);
    }
    let mut state = State::of(known);
    let mut done = Vec::new();
    for (script, (version, name)) in scripts.iter().zip(names) {
        state.applied = script.applied;
        let read = with_room(|| parts(script, &mut state)).map_err(|why| vec![why.to_owned()])?;
        if script.applied {
            continue;
        }
        done.push(Rewritten { version, name, file: script.name.clone(), parts: read.0, tail: read.1 });
    }
    keep_what_is_needed(&mut done);
    end_in_time(&mut done);
    for version in &done {
        let refused = version.parts.iter().filter_map(|part| match &part.form {
            Form::Refused(why) => Some(format!("{}:{}: {why}", version.file, part.line)),
            _ => None,
        });
        wrong.extend(refused);
    }
    if wrong.is_empty() { Ok(done) } else { Err(wrong) }
}

/// The parts of one file, and what stands behind its last statement.
fn parts(script: &Script, state: &mut State) -> (Vec<Part>, String) {
    state.begin_file(script.wrapped);
    let mut found = Vec::new();
    let mut from = 0;
    for (at, piece) in script.pieces.iter().enumerate() {
        if piece.within != Within::File {
            continue;
        }
        let inner: &[Piece] = &script.pieces[at + 1..];
        let inner = &inner[..inner.iter().take_while(|inner| inner.within != Within::File).count()];
        let (line, _) = script.lines.place(&script.text, piece.at.start);
        let lead = script.text[from..piece.at.start].trim_start().trim_start_matches(';').trim_start_matches([' ', '\t']);
        let mut lead = lead.trim_start_matches(['\n', '\r']).to_owned();
        for form in form::forms(&form::Place { script, piece, inner, state }) {
            found.push(Part { line, lead: std::mem::take(&mut lead), form });
        }
        from = piece.at.end;
        let place = format!("{}:{line}", script.name);
        state.apply(piece, line, &place);
        for inner in inner.iter().filter(|inner| inner.within == Within::Block) {
            state.apply(inner, line, &place);
        }
        remember_function(piece, inner, state);
    }
    let tail = script.text.get(from..).unwrap_or_default().trim_start().trim_start_matches(';').trim().to_owned();
    (found, tail)
}

/// What a function of this set does, for statements that call it.
fn remember_function(piece: &Piece, inner: &[Piece], state: &mut State) {
    for act in &piece.acts {
        if let super::act::What::CreateFunction { name, .. } = &act.what {
            let body = inner.iter().filter(|inner| inner.within == Within::Function).cloned();
            let body = body.map(|piece| Piece { within: Within::Block, ..piece }).collect();
            state.functions.insert(name.name().as_str().to_owned(), body);
        }
    }
}

/// What keeps new columns in step ends before a statement that takes columns of its table away, renames them or gives them another
/// type; where there is none, it goes last.
fn end_in_time(versions: &mut [Rewritten]) {
    let order = |versions: &[Rewritten]| -> Vec<(usize, usize)> {
        versions.iter().enumerate().flat_map(|(v, version)| (0..version.parts.len()).map(move |p| (v, p))).collect()
    };
    let mut at = 0;
    while let Some(&(v, p)) = order(versions).get(at) {
        at += 1;
        let Form::Until { sql, table, name } = versions[v].parts[p].form.clone() else { continue };
        let disturbs = |form: &Form| match form {
            Form::Sql(text) | Form::Alone(text) | Form::Unsafe { sql: text, .. } => {
                let upper = text.to_ascii_uppercase();
                form::mentions(text, table.name().as_str())
                    && ["DROP COLUMN", "RENAME", "TYPE", "DROP TABLE"].iter().any(|word| form::mentions(&upper, word))
                    && !upper.starts_with("CREATE")
            }
            _ => false,
        };
        let later = order(versions).into_iter().skip(at).find(|&(v, p)| disturbs(&versions[v].parts[p].form));
        let Some((then, before)) = later else {
            versions[v].parts[p].form = Form::Later { sql, alone: false, name };
            continue;
        };
        let part = &mut versions[then].parts[before];
        match &mut part.form {
            // Not before somebody approves.
            Form::Unsafe { sql: text, .. } => *text = format!("{sql};\n{text}"),
            _ => {
                let part = Part { line: part.line, lead: String::new(), form: Form::Sql(sql) };
                versions[then].parts.insert(before, part);
            }
        }
        versions[v].parts.remove(p);
        at -= 1;
    }
}

/// What goes last must not be needed to be gone before: where a later statement names the same thing, it stays in its place. What is
/// only made anew (a function, a view) may stay there; what holds data or is read by its name waits for an approval there.
fn keep_what_is_needed(versions: &mut [Rewritten]) {
    let order: Vec<(usize, usize)> =
        versions.iter().enumerate().flat_map(|(v, version)| (0..version.parts.len()).map(move |p| (v, p))).collect();
    for (index, &(v, p)) in order.iter().enumerate() {
        let Form::Later { sql, name, alone } = versions[v].parts[p].form.clone() else { continue };
        let again = order[index + 1..].iter().any(|&(v, p)| match &versions[v].parts[p].form {
            Form::Sql(text) | Form::Alone(text) | Form::Unsafe { sql: text, .. } => form::mentions(text, &name),
            Form::Backfill(fill) => fill.set.iter().any(|(_, value)| form::mentions(value, &name)),
            _ => false,
        });
        if !again {
            continue;
        }
        let data = ["DROP TABLE", "ALTER TABLE", "DROP SCHEMA", "DROP SEQUENCE", "DROP TYPE"];
        let upper = sql.to_ascii_uppercase();
        versions[v].parts[p].form = match (alone, data.iter().any(|word| upper.starts_with(word))) {
            (true, _) => Form::Alone(sql),
            (false, false) => Form::Sql(sql),
            (false, true) => Form::Unsafe {
                why: format!(
                    "{name} goes where it stands, because a later statement names it again; an older version of the application may still use it"
                ),
                sql,
            },
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn forms(text: &str) -> Vec<Form> {
        let input = Input { name: "x.sql".to_owned(), text: text.to_owned(), wrapped: true, ..Input::default() };
        let version = Version { version: "1".to_owned(), name: "x".to_owned(), input };
        let done = rewrite(vec![version], Known::new()).unwrap();
        done.into_iter().flat_map(|version| version.parts).map(|part| part.form).collect()
    }

    #[test]
    fn rows_from_a_query_share_no_transaction() {
        let found = forms("ALTER TABLE a ADD COLUMN b int; INSERT INTO c (x) SELECT x FROM a; ALTER TABLE a DROP CONSTRAINT k;");
        let shape: Vec<bool> = found.iter().map(|form| *form == Form::Cut).collect();
        assert_eq!(shape, [false, true, false, true, false], "{found:?}");
        let alone = forms("CREATE TABLE c (x int); INSERT INTO c (x) SELECT n FROM generate_series(1, 9) n;");
        assert!(!alone.contains(&Form::Cut), "{alone:?}");
    }

    #[test]
    fn what_keeps_columns_in_step_ends_before_they_change() {
        let fill = "ALTER TABLE a ADD COLUMN b int; UPDATE a SET b = c + 1;";
        let ends = |form: &Form| matches!(form, Form::Later { sql, .. } if sql.starts_with("DROP TRIGGER"));
        let found = forms(fill);
        assert!(found.iter().any(ends), "{found:?}");
        let found = forms(&format!("{fill} ALTER TABLE a ALTER COLUMN b SET NOT NULL; ALTER TABLE a RENAME COLUMN b TO d;"));
        assert!(!found.iter().any(ends), "{found:?}");
        // Not before somebody approved the rename.
        let Some(Form::Unsafe { sql, .. }) = found.last() else { panic!("{found:?}") };
        assert!(sql.starts_with("DROP TRIGGER") && sql.ends_with("RENAME COLUMN b TO d"), "{sql}");
        // A column that was there is left to whoever writes it.
        assert!(forms("UPDATE a SET b = c + 1;").iter().all(|form| matches!(form, Form::Backfill(_))));
    }
}
