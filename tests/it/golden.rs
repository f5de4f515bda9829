//! What people read, held to committed snapshots: `INSTA_UPDATE=always cargo test --test it golden` writes them anew.

use std::path::{Path, PathBuf};

use crate::support::{Ran, TestDb, Workspace, crossfade};

/// Both streams and the exit code, with what differs from run to run replaced by words of its form.
fn shown(ran: &Ran, workspace: Option<&Workspace>) -> String {
    let mut text = format!("{}[exit code {}]\n", ran.stdout, ran.code.unwrap());
    if !ran.stderr.is_empty() {
        text += &format!("--- stderr ---\n{}", ran.stderr);
    }
    if let Some(workspace) = workspace {
        text = text.replace(workspace.folder.path().to_str().unwrap(), "FOLDER");
    }
    text = text.replace(env!("CARGO_MANIFEST_DIR"), "SOURCE");
    text.lines().map(stable).collect::<Vec<_>>().join("\n")
}

/// A line without times, sizes and names of runs. The counters of a table are the server's: their line keeps step and status.
fn stable(line: &str) -> String {
    if line.starts_with('│') || line.starts_with(['┌', '└', '╞']) {
        return line
            .split_whitespace()
            .filter(|word| word.chars().all(|c| c.is_ascii_lowercase() || c == '-'))
            .collect::<Vec<_>>()
            .join(" ");
    }
    let run =
        |word: &str| word.len() >= 23 && word.starts_with("20") && word.as_bytes()[8] == b't' && word.as_bytes()[18] == b'-';
    let mut words: Vec<String> = Vec::new();
    for word in line.split(' ') {
        words.push(
            match word
                .split('/')
                .map(|part| if run(part.trim_end_matches([',', ':', ';'])) { "RUN" } else { part })
                .collect::<Vec<_>>()
            {
                parts if parts.len() > 1 || parts[0] == "RUN" => parts.join("/"),
                _ => word.to_owned(),
            },
        );
    }
    let line = words.join(" ");
    match line.split_once(": done in ") {
        Some((step, _)) => format!("{step}: done in TIME"),
        None if line.starts_with("others waited") => "others waited".to_owned(),
        None => line,
    }
}

fn shipped(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("plans").join(name)
}

#[test]
fn help_of_every_command() {
    let mut text = String::new();
    for command in [
        "",
        "demo",
        "check",
        "lint",
        "trace",
        "audit",
        "run",
        "follow",
        "finish",
        "status",
        "report",
        "rollback",
        "revocations",
        "quarantine",
        "route",
        "init",
        "window",
        "explain",
        "schema",
        "completions",
        "man",
    ] {
        let words: Vec<&str> = [command, "-h"].into_iter().filter(|word| !word.is_empty()).collect();
        let ran =
            Ran::of(crossfade().args(&words).env_remove("CROSSFADE_STATE").env("COLUMNS", "100").output().unwrap()).exits(0);
        text += &format!("$ crossfade {}\n{}\n", words.join(" "), ran.stdout);
    }
    insta::assert_snapshot!(text);
}

#[tokio::test(flavor = "multi_thread")]
async fn previews_of_both_plans() {
    let (blue, green) = (TestDb::empty().await, TestDb::empty().await);
    let hydra = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/demo/hydra-1.0.0.sql")).unwrap();
    blue.sql(&hydra).await;
    let workspace = Workspace::new("", &blue, Some(&green));
    let plan = shipped("hydra-1x-in-place.toml");
    let preview = |plan: &Path| Ran::of(workspace.command_on(&["run"], plan).output().unwrap());
    insta::assert_snapshot!("preview_in_place", shown(&preview(&plan), Some(&workspace)));
    Ran::of(workspace.command_on(&["run", "--execute"], &plan).output().unwrap()).exits(0);
    blue.sql("ANALYZE").await;
    insta::assert_snapshot!("preview_blue_green", shown(&preview(&shipped("hydra-2x-blue-green.toml")), Some(&workspace)));
}

const PLAN: &str = r#"format = 1
name = "golden"
blue = { url_env = "BLUE_DATABASE_URL" }

[[step]]
id = "add"
phase = "expand"
kind = "run_sql"
side = "blue"
sql = ["ALTER TABLE t\n  ADD COLUMN b int"]
undo_sql = ["ALTER TABLE t DROP COLUMN b"]

[[step]]
id = "ask"
phase = "expand"
kind = "confirm"
question = "Go on?"

[[step]]
id = "positive"
phase = "convert"
kind = "add_constraint"
side = "blue"
table = "t"
name = "t_a_check"
check = "a > 5"
"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_run_from_check_to_rollback() {
    let db = TestDb::empty().await;
    db.sql("CREATE TABLE t (a int); INSERT INTO t SELECT generate_series(1, 10); ANALYZE t").await;
    let workspace =
        Workspace::new(&PLAN.replace("kind = \"confirm\"", "kind = \"confrm\"").replace("\"ask\"", "\"add\""), &db, None);
    let mut text = String::new();
    let mut say = |words: &[&str]| {
        let mut ran = workspace.run(words);
        // Below the steps tables are as wide as the moment's numbers: tests/it/reports.rs looks at them.
        ran.stdout = ran.stdout.split("\nDatabases\n").next().unwrap().to_owned();
        text += &format!("$ crossfade {}\n{}\n\n", words.join(" "), shown(&ran, Some(&workspace)));
    };
    let check = |workspace: &Workspace| {
        let output = crossfade().arg("check").arg(workspace.plan()).output().unwrap();
        format!("$ crossfade check\n{}\n\n", shown(&Ran::of(output), Some(workspace)))
    };
    let broken = check(&workspace);
    std::fs::write(workspace.plan(), PLAN).unwrap();
    let right = check(&workspace);
    for words in [
        &["run"][..],
        &["status"],
        &["run", "--execute"],
        &["status"],
        &["run", "--execute", "--approve", "ask"],
        &["report"],
        &["rollback"],
        &["rollback", "--execute"],
        &["status"],
        &["run", "--execute", "--blue", "postgresql://postgres@/x?host=/nowhere"],
    ] {
        say(words);
    }
    // The server counts late, and its own catalogs' rows too: whether that column is there depends on the moment.
    let text = text.replace("rows rows rows commits", "rows rows commits").replace("inserted deleted waited", "inserted waited");
    insta::assert_snapshot!(format!("{broken}{right}{text}"));
}
