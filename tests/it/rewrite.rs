//! Existing migrations as a plan, and the proof that both end the same.

use std::path::{Path, PathBuf};

use crossfade::lint::Known;
use crossfade::lint::rewrite::{Form, Rewritten, Version, rewrite};
use crossfade::lint::rules;
use crossfade::pg::Session;
use crossfade::prove::{catalog, differences};
use crossfade::shadow::Binaries;

use crate::lint::files;
use crate::lint_truth::REFUSED;
use crate::support::{Ran, TestDb, Workspace, crossfade};

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/rewrite")
}

/// `crossfade rewrite` of the folder pop, in a folder of its own.
fn rewritten() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(fixtures().join("pop")).unwrap() {
        let path = entry.unwrap().path();
        std::fs::create_dir_all(folder.path().join("pop")).unwrap();
        std::fs::copy(&path, folder.path().join("pop").join(path.file_name().unwrap())).unwrap();
    }
    let mut command = crossfade();
    Ran::of(command.args(["rewrite", "pop", "-o", "plan.toml"]).current_dir(folder.path()).output().unwrap()).exits(0);
    folder
}

fn prove(folder: &Path, words: &[&str]) -> Ran {
    let mut command = crossfade();
    command.args(["-q", "prove", "pop", "plan.toml", "--start"]).arg(fixtures().join("start.sql")).args(words);
    Ran::of(command.current_dir(folder).output().unwrap())
}

/// What a person reads: the plan and every file of it.
#[test]
fn a_folder_in_the_style_of_pop() {
    let folder = rewritten();
    let mut files = Vec::new();
    let mut open = vec![folder.path().join("plan")];
    while let Some(next) = open.pop() {
        for entry in std::fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { open.push(path) } else { files.push(path) }
        }
    }
    files.sort();
    let mut text = std::fs::read_to_string(folder.path().join("plan.toml")).unwrap();
    for file in files {
        text += &format!("\n=== {}\n", file.strip_prefix(folder.path()).unwrap().display());
        text += &std::fs::read_to_string(&file).unwrap();
    }
    insta::assert_snapshot!("rewrite_pop", text);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_plan_of_a_folder_ends_where_the_folder_does() {
    let folder = rewritten();
    // Random values, and numbers in the order in which rows are met, are other ones each time.
    let same = ["--ignore-values", "client.uid", "--ignore-values", "token.n"];
    let proof = prove(folder.path(), &[&same[..], &["--format", "json"]].concat()).exits(0);
    let proof: serde_json::Value = serde_json::from_str(&proof.stdout).unwrap();
    assert!(proof["properties"].as_u64() > Some(300) && proof["rows"].as_u64() > Some(20_000), "{proof}");
    let differs = prove(folder.path(), &[]).exits(14);
    assert!(differs.stdout.contains("rows public.client, values of uid"), "{}", differs.stdout);
    // Every kind of damage to the plan is seen.
    let files: Vec<PathBuf> = walk(&folder.path().join("plan"));
    for (from, to, said) in [
        (
            "CREATE INDEX CONCURRENTLY client_owner_idx ON client (owner)",
            "CREATE INDEX CONCURRENTLY client_owner_idx ON client (name)",
            "index public.client_owner_idx, definition",
        ),
        ("ON DELETE CASCADE NOT VALID", "NOT VALID", "constraint public.token token_client_fk, definition"),
        ("DROP TABLE obsolete", "SELECT 1", "table public.obsolete: only the plan makes it"),
        ("'who'", "'whom'", "comment table column public.consent.subject, text"),
        (
            "generate_series(1, 20) n",
            "generate_series(1, 19) n",
            "rows public.grants, number: `20` by the original migrations, `19` by the plan",
        ),
    ] {
        let file =
            files.iter().find(|file| std::fs::read_to_string(file).unwrap().contains(from)).unwrap_or_else(|| panic!("{from}"));
        let text = std::fs::read_to_string(file).unwrap();
        std::fs::write(file, text.replace(from, to)).unwrap();
        let ran = prove(folder.path(), &same).exits(14);
        assert!(ran.stdout.contains(said), "{from}:\n{}", ran.stdout);
        std::fs::write(file, text).unwrap();
    }
}

fn walk(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path] }).collect()
}

/// Each version is recorded where the application's tool looks, approvals stop the run, and a rollback of what can go back does.
#[tokio::test(flavor = "multi_thread")]
async fn versions_are_recorded_and_approvals_waited_for() {
    let db = TestDb::empty().await;
    db.sql(&std::fs::read_to_string(fixtures().join("start.sql")).unwrap()).await;
    let workspace = Workspace::at(rewritten(), &db, None);
    let ran = workspace.run(&["run", "--execute"]).exits(12);
    assert!(ran.stderr.contains("programs that use the old name"), "{}", ran.stderr);
    let versions = "SELECT string_agg(version, ' ' ORDER BY version) FROM schema_migration";
    assert_eq!(db.value(versions).await, "20200101000000000000 20200102000000000000 20200103000000000000");
    let approve: Vec<String> = std::fs::read_to_string(workspace.plan())
        .unwrap()
        .lines()
        .filter_map(|line| line.strip_prefix("id = \"approve-"))
        .flat_map(|id| ["--approve".to_owned(), format!("approve-{}", id.trim_end_matches('"'))])
        .collect();
    let words: Vec<&str> = ["run", "--execute"].into_iter().chain(approve.iter().map(String::as_str)).collect();
    let ran = workspace.run(&words).exits(12);
    assert!(ran.stderr.contains("Is no older version of the application left"), "{}", ran.stderr);
    assert_eq!(db.value("SELECT to_regclass('obsolete') IS NOT NULL").await, "true");
    assert!(db.value(versions).await.ends_with(" 20200104000000000000"));
    workspace.run(&[&words[..], &["--approve", "ask-contract"]].concat()).exits(0);
    assert_eq!(db.value("SELECT to_regclass('obsolete') IS NOT NULL").await, "false");
    assert_eq!(db.value("SELECT count(*) FROM pg_index WHERE NOT indisvalid").await, "0");
}

