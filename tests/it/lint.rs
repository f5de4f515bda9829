//! The linter: every rule is its own test, by its two examples; the pages are the rules' own words.

use std::path::{Path, PathBuf};

use crossfade::lint::render::{self, page};
use crossfade::lint::rules::{self, Example, Rule};
use crossfade::lint::{Config, Finding, Input, Known, Level, Report, lint};
use crossfade::sql::split;

/// The files of an example: what is there, then the migrations.
pub fn files(example: &Example) -> Vec<Input> {
    let before = Input { name: "before.sql".to_owned(), text: example.before.to_owned(), applied: true, ..Input::default() };
    let parts = example.sql.split("-- next file\n").enumerate();
    let named = |(at, text): (usize, &str)| Input {
        name: format!("{}.sql", at + 1),
        text: text.to_owned(),
        wrapped: example.wrapped,
        ..Input::default()
    };
    std::iter::once(before).chain(parts.map(named)).collect()
}

/// What is found in an example when this rule is on.
fn found(rule: &Rule, example: &Example) -> Report {
    let mut config = Config::default();
    config.set_version(&example.pg.to_string()).unwrap();
    if rule.level == Level::Off {
        config.set(rule.id, "warning").unwrap();
    }
    lint(files(example), &config, Known::new()).unwrap()
}

fn shown(findings: &[Finding]) -> Vec<String> {
    findings.iter().map(|f| format!("{}[{}] {}", f.level.as_str(), f.rule, f.message)).collect()
}

