//! Rows are nobody's business: no value of theirs in what a run says, prints or writes down.

use crate::support::{TestDb, Workspace};

const SECRET: &str = "hunter2";

/// Runs the step: it must stop, say `words`, and keep the secrets to itself.
async fn keeps_quiet(blue: &TestDb, green: Option<&TestDb>, step: &str, words: &[&str], secrets: &[&str]) {
    let green_too = if green.is_some() { "[green]\nurl_env = \"GREEN_DATABASE_URL\"\n" } else { "" };
    let plan = format!(
        "format = 1\nname = \"secrecy\"\n[blue]\nurl_env = \"BLUE_DATABASE_URL\"\n{green_too}[[step]]\nid = \"fails\"\n{step}"
    );
    let workspace = Workspace::new(&plan, blue, green);
    let mut command = workspace.command(&["run", "--execute", "--format", "json"]);
    let ran = crate::support::Ran::of(command.env("CROSSFADE_LOG", "trace").output().unwrap()).exits(11);
    let journals = std::fs::read_dir(workspace.folder.path().join("state/secrecy")).unwrap();
    let journal: String =
        journals.map(|run| std::fs::read_to_string(run.unwrap().path().join("journal.jsonl")).unwrap()).collect();
    for (place, text) in [("stderr", &ran.stderr), ("stdout", &ran.stdout), ("the journal", &journal)] {
        for secret in secrets {
            // The driver library's own trace shows statements, which hold what the plan holds, not rows.
            let shown = text.lines().filter(|line| line.contains(secret)).collect::<Vec<_>>();
            assert!(shown.is_empty(), "{secret} is in {place}:\n{}", shown.join("\n"));
        }
    }
    for word in words {
        assert!(ran.stdout.contains(word) && journal.contains(word), "{word} is missing in:\n{}\n{journal}", ran.stdout);
    }
}

async fn database() -> TestDb {
    let db = TestDb::empty().await;
    db.sql(&format!(
        "CREATE TABLE parent (id text PRIMARY KEY);
         CREATE TABLE t (id int PRIMARY KEY, secret text, number text, other text UNIQUE, parent text REFERENCES parent, \
                         short varchar(200) CHECK (short <> '{SECRET}'), small smallint);
         INSERT INTO t (id, secret, number) VALUES (1, '{SECRET}', '31415926'), (2, '{SECRET}', '31415926');"
    ))
    .await;
    db
}

fn sql(sql: &str) -> String {
    format!("phase = \"expand\"\nkind = \"run_sql\"\nside = \"blue\"\nsql = [\"{sql}\"]\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn statements_that_fail_on_a_row() {
    let db = database().await;
    for (text, code) in [
        ("UPDATE t SET other = secret", "23505"),
        ("UPDATE t SET parent = secret", "23503"),
        ("UPDATE t SET short = secret", "23514"),
        ("UPDATE t SET id = NULL", "23502"),
        ("UPDATE t SET small = secret::int", "22P02"),
        ("UPDATE t SET small = number::smallint", "22003"),
        ("UPDATE t SET small = extract(year from secret::date)", "22007"),
        ("UPDATE t SET small = to_date(secret, 'YYYY') - current_date", "22007"),
        ("UPDATE t SET secret = secret::json->>'a'", "22P02"),
        ("UPDATE t SET secret = (secret::int[])[1]::text", "22P02"),
        ("UPDATE t SET secret = convert_from(secret::bytea || '\\\\xff'::bytea, 'UTF8')", "22021"),
        ("UPDATE t SET secret = decode(secret, 'hex')::text", "22023"),
    ] {
        keeps_quiet(&db, None, &sql(text), &[code], &[SECRET, "31415926", "0xff"]).await;
    }
}

/// The words of another language stand in other quotes.
#[tokio::test(flavor = "multi_thread")]
async fn values_between_the_quotes_of_other_languages() {
    for message in
        ["ungültige Eingabesyntax für Typ integer: »hunter2«", "значение вне диапазона: \"hunter2\"", "「hunter2」は不正"]
    {
        let db = TestDb::empty().await;
        db.sql(&format!(
            "CREATE FUNCTION fails() RETURNS int LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION USING ERRCODE = '22P02', MESSAGE = '{message}'; END $$"
        ))
        .await;
        keeps_quiet(&db, None, &sql("SELECT fails()"), &["22P02"], &[SECRET]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backfill_that_fails_on_a_row() {
    let db = database().await;
    for (set, code) in [
        ("other = \"secret\"", "23505"),
        ("parent = \"secret\"", "23503"),
        ("short = \"secret\"", "23514"),
        ("small = \"number::smallint\"", "22003"),
    ] {
        let column = set.split(' ').next().unwrap();
        let step = format!(
            "phase = \"convert\"\nkind = \"backfill\"\nside = \"blue\"\ntable = \"t\"\nset = {{ {set} }}\nwhere = \"{column} IS NULL\"\n"
        );
        keeps_quiet(&db, None, &step, &[code], &[SECRET, "31415926"]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_fails_on_a_row() {
    let copy = "phase = \"copy\"\nkind = \"copy\"\ntables = [\"t\"]\n";
    for (on_blue, on_green, code) in [
        ("a text", "a text UNIQUE", "23505"),
        ("a text", "a text REFERENCES parent", "23503"),
        ("a text", "a text CHECK (length(a) > 100)", "23514"),
        ("a text", "a varchar(3)", "22001"),
    ] {
        let (blue, green) = (TestDb::empty().await, TestDb::empty().await);
        for (db, column) in [(&blue, on_blue), (&green, on_green)] {
            db.sql(&format!("CREATE TABLE parent (id text PRIMARY KEY); CREATE TABLE t (id int PRIMARY KEY, {column})")).await;
        }
        blue.sql(&format!("INSERT INTO t VALUES (1, '{SECRET}'), (2, '{SECRET}')")).await;
        keeps_quiet(&blue, Some(&green), copy, &[code], &[SECRET]).await;
    }
}
