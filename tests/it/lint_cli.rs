//! The command: inputs, exit codes, and what docs/ci promises.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::support::{Ran, TestDb, crossfade};

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/lint")
}

fn lint(folder: &Path, words: &[&str]) -> Ran {
    Ran::of(crossfade().arg("lint").args(words).current_dir(folder).output().unwrap())
}

fn lint_with_input(folder: &Path, words: &[&str], input: &str) -> Ran {
    let mut child = crossfade();
    child.arg("lint").args(words).current_dir(folder).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = child.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    Ran::of(child.wait_with_output().unwrap())
}

fn json(ran: &Ran) -> serde_json::Value {
    serde_json::from_str(&ran.stdout).unwrap_or_else(|e| panic!("{e}: {}", ran.stdout))
}

#[test]
fn a_folder_in_the_style_of_pop() {
    let ran = lint(&fixtures(), &["pop", "--pg-version", "15"]).exits(10);
    insta::assert_snapshot!("lint_pop", ran.stdout);
    let down = json(&lint(&fixtures(), &["pop", "--down", "--format", "json"]).exits(10));
    assert_eq!(down["summary"]["files"], 2);
    assert!(down["findings"][0]["file"].as_str().unwrap().contains("20260107"), "the last one is taken back first: {down}");
    // With the first of them applied, the table that it creates is in use.
    let whole = json(&lint(&fixtures(), &["pop", "--format", "json"]));
    let part = json(&lint(&fixtures(), &["pop", "--applied", "20260104000001000002", "--format", "json"]));
    assert!(part["summary"]["files"].as_u64() < whole["summary"]["files"].as_u64());
    assert!(part["findings"].as_array().unwrap().iter().all(|f| f["file"].as_str().unwrap() > "pop/20260104000001000002"));
}

#[test]
fn inputs_and_exit_codes() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    std::fs::write(root.join("a.sql"), "SET lock_timeout = '1s';\nTRUNCATE t;\n").unwrap();
    std::fs::write(root.join("b.sql"), "SELECT 1;\n").unwrap();
    lint(root, &["b.sql"]).exits(0);
    lint(root, &["a.sql"]).exits(10);
    lint(root, &["a.sql", "--fail-on", "off"]).exits(0);
    lint(root, &["a.sql", "--rule", "truncate=note"]).exits(0);
    lint(root, &["a.sql", "--rule", "truncate=note", "--fail-on", "note"]).exits(10);
    for (words, told) in [
        (&["nowhere.sql"][..], "does not exist"),
        (&[], "nothing to look at"),
        (&["a.sql", "--rule", "trunkate=off"], "did you mean truncate"),
        (&["a.sql", "--rule", "truncate=loud"], "no level"),
        (&["a.sql", "--pg-version", "x"], "no version"),
        (&["--explain", "trunkate"], "did you mean truncate"),
        (&["a.sql", "--config", "none.toml"], "cannot be read"),
    ] {
        let ran = lint(root, words).exits(2);
        assert!(ran.stderr.contains(told), "{words:?}: {}", ran.stderr);
    }
    let ran = lint_with_input(root, &["-"], "TRUNCATE t;").exits(10);
    assert!(ran.stdout.contains("--> -:1:1"), "{}", ran.stdout);
    let ran = lint_with_input(root, &["--files-from", "-", "--format", "json"], "b.sql\nREADME.md\ngone.sql\n").exits(0);
    assert_eq!(json(&ran)["summary"]["files"], 1);
    lint_with_input(root, &["--files-from", "-"], "README.md\n").exits(0);
    std::fs::write(root.join("crossfade-lint.toml"), "[rules]\ntruncate = \"off\"\n").unwrap();
    lint(root, &["a.sql"]).exits(0);
    std::fs::write(root.join("crossfade-lint.toml"), "[rules]\ntrunkate = \"off\"\nx = 1\n").unwrap();
    lint(root, &["a.sql"]).exits(2);
    std::fs::remove_file(root.join("crossfade-lint.toml")).unwrap();
    let ran = lint(root, &["a.sql", "--format", "github"]).exits(10);
    assert!(ran.stdout.starts_with("::error file=a.sql,line=2,"), "{}", ran.stdout);
    let ran = lint(root, &["a.sql", "--statements"]).exits(10);
    assert!(ran.stdout.starts_with("a.sql:1: SET: no lock"), "{}", ran.stdout);
    assert!(ran.stdout.contains("a.sql:2: TRUNCATE: ACCESS EXCLUSIVE on t (blocks reads and writes)"), "{}", ran.stdout);
    let sarif = json(&lint(root, &["a.sql", "--format", "sarif"]).exits(10));
    assert_eq!(sarif["runs"][0]["results"][0]["ruleId"], "truncate");
    assert!(lint(root, &["--explain", "truncate"]).exits(0).stdout.starts_with("# truncate\n"));
    assert!(lint(root, &["--list"]).exits(0).stdout.lines().count() > 100);
}

