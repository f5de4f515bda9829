//! Text of every kind: nothing panics, and every byte belongs to a statement, a comment or a diagnostic. And the locks that
//! were observed while ory/hydra's databases were upgraded.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crossfade::lint::{Config, Input, Known, Report, Script, lint};
use crossfade::sql::LockMode;
use proptest::prelude::*;

use crate::lint::one;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/lint")
}

fn corpus() -> Vec<(String, String)> {
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(fixtures().join("corpus")).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let read = |path: PathBuf| (path.display().to_string(), std::fs::read_to_string(&path).unwrap());
    files.into_iter().map(read).collect()
}

/// The text that belongs to nothing.
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

/// What must hold of every report; says what does not.
fn sound(report: &Report) -> Result<(), String> {
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
    crossfade::lint::render::text(report);
    crossfade::lint::render::sarif(report);
    Ok(())
}

#[test]
fn every_byte_of_the_corpus_belongs_to_something() {
    let mut statements = 0;
    for (name, text) in corpus() {
        let report = one(&text, false);
        sound(&report).unwrap_or_else(|why| panic!("{name}: {why}"));
        sound(&one(&text, true)).unwrap_or_else(|why| panic!("{name}: {why}"));
        statements += report.scripts[0].pieces.len();
        // Only the files about text that is not SQL have text that is not understood.
        let broken: Vec<String> =
            report.findings.iter().filter(|f| f.rule == "syntax-error").map(|f| text[f.at.clone()].to_owned()).collect();
        let expected = name.contains("broken") || name.contains("template") || name.contains("psql");
        assert!(expected || broken.is_empty(), "{name}: {broken:#?}");
    }
    assert!(statements > 390, "{statements}");
}

