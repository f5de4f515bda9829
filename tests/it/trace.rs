//! `crossfade trace`: what it prints, where it stops, and that what it measures was there.

use std::path::{Path, PathBuf};

use crate::support::{Ran, crossfade};

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/trace")
}

fn trace(folder: &Path, words: &[&str]) -> Ran {
    let mut command = crossfade();
    Ran::of(command.arg("trace").args(words).current_dir(folder).output().unwrap())
}

/// A folder with these files.
fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    folder
}

fn json(ran: &Ran) -> serde_json::Value {
    serde_json::from_str(&ran.stdout).unwrap_or_else(|e| panic!("{e}: {}\n{}", ran.stdout, ran.stderr))
}

/// A line without times. Whether a statement that is over at once kept anybody waiting is chance, and how the server reads is its version's
/// own: such lines go.
fn stable(text: &str) -> String {
    let mut out = String::new();
    let chance = |line: &str| ["blocked", "read", "locked (seen)"].iter().any(|word| line.trim_start().starts_with(word));
    for line in text.lines().filter(|line| !chance(line)) {
        let line = line.split("; it blocked").next().unwrap();
        let mut words: Vec<&str> = line.split(' ').collect();
        for at in 1..words.len() {
            let unit = words[at].trim_end_matches([',', ';']);
            if matches!(unit, "ms" | "s") && words[at - 1].parse::<f64>().is_ok() {
                (words[at - 1], words[at]) = ("TIME", if words[at].ends_with(',') { "," } else { "" });
            }
        }
        out += &format!("{}\n", words.join(" ").replace("TIME ,", "TIME,").trim_end());
    }
    let server = text.split("on PostgreSQL ").nth(1).and_then(|rest| rest.split(':').next()).unwrap_or_default();
    out.replace(&format!("PostgreSQL {server}"), "PostgreSQL N")
}

#[test]
fn a_folder_of_migrations() {
    let ran = trace(&fixtures(), &["migrations", "--start", "start.sql"]).exits(0);
    insta::assert_snapshot!("trace_folder", stable(&ran.stdout));
    let document = json(&trace(&fixtures(), &["migrations", "--start", "start.sql", "--format", "json"]).exits(0));
    let statements = document["statements"].as_array().unwrap();
    assert_eq!(document["transactions"].as_array().unwrap().len(), 2, "{document:#}");
    let of = |kind: &str| statements.iter().find(|one| one["kind"].as_str().unwrap().starts_with(kind)).unwrap();
    let changed = of("ALTER TABLE ALTER COLUMN");
    assert_eq!(changed["rewritten"], serde_json::json!(["token"]));
    assert_eq!(changed["locks"][0]["mode"], "ACCESS EXCLUSIVE");
    assert!(changed["milliseconds"].as_f64() > Some(0.0));
    assert_eq!(of("CREATE INDEX CONCURRENTLY")["in_transaction"], false);
    let read = &of("CREATE INDEX")["scans"][0];
    assert_eq!((&read["relation"], &read["rows"], &read["index"]), (&"token".into(), &500.into(), &false.into()));
    // What was taken in the transaction before is held on.
    let held = of("UPDATE")["locks"].as_array().unwrap();
    let token = held.iter().find(|lock| lock["relation"] == "token").unwrap();
    assert_eq!((&token["mode"], &token["held_before"]), (&"ACCESS EXCLUSIVE".into(), &true.into()));
    // What the set itself makes is in nobody's use.
    assert!(of("ALTER TABLE ADD COLUMN")["locks"].as_array().unwrap().iter().all(|lock| lock["relation"] != "later"));
}

/// The server's own sleep under a lock: readers and writers of that table wait at least as long, those of another do not.
#[test]
fn readers_and_writers_are_timed() {
    let text = "ALTER TABLE client ADD COLUMN a int;\nSELECT pg_sleep(0.3);\nCREATE INDEX token_kind ON token (kind);\nSELECT pg_sleep(0.3);\n\
                UPDATE queue SET id = id;\n";
    let folder =
        folder(&[("1_slow.up.sql", text), ("start.sql", &std::fs::read_to_string(fixtures().join("start.sql")).unwrap())]);
    let document = json(&trace(folder.path(), &["1_slow.up.sql", "--start", "start.sql", "--format", "json"]).exits(0));
    let blocked = document["transactions"][0]["blocked"].as_array().unwrap();
    let of = |table: &str| blocked.iter().find(|one| one["relation"] == table);
    let client = of("client").unwrap();
    assert!(
        client["reads_milliseconds"].as_f64() >= Some(600.0) && client["writes_milliseconds"].as_f64() >= Some(600.0),
        "{document:#}"
    );
    let token = of("token").unwrap();
    assert!(token["reads_milliseconds"].is_null() && token["writes_milliseconds"].as_f64() >= Some(300.0), "{document:#}");
    assert!(of("queue").is_none_or(|queue| queue["reads_milliseconds"].is_null()), "{document:#}");
    let sleep = &document["statements"][1]["blocked"][0];
    assert!(sleep["relation"] == "client" && sleep["reads_milliseconds"].as_f64() >= Some(300.0), "{document:#}");
}