#[tokio::test(flavor = "multi_thread")]
async fn sizes_of_real_tables_decide() {
    let db = TestDb::empty().await;
    db.sql(
        "CREATE TABLE small (a int); CREATE TABLE large (a int, b text); \
            INSERT INTO large SELECT i, repeat('x', 100) FROM generate_series(1, 100000) AS i; ANALYZE",
    )
    .await;
    let folder = tempfile::tempdir().unwrap();
    let text = "CREATE INDEX i ON small (a);\nCREATE INDEX j ON large (a);\nCREATE TABLE small (a int);\nALTER TABLE large ALTER b TYPE varchar(200);\n";
    std::fs::write(folder.path().join("a.sql"), text).unwrap();
    let words = ["a.sql", "--format", "json", "--connect", &db.url(), "--rule", "lock-timeout-missing=off"];
    let report = json(&lint(folder.path(), &words).exits(0));
    let findings = report["findings"].as_array().unwrap();
    let of = |line: u64| findings.iter().find(|f| f["line"] == line).unwrap();
    assert_eq!((&of(1)["severity"], &of(2)["severity"]), (&"note".into(), &"warning".into()), "{report:#}");
    let estimate = &of(2)["estimate"];
    assert_eq!(estimate["rows"], 100_000);
    assert!(estimate["milliseconds"].as_u64().unwrap() >= 50, "{estimate}");
    assert!(of(2)["message"].as_str().unwrap().contains("100000 rows"));
    // The type of now is known from the database.
    assert!(of(4)["message"].as_str().unwrap().contains("changing b to varchar(200)"), "{}", of(4));
    let refused = lint(folder.path(), &["a.sql", "--connect", "postgresql://x@/y?host=/nowhere"]);
    assert_eq!(refused.code, Some(1), "{}", refused.stderr);
}

/// A repository with a commit, and a migration that is added to it.
fn repository(root: &Path) {
    let git = |words: &[&str]| {
        let ran = Command::new("git")
            .args(["-c", "user.name=x", "-c", "user.email=x@example.org"])
            .args(words)
            .current_dir(root)
            .output();
        let ran = Ran::of(ran.unwrap());
        assert_eq!(ran.code, Some(0), "git {words:?}: {}", ran.stderr);
    };
    git(&["init", "-q", "-b", "main"]);
    std::fs::write(root.join("1_old.sql"), "TRUNCATE old;\n").unwrap();
    git(&["add", "."]);
    git(&["commit", "-q", "-m", "first"]);
    git(&["update-ref", "refs/remotes/origin/main", "HEAD"]);
    std::fs::write(root.join("2_new.sql"), "SET lock_timeout = '1s';\nTRUNCATE new;\n").unwrap();
    std::fs::write(root.join("notes.md"), "no SQL").unwrap();
    git(&["add", "."]);
}

/// Runs a line of shell with the built command on the path.
fn shell(root: &Path, line: &str) -> Ran {
    let binary = Path::new(env!("CARGO_BIN_EXE_crossfade")).parent().unwrap().display().to_string();
    let path = format!("{binary}:{}", std::env::var("PATH").unwrap());
    Ran::of(
        Command::new("sh")
            .args(["-c", line])
            .current_dir(root)
            .env("PATH", path)
            .env("GITHUB_BASE_REF", "main")
            .output()
            .unwrap(),
    )
}

#[test]
fn the_hook_and_the_workflow_work_as_documented() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = tempfile::tempdir().unwrap();
    repository(folder.path());
    let hook = source.join("docs/ci/pre-commit.sh");
    let ran = shell(folder.path(), hook.to_str().unwrap()).exits(10);
    assert!(ran.stdout.contains("2_new.sql:2:1") && !ran.stdout.contains("1_old.sql"), "{}", ran.stdout);
    shell(folder.path(), &format!("CROSSFADE_LINT_FAIL_ON=off {}", hook.display())).exits(0);
    let workflow = std::fs::read_to_string(source.join("docs/ci/github-workflow.yml")).unwrap();
    let line = workflow.lines().filter_map(|line| line.trim().strip_prefix("run: ")).find(|line| line.contains("lint")).unwrap();
    let ran = shell(folder.path(), line).exits(10);
    assert!(ran.stdout.starts_with("::error file=2_new.sql,line=2,"), "{}", ran.stdout);
    let hooks = std::fs::read_to_string(source.join(".pre-commit-hooks.yaml")).unwrap();
    let entry = hooks.lines().filter_map(|line| line.trim().strip_prefix("entry: ")).next().unwrap();
    shell(folder.path(), &format!("{entry} 2_new.sql")).exits(10);
}
