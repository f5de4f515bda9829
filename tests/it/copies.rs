//! What a copy leaves on green beside rows, and what its undo must not take.

use crate::support::{TestDb, Workspace, cluster};

fn plan(tables: &str) -> String {
    format!(
        "format = 1\nname = \"copies\"\n[blue]\nurl_env = \"BLUE_DATABASE_URL\"\n[green]\nurl_env = \"GREEN_DATABASE_URL\"\n\
         [[step]]\nid = \"fill\"\nphase = \"copy\"\nkind = \"copy\"\ntables = [{tables}]\n"
    )
}

async fn both(sql: &str) -> (TestDb, TestDb) {
    let (blue, green) = (TestDb::empty().await, TestDb::empty().await);
    blue.sql(sql).await;
    green.sql(sql).await;
    (blue, green)
}

/// Two tables share a sequence that neither owns; the table with the lower numbers comes last.
#[tokio::test(flavor = "multi_thread")]
async fn a_sequence_that_no_column_owns_goes_on_after_the_rows() {
    let (blue, green) = both(
        "CREATE SEQUENCE s; CREATE TABLE a (id bigint PRIMARY KEY DEFAULT nextval('s')); \
         CREATE TABLE b (id bigint PRIMARY KEY DEFAULT nextval('s')); CREATE TABLE own (id serial PRIMARY KEY)",
    )
    .await;
    blue.sql(
        "INSERT INTO b SELECT FROM generate_series(1, 5); INSERT INTO a SELECT FROM generate_series(1, 20); \
              INSERT INTO own SELECT FROM generate_series(1, 7)",
    )
    .await;
    let workspace = Workspace::new(&plan("\"a\", \"b\", \"own\""), &blue, Some(&green));
    workspace.run(&["run", "--execute"]).exits(0);
    assert_eq!(green.value("SELECT last_value FROM s").await, "25");
    green.sql("INSERT INTO a DEFAULT VALUES; INSERT INTO b DEFAULT VALUES; INSERT INTO own DEFAULT VALUES").await;
    green.sql("DELETE FROM a WHERE id > 25; DELETE FROM b WHERE id > 25; DELETE FROM own WHERE id > 7").await;
    workspace.run(&["rollback", "--execute"]).exits(0);
    assert_eq!(green.value("SELECT last_value || ' ' || is_called FROM s").await, "1 false");
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_somebody_else_wrote_are_not_undone() {
    let (blue, green) = both("CREATE TABLE a (id int PRIMARY KEY)").await;
    blue.sql("INSERT INTO a SELECT generate_series(1, 10)").await;
    let workspace = Workspace::new(&plan("\"a\""), &blue, Some(&green));
    workspace.run(&["run", "--execute"]).exits(0);
    green.sql("INSERT INTO a VALUES (11)").await;
    let kept = workspace.run(&["rollback", "--execute"]).exits(13);
    for words in ["table public.a on green holds 11 rows, the copy loaded 10", "next: "] {
        assert!(kept.stderr.contains(words), "`{words}` is not in:\n{}", kept.stderr);
    }
    assert_eq!(green.value("SELECT count(*) FROM a").await, "11");
    green.sql("DELETE FROM a WHERE id = 11").await;
    workspace.run(&["rollback", "--execute"]).exits(0);
    assert_eq!(green.value("SELECT count(*) FROM a").await, "0");
}

/// A load that was killed and whose snapshot nobody holds is begun again on emptied tables, unless somebody wrote to them meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn rows_that_somebody_else_wrote_are_not_emptied_by_a_resume() {
    let (blue, green) = both("CREATE TABLE a (id int PRIMARY KEY)").await;
    blue.sql("INSERT INTO a SELECT generate_series(1, 10)").await;
    let plan = plan("\"a\"").replace("[[step]]", "[limits]\nhold_snapshot = \"0s\"\n[[step]]");
    let workspace = Workspace::new(&plan, &blue, Some(&green));
    let killed = workspace.command(&["run", "--execute"]).env("CROSSFADE_CRASH_AT", "fill/part").output().unwrap();
    assert_eq!(killed.status.code(), None, "it was to be killed");
    green.sql("INSERT INTO a VALUES (11)").await;
    let kept = workspace.run(&["run", "--execute"]).exits(10);
    assert!(kept.stderr.contains("table public.a on green: holds 11 rows, the copy loaded 10"), "{}", kept.stderr);
    assert_eq!(green.value("SELECT count(*) FROM a").await, "11");
    green.sql("DELETE FROM a WHERE id = 11").await;
    workspace.run(&["run", "--execute"]).exits(0);
    assert_eq!(green.value("SELECT count(*) FROM a").await, "10");
}

/// Blue's sequences are read at the end of a copy: a missing privilege must be said at its beginning.
#[tokio::test(flavor = "multi_thread")]
async fn a_sequence_of_blue_that_may_not_be_read_is_said_first() {
    let (blue, green) = both("CREATE TABLE a (id serial PRIMARY KEY)").await;
    let role = format!("limited_{}", blue.name());
    blue.sql(&format!("CREATE ROLE {role} LOGIN; GRANT SELECT ON a TO {role}")).await;
    let mut workspace = Workspace::new(&plan("\"a\""), &blue, Some(&green));
    workspace.env[0].1 = format!("postgresql://{role}@/{}?host={}", blue.name(), cluster().folder().display());
    let ran = workspace.run(&["run", "--execute"]).exits(10);
    for words in ["sequence public.a_id_seq on blue", "next: GRANT SELECT ON SEQUENCE"] {
        assert!(ran.stderr.contains(words), "`{words}` is not in:\n{}", ran.stderr);
    }
    blue.sql(&format!("GRANT SELECT ON SEQUENCE a_id_seq TO {role}")).await;
    workspace.run(&["run", "--execute"]).exits(0);
    blue.sql(&format!("DROP OWNED BY {role}; DROP ROLE {role}")).await;
}
