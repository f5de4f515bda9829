//! Managed servers, as far as an own server can be like them: the roles that their administrators get, without superuser and without
//! REPLICATION, and what is taken from them. docs/managed.md says what is emulated and what is not.

use std::sync::Arc;

use crossfade::shadow::{Binaries, Cluster};

use crate::cutover::stage::{PLAN, SCHEMA};
use crate::fingerprint::fingerprint;
use crate::support::{Ran, TestDb, Workspace, crossfade, start};

/// The administrator of an RDS or Aurora instance: what its documentation says `rds_superuser` may, and no more. The application's role
/// owns its tables, the administrator is a member of it.
const ROLES: &str = "
    CREATE ROLE rds_superuser NOLOGIN; CREATE ROLE rds_replication NOLOGIN;
    GRANT pg_monitor, pg_signal_backend, rds_replication TO rds_superuser;
    CREATE ROLE app LOGIN;
    CREATE ROLE master LOGIN NOSUPERUSER INHERIT CREATEDB CREATEROLE NOREPLICATION;
    GRANT rds_superuser, app TO master";

/// What such servers take from roles that would have it elsewhere.
const TAKEN: &str = "
    REVOKE EXECUTE ON FUNCTION pg_ls_waldir() FROM PUBLIC, pg_monitor;
    REVOKE EXECUTE ON FUNCTION pg_ls_logdir() FROM PUBLIC, pg_monitor;
    REVOKE SELECT ON pg_authid FROM PUBLIC, pg_monitor;
    REVOKE SELECT ON pg_subscription FROM PUBLIC, pg_monitor";

/// A database of the administrator on such a server.
async fn of_master(cluster: &Arc<Cluster>) -> TestDb {
    let db = TestDb::empty_on(cluster).await;
    db.sql(&format!("ALTER DATABASE {} OWNER TO master; GRANT CREATE ON SCHEMA public TO app, master; {TAKEN}", db.name())).await;
    db
}

fn as_role(role: &str, db: &TestDb) -> String {
    db.url().replace("postgres@", &format!("{role}@"))
}

async fn managed() -> Arc<Cluster> {
    let cluster = start(&Binaries::find().unwrap()).await;
    let admin = cluster.database("admin", "postgres").unwrap().connect("test").await.unwrap();
    admin.batch_execute(ROLES).await.unwrap();
    cluster
}

/// There, through the fence, with writes on green, and back.
#[tokio::test(flavor = "multi_thread")]
async fn blue_green_with_a_switch_and_the_way_back_by_the_administrator_of_a_managed_server() {
    let cluster = managed().await;
    let (blue, green) = (of_master(&cluster).await, of_master(&cluster).await);
    blue.sql(&format!(
        "SET ROLE app; {SCHEMA} INSERT INTO account SELECT n, 0 FROM generate_series(1, 50) AS n;
         INSERT INTO entry (account, tag) SELECT 1 + n % 50, 'old ' || n FROM generate_series(1, 200) AS n; RESET ROLE; ANALYZE"
    ))
    .await;
    green.sql(&format!("SET ROLE app; {SCHEMA}")).await;
    let participant = "hold_for = \"20s\"\n[[step.participant]]\nkind = \"file\"\nname = \"app\"\npath = \"app.conf\"\nblue = \"app.blue\"\ngreen = \"app.green\"\n";
    let mut workspace = Workspace::new(&format!("{PLAN}{participant}"), &blue, Some(&green));
    for (name, text) in [("app.conf", "on blue"), ("app.blue", "on blue"), ("app.green", "on green")] {
        std::fs::write(workspace.folder.path().join(name), text).unwrap();
    }
    workspace.env[0].1 = as_role("master", &blue);
    workspace.env[1].1 = as_role("master", &green);
    let command = |words: &[&str]| {
        let mut command = workspace.command(words);
        tokio::task::spawn_blocking(move || Ran::of(command.output().unwrap()))
    };
    let before = fingerprint(&blue).await;
    let asked = command(&["preflight"]).await.unwrap();
    assert!(!asked.stdout.contains("GRANT"), "{}", asked.stdout);
    command(&["run", "--execute"]).await.unwrap().exits(12);
    // The application keeps its session through the switch.
    let application = crossfade::pg::Database::parse("app", &as_role("app", &blue)).unwrap().connect("app").await.unwrap();
    application.batch_execute("INSERT INTO entry (account, tag) VALUES (1, 'by the application')").await.unwrap();
    command(&["run", "--execute", "--approve", "to-green"]).await.unwrap().exits(0);
    assert_eq!(std::fs::read_to_string(workspace.folder.path().join("app.conf")).unwrap(), "on green");
    assert_eq!(green.value("SELECT count(*) FROM entry").await, "201");
    assert!(
        application.batch_execute("INSERT INTO entry (account, tag) VALUES (1, 'too late')").await.is_err(),
        "the fence stands"
    );
    drop(application);
    green
        .sql("SET ROLE app; INSERT INTO entry (account, tag) VALUES (2, 'on green'); UPDATE account SET n = 7 WHERE id = 3")
        .await;
    command(&["rollback", "--execute"]).await.unwrap().exits(0);
    assert_eq!(blue.value("SELECT count(*) FROM entry").await, "202");
    assert_eq!(blue.value("SELECT n FROM account WHERE id = 3").await, "7");
    let objects = |lines: Vec<String>| {
        lines.into_iter().filter(|line| !line.starts_with("rows ") && !line.starts_with("sequence ")).collect::<Vec<_>>()
    };
    assert_eq!(objects(before), objects(fingerprint(&blue).await), "nothing is left on blue");
}

/// A whole clone by the same role: owners are kept, since it is a member of the role that owns. Without privileges: `pg_dump` writes down
/// what was taken from functions of the server itself, and only a superuser may take it again.
#[tokio::test(flavor = "multi_thread")]
async fn a_clone_by_the_administrator_of_a_managed_server() {
    let cluster = managed().await;
    let (blue, green) = (of_master(&cluster).await, of_master(&cluster).await);
    blue.sql(&format!(
        "SET ROLE app; {SCHEMA} INSERT INTO account SELECT n, n FROM generate_series(1, 300) AS n;
         INSERT INTO entry (account, tag) SELECT n, 'e' || n FROM generate_series(1, 300) AS n"
    ))
    .await;
    let state = tempfile::tempdir().unwrap();
    let run = |words: &[&str]| {
        let mut command = crossfade();
        command.args(words).env("CROSSFADE_STATE", state.path());
        command.env("BLUE_DATABASE_URL", as_role("master", &blue)).env("GREEN_DATABASE_URL", as_role("master", &green));
        Ran::of(command.output().unwrap())
    };
    let before = fingerprint(&green).await;
    run(&["copy", "--execute", "--no-privileges"]).exits(0);
    assert_eq!(fingerprint(&blue).await, fingerprint(&green).await);
    assert_eq!(
        green.value("SELECT DISTINCT pg_get_userbyid(relowner) FROM pg_class WHERE relname IN ('account', 'entry')").await,
        "app"
    );
    let plan = state.path().join("copy.toml").display().to_string();
    run(&["rollback", &plan, "--execute"]).exits(0);
    assert_eq!(before, fingerprint(&green).await);
}
