//! The folder `hazards`: what Hydra's own upgrades do to a live database, each kind of it, in a folder of ours; and what is left of
//! that when the folder is rewritten.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crossfade::demo::create_1x;
use crossfade::lint::layout::{Direction, order};
use crossfade::pg::Session;

use crate::support::{Ran, TestDb, crossfade};

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/rewrite")
}

/// What a statement is called in the list.
fn kind(sql: &str) -> &'static str {
    let words = sql.split_whitespace().collect::<Vec<_>>().join(" ");
    let has = |part: &str| words.contains(part);
    match words.split(' ').next() {
        Some("INSERT") => "insert of rows",
        Some("UPDATE") => "update of rows",
        Some("CREATE") if has("CREATE TABLE") => "create table",
        Some("CREATE") if has("CREATE UNIQUE INDEX") => "create unique index",
        Some("CREATE") => "create index",
        Some("DROP") if has("DROP TABLE") => "drop table",
        Some("DROP") => "drop index",
        _ if has("ADD COLUMN") => "add column",
        _ if has("DROP COLUMN") => "drop column",
        _ if has("DROP CONSTRAINT") => "drop constraint",
        _ if has("RENAME") => "rename",
        _ if has("SET NOT NULL") => "set not null",
        _ if has("DROP NOT NULL") => "drop not null",
        _ if has("DROP DEFAULT") => "drop default",
        _ if has("FOREIGN KEY") => "add foreign key (validated at once)",
        _ if has("PRIMARY KEY") => "add primary key",
        _ if has("UNIQUE") => "add unique constraint",
        _ if has("CHECK") => "add check constraint",
        _ => "another statement",
    }
}

/// The table that a statement names first, where it names one.
fn target(sql: &str) -> Option<&str> {
    let words: Vec<&str> = sql.split_whitespace().collect();
    match kind(sql) {
        "update of rows" => words.get(1).copied(),
        "create index" | "create unique index" => {
            words.iter().position(|word| *word == "ON").and_then(|at| words.get(at + 1)).copied()
        }
        "drop index" => None,
        _ => words.get(2).copied(),
    }
}

/// Strongest lock of this session on each table, as a rank and its name.
async fn locks(session: &Session) -> BTreeMap<String, (i32, String)> {
    let sql = "SELECT DISTINCT ON (c.oid) c.oid::regclass::text, m.rank, m.name FROM pg_locks l JOIN pg_class c ON c.oid = l.relation \
               JOIN (VALUES (3, 'RowExclusiveLock', 'ROW EXCLUSIVE'), (4, 'ShareUpdateExclusiveLock', 'SHARE UPDATE EXCLUSIVE'), \
                            (5, 'ShareLock', 'SHARE'), (6, 'ShareRowExclusiveLock', 'SHARE ROW EXCLUSIVE'), \
                            (8, 'AccessExclusiveLock', 'ACCESS EXCLUSIVE')) AS m (rank, mode, name) ON m.mode = l.mode \
               WHERE l.pid = pg_backend_pid() AND c.relkind = 'r' AND c.relnamespace = 'public'::regnamespace \
               ORDER BY c.oid, m.rank DESC";
    session.query(sql, &[]).await.unwrap().iter().map(|row| (row.get(0), (row.get(1), row.get(2)))).collect()
}

/// The files of tables and indexes.
async fn files(session: &Session) -> BTreeMap<String, u32> {
    let sql = "SELECT oid::regclass::text, relfilenode FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'";
    session.query(sql, &[]).await.unwrap().iter().map(|row| (row.get(0), row.get(1))).collect()
}

