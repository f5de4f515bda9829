//! `crossfade rehearse`: on demo data, with a crash and a rollback; a plan that stops.

use crate::hydra::{blue_1_11_10, catalog, rows, run};
use crate::support::{TestDb, Workspace};

const BLUE_GREEN: &str = "hydra-2x-blue-green.toml";

fn json(text: &str) -> serde_json::Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[tokio::test]
async fn a_rehearsal_leaves_the_databases_alone_and_predicts_what_the_run_does() {
    let (blue, green) = (blue_1_11_10().await, TestDb::empty().await);
    let before = (catalog(&blue).await, rows(&blue).await, catalog(&green).await);
    let workspace = Workspace::at(tempfile::tempdir().unwrap(), &blue, Some(&green));
    let file = workspace.folder.path().join("prediction.json");
    let saved = file.to_str().unwrap();
    // The way back is another test's: here it would be three runs of the plan more.
    let words = ["--share", "50", "--rounds", "1", "--crashes", "0", "--no-rollback", "--save", saved, "--format", "json", "-q"];
    let words = [&["rehearse"], &words[..]].concat();
    let rehearsed = run(&workspace, BLUE_GREEN, &words).exits(0);
    assert_eq!(before, (catalog(&blue).await, rows(&blue).await, catalog(&green).await));
    let ours = "SELECT count(*) FROM pg_namespace WHERE nspname = 'crossfade'";
    assert_eq!(green.value(ours).await, "0", "nothing of ours is on green");
    let document = json(&rehearsed.stdout);
    assert_eq!(document["stopped"], serde_json::Value::Null);
    // Sessions with their tokens: half of the rows, give or take what 300 sessions scatter.
    let share = document["sizes"][1]["share"].as_f64().unwrap();
    assert!((0.35..0.65).contains(&share), "{document:#}");

    run(&workspace, BLUE_GREEN, &["run", "--execute"]).exits(0);
    let report = run(&workspace, BLUE_GREEN, &["report", "--prediction", saved, "--format", "json"]).exits(0);
    let compared = json(&report.stdout)["compared"].clone();
    let total = compared.as_array().unwrap().last().unwrap().clone();
    assert_eq!((compared.as_array().unwrap().len(), &total["step"]), (8, &serde_json::Value::Null), "{compared:#}");
    let (predicted, real) = (total["rows"][0]["value"].as_f64().unwrap(), total["rows"][1].as_f64().unwrap());
    assert!((predicted / real - 1.0).abs() < 0.2, "{total:#}");
    for (format, said) in [("text", "\nPrediction\n"), ("markdown", "## Prediction"), ("html", "id=\"prediction\"")] {
        let report = run(&workspace, BLUE_GREEN, &["report", "--prediction", saved, "--format", format]).exits(0);
        assert!(report.stdout.contains(said), "{format}: {}", report.stdout);
    }
    // A prediction of another plan is refused.
    let other = run(&workspace, "hydra-1x-in-place.toml", &["report", "--prediction", saved]).exits(2);
    assert!(!other.stdout.contains("Prediction"), "{}", other.stdout);
}

const STOPS: &str = r#"
format = 1
name = "stops"
description = "a unique key over values that are twice there"

[blue]
url_env = "BLUE_DATABASE_URL"

[[step]]
id = "lever"
phase = "preflight"
kind = "run_hook"
command = ["false"]
probe = ["false"]

[[step]]
id = "wider"
phase = "expand"
kind = "run_sql"
side = "blue"
sql = ["ALTER TABLE pair ADD COLUMN note text"]
undo_sql = ["ALTER TABLE pair DROP COLUMN note"]

[[step]]
id = "once"
phase = "expand"
kind = "create_index"
side = "blue"
table = "pair"
name = "pair_once"
columns = ["a"]
unique = true
"#;