#[test]
fn statements_around_a_fault_are_read() {
    let broken = corpus().into_iter().find(|(name, _)| name.contains("broken")).unwrap().1;
    let report = one(&broken, false);
    let read: Vec<&str> = report.scripts[0].pieces.iter().map(|piece| &broken[piece.at.clone()]).collect();
    for number in 1..=7 {
        assert!(read.contains(&format!("SELECT {number}").as_str()), "{number}: {read:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn changed_corpus_is_read_or_told(
        file in 0usize..14,
        cuts in proptest::collection::vec((0usize..20_000, 0usize..60, prop_oneof![
            Just(""), Just(";"), Just("'"), Just("\""), Just("$$"), Just("$a$"), Just("("), Just(")"), Just("--"), Just("/*"), Just("*/"),
            Just("\\"), Just("\\."), Just("{{"), Just("}}"), Just(":x"), Just("BEGIN"), Just("END"), Just("ä"), Just("\u{0}"), Just("ATOMIC"),
            Just("DO"), Just("AS"), Just("CREATE TABLE"), Just("E'\\"), Just("U&'"), Just("[1:"), Just("\r\n"), Just("COPY a FROM stdin;"),
            Just("-- migrate:up\n"), Just("-- migrate:down\n"), Just("-- crossfade-lint: ignore "),
        ]), 1..6),
    ) {
        let mut text = corpus()[file].1.clone();
        for (at, length, put) in cuts {
            let boundary = |mut at: usize| { while !text.is_char_boundary(at) { at -= 1; } at };
            let start = boundary(at % (text.len() + 1));
            let end = boundary((start + length).min(text.len()));
            text.replace_range(start..end.max(start), put);
        }
        if let Err(why) = sound(&one(&text, false)) {
            prop_assert!(false, "{}\n{}", why, text);
        }
    }
}

#[derive(serde::Deserialize)]
struct Facts {
    migrations: Vec<Migration>,
}

#[derive(serde::Deserialize)]
struct Migration {
    version: String,
    statements: Vec<Observed>,
}

#[derive(serde::Deserialize)]
struct Observed {
    kind: String,
    target: String,
    new_locks: BTreeMap<String, String>,
    rewrites: Vec<String>,
    already_locked: Vec<String>,
}

/// SQL of the observed kind: what must be there, and the statement. `None` where the record tells too little.
fn rebuilt(observed: &Observed, number: usize) -> Option<(String, String)> {
    let target = &observed.target;
    let other = observed.new_locks.keys().chain(&observed.already_locked).find(|name| *name != target);
    let alter = |action: &str| (String::new(), format!("ALTER TABLE {target} {action}"));
    Some(match observed.kind.as_str() {
        "add column" if !observed.rewrites.is_empty() => alter("ADD COLUMN x uuid DEFAULT gen_random_uuid()"),
        "add column" => alter("ADD COLUMN x int"),
        "add stored generated column" => alter("ADD COLUMN x int GENERATED ALWAYS AS (1) STORED"),
        "drop column" => alter("DROP COLUMN x"),
        "drop default" => alter("ALTER COLUMN x DROP DEFAULT"),
        "drop not null" => alter("ALTER COLUMN x DROP NOT NULL"),
        "set not null" => alter("ALTER COLUMN x SET NOT NULL"),
        "rename" => alter("RENAME COLUMN x TO y"),
        "add check constraint" => alter("ADD CHECK (x > 0)"),
        "add primary key" => alter("ADD PRIMARY KEY (x)"),
        "add unique constraint" => alter("ADD UNIQUE (x)"),
        "add foreign key (validated at once)" => alter(&format!("ADD FOREIGN KEY (x) REFERENCES {} (x)", other?)),
        "drop constraint" => {
            let keys: Vec<String> = observed.new_locks.keys().filter(|name| *name != target).cloned().collect();
            let before = keys
                .iter()
                .map(|other| format!("ALTER TABLE {target} ADD CONSTRAINT c{number} FOREIGN KEY (x) REFERENCES {other} (x);"));
            (before.collect(), format!("ALTER TABLE {target} DROP CONSTRAINT c{number}"))
        }
        "create index" => (String::new(), format!("CREATE INDEX i{number} ON {target} (x)")),
        "create unique index" => (String::new(), format!("CREATE UNIQUE INDEX i{number} ON {target} (x)")),
        "drop index" if observed.new_locks.len() == 1 => {
            (format!("CREATE INDEX i{number} ON {} (x);", other?), format!("DROP INDEX i{number}"))
        }
        "drop table" if !observed.new_locks.is_empty() => {
            let others: Vec<&String> = observed.new_locks.keys().filter(|name| *name != target).collect();
            let before = others.iter().map(|other| format!("ALTER TABLE {target} ADD FOREIGN KEY (x) REFERENCES {other} (x);"));
            (before.collect(), format!("DROP TABLE {target}"))
        }
        "create table" => {
            let keys = observed.new_locks.keys().enumerate().map(|(at, other)| format!(", k{at} int REFERENCES {other} (x)"));
            (String::new(), format!("CREATE TABLE {target} (x int{})", keys.collect::<String>()))
        }
        "insert of rows" => (String::new(), format!("INSERT INTO {target} (x) SELECT 1")),
        "update of rows" => (String::new(), format!("UPDATE {target} SET x = 1")),
        _ => return None,
    })
}

/// The records hold locks of ROW EXCLUSIVE and stronger, and name a relation in the first statement of a transaction that
/// locks it: what is claimed of relations that are not locked already must be exactly that.
#[test]
fn claims_agree_with_the_upgrades_of_hydra() {
    let (mut compared, mut wrong) = (0, Vec::new());
    for name in ["locks-1.0.0-to-1.11.10.json", "locks-1.11.10-to-2.3.0.json", "locks-2.3.0-to-26.2.0.json"] {
        let facts: Facts = serde_json::from_str(&std::fs::read_to_string(fixtures().join(name)).unwrap()).unwrap();
        for migration in facts.migrations {
            for (number, observed) in migration.statements.iter().enumerate() {
                if observed.new_locks.is_empty() {
                    continue; // on tables of this very transaction, or locked already
                }
                let Some((before, statement)) = rebuilt(observed, number) else { continue };
                let inputs = vec![
                    Input { name: "before".to_owned(), text: before, applied: true, ..Input::default() },
                    Input { name: migration.version.clone(), text: statement.clone(), wrapped: true, ..Input::default() },
                ];
                let report = lint(inputs, &Config::default(), Known::new()).unwrap();
                let described = &report.described[0];
                let mut claimed: BTreeMap<String, String> = BTreeMap::new();
                for lock in described.locks.iter().flatten() {
                    let relation = lock.relation.plain();
                    let index = relation.starts_with('i') && relation[1..].parse::<usize>().is_ok();
                    if lock.mode >= LockMode::RowExclusive && !index && !observed.already_locked.contains(&relation) {
                        claimed.insert(relation, lock.mode.to_string());
                    }
                }
                if observed.kind == "drop table" {
                    claimed.remove(&observed.target); // gone when the locks were looked at
                }
                compared += 1;
                if claimed != observed.new_locks || described.rewrites.is_empty() != observed.rewrites.is_empty() {
                    wrong.push(format!(
                        "{}: {statement}\n  claimed {claimed:?}\n  real    {:?}",
                        migration.version, observed.new_locks
                    ));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(compared > 150, "{compared}");
}