#[test]
fn every_bad_example_fires_its_rule_alone_and_every_good_one_none() {
    let mut wrong = Vec::new();
    for rule in rules::all() {
        let bad = found(rule, &rule.bad).findings;
        let level = if rule.level == Level::Off { Level::Warning } else { rule.level };
        let fires = !bad.is_empty() && bad.iter().all(|finding| finding.rule == rule.id) && bad.iter().any(|f| f.level == level);
        if !fires {
            wrong.push(format!("{}: bad: {:#?}", rule.id, shown(&bad)));
        }
        let good = found(rule, &rule.good);
        if !good.findings.is_empty() {
            wrong.push(format!("{}: good: {:#?}", rule.id, shown(&good.findings)));
        }
        for part in rule.good.sql.split("-- next file\n") {
            if let Err(faults) = split(part) {
                wrong.push(format!("{}: the good example does not parse: {faults:?}", rule.id));
            }
        }
    }
    assert!(rules::all().count() > 100);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn rules_are_in_order_and_have_one_form() {
    let ids: Vec<&str> = rules::all().map(|rule| rule.id).collect();
    assert!(ids.is_sorted(), "{ids:?}");
    for rule in rules::all() {
        assert!(rule.id.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-'), "{}", rule.id);
        assert!(std::ptr::eq(rules::find(rule.id).unwrap(), rule));
    }
}

fn docs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/lint")
}

/// `INSTA_UPDATE=always cargo test --test it lint::pages` writes them anew.
#[test]
fn pages_are_the_rules_own_words() {
    let mut pages: Vec<(String, String)> = rules::all().map(|rule| (format!("{}.md", rule.id), page::page(rule))).collect();
    pages.push(("README.md".to_owned(), page::index()));
    if std::env::var("INSTA_UPDATE").is_ok_and(|wanted| wanted == "always") {
        std::fs::create_dir_all(docs()).unwrap();
        for (name, text) in &pages {
            std::fs::write(docs().join(name), text).unwrap();
        }
    }
    for (name, text) in &pages {
        let written = std::fs::read_to_string(docs().join(name)).unwrap_or_default();
        assert_eq!(&written, text, "docs/lint/{name}: INSTA_UPDATE=always writes it anew");
    }
    let there = std::fs::read_dir(docs()).unwrap().count();
    assert_eq!(there, pages.len(), "docs/lint has pages of rules that are gone");
}

/// Looks at one file.
pub fn one(text: &str, wrapped: bool) -> Report {
    let input = Input { name: "x.sql".to_owned(), text: text.to_owned(), wrapped, ..Input::default() };
    lint(vec![input], &Config::default(), Known::new()).unwrap()
}

fn ids(report: &Report) -> Vec<&str> {
    report.findings.iter().map(|finding| finding.rule).collect()
}

#[test]
fn what_the_set_creates_is_not_in_use() {
    let new = "CREATE TABLE t (id bigint PRIMARY KEY, a text);\nCREATE INDEX i ON t (a);\nALTER TABLE t ALTER COLUMN a SET NOT NULL;\n\
               UPDATE t SET a = 'x';\nALTER TABLE public.t RENAME COLUMN a TO b;\nDROP TABLE t;";
    assert_eq!(ids(&one(new, true)), Vec::<&str>::new());
    let added = "SET lock_timeout = '1s';\nALTER TABLE t ADD COLUMN a text;\nALTER TABLE t DROP COLUMN a;";
    assert_eq!(ids(&one(added, false)), Vec::<&str>::new());
}

#[test]
fn blocks_and_functions_are_looked_into() {
    let block = "DO $$\nBEGIN\n  IF true THEN\n    ALTER TABLE t DROP COLUMN a;\n  END IF;\n  EXECUTE 'CREATE INDEX i ON t (b)';\n  \
                 EXECUTE format('DROP TABLE %I', 'u');\nEND $$;";
    let report = one(block, false);
    let places: Vec<(usize, &str)> =
        report.findings.iter().map(|f| (report.scripts[0].lines.place(block, f.at.start).0, f.rule)).collect();
    for expected in [(4, "drop-column"), (4, "lock-timeout-missing"), (6, "index-build-blocks-writes"), (7, "drop-table")] {
        assert!(places.contains(&expected), "{expected:?} is not in {places:?}");
    }
    let called = "CREATE FUNCTION f() RETURNS void LANGUAGE plpgsql AS $$ BEGIN TRUNCATE t; END $$;\nSELECT 1;\nSELECT f();";
    let report = one(called, false);
    let truncate = report.findings.iter().find(|f| f.rule == "truncate").unwrap();
    assert_eq!(report.scripts[0].lines.place(called, truncate.at.start).0, 3);
    let only = "CREATE FUNCTION f() RETURNS void LANGUAGE plpgsql AS $$ BEGIN TRUNCATE t; END $$;";
    assert!(!ids(&one(only, false)).contains(&"truncate"), "a function that nobody calls does nothing");
}

#[test]
fn comments_silence_one_statement() {
    let text = "-- crossfade-lint: ignore truncate, lock-timeout-missing: empty since May\nTRUNCATE a;\nTRUNCATE b;";
    let report = one(text, false);
    assert_eq!(report.ignored, 2);
    assert!(report.findings.iter().all(|f| f.message.contains('b')), "{:?}", shown(&report.findings));
    let unknown = one("-- crossfade-lint: ignore trunkate\nSELECT 1;", false);
    assert!(unknown.findings[0].message.contains("did you mean truncate"), "{:?}", shown(&unknown.findings));
}

#[test]
fn one_fault_does_not_hide_the_rest() {
    let text = "SELECT 1;\nCREATE TABEL x (a int);\nTRUNCATE t;\n\\d t\nDROP TABLE u;\n";
    let report = one(text, false);
    let found = ids(&report);
    for rule in ["syntax-error", "truncate", "psql-command", "drop-table"] {
        assert!(found.contains(&rule), "{rule}: {found:?}");
    }
    assert_eq!(report.scripts[0].lines.place(text, report.findings[0].at.start).0, 2);
}

#[test]
fn reports_have_one_form_each() {
    let report = one("SET lock_timeout = '1s';\n  DROP TABLE übel;\n", false);
    let text = render::text(&report);
    assert!(text.contains("--> x.sql:2:3") && text.contains("2 |   DROP TABLE übel;\n  |   ^^^^^^^^^^^^^^^\n"), "{text}");
    let mut json = Vec::new();
    render::json(&report, &mut json).unwrap();
    let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
    for key in ["rule", "severity", "file", "line", "column", "message", "locks", "safe_form"] {
        assert!(!json["findings"][0][key].is_null(), "{key}");
    }
    assert_eq!(json["findings"][0]["locks"][0]["mode"], "ACCESS EXCLUSIVE");
    let sarif = render::sarif(&report);
    assert_eq!(sarif["runs"][0]["results"][0]["locations"][0]["physicalLocation"]["region"]["startLine"], 2);
    let github = render::github(&report);
    assert!(github.starts_with("::error file=x.sql,line=2,endLine=2,col=3,title=drop-table::"), "{github}");
}
