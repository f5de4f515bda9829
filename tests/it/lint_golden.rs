//! A folder for each rule, tests/golden/rules/ID: `unsafe.sql` with what the linter says of it (`report.txt`), and `safe.sql`.
//! `INSTA_UPDATE=always cargo test --test it lint_golden` writes them anew.

use std::path::{Path, PathBuf};

use crossfade::lint::rules::{self, End, Example, Rule};
use crossfade::lint::{Config, Input, Known, Level, Report, lint, render};
use crossfade::prove::{Catalog, catalog, differences};
use crossfade::shadow::Binaries;
use crossfade::sql::split;

use crate::support::TestDb;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/rules")
}

/// What a migration of a folder begins with: the safe one only where it says so.
fn before(folder: &Path, name: &str) -> String {
    let own = std::fs::read_to_string(folder.join(format!("{name}-before.sql")));
    own.or_else(|_| std::fs::read_to_string(folder.join("before.sql"))).unwrap_or_default()
}

/// Lints `unsafe.sql` or `safe.sql` of a folder as its rule's example runs.
fn look(rule: &Rule, example: &Example, folder: &Path, name: &str) -> Report {
    let mut config = Config::default();
    config.set_version(&example.pg.to_string()).unwrap();
    if rule.level == Level::Off {
        config.set(rule.id, "warning").unwrap();
    }
    let text = std::fs::read_to_string(folder.join(format!("{name}.sql"))).unwrap();
    let there = Input { name: "before.sql".to_owned(), text: before(folder, name), applied: true, ..Input::default() };
    let named = |(at, text): (usize, &str)| Input {
        name: if at == 0 { format!("{name}.sql") } else { format!("{name}.sql, file {}", at + 1) },
        text: text.to_owned(),
        wrapped: example.wrapped,
        ..Input::default()
    };
    let files = text.split("-- next file\n").enumerate().map(named);
    lint(std::iter::once(there).chain(files).collect(), &config, Known::new()).unwrap()
}

/// What a folder of a rule holds, beside the report.
fn files(rule: &Rule) -> Vec<(&'static str, String)> {
    let line = |text: &str| format!("{}\n", text.trim_end());
    let mut files = vec![("unsafe.sql", line(rule.bad.sql)), ("safe.sql", line(rule.good.sql))];
    if !rule.bad.before.is_empty() {
        files.push(("before.sql", line(rule.bad.before)));
    }
    if rule.good.before != rule.bad.before {
        files.push(("safe-before.sql", line(rule.good.before)));
    }
    files
}

/// The rules whose safe form leaves another catalog, with the reason.
fn exceptions() -> String {
    let mut out = String::from(
        "# A folder for each rule of `crossfade lint`\n\n`unsafe.sql` on top of `before.sql`, what is said of it in `report.txt`, and `safe.sql` \
         (on top of `safe-before.sql` where that is there). The tests hold that the rule finds the first and no rule the second, and that both \
         leave the same catalog, but for:\n\n| rule | why its safe form ends otherwise |\n| --- | --- |\n",
    );
    for rule in rules::all() {
        if let End::Other(why) = rule.end {
            out += &format!("| {} | {why} |\n", rule.id);
        }
    }
    out
}

