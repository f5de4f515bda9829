//! Indexes and constraints: what blocks a step, what an unfinished build leaves, and who is in the way.

use std::fs::File;

use crate::fingerprint::{assert_same, fingerprint};
use crate::support::{Ran, TestDb, Workspace, eventually, since};

const HEAD: &str = "format = 1\nname = \"ddl\"\n[blue]\nurl_env = \"BLUE_DATABASE_URL\"\n[[step]]\nid = \"it\"\nphase = \"expand\"\nside = \"blue\"\n";

async fn database() -> TestDb {
    let db = TestDb::empty().await;
    db.sql(
        "CREATE TABLE parent (id int PRIMARY KEY); INSERT INTO parent VALUES (1), (2);
         CREATE TABLE t (a int, b text, parent_id int, UNIQUE (b));
         INSERT INTO t VALUES (1, 'x', 1), (1, 'y', 2), (2, NULL, 3), (NULL, 'z', NULL)",
    )
    .await;
    db
}

/// The step finds something that blocks, says `words`, and leaves the tables as they are.
async fn blocks(step: &str, words: &[&str]) -> TestDb {
    let db = database().await;
    blocks_on(&db, step, words).await;
    db
}

async fn blocks_on(db: &TestDb, step: &str, words: &[&str]) {
    let before = fingerprint(db).await;
    let ran = Workspace::new(&format!("{HEAD}{step}"), db, None).run(&["run", "--execute"]).exits(10);
    for word in words {
        assert!(ran.stderr.contains(word), "`{word}` is not in:\n{}", ran.stderr);
    }
    assert_same("after findings", &[before], &[fingerprint(db).await]);
}

const UNIQUE_A: &str = "kind = \"create_index\"\ntable = \"t\"\nname = \"t_a\"\ncolumns = [\"a\"]\nunique = true\n";
const PLAIN_A: &str = "kind = \"create_index\"\ntable = \"t\"\nname = \"t_a\"\ncolumns = [\"a\"]\n";

