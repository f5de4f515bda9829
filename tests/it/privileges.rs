//! Roles that are no superuser: what they need, and what a run says about what it cannot see.

use std::process::Stdio;
use std::time::Duration;

use crate::hydra::{blue_1_0_0, blue_1_11_10, catalog, fixture, run, without_capture};
use crate::support::{Ran, TestDb, Workspace, cluster, crossfade, eventually};

fn url(role: &str, db: &TestDb) -> String {
    format!("postgresql://{role}@/{}?host={}", db.name(), cluster().folder().display())
}

/// A role of its own for each test; roles are the cluster's.
async fn role(db: &TestDb, grants: &str) -> String {
    let role = format!("limited_{}", db.name());
    db.sql(&format!("CREATE ROLE {role} LOGIN; {}", grants.replace("ROLE", &role))).await;
    role
}

async fn forget(role: &str, dbs: &[&TestDb]) {
    for db in dbs {
        db.sql(&format!("REASSIGN OWNED BY {role} TO postgres; DROP OWNED BY {role}")).await;
    }
    dbs[0].sql(&format!("DROP ROLE {role}")).await;
}

/// Without capture: on blue nothing but SELECT on the application's tables; on green the right to create schemas, here and in
/// `public`. The shipped plan captures, and says what it misses before anything is done.
#[tokio::test(flavor = "multi_thread")]
async fn blue_green_by_a_role_that_may_only_read_blue() {
    let (blue, green) = (blue_1_11_10().await, TestDb::empty().await);
    blue.sql("DROP SCHEMA crossfade CASCADE").await;
    let role = role(&blue, "GRANT SELECT ON ALL TABLES IN SCHEMA public TO ROLE").await;
    green.sql(&format!("GRANT CREATE ON DATABASE {} TO {role}; GRANT CREATE ON SCHEMA public TO {role}", green.name())).await;
    let mut workspace = Workspace::new(&without_capture(), &blue, Some(&green));
    workspace.env[0].1 = url(&role, &blue);
    workspace.env[1].1 = url(&role, &green);
    let refused = run(&workspace, "hydra-2x-blue-green.toml", &["run", "--execute"]).exits(2);
    assert!(refused.stderr.contains("GRANT CREATE ON DATABASE"), "{}", refused.stderr);
    workspace.run(&["run", "--execute"]).exits(0);
    assert_eq!(catalog(&green).await, fixture("catalog-2.3.0.json"));
    assert_eq!(blue.value("to_regnamespace('crossfade') IS NULL").await, "true", "blue is only read");
    workspace.run(&["rollback", "--execute"]).exits(0);
    forget(&role, &[&blue, &green]).await;
}

/// The owner of the tables, with CREATE on the database: its waits still name who is in the way, and it ends its own orphans.
#[tokio::test(flavor = "multi_thread")]
async fn in_place_by_the_owner_of_the_tables() {
    let blue = blue_1_0_0().await;
    let role = role(&blue, "GRANT CREATE ON SCHEMA public TO ROLE").await;
    blue.sql(&format!(
        "GRANT CREATE ON DATABASE {} TO {role};
         DO $$ DECLARE r record; BEGIN
             FOR r IN SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' LOOP
                 EXECUTE format('ALTER TABLE %I OWNER TO {role}', r.relname);
             END LOOP;
         END $$",
        blue.name()
    ))
    .await;
    let mut workspace = Workspace::at(tempfile::tempdir().unwrap(), &blue, None);
    workspace.env[0].1 = url(&role, &blue);
    let plan = crate::hydra::plan("hydra-1x-in-place.toml");
    let holder = blue.database().connect("slow-report").await.unwrap();
    holder.batch_execute("BEGIN; SELECT count(*) FROM hydra_client").await.unwrap();
    let begin =
        || workspace.command_on(&["run", "--execute"], &plan).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let waits = format!("SELECT count(*) FROM pg_stat_activity WHERE {} = ANY (pg_blocking_pids(pid))", holder.pid());
    let mut killed = begin();
    eventually("the run waits", async || blue.value(&waits).await != "0").await;
    killed.kill().unwrap();
    killed.wait().unwrap();
    let child = begin();
    eventually("the run waits again", async || blue.value(&waits).await != "0").await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let pid = holder.pid();
    holder.batch_execute("COMMIT").await.unwrap();
    let ran = Ran::of(tokio::task::spawn_blocking(|| child.wait_with_output().unwrap()).await.unwrap()).exits(0);
    assert!(!ran.stderr.contains("panicked"), "{}", ran.stderr);
    assert!(ran.stderr.contains(&format!("in the way: pid {pid} (slow-report), state hidden from this role")), "{}", ran.stderr);
    assert!(ran.stderr.contains("grant pg_read_all_stats"), "says what it could not search:\n{}", ran.stderr);
    assert_eq!(catalog(&blue).await, fixture("catalog-1.11.10.json"));
    forget(&role, &[&blue]).await;
}

/// What `crossfade grants` prints, run by an administrator's psql, is enough for the whole way there and back, and for nothing on blue
/// that the plan does not need.
#[tokio::test(flavor = "multi_thread")]
async fn the_printed_grants_are_enough() {
    let (blue, green) = (blue_1_11_10().await, TestDb::empty().await);
    blue.sql(&format!(
        "DROP SCHEMA crossfade CASCADE; CREATE ROLE owner_{0}; ALTER SCHEMA public OWNER TO owner_{0}; CREATE TABLE other_business (id int);
         DO $$ DECLARE r record; BEGIN
             FOR r IN SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' AND relname LIKE 'hydra%' LOOP
                 EXECUTE format('ALTER TABLE %I OWNER TO owner_{0}', r.relname);
             END LOOP;
         END $$",
        blue.name()
    ))
    .await;
    let role = role(&blue, "").await;
    let plan = crate::hydra::plan("hydra-2x-blue-green.toml");
    for (side, db) in [("blue", &blue), ("green", &green)] {
        let told =
            Ran::of(crossfade().arg("grants").arg(&plan).args(["--role", &role, "--side", side]).output().unwrap()).exits(0);
        db.sql(&told.stdout.replace(":\"DBNAME\"", db.name())).await;
    }
    let mut workspace = Workspace::at(tempfile::tempdir().unwrap(), &blue, Some(&green));
    workspace.env[0].1 = url(&role, &blue);
    workspace.env[1].1 = url(&role, &green);
    let looked = run(&workspace, "hydra-2x-blue-green.toml", &["preflight", "--format", "json"]);
    assert!(!looked.stdout.contains("GRANT"), "{}", looked.stdout);
    run(&workspace, "hydra-2x-blue-green.toml", &["run", "--execute"]).exits(0);
    assert_eq!(catalog(&green).await, fixture("catalog-2.3.0.json"));
    run(&workspace, "hydra-2x-blue-green.toml", &["rollback", "--execute"]).exits(0);
    assert_eq!(blue.value(&format!("has_table_privilege('{role}', 'other_business', 'SELECT')")).await, "false");
    forget(&role, &[&blue, &green]).await;
    blue.sql(&format!("REASSIGN OWNED BY owner_{0} TO postgres; DROP OWNED BY owner_{0}; DROP ROLE owner_{0}", blue.name()))
        .await;
}