/// The forms of each rule's bad example leave the catalog that the example leaves.
#[tokio::test(flavor = "multi_thread")]
async fn forms_of_every_rule_end_where_the_example_does() {
    let major = Binaries::find().unwrap().major();
    let (mut same, mut waits, mut wrong) = (0, 0, Vec::new());
    for rule in rules::all().filter(|rule| rule.bad.pg <= major && !REFUSED.iter().any(|(id, _)| *id == rule.id)) {
        let versions = files(&rule.bad).into_iter().map(|input| Version { version: String::new(), name: String::new(), input });
        let rewritten = match rewrite(versions.collect(), Known::new()) {
            Ok(rewritten) => rewritten,
            Err(why) => {
                assert!(why.iter().all(|line| line.split(':').count() >= 3), "{}: {why:?}", rule.id);
                waits += 1;
                continue;
            }
        };
        let (original, planned) = (TestDb::empty().await, TestDb::empty().await);
        for db in [&original, &planned] {
            db.sql(rule.bad.before).await;
        }
        let original = original.session().await;
        for statement in crossfade::sql::split(rule.bad.sql).unwrap() {
            execute(&original, statement.text()).await.unwrap_or_else(|e| panic!("{}: {}: {e:?}", rule.id, statement.text()));
        }
        let planned = planned.session().await;
        for sql in in_order(&rewritten) {
            if let Err(error) = execute(&planned, &sql).await {
                wrong.push(format!("{}: {sql}: {error:?}", rule.id));
            }
        }
        waits += usize::from(rewritten.iter().flat_map(|v| &v.parts).any(|part| matches!(part.form, Form::Unsafe { .. })));
        let found = differences(&catalog(&original).await.unwrap(), &catalog(&planned).await.unwrap());
        if found.is_empty() { same += 1 } else { wrong.extend(found.iter().map(|one| format!("{}: {one}", rule.id))) }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    eprintln!("{same} examples end the same, {waits} of them with an approval, or refused");
    assert!(same > 80 && waits < 60, "{same} the same, {waits} wait or are refused");
}

/// `LOCK TABLE` asks for a transaction.
async fn execute(session: &Session, sql: &str) -> Result<(), tokio_postgres::Error> {
    if sql.starts_with("LOCK") {
        session.batch_execute(&format!("BEGIN; {sql}; COMMIT")).await
    } else {
        session.batch_execute(sql).await
    }
}

/// The statements that the forms come to, backfills as the one UPDATE that they are.
fn in_order(rewritten: &[Rewritten]) -> Vec<String> {
    let (mut now, mut later) = (Vec::new(), Vec::new());
    for part in rewritten.iter().flat_map(|version| &version.parts) {
        match &part.form {
            Form::Sql(sql) | Form::Alone(sql) | Form::Unsafe { sql, .. } => now.push(sql.clone()),
            Form::Later { sql, .. } => later.push(sql.clone()),
            Form::Backfill(fill) => {
                let set: Vec<String> = fill.set.iter().map(|(column, value)| format!("{column} = {value}")).collect();
                now.push(format!("UPDATE {} SET {} WHERE {}", fill.table, set.join(", "), fill.filter));
            }
            Form::Clean { table, filter } => now.push(format!("DELETE FROM {table} WHERE {filter}")),
            Form::Cut | Form::Until { .. } | Form::Left(_) | Form::Refused(_) => {}
        }
    }
    now.into_iter().chain(later).collect()
}

/// Text of every kind is carried over whole or refused with its place.
#[test]
fn the_corpus_is_carried_over_or_refused() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/lint/corpus");
    let (mut carried, mut refused) = (0, 0);
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        let input = crossfade::lint::Input { name: "x.sql".to_owned(), text, wrapped: true, ..Default::default() };
        let version = Version { version: "1".to_owned(), name: "x".to_owned(), input };
        match rewrite(vec![version], Known::new()) {
            Ok(done) => {
                let statements: std::collections::BTreeSet<usize> = done[0].parts.iter().map(|part| part.line).collect();
                assert!(!statements.is_empty(), "{}", path.display());
                carried += 1;
            }
            Err(wrong) => {
                assert!(wrong.iter().all(|line| line.starts_with("x.sql:")), "{wrong:?}");
                refused += 1;
            }
        }
    }
    assert!(carried > 5, "{carried} carried over, {refused} refused");
}