#[test]
fn folders_are_what_the_linter_says() {
    let root = folder();
    if std::env::var("INSTA_UPDATE").is_ok_and(|wanted| wanted == "always") {
        let _ = std::fs::remove_dir_all(&root);
        for rule in rules::all() {
            let folder = root.join(rule.id);
            std::fs::create_dir_all(&folder).unwrap();
            for (name, text) in files(rule) {
                std::fs::write(folder.join(name), text).unwrap();
            }
            std::fs::write(folder.join("report.txt"), render::text(&look(rule, &rule.bad, &folder, "unsafe"))).unwrap();
        }
        std::fs::write(root.join("README.md"), exceptions()).unwrap();
    }
    assert_eq!(std::fs::read_to_string(root.join("README.md")).unwrap_or_default(), exceptions());
    let there = std::fs::read_dir(&root).unwrap().filter(|entry| entry.as_ref().unwrap().path().is_dir()).count();
    assert_eq!(there, rules::all().count(), "tests/golden/rules has folders of rules that are gone");
    for rule in rules::all() {
        let folder = root.join(rule.id);
        let mut expected = files(rule);
        let found = look(rule, &rule.bad, &folder, "unsafe");
        assert!(!found.findings.is_empty() && found.findings.iter().all(|finding| finding.rule == rule.id), "{}", rule.id);
        expected.push(("report.txt", render::text(&found)));
        for (name, text) in &expected {
            let written = std::fs::read_to_string(folder.join(name)).unwrap_or_default();
            assert_eq!(&written, text, "tests/golden/rules/{}/{name}: INSTA_UPDATE=always writes it anew", rule.id);
        }
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), expected.len(), "{}", rule.id);
        let safe = look(rule, &rule.good, &folder, "safe");
        assert!(safe.findings.is_empty(), "{}: {:?}", rule.id, safe.findings);
        for part in std::fs::read_to_string(folder.join("safe.sql")).unwrap().split("-- next file\n") {
            split(part).unwrap_or_else(|faults| panic!("{}: the safe form does not parse: {faults:?}", rule.id));
        }
    }
}

/// Runs the files of a folder in an empty database; the error of the first statement that the server refuses.
async fn end(db: &TestDb, rule: &Rule, name: &str) -> Result<Catalog, String> {
    db.sweep().await;
    let folder = folder().join(rule.id);
    db.sql(&before(&folder, name)).await;
    let example = if name == "unsafe" { &rule.bad } else { &rule.good };
    for script in look(rule, example, &folder, name).scripts.iter().skip(1) {
        // A session each, as a migration tool has.
        let session = db.session().await;
        if script.wrapped {
            let begins = script.pieces.iter().any(|piece| piece.block == crossfade::sql::Block::Control);
            let text = if begins { script.text.clone() } else { format!("BEGIN;\n{}\n;COMMIT;", script.text) };
            session.batch_execute(&text).await.map_err(|e| format!("{e:?}"))?;
            continue;
        }
        for piece in script.pieces.iter().filter(|piece| piece.within == crossfade::lint::Within::File) {
            session.batch_execute(&script.text[piece.at.clone()]).await.map_err(|e| format!("{e:?}"))?;
        }
        if !script.faults.is_empty() {
            return Err("not SQL".to_owned());
        }
    }
    Ok(catalog(&db.session().await).await.unwrap())
}

/// Rules whose safe form needs what the servers of the tests lack.
const LACKING: &[(&str, &str)] = &[("drop-extension", "hstore_2 is no extension that there is")];

#[tokio::test(flavor = "multi_thread")]
async fn both_forms_leave_the_same_catalog_or_cannot() {
    let major = Binaries::find().unwrap().major();
    let (mut same, mut wrong) = (0, Vec::new());
    let (one, other) = (TestDb::empty().await, TestDb::empty().await);
    for rule in rules::all().filter(|rule| rule.bad.pg <= major) {
        let (bad, good) = (end(&one, rule, "unsafe").await, end(&other, rule, "safe").await);
        let good = match good {
            Ok(good) => good,
            Err(_) if LACKING.iter().any(|(id, _)| *id == rule.id) => continue,
            Err(why) => {
                wrong.push(format!("{}: the safe form is refused: {why}", rule.id));
                continue;
            }
        };
        let found = bad.as_ref().map(|bad| differences(bad, &good)).unwrap_or_default();
        match (rule.end, &bad) {
            (End::Same, Ok(_)) if found.is_empty() => same += 1,
            (End::Same, Ok(_)) => wrong.push(format!("{}: {}", rule.id, found[0])),
            (End::Same, Err(why)) => wrong.push(format!("{}: is refused: {why}", rule.id)),
            (End::Other(_), Ok(_)) if found.is_empty() => wrong.push(format!("{}: ends the same: say End::Same", rule.id)),
            (End::Other(_), _) => {}
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    eprintln!("{same} safe forms leave the same catalog");
    assert!(same > 45, "{same}");
}
