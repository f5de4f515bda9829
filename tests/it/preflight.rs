//! `crossfade preflight`: which existing rows break the constraints to come, with exact counts.

use crate::hydra;
use crate::support::{Ran, TestDb, Workspace};

const HEAD: &str = "format = 1\nname = \"look\"\n[blue]\nurl_env = \"BLUE_DATABASE_URL\"\n";
const GREEN: &str = "[green]\nurl_env = \"GREEN_DATABASE_URL\"\n";

/// The findings of a preflight, as JSON.
fn found(ran: &Ran) -> Vec<serde_json::Value> {
    let document: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    document["findings"].as_array().unwrap().clone()
}

/// The count of the one finding with this rule, table and column.
#[track_caller]
fn count(found: &[serde_json::Value], rule: &str, table: &str, column: Option<&str>) -> u64 {
    let of = |finding: &&serde_json::Value| {
        finding["rule"] == rule && finding["table"] == table && finding["column"].as_str() == column
    };
    let all: Vec<_> = found.iter().filter(of).collect();
    assert!(all.len() <= 1, "{rule} {table} {column:?}: {all:#?}");
    all.first().map_or(0, |finding| finding["count"].as_u64().unwrap())
}

/// A preflight of this plan, as JSON.
fn look(workspace: &Workspace, code: i32) -> Vec<serde_json::Value> {
    found(&workspace.run(&["preflight", "--format", "json"]).exits(code))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_hydra_kinds_are_found_with_exact_counts() {
    const EACH: u64 = hydra::PLANTED as u64;
    let (blue, green) = (hydra::blue_1_11_10().await, TestDb::empty().await);
    let workspace = Workspace::at(tempfile::tempdir().unwrap(), &blue, Some(&green));
    let preflight = || hydra::run(&workspace, "hydra-2x-blue-green.toml", &["preflight", "--format", "json"]);
    let all = found(&preflight().exits(0));
    let (login, consent) = ("public.hydra_oauth2_authentication_request", "public.hydra_oauth2_consent_request");
    let (login_answer, answer) = (format!("{login}_handled"), format!("{consent}_handled"));
    let of = |rule: &str, table: &str, column: &str| count(&all, rule, table, Some(column));
    // 01 and 02: two consents with one login_challenge
    assert_eq!(of("shared_key", consent, "login_challenge"), 2 * EACH);
    // 03: unanswered consent whose login has no answer
    let left_out = |table: &str, by: &str| -> Vec<u64> {
        let by = |f: &&serde_json::Value| f["table"] == table && f["what"].as_str().unwrap().contains(by);
        all.iter().filter(|f| f["rule"] == "left_out_by").filter(by).map(|f| f["count"].as_u64().unwrap()).collect()
    };
    let bare = "hydra_oauth2_consent_request";
    assert_eq!(left_out(bare, "(ca.challenge IS NOT NULL OR la.challenge IS NOT NULL)"), [EACH]);
    assert_eq!(left_out(bare, "NOT EXISTS"), [EACH]); // the unanswered ones of 02
    // 04, 05: text that is no JSON as it stands
    for table in [login, consent] {
        assert_eq!(of("json_null_character", table, "oidc_context"), EACH);
        assert_eq!(of("json_empty", table, "oidc_context"), EACH);
    }
    assert_eq!([of("json_empty", &login_answer, "context"), of("json_empty", consent, "context")], [EACH; 2]);
    assert_eq!([of("json_empty", &answer, "session_access_token"), of("json_empty", &answer, "session_id_token")], [EACH; 2]);
    // 06, 07, 08: lists that break JSON, or change in it
    assert_eq!(of("json_string", "public.hydra_client", "contacts"), EACH);
    for (table, scope, audience) in [
        (login, "requested_scope", "requested_at_audience"),
        (consent, "requested_scope", "requested_at_audience"),
        (&*answer, "granted_scope", "granted_at_audience"),
    ] {
        assert_eq!([of("json_string", table, scope), of("json_string", table, audience)], [EACH; 2], "{table}");
        assert_eq!(of("json_string_changed", table, scope), EACH, "{table}");
    }
    // 09: an error that no index row has room for
    assert_eq!(of("index_row", &answer, "error"), EACH);
    // 10, 11, 12: rows that point to nothing, and are left out
    for kind in ["access", "refresh", "code", "oidc", "pkce"] {
        let bare = format!("hydra_oauth2_{kind}");
        let dangling = all.iter().filter(|f| f["rule"] == "dangling" && f["table"] == format!("public.{bare}"));
        assert_eq!(dangling.map(|f| f["count"].as_u64().unwrap()).collect::<Vec<_>>(), [EACH; 2], "{kind}");
        assert_eq!(left_out(&bare, "hydra_client has no row"), [EACH]);
        assert_eq!(left_out(&bare, "the where"), [EACH]);
        assert_eq!(count(&all, "left_out", &bare, None), 2 * EACH);
    }
    assert_eq!(count(&all, "dangling", login, None), EACH);
    assert_eq!(all.iter().filter(|f| f["rule"] != "environment" && f["severity"] != "note").count(), 0);
    // Broken inside: the projection itself fails for exactly these.
    blue.sql("UPDATE hydra_oauth2_authentication_request SET oidc_context = '{broken}' WHERE challenge LIKE 'dead05000001%'")
        .await;
    let ran = preflight().exits(10);
    let broken = found(&ran);
    assert_eq!(count(&broken, "cast", "public.hydra_oauth2_flow", Some("oidc_context")), EACH);
    assert_eq!(count(&broken, "json_broken", login, Some("oidc_context")), EACH);
    assert!(!ran.stdout.contains("{broken}") && !ran.stderr.contains("{broken}"), "a value is shown");
    assert_eq!(green.value("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").await, "0", "green is untouched");
}

const ROWS: &str = "
    CREATE TABLE p (id int PRIMARY KEY); INSERT INTO p SELECT generate_series(1, 9);
    CREATE TABLE t (id int PRIMARY KEY, a int, s text, r int4range);
    INSERT INTO t SELECT n, n % 10, 'v' || n, int4range(n * 10, n * 10 + 5) FROM generate_series(1, 2000) AS n;
    UPDATE t SET a = NULL WHERE id % 100 = 7;
    ANALYZE";

/// More SQL for the rows, the statement, what takes it back, rule, column, rows that break it.
type Kind = (&'static str, &'static str, &'static str, &'static str, Option<&'static str>, u64);

/// What is suggested ends it: the plan with the suggestion passes preflight and runs, and its rollback gives back every row.
#[rustfmt::skip]
const SUGGESTED: &[Kind] = &[
    ("", "ALTER TABLE t ALTER a SET NOT NULL", "ALTER TABLE t ALTER a DROP NOT NULL", "not_null", Some("a"), 20),
    ("", "ALTER TABLE t ADD CONSTRAINT c CHECK (a < 8)", "ALTER TABLE t DROP CONSTRAINT c", "check", None, 400),
    ("UPDATE t SET a = id; UPDATE t SET a = 5 WHERE id IN (6, 7, 8)", "ALTER TABLE t ADD CONSTRAINT u UNIQUE (a)", "ALTER TABLE t DROP CONSTRAINT u", "unique", None, 3),
    ("UPDATE t SET a = 1 WHERE id = 10", "CREATE UNIQUE INDEX i ON t (lower(s)) WHERE a = 1", "DROP INDEX i", "unique", None, 0),
    ("", "ALTER TABLE t ADD CONSTRAINT f FOREIGN KEY (a) REFERENCES p", "ALTER TABLE t DROP CONSTRAINT f", "foreign_key", None, 200),
    ("", "ALTER TABLE t ALTER s TYPE varchar(4)", "ALTER TABLE t ALTER s TYPE text", "length", Some("s"), 1001),
    ("UPDATE t SET s = (SELECT string_agg(md5(id || ':' || n), '') FROM generate_series(1, 200) AS n) WHERE id < 6", "CREATE INDEX i ON t (s)", "DROP INDEX i", "index_row", Some("s"), 5),
    ("UPDATE t SET r = int4range(10, 25) WHERE id IN (1, 700)", "ALTER TABLE t ADD CONSTRAINT e EXCLUDE USING gist (r WITH &&)", "ALTER TABLE t DROP CONSTRAINT e", "exclude", None, 2),
    ("UPDATE t SET s = id; UPDATE t SET s = 'x' WHERE id % 500 = 0; UPDATE t SET s = '3000000000' WHERE id = 7", "ALTER TABLE t ALTER s TYPE int USING s::int", "ALTER TABLE t ALTER s TYPE text", "cast", Some("s"), 5),
    ("UPDATE t SET a = 40000 WHERE id IN (3, 1999)", "ALTER TABLE t ALTER a TYPE smallint", "ALTER TABLE t ALTER a TYPE int", "cast", Some("a"), 2),
    ("UPDATE t SET s = md5(s)::uuid; UPDATE t SET s = '{' || md5(s) || '-}' WHERE id = 3; UPDATE t SET s = 'none' WHERE id IN (5, 6)", "ALTER TABLE t ALTER s TYPE uuid USING s::uuid", "ALTER TABLE t ALTER s TYPE text", "cast", Some("s"), 3),
    ("UPDATE t SET a = id WHERE id % 100 <> 7; UPDATE t SET a = 5 WHERE id IN (6, 8)", "ALTER TABLE t DROP CONSTRAINT t_pkey, ADD CONSTRAINT pk PRIMARY KEY (a)", "ALTER TABLE t DROP CONSTRAINT pk, ALTER a DROP NOT NULL, ADD CONSTRAINT t_pkey PRIMARY KEY (id)", "unique", None, 2),
    ("ALTER TABLE t DROP CONSTRAINT t_pkey, ALTER id SET NOT NULL; CREATE UNIQUE INDEX named ON t (id)", "ALTER TABLE t ALTER a SET NOT NULL", "ALTER TABLE t ALTER a DROP NOT NULL", "not_null", Some("a"), 20),
    (r#"UPDATE t SET s = '{}'; UPDATE t SET s = ' ' WHERE id < 4; UPDATE t SET s = '{"a": "\u0000"}' WHERE id = 9"#, "ALTER TABLE t ALTER s TYPE jsonb USING s::jsonb", "ALTER TABLE t ALTER s TYPE text", "cast", Some("s"), 4),
];

fn one_step(statement: &str, undo: &str) -> String {
    let kind = "id = \"it\"\nphase = \"expand\"\nkind = \"run_sql\"\nside = \"blue\"";
    format!("[[step]]\n{kind}\nsql = ['''{statement}''']\nundo_sql = ['''{undo}''']\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_suggested_lets_the_plan_pass_and_comes_back() {
    for (more, statement, undo, rule, column, expected) in SUGGESTED {
        let db = TestDb::empty().await;
        db.sql(ROWS).await;
        db.sql(more).await;
        let rows = "SELECT md5(string_agg(t::text, ',' ORDER BY id)) FROM t";
        let before = db.value(rows).await;
        let step = one_step(statement, undo);
        let workspace = Workspace::new(&format!("{HEAD}{step}"), &db, None);
        let code = if *expected > 0 { 10 } else { 0 };
        assert_eq!(count(&look(&workspace, code), rule, "public.t", *column), *expected, "{statement}");
        if *expected > 0 {
            let suggested = workspace.run(&["preflight", "--suggest"]).exits(10).stdout;
            std::fs::write(workspace.plan(), format!("{HEAD}{suggested}{step}")).unwrap();
            let left = look(&workspace, 0);
            assert!(!left.iter().any(|f| f["rule"] != "environment"), "{statement}: {left:#?}\n{suggested}");
        }
        // A row that was removed is still indexed while somebody's snapshot sees it (an ANALYZE of autovacuum): the run resumes.
        let mut ran = workspace.run(&["run", "--execute"]);
        for _ in 0..30 {
            if ran.code != Some(11) || !ran.stderr.contains("SQLSTATE 54000") {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_secs(1)).await;
            ran = workspace.run(&["run", "--execute"]);
        }
        ran.exits(0);
        workspace.run(&["rollback", "--execute"]).exits(0);
        assert_eq!(db.value(rows).await, before, "{statement}");
    }
}

/// Rows that nothing names are counted; the suggestion says what a step lacks.
#[tokio::test]
async fn a_table_without_a_key_gets_no_step_that_would_be_refused() {
    let db = TestDb::empty().await;
    db.sql(&format!("{ROWS}; ALTER TABLE t DROP CONSTRAINT t_pkey")).await;
    let step = one_step("ALTER TABLE t ALTER a SET NOT NULL", "ALTER TABLE t ALTER a DROP NOT NULL");
    let workspace = Workspace::new(&format!("{HEAD}{step}"), &db, None);
    assert_eq!(count(&look(&workspace, 10), "not_null", "public.t", Some("a")), 20);
    let suggested = workspace.run(&["preflight", "--suggest"]).exits(10).stdout;
    assert!(suggested.contains("needs a unique index on NOT NULL columns") && !suggested.contains("[[step]]"), "{suggested}");
}

/// More SQL, statement, what takes it back, column, the rows: kinds for which SQL has no condition, so that the person who reads the
/// count and the digests writes the step.
#[rustfmt::skip]
const BY_HAND: &[(&str, &str, &str, &str, &[u32])] = &[
    ("UPDATE t SET s = '2024-02-29 12:00+00'; UPDATE t SET s = '2023-02-29' WHERE id = 4; UPDATE t SET s = 'noon' WHERE id IN (5, 6)", "ALTER TABLE t ALTER s TYPE timestamptz USING s::timestamptz", "ALTER TABLE t ALTER s TYPE text USING to_char(s AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI+00')", "s", &[4, 5, 6]),
    ("UPDATE t SET s = '2024-02-29'; UPDATE t SET s = '2024-13-01' WHERE id = 9", "ALTER TABLE t ALTER s TYPE date USING s::date", "ALTER TABLE t ALTER s TYPE text", "s", &[9]),
    ("CREATE TYPE mood AS ENUM ('good', 'bad'); UPDATE t SET s = 'good'; UPDATE t SET s = 'Good' WHERE id IN (1, 2000)", "ALTER TABLE t ALTER s TYPE mood USING s::mood", "ALTER TABLE t ALTER s TYPE text", "s", &[1, 2000]),
    ("CREATE DOMAIN small AS int CHECK (VALUE < 9); UPDATE t SET a = 1 WHERE a = 9; UPDATE t SET a = 9 WHERE id IN (3, 4)", "ALTER TABLE t ALTER a TYPE small USING a::small", "ALTER TABLE t ALTER a TYPE int", "a", &[3, 4]),
    ("UPDATE t SET a = 1 WHERE a = 0 AND id NOT IN (10, 20)", "ALTER TABLE t ADD g int GENERATED ALWAYS AS (10 / a) STORED", "ALTER TABLE t DROP g", "g", &[10, 20]),
    (r#"UPDATE t SET s = '{}'; UPDATE t SET s = '{"a": 1' WHERE id = 12"#, "ALTER TABLE t ALTER s TYPE json USING s::json", "ALTER TABLE t ALTER s TYPE text", "s", &[12]),
];

#[tokio::test(flavor = "multi_thread")]
async fn what_no_condition_finds_passes_after_a_step_by_hand_and_comes_back() {
    for (more, statement, undo, column, ids) in BY_HAND {
        let db = TestDb::empty().await;
        db.sql(ROWS).await;
        db.sql(more).await;
        let rows = "SELECT md5(string_agg((id, a, s, r)::text, ',' ORDER BY id)) FROM t";
        let before = db.value(rows).await;
        let step = one_step(statement, undo);
        let workspace = Workspace::new(&format!("{HEAD}{step}"), &db, None);
        assert_eq!(count(&look(&workspace, 10), "cast", "public.t", Some(column)), ids.len() as u64, "{statement}");
        let by_hand = format!(
            "[[step]]\nid = \"by-hand\"\nphase = \"expand\"\nkind = \"clean_rows\"\nside = \"blue\"\ntable = \"t\"\n\
             where = \"id = ANY (ARRAY{ids:?})\"\nreason = \"no condition finds them\"\nmax_rows = {}\ndelete = true\n",
            ids.len()
        );
        std::fs::write(workspace.plan(), format!("{HEAD}{by_hand}{step}")).unwrap();
        let left = look(&workspace, 0);
        assert!(!left.iter().any(|f| f["rule"] != "environment"), "{statement}: {left:#?}");
        workspace.run(&["run", "--execute"]).exits(0);
        workspace.run(&["rollback", "--execute"]).exits(0);
        assert_eq!(db.value(rows).await, before, "{statement}");
    }
}

/// A projection's own repair: what is suggested goes into its file, the rows come along mended or are left out and accounted for, and
/// blue stays as it is.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_suggested_for_a_projection_lets_it_pass() {
    let (blue, green) = (TestDb::empty().await, TestDb::empty().await);
    blue.sql(
        "CREATE TABLE person (id int PRIMARY KEY, name text, born text); \
         INSERT INTO person SELECT n, 'name ' || n, '2000' FROM generate_series(1, 100) AS n; \
         UPDATE person SET born = NULL WHERE id % 10 = 1; UPDATE person SET name = repeat('n', 30) WHERE id IN (5, 6)",
    )
    .await;
    green.sql("CREATE TABLE human (id int PRIMARY KEY, name varchar(20), year text NOT NULL CHECK (year <> ''))").await;
    let step = |id: &str, phase: &str| {
        format!("[[step]]\nid = \"{id}\"\nphase = \"{phase}\"\nkind = \"{id}\"\nprojections = \"projections\"\n")
    };
    let plan = format!("{HEAD}{GREEN}{}{}", step("copy", "copy"), step("verify", "follow"));
    let workspace = Workspace::new(&plan, &blue, Some(&green));
    let folder = workspace.folder.path().join("projections");
    std::fs::create_dir(&folder).unwrap();
    let projection = |source: &str, columns: &str| {
        format!(
            "table = \"human\"\nkey = [\"id\"]\n[[source]]\nname = \"all\"\ndrives = {{ table = \"person\", alias = \"p\" }}\n\
             from = \"person AS p\"\n{source}[source.columns]\nid = \"p.id\"\n{columns}"
        )
    };
    let file = folder.join("human.toml");
    std::fs::write(&file, projection("", "name = \"p.name\"\nyear = \"p.born\"\n")).unwrap();
    let all = look(&workspace, 10);
    assert_eq!(count(&all, "not_null", "public.human", Some("year")), 10);
    assert_eq!(count(&all, "length", "public.human", Some("name")), 2);
    let suggested = workspace.run(&["preflight", "--suggest"]).exits(10).stdout;
    let line =
        |start: &str| suggested.lines().find(|line| line.starts_with(start)).unwrap_or_else(|| panic!("{start}: {suggested}"));
    let source = format!("{}\n", line("where = "));
    std::fs::write(&file, projection(&source, &format!("{}\nyear = \"p.born\"\n", line("name = ")))).unwrap();
    let left = look(&workspace, 0);
    assert_eq!(count(&left, "left_out", "person", None), 10, "{left:#?}");
    let before = blue.value("SELECT md5(string_agg(p::text, ',' ORDER BY id)) FROM person AS p").await;
    workspace.run(&["run", "--execute"]).exits(0);
    assert_eq!(green.value("SELECT count(*) FROM human").await, "90");
    assert_eq!(green.value("SELECT count(*) FROM human WHERE name = repeat('n', 20)").await, "2");
    assert_eq!(blue.value("SELECT md5(string_agg(p::text, ',' ORDER BY id)) FROM person AS p").await, before);
}

/// A copy of the table as it is refuses text on its way to an enum; the rows that a cast would fail for are counted all the same.
#[tokio::test(flavor = "multi_thread")]
async fn text_without_a_label_of_greens_enum_is_counted() {
    let (blue, green) = (TestDb::empty().await, TestDb::empty().await);
    blue.sql(
        "CREATE TABLE t (id int PRIMARY KEY, m text); INSERT INTO t SELECT n, 'good' FROM generate_series(1, 50) AS n; \
         UPDATE t SET m = 'odd' WHERE id IN (3, 4, 5); UPDATE t SET m = NULL WHERE id = 6",
    )
    .await;
    green.sql("CREATE TYPE mood AS ENUM ('good', 'bad'); CREATE TABLE t (id int PRIMARY KEY, m mood)").await;
    let copy = "[[step]]\nid = \"all\"\nphase = \"copy\"\nkind = \"copy\"\ntables = [\"t\"]\n";
    let workspace = Workspace::new(&format!("{HEAD}{GREEN}{copy}"), &blue, Some(&green));
    assert_eq!(count(&look(&workspace, 10), "enum", "public.t", Some("m")), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn kinds_without_a_condition_are_counted() {
    #[rustfmt::skip]
    let kinds: &[Kind] = &[
        ("UPDATE t SET s = id; UPDATE t SET s = 'x' WHERE id % 500 = 0", "ALTER TABLE t ALTER s TYPE int USING s::int", "", "cast", Some("s"), 4),
        ("UPDATE t SET a = 40000 WHERE id IN (3, 1999)", "ALTER TABLE t ALTER a TYPE smallint", "", "cast", Some("a"), 2),
        ("", "ALTER TABLE t ADD c int NOT NULL", "", "empty", Some("c"), 2000),
        ("UPDATE t SET r = int4range(10, 25) WHERE id = 1", "ALTER TABLE t ADD CONSTRAINT e EXCLUDE USING gist (r WITH &&)", "", "exclude", None, 1),
        ("UPDATE t SET a = 1; UPDATE t SET a = 0 WHERE id = 77", "ALTER TABLE t ADD CONSTRAINT c CHECK (10 / a > 1)", "", "check", None, 1),
        ("ALTER TABLE t ADD CONSTRAINT c CHECK (a > 0) NOT VALID", "ALTER TABLE t VALIDATE CONSTRAINT c", "", "check", None, 200),
    ];
    for (more, statement, undo, rule, column, expected) in kinds {
        let db = TestDb::empty().await;
        db.sql(ROWS).await;
        db.sql(more).await;
        let workspace = Workspace::new(&format!("{HEAD}{}", one_step(statement, undo)), &db, None);
        assert_eq!(count(&look(&workspace, 10), rule, "public.t", *column), *expected, "{statement}");
        let error = db.session().await.batch_execute(statement).await;
        assert!(error.is_err(), "{statement} passes");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_a_table_copied_as_it_is_are_held_against_greens_schema() {
    let (blue, green) = (TestDb::in_encoding("SQL_ASCII").await, TestDb::empty().await);
    blue.sql(
        r#"CREATE TYPE mood AS ENUM ('good', 'bad', 'odd'); CREATE DOMAIN small AS int;
         CREATE TABLE p (id int PRIMARY KEY); INSERT INTO p SELECT generate_series(1, 9);
         CREATE TABLE t (id int PRIMARY KEY, a int, n int, s text, m mood, d small, j text, u text, w text, at text, x text, e text,
             g int, o int, ten int);
         INSERT INTO t SELECT n, n % 9 + 1, n, 's' || n, 'good', n, '{}', md5(n::text)::uuid, 'w', '2024-01-01', 'x', 'e', 1, 1, 10
             FROM generate_series(1, 500) AS n;
         UPDATE t SET a = 77 WHERE id IN (1, 2); UPDATE t SET n = 1 WHERE id IN (3, 4, 5); UPDATE t SET s = NULL WHERE id = 6;
         UPDATE t SET m = 'odd' WHERE id IN (7, 8); UPDATE t SET d = -1 WHERE id = 9;
         UPDATE t SET j = '{"a":"\u0000"}' WHERE id = 10; UPDATE t SET j = '' WHERE id = 11;
         UPDATE t SET u = 'none' WHERE id = 12; UPDATE t SET w = 'too long' WHERE id IN (13, 14);
         UPDATE t SET at = 'next noon' WHERE id = 15; UPDATE t SET e = E'\xff' WHERE id IN (16, 17);
         UPDATE t SET g = 0 WHERE id = 18; UPDATE t SET o = 99 WHERE id = 19; UPDATE t SET ten = 40000 WHERE id = 20;
         UPDATE t SET x = (SELECT string_agg(md5(id || ':' || n), '') FROM generate_series(1, 200) AS n) WHERE id = 21"#,
    )
    .await;
    green
        .sql(
            "CREATE TYPE mood AS ENUM ('good', 'bad'); CREATE DOMAIN small AS int CHECK (VALUE > 0);
             CREATE TABLE p (id int PRIMARY KEY);
             CREATE TABLE t (id int PRIMARY KEY, a int REFERENCES p, n int UNIQUE, s text NOT NULL, m mood, d small, j jsonb, u uuid,
                w varchar(3), at timestamp, x text, e text, g int, o int CHECK (o < 50), ten smallint,
                made int GENERATED ALWAYS AS (10 / g) STORED);
             CREATE INDEX ON t (x)",
        )
        .await;
    let plan = format!("{HEAD}{GREEN}[[step]]\nid = \"all\"\nphase = \"copy\"\nkind = \"copy\"\ntables = [\"p\", \"t\"]\n");
    let workspace = Workspace::new(&plan, &blue, Some(&green));
    let all = look(&workspace, 10);
    for (rule, column, expected) in [
        ("not_null", Some("s"), 1),
        ("foreign_key", None, 2),
        ("unique", None, 3),
        ("enum", Some("m"), 2),
        ("cast", Some("j"), 2),
        ("cast", Some("u"), 1),
        ("cast", Some("at"), 1),
        ("cast", Some("ten"), 1),
        ("length", Some("w"), 2),
        ("encoding", Some("e"), 2),
        ("generated", Some("made"), 1),
        ("index_row", Some("x"), 1),
    ] {
        assert_eq!(count(&all, rule, "public.t", column), expected, "{rule} {column:?}: {all:#?}");
    }
    let checks: u64 = all.iter().filter(|f| f["rule"] == "check").map(|f| f["count"].as_u64().unwrap()).sum();
    assert_eq!(checks, 2, "the domain's check and the table's");

    // What is suggested, and one step by hand for what no condition finds (broken JSON, times, bytes), lets the copy pass.
    // A copy of a table as it is refuses other types: those columns get blue's first.
    let types = "ALTER TABLE t ALTER j TYPE text, ALTER u TYPE text, ALTER at TYPE text, ALTER ten TYPE int";
    green.sql(types).await;
    let rows = "SELECT md5(string_agg(t::text, ',' ORDER BY id)) FROM t";
    let before = blue.value(rows).await;
    let suggested = workspace.run(&["preflight", "--suggest"]).exits(10).stdout;
    let by_hand = "[[step]]\nid = \"by-hand\"\nphase = \"expand\"\nkind = \"clean_rows\"\nside = \"blue\"\ntable = \"t\"\n\
                   where = \"id IN (10, 11, 15, 16, 17, 18)\"\nreason = \"no condition finds them\"\nmax_rows = 6\ndelete = true\n";
    let (head, copy) = plan.split_once("[[step]]").unwrap();
    std::fs::write(workspace.plan(), format!("{head}{suggested}{by_hand}[[step]]{copy}")).unwrap();
    let left = look(&workspace, 0);
    assert!(!left.iter().any(|f| f["rule"] != "environment"), "{left:#?}\n{suggested}");
    workspace.run(&["run", "--execute"]).exits(0);
    assert_eq!(green.value("SELECT count(*) FROM t").await, blue.value("SELECT count(*) FROM t").await);
    let mut restore = crate::support::crossfade();
    restore.args(["quarantine", "restore", "--execute"]).arg(workspace.plan()).envs(workspace.env.iter().cloned());
    Ran::of(restore.env("CROSSFADE_STATE", workspace.folder.path().join("state")).output().unwrap()).exits(0);
    assert_eq!(blue.value(rows).await, before, "every row is back, bit for bit");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sample_says_how_sure_it_is_and_sarif_is_for_tools() {
    let db = TestDb::empty().await;
    db.sql("CREATE TABLE t (id int PRIMARY KEY, a int); INSERT INTO t SELECT n, n FROM generate_series(1, 50000) AS n; ANALYZE")
        .await;
    let workspace = Workspace::new(&format!("{HEAD}{}", one_step("ALTER TABLE t ALTER a SET NOT NULL", "")), &db, None);
    let ran = workspace.run(&["preflight", "--sample", "20"]).exits(0);
    assert!(ran.stdout.contains("with 95 % certainty at most"), "{}", ran.stdout);
    db.sql("UPDATE t SET a = NULL WHERE id % 1000 = 0").await;
    let sampled = found(&workspace.run(&["preflight", "--sample", "90", "--format", "json"]).exits(10)).remove(0);
    assert!(sampled["counted"]["sampled"]["at_most"].as_u64().unwrap() >= sampled["count"].as_u64().unwrap(), "{sampled}");
    let sarif = workspace.run(&["preflight", "--format", "sarif"]).exits(10).stdout;
    let sarif: serde_json::Value = serde_json::from_str(&sarif).unwrap();
    let result = &sarif["runs"][0]["results"][0];
    assert_eq!((&result["level"], &result["properties"]["count"]), (&"error".into(), &50.into()));
    assert_eq!(result["properties"]["keys"].as_array().unwrap().len(), 5);
    workspace.run(&["run", "--format", "sarif"]).exits(2);
}

/// Actions that may or may not fit the rows.
#[rustfmt::skip]
const ACTIONS: &[&str] = &[
    "ALTER a SET NOT NULL", "ADD CHECK (a < b)", "ADD CHECK (10 / a > 1)", "ADD CHECK (s <> '')", "ADD UNIQUE (a)", "ADD UNIQUE (a, b)",
    "ADD UNIQUE NULLS NOT DISTINCT (b)", "ADD PRIMARY KEY (a)", "ADD FOREIGN KEY (a) REFERENCES p",
    "ADD FOREIGN KEY (a, b) REFERENCES q (x, y) MATCH FULL", "ADD EXCLUDE USING gist (r WITH &&)", "ALTER s TYPE int USING s::int",
    "ALTER s TYPE jsonb USING s::jsonb", "ALTER s TYPE json USING s::json", "ALTER s TYPE uuid USING s::uuid",
    "ALTER s TYPE timestamptz USING s::timestamptz", "ALTER s TYPE varchar(3)", "ALTER s TYPE char(3)",
    "ALTER s TYPE varchar(3) USING s::varchar(3)", "ALTER s TYPE numeric(3,1) USING s::numeric", "ALTER a TYPE smallint",
    "ADD c int NOT NULL", "ADD c int NOT NULL DEFAULT 1",
];

#[rustfmt::skip]
const TEXTS: &[&str] = &[
    "", " ", "1", " 2 ", "abc", "{}", "{\"a\":\"\\u0000\"}", "\"\\\\u0000\"", "\"\\ud800\"", "[1", "6f1ed002-ab55-4b5a-9d0c-000000000001",
    "2024-01-01", "99999999999", "ab   ", "abcdef", "12.34", "123.4", "null",
];

/// Preflight's verdict is PostgreSQL's.
#[test]
fn the_verdict_is_the_servers() {
    use proptest::prelude::*;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let db = runtime.block_on(TestDb::empty());
    let number = || prop_oneof![1 => Just(None), 4 => prop::sample::select(vec![0, 1, 2, 3, 4, 40_000]).prop_map(Some)];
    let text = prop_oneof![1 => Just(None), 6 => prop::sample::select(TEXTS).prop_map(Some)];
    // Few texts per table, so that the rows of one table often agree.
    let rows = (prop::collection::vec(text, 1..3), prop::collection::vec((number(), number(), 0..3usize, 0..12i32), 0..6));
    let config = ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() };
    let mut runner = proptest::test_runner::TestRunner::new(config);
    let outcome = runner.run(&(rows, prop::sample::select(ACTIONS)), |((texts, rows), action)| {
        let quoted = |text: &Option<&str>| text.map_or("NULL".to_owned(), |text| format!("'{text}'"));
        let value = |number: Option<i32>| number.map_or("NULL".to_owned(), |number| number.to_string());
        let mut sql = "DROP TABLE IF EXISTS t, p, q; CREATE TABLE p (id int PRIMARY KEY); INSERT INTO p VALUES (1), (2), (3); \
             CREATE TABLE q (x int, y int, PRIMARY KEY (x, y)); \
             INSERT INTO q SELECT a, b FROM generate_series(0, 2) a, generate_series(0, 3) b; \
             CREATE TABLE t (a int, b int, s text, r int4range);"
            .to_owned();
        for (a, b, s, r) in &rows {
            let text = quoted(&texts[s % texts.len()]);
            sql += &format!("INSERT INTO t VALUES ({}, {}, {text}, int4range({r}, {r} + 3));", value(*a), value(*b));
        }
        let statement = format!("ALTER TABLE t {action}");
        runtime.block_on(db.sql(&sql));
        let workspace = Workspace::new(&format!("{HEAD}{}", one_step(&statement, "")), &db, None);
        let ran = workspace.run(&["preflight"]);
        let trial = format!("BEGIN; {statement}; ROLLBACK");
        let server = runtime.block_on(async { db.session().await.batch_execute(&trial).await });
        let expected = if server.is_err() { Some(10) } else { Some(0) };
        let (said, on) = (format!("{server:?}\n{}{}", ran.stdout, ran.stderr), format!("{rows:?} {texts:?}"));
        prop_assert_eq!(ran.code, expected, "{} on {}: {}", statement, on, said);
        Ok(())
    });
    if let Err(error) = outcome {
        panic!("{error}");
    }
}

/// A cleanup that would touch more rows than a person agreed to stops before the first.
#[tokio::test(flavor = "multi_thread")]
async fn more_rows_than_the_cap_stop_a_cleanup_before_it_begins() {
    let db = TestDb::empty().await;
    db.sql(ROWS).await;
    let before = db.value("SELECT md5(string_agg(t::text, ',' ORDER BY id)) FROM t").await;
    let step = one_step("ALTER TABLE t ALTER a SET NOT NULL", "ALTER TABLE t ALTER a DROP NOT NULL");
    let workspace = Workspace::new(&format!("{HEAD}{step}"), &db, None);
    let suggested = workspace.run(&["preflight", "--suggest"]).exits(10).stdout;
    assert!(suggested.contains("max_rows = 20"), "{suggested}");
    std::fs::write(workspace.plan(), format!("{HEAD}{}{step}", suggested.replace("max_rows = 20", "max_rows = 19"))).unwrap();
    let said = workspace.run(&["run", "--execute"]).exits(10).stderr;
    assert!(said.contains("20 rows meet `where`") && said.contains("more than max_rows = 19"), "{said}");
    assert!(said.contains("raise max_rows only when they are all meant"), "{said}");
    assert_eq!(db.value("SELECT md5(string_agg(t::text, ',' ORDER BY id)) FROM t").await, before);
    assert_eq!(db.value("SELECT count(*) FROM crossfade.quarantine").await, "0");
}

/// What the step kinds and the files of a migrate folder ask of rows.
#[tokio::test(flavor = "multi_thread")]
async fn every_kind_that_asks_something_of_rows_is_looked_at() {
    let db = TestDb::empty().await;
    db.sql(ROWS).await;
    db.sql("UPDATE t SET s = 'same' WHERE id < 4").await;
    let workspace = Workspace::new("", &db, None);
    let folder = workspace.folder.path().join("files");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("1_not_null.sql"), "ALTER TABLE t ALTER a SET NOT NULL; CREATE TABLE fresh (id int NOT NULL)")
        .unwrap();
    for (keys, rule, column, expected) in [
        ("kind = \"set_not_null\"\ntable = \"t\"\ncolumn = \"a\"", "not_null", Some("a"), 20),
        ("kind = \"add_constraint\"\ntable = \"t\"\nname = \"c\"\ncheck = \"a < 8\"", "check", None, 400),
        ("kind = \"create_index\"\ntable = \"t\"\nname = \"i\"\ncolumns = [\"s\"]\nunique = true", "unique", None, 2),
        (
            "kind = \"migrate\"\ndirectory = \"files\"\nhistory = { table = \"history\", column = \"version\" }",
            "not_null",
            Some("a"),
            20,
        ),
    ] {
        let step = format!("[[step]]\nid = \"it\"\nphase = \"contract\"\nside = \"blue\"\n{keys}\n");
        std::fs::write(workspace.plan(), format!("{HEAD}{step}")).unwrap();
        assert_eq!(count(&look(&workspace, 10), rule, "public.t", column), expected, "{keys}");
    }
}

/// Green's schema cannot be made on a throw-away server: that is one finding, and everything else is still looked at.
#[tokio::test(flavor = "multi_thread")]
async fn a_green_schema_that_cannot_be_had_is_one_finding() {
    let (blue, green) = (TestDb::empty().await, TestDb::empty().await);
    blue.sql("CREATE TABLE t (id int PRIMARY KEY); CREATE TABLE big (id int)").await;
    let make = "[[step]]\nid = \"make\"\nphase = \"expand\"\nkind = \"run_sql\"\nside = \"green\"\n\
                sql = [\"CREATE EXTENSION not_on_this_machine\"]\nundo_sql = [\"SELECT 1\"]\n";
    let check = one_step("ALTER TABLE big ALTER id SET NOT NULL", "SELECT 1");
    let copy = "[[step]]\nid = \"all\"\nphase = \"copy\"\nkind = \"copy\"\ntables = [\"t\"]\n";
    blue.sql("INSERT INTO big VALUES (NULL)").await;
    let workspace = Workspace::new(&format!("{HEAD}{GREEN}{make}{check}{copy}"), &blue, Some(&green));
    let all = look(&workspace, 10);
    let open: Vec<_> = all.iter().filter(|f| f["object"] == "step all: green's schema").collect();
    assert_eq!(open.len(), 1, "{all:#?}");
    assert!(open[0]["what"].as_str().unwrap().contains("not_on_this_machine"), "{open:?}");
    assert!(open[0]["next"].as_str().unwrap().contains("run the plan up to that step"), "{open:?}");
    assert_eq!(count(&all, "not_null", "public.big", Some("id")), 1);
}