#[tokio::test]
async fn a_plan_that_ends_is_killed_and_taken_back_there() {
    let blue = TestDb::empty().await;
    blue.sql("CREATE TABLE pair (id int PRIMARY KEY, a int); INSERT INTO pair SELECT i, i FROM generate_series(1, 200) i").await;
    let workspace = Workspace::new(STOPS, &blue, None);
    let words = ["rehearse", "--share", "50", "--rounds", "1", "--crashes", "1", "--format", "json", "-q"];
    let document = json(&workspace.run(&words).exits(0).stdout);
    assert_eq!(document["rollback"]["outcome"], "came_back", "{document:#}");
    assert_eq!(document["crashes"][0]["stuck"], serde_json::Value::Null, "{document:#}");
    assert_eq!(document["crashes"][0]["differences"], serde_json::json!([]), "{document:#}");
    assert_eq!(blue.value("SELECT count(*) FROM pg_namespace WHERE nspname = 'crossfade'").await, "0");
}

#[tokio::test]
async fn a_plan_that_stops_stops_in_the_rehearsal() {
    let blue = TestDb::empty().await;
    blue.sql("CREATE TABLE pair (id int PRIMARY KEY, a int); INSERT INTO pair SELECT i, i % 7 FROM generate_series(1, 20) i")
        .await;
    let workspace = Workspace::new(STOPS, &blue, None);
    let stopped = workspace.run(&["rehearse"]).exits(11);
    let said = &stopped.stdout;
    assert!(said.contains("left out: lever (run_hook: ") && said.contains("stopped in step once (exit code 10)"), "{said}");
    assert!(said.contains("7 keys stand in more than one row"), "{said}");
    assert_eq!(blue.value("SELECT count(*) FROM pg_attribute WHERE attrelid = 'pair'::regclass AND attname = 'note'").await, "0");
    let nothing = workspace.run(&["rehearse", "--share", "0"]).exits(2);
    assert!(nothing.stderr.contains("--share"), "{}", nothing.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn copies_are_rehearsed_on_their_own_server() {
    let copy = TestDb::empty().await;
    copy.sql("CREATE TABLE pair (id int PRIMARY KEY, a int); INSERT INTO pair SELECT i, i FROM generate_series(1, 200) i").await;
    let workspace = Workspace::new(STOPS, &copy, None);
    let words = ["rehearse", "--copies", "--rounds", "1", "--crashes", "1", "--format", "junit", "-q"];
    let document = workspace.run(&words).exits(0).stdout;
    assert!(document.contains("tests=\"3\" failures=\"0\"") && document.contains("name=\"undisturbed\""), "{document}");
    let made = "SELECT count(*) FROM pg_database WHERE datname LIKE 'crossfade\\_rehearsal\\_%'";
    assert_eq!(copy.value(made).await, "0", "databases are left");
    assert_eq!(
        copy.value("SELECT count(*) FROM pg_namespace WHERE nspname = 'crossfade'").await,
        "0",
        "the copy itself is changed"
    );
    assert_eq!(copy.value("SELECT sum(a) FROM pair").await, "20100");

    // Where rows break the plan, the test case that fails says so.
    copy.sql("UPDATE pair SET a = 1").await;
    let stopped = workspace.run(&words).exits(11).stdout;
    assert!(stopped.contains("failures=\"1\"") && stopped.contains("step once"), "{stopped}");
    // What a rehearsal that was killed left is not taken for somebody's else.
    copy.sql("CREATE DATABASE crossfade_rehearsal_blue_7").await;
    let left = workspace.run(&words).exits(1).stderr;
    assert!(left.contains("crossfade_rehearsal_blue_7") && left.contains("DROP DATABASE"), "{left}");
    copy.sql("DROP DATABASE crossfade_rehearsal_blue_7").await;
}

#[tokio::test]
async fn a_schema_without_rows_gets_generated_ones() {
    let blue = TestDb::empty().await;
    blue.sql("CREATE TABLE pair (id int PRIMARY KEY, a int); CREATE TABLE child (pair int REFERENCES pair, said text NOT NULL)")
        .await;
    let workspace = Workspace::new(STOPS, &blue, None);
    let words = ["rehearse", "--generate", "300", "--rounds", "1", "--crashes", "0", "--format", "json", "-q"];
    let document = json(&workspace.run(&words).exits(0).stdout);
    assert_eq!((&document["real_rows"], &document["sizes"][0]["rows"]), (&600.into(), &600.into()), "{document:#}");
    assert_eq!(blue.value("SELECT count(*) FROM pair").await, "0");
}
