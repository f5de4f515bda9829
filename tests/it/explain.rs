//! Codes that people meet are explained, in the program and on docs/codes.md.

use std::path::{Path, PathBuf};

use crossfade::explain::{self, SECTIONS};
use crossfade::preflight::environment;
use crossfade::terms::Exit;

use crate::support::{Ran, crossfade};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// `INSTA_UPDATE=always cargo test --test it explain::the_page` writes it anew.
#[test]
fn the_page_of_codes_is_made_from_the_program() {
    let path = root().join("docs/codes.md");
    if std::env::var("INSTA_UPDATE").is_ok_and(|wanted| wanted == "always") {
        std::fs::write(&path, explain::page()).unwrap();
    }
    assert!(std::fs::read_to_string(path).unwrap() == explain::page(), "docs/codes.md is stale");
}

#[test]
fn the_readme_has_every_exit_code() {
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    for exit in Exit::ALL {
        assert_eq!(exit.code(), (exit as u8).to_string());
        let line = format!("| {} | {} |", exit.code(), exit.meaning());
        assert!(readme.contains(&line), "README lacks: {line}");
    }
}

#[test]
fn every_preflight_check_is_explained_and_no_other() {
    let mut checks: Vec<String> = environment::codes().collect();
    checks.sort();
    let mut known: Vec<&str> = SECTIONS[3].1.iter().map(|entry| entry.code).collect();
    known.sort_unstable();
    assert_eq!(checks, known);
}

/// The rules about rows and the SQLSTATEs stand in the sources as literals: those are read.
#[test]
fn every_rule_about_rows_and_every_sqlstate_is_explained() {
    let known = |section: usize| -> Vec<&str> { SECTIONS[section].1.iter().map(|entry| entry.code).collect() };
    let mut seen = (0, 0);
    for file in sources(&root().join("src")) {
        let text = std::fs::read_to_string(&file).unwrap();
        let code = text.split("\n#[cfg(test)]").next().unwrap();
        if file.starts_with(root().join("src/preflight/derived")) {
            for begin in ["Ask::new(", "ask(", "told(", ".answer(", "rule = "] {
                for (at, _) in code.match_indices(begin) {
                    let rest = code[at + begin.len()..].trim_start();
                    let Some(rule) = rest.strip_prefix('"').and_then(|rest| rest.split('"').next()) else { continue };
                    seen.0 += 1;
                    assert!(known(2).contains(&rule), "{}: rule {rule} is not explained", file.display());
                }
            }
        }
        for literal in code.split('"').skip(1).step_by(2).filter(|literal| is_sqlstate(literal)) {
            seen.1 += 1;
            assert!(known(1).contains(&literal), "{}: SQLSTATE {literal} is not explained", file.display());
        }
    }
    assert!(seen.0 > 15 && seen.1 > 15, "{seen:?}: the sources are not read as they are written");
}

/// Five characters, of a class of errors that is named in the sources.
fn is_sqlstate(literal: &str) -> bool {
    let classes = ["08", "22", "23", "25", "28", "40", "42", "53", "54", "55", "57"];
    literal.len() == 5
        && classes.iter().any(|class| literal.starts_with(class))
        && literal.bytes().all(|byte| byte.is_ascii_digit() || byte.is_ascii_uppercase())
        && !literal.ends_with("MB")
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        match entry.is_dir() {
            true => found.extend(sources(&entry)),
            false if entry.extension().is_some_and(|extension| extension == "rs") => found.push(entry),
            false => {}
        }
    }
    found
}

#[test]
fn codes_are_explained_on_the_command_line() {
    let explain = |words: &[&str]| Ran::of(crossfade().arg("explain").args(words).output().unwrap());
    let both = explain(&["12", "set_not_null"]).exits(0);
    assert!(both.stdout.contains("--approve STEP") && both.stdout.contains("Undo: the\ncolumn"), "{}", both.stdout);
    let wrong = explain(&["55P04"]).exits(2);
    assert!(wrong.stderr.contains("did you mean 55P03"), "{}", wrong.stderr);
    let listed = explain(&["--list"]).exits(0).stdout;
    assert!(explain::codes().all(|code| listed.contains(code)));
}
