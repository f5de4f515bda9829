//! Projections that do not fit, and a green that is not empty: everything wrong is said at once, and green stays as it was.

use crate::fingerprint::{assert_same, fingerprint};
use crate::support::{Ran, TestDb, Workspace};

const PLAN: &str = "format = 1\nname = \"fit\"\n[blue]\nurl_env = \"BLUE_DATABASE_URL\"\n[green]\nurl_env = \"GREEN_DATABASE_URL\"\n\
                    [[step]]\nid = \"fill\"\nphase = \"copy\"\nkind = \"copy\"\nprojections = \"projections\"\n";

const BLUE: &str = "CREATE TABLE person (id int PRIMARY KEY, name text, born date); \
                    INSERT INTO person SELECT n, 'name ' || n, '2000-01-01' FROM generate_series(1, 10) n; \
                    CREATE FUNCTION dice() RETURNS int LANGUAGE sql VOLATILE AS 'SELECT 4'";

fn projection(table: &str, key: &str, columns: &str) -> String {
    format!(
        "table = \"{table}\"\nkey = [\"{key}\"]\n[[source]]\nname = \"all\"\ndrives = {{ table = \"person\", alias = \"p\" }}\n\
         from = \"person AS p\"\n[source.columns]\n{columns}\n"
    )
}

async fn workspace(green: &str, projections: &[(&str, String)]) -> (Workspace, TestDb, TestDb) {
    let (on_blue, on_green) = (TestDb::empty().await, TestDb::empty().await);
    on_blue.sql(BLUE).await;
    on_green.sql(green).await;
    let workspace = Workspace::new(PLAN, &on_blue, Some(&on_green));
    let folder = workspace.folder.path().join("projections");
    std::fs::create_dir(&folder).unwrap();
    for (name, text) in projections {
        std::fs::write(folder.join(format!("{name}.toml")), text).unwrap();
    }
    (workspace, on_blue, on_green)
}

/// Runs; each line of `said` must be in the answer, each finding with its next command, and the rows and definitions of green
/// must be the same.
async fn refused(workspace: &Workspace, green: &TestDb, code: i32, said: &[&str]) -> Ran {
    let before = fingerprint(green).await;
    let ran = workspace.run(&["run", "--execute"]).exits(code);
    for words in said {
        assert!(ran.stderr.contains(words), "`{words}` is not in:\n{}", ran.stderr);
    }
    assert_same("after a refusal", &[before], &[fingerprint(green).await]);
    ran
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_catalogs_refuse_is_said_at_once() {
    let green = "CREATE TABLE lacks (id int PRIMARY KEY, name text, extra int NOT NULL);
                 CREATE TABLE unknown (id int PRIMARY KEY, name text);
                 CREATE TABLE other_type (id int PRIMARY KEY, born int);
                 CREATE TABLE volatile (id int PRIMARY KEY, n int);
                 CREATE TABLE not_unique (id int, name text); CREATE INDEX ON not_unique (id);
                 CREATE TABLE partly_unique (id int, name text); CREATE UNIQUE INDEX ON partly_unique (id) WHERE name <> '';
                 CREATE TABLE full_up (id int PRIMARY KEY, name text); INSERT INTO full_up VALUES (1, 'somebody')";
    let name = "id = \"p.id\"\nname = \"p.name\"";
    let projections = [
        ("lacks", projection("lacks", "id", name)),
        ("unknown", projection("unknown", "id", &format!("{name}\ncolour = \"p.name\""))),
        ("other_type", projection("other_type", "id", "id = \"p.id\"\nborn = \"p.born\"")),
        ("volatile", projection("volatile", "id", "id = \"p.id\"\nn = \"dice()\"")),
        ("not_unique", projection("not_unique", "id", name)),
        ("partly_unique", projection("partly_unique", "id", name)),
        ("full_up", projection("full_up", "id", name)),
        ("nowhere", projection("nowhere", "id", name)),
    ];
    let (workspace, _blue, green) = workspace(green, &projections).await;
    let said = [
        "projection lacks, column extra: is a column of green that the projection does not fill",
        "projection unknown, column colour: green's table has no such column",
        "column born: the expression is date, green's column is integer",
        "function dice on blue: is volatile",
        "table not_unique on green: the key (id) is not covered",
        "table partly_unique on green: the key (id) is not covered",
        "table public.full_up on green: holds 1 row",
        "table nowhere on green: does not exist",
    ];
    let ran = refused(&workspace, &green, 10, &said).await;
    assert_eq!(ran.stderr.matches("blocks: ").count(), said.len(), "{}", ran.stderr);
    assert_eq!(ran.stderr.matches("\n  next: ").count(), said.len(), "{}", ran.stderr);
    let parts = "SELECT count(*) FROM (SELECT FROM crossfade.copy_part UNION ALL SELECT FROM crossfade.step_marker) s";
    assert_eq!(green.value(parts).await, "0", "the journal says that nothing was begun");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_files_alone_show_is_said_before_any_server_is_asked() {
    let columns = "id = \"p.id\"\nname = \"random()::text\"";
    let projections = [
        ("a", projection("a", "id", columns)),
        ("b", projection("b", "other", "id = \"p.id\"\nmade = \"now()\"")),
        ("c", "table = \"c\"".to_owned()),
    ];
    let (workspace, _blue, green) = workspace("CREATE TABLE a (id int PRIMARY KEY, name text)", &projections).await;
    let said = ["a.toml", "random()", "b.toml", "now()", "the key column other", "c.toml", "missing field"];
    refused(&workspace, &green, 2, &said).await;
    assert_eq!(green.value("to_regnamespace('crossfade') IS NULL").await, "true");
    assert!(!workspace.folder.path().join("state").exists());
}