/// What each statement of the folder does, as the server tells: a line as in the list.
async fn observed(session: &Session) -> BTreeSet<String> {
    let all: Vec<PathBuf> = std::fs::read_dir(fixtures().join("hazards")).unwrap().map(|entry| entry.unwrap().path()).collect();
    let mut found = BTreeSet::new();
    for placed in order(&all, &all, Direction::Up) {
        let text = std::fs::read_to_string(&placed.path).unwrap();
        if placed.wrapped {
            session.batch_execute("BEGIN").await.unwrap();
        }
        let there: BTreeSet<String> = files(session).await.into_keys().collect();
        for statement in crossfade::sql::split(&text).unwrap() {
            let (before, stood) = (locks(session).await, files(session).await);
            session.batch_execute(statement.text()).await.unwrap_or_else(|e| panic!("{}: {e:?}", placed.path.display()));
            let (after, stands) = (locks(session).await, files(session).await);
            let taken = |(table, (rank, _)): &(&String, &(i32, String))| {
                there.contains(*table) && before.get(*table).is_none_or(|(had, _)| had < rank)
            };
            let new = after.iter().filter(taken).map(|(_, lock)| lock).max();
            let rewrites = stood.iter().any(|(table, file)| stands.get(table).is_some_and(|now| now != file));
            let behind = target(statement.text()).is_some_and(|table| {
                let made = !there.contains(table) && stood.contains_key(table);
                made || before.get(table).is_some_and(|(rank, _)| *rank == 8)
            });
            let place = match (behind, placed.wrapped) {
                (true, _) => "behind ACCESS EXCLUSIVE",
                (false, true) => "in a transaction",
                (false, false) => "outside a transaction",
            };
            let lock = new.map_or("no new lock", |(_, name)| name);
            let files = if rewrites { "rewrites" } else { "rewrites nothing" };
            found.insert(format!("{} | {lock} | {files} | {place}", kind(statement.text())));
        }
        if placed.wrapped {
            session.batch_execute("COMMIT").await.unwrap();
        }
    }
    found
}

#[tokio::test]
async fn the_folder_has_every_hazard_of_the_list() {
    let db = TestDb::empty().await;
    let session = db.session().await;
    create_1x(&session, 100, 0, "hazards").await.unwrap();
    let found = observed(&session).await;
    let list = std::fs::read_to_string(fixtures().join("hazards.txt")).unwrap();
    let missing: Vec<&str> = list.lines().filter(|line| !line.starts_with('#') && !found.contains(*line)).collect();
    assert!(missing.is_empty(), "missing:\n{}\nfound:\n{}", missing.join("\n"), found.into_iter().collect::<Vec<_>>().join("\n"));
    assert!(list.lines().filter(|line| !line.starts_with('#')).count() >= 39);
}

/// Rewritten, proved, and run while clients work: nobody notices. The original runs under the same traffic for comparison.
#[test]
fn the_folder_rewritten_under_live_traffic() {
    let mut command = crossfade();
    command.args(["-q", "demo", "--sessions", "300", "--rate", "40", "--format", "json", "--migrations"]);
    command.arg(fixtures().join("hazards")).args(["--ignore-values", "hydra_client.pk"]);
    let ran = Ran::of(command.output().unwrap()).exits(0);
    let report: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    let number = |pointer: &str| report.pointer(pointer).and_then(serde_json::Value::as_f64).unwrap_or_else(|| panic!("{pointer}: {report}"));
    for run in ["original", "rewritten"] {
        assert_eq!(report[run]["outcome"], "done", "{run}");
        assert!(number(&format!("/{run}/requests")) > 100.0 && number(&format!("/{run}/longest_stall_ms")) > 0.0, "{run}");
        assert!(number(&format!("/{run}/reports")) > 0.0 && number(&format!("/{run}/sessions/before")) > 200.0, "{run}");
    }
    assert_eq!((number("/rewritten/requests_failed"), number("/rewritten/sessions/differing")), (0.0, 0.0));
    assert!(number("/rewritten/sessions/created") > 0.0);
    assert!(number("/proved/properties") > 1000.0 && number("/proved/rows") > 1000.0);
    // What was approved is said, with its place.
    let approvals = report["approvals"].as_array().unwrap();
    assert!(approvals.iter().any(|one| one.as_str().unwrap().starts_with("20230101000023_client_ids.up.sql:3: ")), "{approvals:?}");
}

/// A folder that ends elsewhere than its plan is not run.
#[test]
fn a_folder_that_is_not_proved_is_not_run() {
    let mut command = crossfade();
    command.args(["-q", "demo", "--sessions", "50", "--migrations"]).arg(fixtures().join("hazards"));
    let ran = Ran::of(command.output().unwrap()).exits(1);
    assert!(ran.stderr.contains("rows public.hydra_client, values of pk"), "{}", ran.stderr);
}