#[tokio::test(flavor = "multi_thread")]
async fn repeated_keys_block_a_unique_index_and_a_unique_constraint() {
    blocks(UNIQUE_A, &["table t: 1 key stands in more than one row", "clean_rows"]).await;
    let key = "kind = \"add_constraint\"\ntable = \"t\"\nname = \"t_a\"\nunique = [\"a\"]\n";
    blocks(key, &["table t: 1 key stands in more than one row"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_break_a_constraint_are_counted() {
    let check = "kind = \"add_constraint\"\ntable = \"t\"\nname = \"big\"\ncheck = \"a > 1\"\n";
    blocks(check, &["table t: 2 rows break the check big", "next: "]).await;
    let foreign = "kind = \"add_constraint\"\ntable = \"t\"\nname = \"f\"\n\
        foreign_key = { columns = [\"parent_id\"], references = \"parent\", referenced_columns = [\"id\"] }\n";
    blocks(foreign, &["table t: 1 row points to no row of parent", "next: "]).await;
    blocks("kind = \"set_not_null\"\ntable = \"t\"\ncolumn = \"b\"\n", &["column b of t: is NULL in 1 row", "backfill"]).await;
    let primary = "kind = \"add_constraint\"\ntable = \"t\"\nname = \"p\"\nprimary_key = [\"b\"]\n";
    blocks(primary, &["column b of t: may be NULL", "set_not_null"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_missing_or_wrong_is_named() {
    blocks("kind = \"set_not_null\"\ntable = \"nobody\"\ncolumn = \"b\"\n", &["table nobody: is not on blue"]).await;
    blocks("kind = \"set_not_null\"\ntable = \"t\"\ncolumn = \"no\"\n", &["column no of t: is not on blue"]).await;
    let column = PLAIN_A.replace("[\"a\"]", "[\"nothing\"]");
    blocks(&column, &["index t_a: the server refuses its definition", "column \"nothing\" does not exist"]).await;
    let check = "kind = \"add_constraint\"\ntable = \"t\"\nname = \"c\"\ncheck = \"nothing > 1\"\n";
    blocks(check, &["constraint c of t: the server refuses its definition"]).await;
    blocks("kind = \"drop_index\"\nname = \"t_b_key\"\n", &["index t_b_key: backs constraint t_b_key of table public.t"]).await;
    blocks("kind = \"drop_index\"\nname = \"parent\"\n", &["index parent: that name belongs to a relation that is no index"])
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn constraints_that_rows_were_not_held_against_block() {
    if !since(18, "NOT NULL NOT VALID and NOT ENFORCED") {
        return;
    }
    let db = database().await;
    db.sql("ALTER TABLE t ADD CONSTRAINT later NOT NULL b NOT VALID").await;
    let not_null = "kind = \"set_not_null\"\ntable = \"t\"\ncolumn = \"b\"\n";
    blocks_on(&db, not_null, &["column b of t: has a NOT NULL constraint later that is NOT VALID", "VALIDATE"]).await;
    let primary = "kind = \"add_constraint\"\ntable = \"t\"\nname = \"p\"\nprimary_key = [\"b\"]\n";
    blocks_on(&db, primary, &["column b of t: may be NULL", "set_not_null"]).await;
    db.sql("ALTER TABLE t ADD CONSTRAINT f FOREIGN KEY (parent_id) REFERENCES parent NOT ENFORCED").await;
    let foreign = "kind = \"add_constraint\"\ntable = \"t\"\nname = \"f\"\n\
        foreign_key = { columns = [\"parent_id\"], references = \"parent\", referenced_columns = [\"id\"] }\n";
    blocks_on(&db, foreign, &["constraint f of t: a constraint of that name has another definition", "NOT ENFORCED"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_object_of_that_name_blocks() {
    let db = database().await;
    db.sql("CREATE INDEX t_a ON t (a DESC)").await;
    blocks_on(&db, PLAIN_A, &["index t_a: an index of that name has another definition", "(a DESC)", "next: "]).await;
    let db = database().await;
    db.sql("CREATE INDEX t_a ON parent (id)").await;
    blocks_on(&db, PLAIN_A, &["an index of that name is on table public.parent"]).await;
    let db = database().await;
    db.sql("CREATE TABLE t_a ()").await;
    blocks_on(&db, PLAIN_A, &["that name belongs to another relation"]).await;
    let db = database().await;
    db.sql("ALTER TABLE t ADD CONSTRAINT c CHECK (a > 0)").await;
    let check = "kind = \"add_constraint\"\ntable = \"t\"\nname = \"c\"\ncheck = \"a >= 0\"\n";
    blocks_on(&db, check, &["constraint c of t: a constraint of that name has another definition: CHECK ((a > 0))"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invalid_index_is_built_again() {
    let db = database().await;
    let session = db.session().await;
    session.batch_execute("CREATE UNIQUE INDEX CONCURRENTLY t_a ON t (a)").await.unwrap_err();
    assert_eq!(db.value("SELECT count(*) FROM pg_index WHERE NOT indisvalid").await, "1");
    let workspace = Workspace::new(&format!("{HEAD}{PLAIN_A}"), &db, None);
    workspace.run(&["run", "--execute"]).exits(0);
    assert_eq!(db.value("SELECT indisvalid AND NOT indisunique FROM pg_index WHERE indexrelid = 't_a'::regclass").await, "true");
}

/// A build waits for an old transaction: it says for whom, is killed there, and its remains become a valid index.
#[tokio::test(flavor = "multi_thread")]
async fn a_build_that_was_killed_is_taken_up_again() {
    let db = database().await;
    let old = db.session().await;
    old.batch_execute("SET application_name = 'the report of last night'; BEGIN; INSERT INTO t VALUES (7)").await.unwrap();
    let workspace = Workspace::new(&format!("{HEAD}{PLAIN_A}"), &db, None);
    let said = workspace.folder.path().join("said");
    let mut child = workspace
        .command(&["run", "--execute"])
        .stderr(File::create(&said).unwrap())
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let text = || std::fs::read_to_string(&said).unwrap();
    eventually("the blocker's name", async || text().contains("the report of last night")).await;
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(db.value("SELECT indisvalid FROM pg_index WHERE indexrelid = 't_a'::regclass").await, "false");
    old.batch_execute("COMMIT").await.unwrap();
    let ran: Ran = workspace.run(&["run", "--execute"]).exits(0);
    assert_eq!(db.value("SELECT indisvalid FROM pg_index WHERE indexrelid = 't_a'::regclass").await, "true", "{}", ran.stderr);
    assert_eq!(db.value("SELECT count(*) FROM pg_index WHERE NOT indisvalid").await, "0");
}