/// A body that the linter has not seen takes a lock that it does not speak of.
#[test]
fn where_lint_says_otherwise_the_exit_code_says_so() {
    let start = std::fs::read_to_string(fixtures().join("start.sql")).unwrap();
    let folder = folder(&[("1_tidy.up.sql", "SELECT tidy();\n"), ("start.sql", &start)]);
    let ran = trace(folder.path(), &["1_tidy.up.sql", "--start", "start.sql"]).exits(14);
    assert!(ran.stdout.contains("DIFFERS: lock on queue: lint says nothing, the server took ACCESS EXCLUSIVE"), "{}", ran.stdout);
    assert!(ran.stdout.contains("lint says otherwise of 1 statement"), "{}", ran.stdout);
    let document = json(&trace(folder.path(), &["1_tidy.up.sql", "--start", "start.sql", "--format", "json"]).exits(14));
    assert_eq!(document["statements"][0]["differences"][0]["about"], "lock");
    assert_eq!(document["differing"], 1);
}

#[test]
fn inputs_and_failures() {
    let files = [
        (
            "1_a.sql",
            "CREATE TABLE a (id bigint PRIMARY KEY, at timestamptz, n text CHECK (n ~ '^k'));\nCREATE TABLE b (id bigint, a bigint REFERENCES a (id), name varchar(4) NOT NULL);\n",
        ),
        ("2_b.sql", "ALTER TABLE b ADD COLUMN c int;\nSELECT 1 / 0;\nDROP TABLE b;\n"),
        ("copy.sql", "COPY a (id) FROM stdin;\n1\n\\.\n"),
        ("broken.sql", "CREATE TABEL x (a int);\n"),
        (
            "3_kind.sql",
            "CREATE TYPE kind AS ENUM ('x', 'y');\nCREATE TABLE c (id uuid PRIMARY KEY, k kind NOT NULL, tags text[], b bigint);\n",
        ),
    ];
    let folder = folder(&files);
    let ran = trace(folder.path(), &["1_a.sql", "2_b.sql", "--applied", "1"]).exits(1);
    assert!(ran.stderr.contains("2_b.sql:2: ") && ran.stderr.contains("22012"), "{}", ran.stderr);
    assert!(ran.stdout.contains("ALTER TABLE ADD COLUMN") && !ran.stdout.contains("DROP TABLE"), "{}", ran.stdout);
    for (name, said) in [("copy.sql", "copy.sql:1: COPY"), ("broken.sql", "broken.sql:1: "), ("gone.sql", "does not exist")] {
        let ran = trace(folder.path(), &[name]).exits(2);
        assert!(ran.stderr.contains(said), "{name}: {}", ran.stderr);
    }
    // Nothing was there: nobody waits for anything.
    let ran = trace(folder.path(), &["1_a.sql"]).exits(0);
    assert!(ran.stderr.contains("no table was in use"), "{}", ran.stderr);
    // Rows are made up by types and foreign keys; what a CHECK demands nobody knows.
    std::fs::write(folder.path().join("9_index.sql"), "CREATE INDEX ON b (a);\nCREATE INDEX ON c (id);\n").unwrap();
    let words = ["9_index.sql", "--start", "1_a.sql", "--start", "3_kind.sql", "--rows", "2000", "--format", "json"];
    let ran = trace(folder.path(), &words).exits(0);
    let document = json(&ran);
    let rows = |at: usize| &document["statements"][at]["scans"][0]["rows"];
    assert_eq!((rows(0), rows(1)), (&2000.into(), &2000.into()), "{document:#}");
    assert!(document["without_rows"][0].as_str().unwrap().starts_with("a: ") && ran.stderr.contains("a: "), "{document:#}");
}
