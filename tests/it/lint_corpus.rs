//! Text of every kind: nothing panics, and every byte belongs to a statement, a comment or a diagnostic. And the locks that
//! were observed while ory/hydra's databases were upgraded.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crossfade::lint::{Config, Input, Known, Within, lint};
use crossfade::sql::LockMode;
use proptest::prelude::*;

use crate::carried::{Fate, carried, read};
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

#[test]
fn every_byte_of_the_corpus_belongs_to_something() {
    let mut statements = 0;
    for (name, text) in corpus() {
        let report = one(&text, false);
        read(&report).unwrap_or_else(|why| panic!("{name}: {why}"));
        read(&one(&text, true)).unwrap_or_else(|why| panic!("{name}: {why}"));
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

/// Each statement of the corpus as a migration of its own, with the comments before it.
fn statements() -> Vec<String> {
    let mut all = Vec::new();
    for (_, text) in corpus() {
        let report = one(&text, false);
        let mut from = 0;
        for piece in report.scripts[0].pieces.iter().filter(|piece| piece.within == Within::File) {
            let lead = text[from..piece.at.start].trim_start().trim_start_matches(';').trim_start();
            let lead = if lead.starts_with("--") || lead.starts_with("/*") { lead } else { "" };
            all.push(format!("{lead}{};\n", &text[piece.at.clone()]));
            from = piece.at.end;
        }
    }
    all
}

/// `rewrite` carries over every statement of the corpus or says where and why not.
#[test]
fn every_statement_of_the_corpus_is_carried_over_or_refused() {
    let (mut done, mut refused, mut wrong) = (0, Vec::new(), Vec::new());
    for statement in statements() {
        for wrapped in [false, true] {
            match carried(&statement, wrapped) {
                Ok(Fate::Carried) => done += usize::from(wrapped),
                Ok(Fate::Refused(why)) if wrapped => refused.push(why.join("; ")),
                Ok(Fate::Refused(_)) => {}
                Err(why) => wrong.push(format!("{statement}{why}")),
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    for (name, text) in corpus() {
        carried(&text, true).unwrap_or_else(|why| panic!("{name}: {why}"));
    }
    eprintln!("{done} statements carried over, {} refused", refused.len());
    assert!(done > 300 && refused.len() < 40, "{done} carried over; refused: {refused:#?}");
}

/// Cases of each property: `CROSSFADE_FUZZ_CASES`; `PROPTEST_RNG_SEED` makes them the same ones again.
fn cases() -> u32 {
    std::env::var("CROSSFADE_FUZZ_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(400)
}

/// Damage to a text: where, how much goes, what comes instead.
fn cuts() -> impl Strategy<Value = Vec<(usize, usize, &'static str)>> {
    let put = prop_oneof![
        Just(""),
        Just(";"),
        Just("'"),
        Just("\""),
        Just("$$"),
        Just("$a$"),
        Just("("),
        Just(")"),
        Just("--"),
        Just("/*"),
        Just("*/"),
        Just("\\"),
        Just("\\."),
        Just("{{"),
        Just("}}"),
        Just(":x"),
        Just("BEGIN"),
        Just("END"),
        Just("ä"),
        Just("\u{0}"),
        Just("ATOMIC"),
        Just("DO"),
        Just("AS"),
        Just("CREATE TABLE"),
        Just("E'\\"),
        Just("U&'"),
        Just("[1:"),
        Just("\r\n"),
        Just("COPY a FROM stdin;"),
        Just("-- migrate:up\n"),
        Just("-- migrate:down\n"),
        Just("-- crossfade-lint: ignore "),
        Just(", "),
        Just(" -- x\n"),
        Just("/* y */"),
        Just(" ADD COLUMN z serial UNIQUE"),
        Just(" NOT NULL"),
        Just(" DEFAULT random()"),
        Just("IF EXISTS "),
        Just("ONLY "),
        Just(" CASCADE"),
    ];
    proptest::collection::vec((0usize..20_000, 0usize..60, put), 1..6)
}

fn damaged(mut text: String, cuts: Vec<(usize, usize, &str)>) -> String {
    for (at, length, put) in cuts {
        let boundary = |text: &str, mut at: usize| {
            while !text.is_char_boundary(at) {
                at -= 1;
            }
            at
        };
        let start = boundary(&text, at % (text.len() + 1));
        let end = boundary(&text, (start + length).min(text.len()));
        text.replace_range(start..end.max(start), put);
    }
    text
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases() / 2))]
    #[test]
    fn changed_corpus_is_read_or_told(file in 0usize..14, cuts in cuts()) {
        let text = damaged(corpus()[file].1.clone(), cuts);
        if let Err(why) = read(&one(&text, false)).and_then(|()| carried(&text, false).map(drop)) {
            prop_assert!(false, "{}\n{}", why, text);
        }
    }

}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases()))]
    // A few statements at a time: most damage leaves some of them whole, and they are carried over.
    #[test]
    fn changed_statements_are_carried_over_or_refused(
        chosen in proptest::collection::vec(0usize..10_000, 1..5),
        cuts in cuts(),
        wrapped in any::<bool>(),
    ) {
        let all = all_statements();
        let text: String = chosen.into_iter().map(|at| all[at % all.len()].as_str()).collect();
        let text = damaged(text, cuts.into_iter().map(|(at, length, put)| (at, length / 6, put)).collect());
        if let Err(why) = read(&one(&text, wrapped)).and_then(|()| carried(&text, wrapped).map(drop)) {
            prop_assert!(false, "{}\n{}", why, text);
        }
    }
}

/// [`statements`], read once.
fn all_statements() -> &'static [String] {
    static ALL: std::sync::OnceLock<Vec<String>> = std::sync::OnceLock::new();
    ALL.get_or_init(statements)
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
