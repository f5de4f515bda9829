//! What runs out, or stands in the way: disk, connections, locks, temporary files, deadlocks, serialization failures, a blue that only
//! reads or fails over, sessions and vacuums that hold DDL back. Each gets patience with the blocker named, or a stop that says what is
//! missing; afterwards the same command ends the run.

use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::sync::Arc;

use crossfade::shadow::{Binaries, Cluster};

use crate::standby::Standby;
use crate::support::{Process, Ran, TestDb, Workspace, crossfade, eventually};
use crate::told::told;

/// A cluster of its own with these settings, which stand in a file: `ALTER SYSTEM` and another start change them.
async fn own(settings: &[(&'static str, &str)]) -> Arc<Cluster> {
    let settings = settings.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
    Arc::new(Cluster::start(&Binaries::find().unwrap(), settings).await.unwrap())
}

/// A plan of steps on blue.
fn plan(limits: &str, steps: &[(&str, &str)]) -> String {
    let mut text = format!("format = 1\nname = \"resources\"\n[blue]\nurl_env = \"BLUE_DATABASE_URL\"\n[limits]\n{limits}\n");
    for (number, (kind, keys)) in steps.iter().enumerate() {
        text += &format!("[[step]]\nid = \"s{number}\"\nphase = \"expand\"\nkind = \"{kind}\"\nside = \"blue\"\n{keys}\n");
    }
    text
}

#[track_caller]
fn says(ran: &Ran, words: &[&str]) {
    for words in words {
        assert!(ran.stderr.contains(words), "`{words}` is not in:\n{}", ran.stderr);
    }
}

/// A server program that sees a small file system of its own in a folder: the wrapper mounts it in a namespace that any user may make,
/// and then is the server.
fn on_a_small_disk(folder: &Path, small: &Path, size: &str) -> Option<Binaries> {
    let real = Binaries::find().unwrap();
    let (folder, real) = (folder.join("bin"), |name: &str| real.program(name).canonicalize().unwrap().display().to_string());
    std::fs::create_dir(&folder).unwrap();
    let wrapper = format!(
        "#!/bin/sh\nid=$(id -u)\nexport id\nexec unshare -Urm sh -c 'mount -t tmpfs -o size={size},mode=700 none \"{}\" && \
         exec unshare -U --map-user=$id --map-group=$id \"$0\" \"$@\"' \"{}\" \"$@\"\n",
        small.display(),
        real("postgres"),
    );
    std::fs::write(folder.join("postgres"), wrapper).unwrap();
    std::fs::set_permissions(folder.join("postgres"), std::fs::Permissions::from_mode(0o755)).unwrap();
    std::os::unix::fs::symlink(real("initdb"), folder.join("initdb")).unwrap();
    Binaries::at(&folder)
}

/// Green's tablespace is a file system of a few megabytes. Freed, the same copy ends.
#[tokio::test(flavor = "multi_thread")]
async fn green_runs_out_of_disk() {
    let folder = tempfile::tempdir().unwrap();
    let small = folder.path().join("small");
    std::fs::create_dir(&small).unwrap();
    for path in [folder.path(), &small] {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    if let Ok(user) = nix::unistd::User::from_name("postgres").and_then(|user| user.ok_or(nix::errno::Errno::ENOENT)) {
        let _ = chown(&small, Some(user.uid.as_raw()), Some(user.gid.as_raw())); // not root: the server is ours
    }
    let Some(binaries) = on_a_small_disk(folder.path(), &small, "20m") else {
        return eprintln!("not tested: a disk that is full, no file system can be mounted here (unshare -Urm)");
    };
    let green = match Cluster::start(&binaries, vec![("wal_level", "replica".to_owned())]).await {
        Ok(cluster) => Arc::new(cluster),
        Err(error) => return eprintln!("not tested: a disk that is full, no file system can be mounted here: {error:#}"),
    };
    let blue = TestDb::empty().await;
    blue.sql(
        "CREATE TABLE t (id int PRIMARY KEY, pad text); ALTER TABLE t ALTER pad SET STORAGE PLAIN;
         INSERT INTO t SELECT n, repeat('x', 1000) FROM generate_series(1, 6000) AS n",
    )
    .await;
    let admin = green.database("admin", "postgres").unwrap().connect("test").await.unwrap();
    admin.batch_execute(&format!("CREATE TABLESPACE small LOCATION '{}'", small.display())).await.unwrap();
    admin.batch_execute("CREATE DATABASE green TABLESPACE small").await.unwrap();
    let in_the_way = green.database("test", "green").unwrap().connect("test").await.unwrap();
    in_the_way
        .batch_execute(
            "CREATE TABLE in_the_way (pad text); ALTER TABLE in_the_way ALTER pad SET STORAGE PLAIN;
                        INSERT INTO in_the_way SELECT repeat('x', 1000) FROM generate_series(1, 10000)",
        )
        .await
        .unwrap();
    let state = tempfile::tempdir().unwrap();
    let copy = || {
        let mut command = crossfade();
        command.args(["copy", "--execute", "--jobs", "2"]).env("CROSSFADE_STATE", state.path());
        command.env("BLUE_DATABASE_URL", blue.url()).env("GREEN_DATABASE_URL", green.url("green"));
        Ran::of(command.output().unwrap())
    };
    let full = copy().exits(11);
    says(&full, &["SQLSTATE 53100", "The server's disk is full. Make room", "next: crossfade run"]);
    in_the_way.batch_execute("DROP TABLE in_the_way").await.unwrap();
    copy().exits(0);
    let rows = in_the_way.query_one("SELECT count(*) FROM t", &[]).await.unwrap().get::<_, i64>(0);
    assert_eq!(rows, 6000);
    told(
        "disk full on green (53100)",
        "database on a tmpfs of 20 MB, crossfade copy",
        1,
        "stopped with what is full and the next command; the same command ended when there was room",
    );
}

/// Connections, locks and temporary files of one small server.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_runs_out_of_connections_locks_and_temporary_files() {
    let cluster =
        own(&[("max_connections", "14"), ("max_prepared_transactions", "0"), ("max_wal_senders", "0"), ("wal_level", "replica")])
            .await;
    let db = TestDb::empty_on(&cluster).await;
    db.sql("CREATE TABLE t (id int PRIMARY KEY, a text); INSERT INTO t SELECT n, repeat(md5(n::text), 4) FROM generate_series(1, 20000) AS n").await;

    let index = plan("", &[("create_index", "table = \"t\"\nname = \"t_a\"\ncolumns = [\"a\"]")]);
    let workspace = Workspace::new(&index, &db, None);
    let mut idle = Vec::new();
    while idle.len() < 12 {
        idle.push(db.database().connect("idle").await.unwrap());
    }
    let refused = workspace.run(&["run", "--execute"]).exits(11);
    says(&refused, &["SQLSTATE 53300", "free connections on the server, or raise its max_connections"]);
    drop(idle);
    let left = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'idle'";
    eventually("the idle sessions are gone", async || db.value(left).await == "0").await;

    db.sql(&format!(
        "ALTER DATABASE {0} SET temp_file_limit = '100kB'; ALTER DATABASE {0} SET maintenance_work_mem = '1MB'",
        db.name()
    ))
    .await;
    let spilled = workspace.run(&["run", "--execute"]).exits(11);
    says(&spilled, &["SQLSTATE 53400", "Raise temp_file_limit", "next: crossfade run"]);
    let unusable = "SELECT count(*) FROM pg_index WHERE NOT indisvalid";
    assert_eq!(db.value(unusable).await, "0", "the failed build left an index that every write keeps up");
    db.sql(&format!("ALTER DATABASE {} RESET ALL", db.name())).await;
    workspace.run(&["run", "--execute"]).exits(0);
    assert_eq!(db.value(unusable).await, "0");
    told(
        "too many connections (53300)",
        "max_connections = 14, 12 of them taken",
        1,
        "stopped with the next command; the same command ended",
    );
    told(
        "temp_file_limit (53400)",
        "temp_file_limit = 100kB, CREATE INDEX spills",
        1,
        "stopped with what to raise, no invalid index left; the same command ended",
    );

    for part in 0..12 {
        let make = format!(
            "DO $$ BEGIN FOR n IN 1..150 LOOP EXECUTE 'CREATE TABLE many.t{part}_' || n || ' (id int)'; END LOOP; END $$"
        );
        db.sql(&format!("CREATE SCHEMA IF NOT EXISTS many; {make}")).await;
    }
    let drop = plan("", &[("run_sql", "sql = [\"DROP SCHEMA many CASCADE\", \"INSERT INTO t VALUES (0)\"]")]);
    let workspace = Workspace::new(&drop, &db, None);
    db.sql("ALTER SYSTEM SET max_locks_per_transaction = 10").await;
    cluster.stop_at_once().await.unwrap();
    cluster.start_again().await.unwrap();
    let full = workspace.run(&["run", "--execute"]).exits(11);
    says(&full, &["SQLSTATE 53200", "Raise max_locks_per_transaction", "next: crossfade run"]);
    db.sql("ALTER SYSTEM SET max_locks_per_transaction = 512").await;
    cluster.stop_at_once().await.unwrap();
    cluster.start_again().await.unwrap();
    workspace.run(&["run", "--execute"]).exits(0);
    assert_eq!(db.value("SELECT count(*) FROM t WHERE id = 0").await, "1");
    told(
        "out of shared memory (53200)",
        "max_locks_per_transaction = 10, 1,800 tables dropped at once",
        1,
        "stopped with what to raise; the same command ended after a restart",
    );
}

/// Our transaction is the victim: it is tried again, and has its effect once.
#[tokio::test(flavor = "multi_thread")]
async fn a_deadlock_and_a_serialization_failure_are_tried_again() {
    let db = TestDb::empty().await;
    db.sql("CREATE TABLE a (n int); CREATE TABLE b (n int); INSERT INTO a VALUES (0); INSERT INTO b VALUES (0)").await;
    let sql = "sql = [\"UPDATE a SET n = n + 1\", \"SELECT pg_sleep(1)\", \"UPDATE b SET n = n + 1\"]";
    let workspace = Workspace::new(&plan("lock_timeout = \"20s\"", &[("run_sql", sql)]), &db, None);
    db.sql(&format!("ALTER DATABASE {} SET deadlock_timeout = '20ms'", db.name())).await;
    let other = db.session().await;
    other.batch_execute("SET deadlock_timeout = '10min'; BEGIN; UPDATE b SET n = n + 10").await.unwrap();
    let run = Process::spawn(&mut workspace.command(&["run", "--execute"]));
    let sleeps = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'";
    eventually("the run has its first lock", async || db.value(sleeps).await == "1").await;
    // Waits for the run; the run then waits for us, and finds the circle.
    other.batch_execute("UPDATE a SET n = n + 10; COMMIT").await.unwrap();
    run.finish().exits(0);
    let found = db.value("SELECT (SELECT n FROM a) || ' ' || (SELECT n FROM b)").await;
    assert_eq!(found, "11 11");
    eventually("the server counts the deadlock", async || {
        db.value("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()").await == "1"
    })
    .await;
    told(
        "deadlock (40P01)",
        "another session takes the same rows in another order; ours is the victim",
        1,
        "tried again by itself, effect once",
    );

    db.sql(&format!(
        "ALTER DATABASE {0} RESET ALL; ALTER DATABASE {0} SET default_transaction_isolation = 'serializable'",
        db.name()
    ))
    .await;
    let other = db.session().await;
    other.batch_execute("BEGIN ISOLATION LEVEL READ COMMITTED; UPDATE a SET n = n + 100").await.unwrap();
    let steps = [("run_sql", "sql = [\"UPDATE a SET n = n + 1\"]")];
    let workspace = Workspace::new(&plan("lock_timeout = \"20s\"", &steps), &db, None);
    let run = Process::spawn(&mut workspace.command(&["run", "--execute"]));
    let waits = format!("SELECT count(*) FROM pg_stat_activity WHERE {} = ANY (pg_blocking_pids(pid))", other.pid());
    eventually("the run waits", async || db.value(&waits).await == "1").await;
    let before = db.value("SELECT xact_rollback FROM pg_stat_database WHERE datname = current_database()").await;
    other.batch_execute("COMMIT").await.unwrap();
    run.finish().exits(0);
    assert_eq!(db.value("SELECT n FROM a").await, "112");
    eventually("a transaction was rolled back", async || {
        db.value("SELECT xact_rollback FROM pg_stat_database WHERE datname = current_database()").await != before
    })
    .await;
    told(
        "serialization failure (40001)",
        "default_transaction_isolation = serializable, another session commits first",
        1,
        "tried again by itself, effect once",
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blue_that_only_reads() {
    let db = TestDb::empty().await;
    db.sql("CREATE TABLE t (id int)").await;
    let workspace = Workspace::new(&plan("", &[("run_sql", "sql = [\"INSERT INTO t VALUES (1)\"]")]), &db, None);
    db.sql(&format!("ALTER DATABASE {} SET default_transaction_read_only = on", db.name())).await;
    let refused = workspace.run(&["run", "--execute"]);
    assert_ne!(refused.code, Some(0));
    says(&refused, &["blue", "is read-only (default_transaction_read_only is on)"]);
    let admin = db.cluster().database("admin", "postgres").unwrap().connect("test").await.unwrap();
    admin.batch_execute(&format!("ALTER DATABASE {} RESET default_transaction_read_only", db.name())).await.unwrap();
    workspace.run(&["run", "--execute"]).exits(0);
    assert_eq!(db.value("SELECT count(*) FROM t").await, "1");
    told(
        "read-only blue (25006)",
        "default_transaction_read_only = on for the database",
        1,
        "refused before anything; the same command ended",
    );
}

/// Blue's primary goes away for good in the middle of a run, and its standby becomes blue. With both hosts in the connection string the
/// same commands go on.
#[tokio::test(flavor = "multi_thread")]
async fn blue_fails_over_to_a_standby() {
    let primary = crate::support::start(&Binaries::find().unwrap()).await;
    let blue = primary.database("test", "postgres").unwrap().connect("test").await.unwrap();
    let tables = "CREATE TABLE t (id int PRIMARY KEY, a int)";
    blue.batch_execute(&format!("{tables}; INSERT INTO t SELECT n, n FROM generate_series(1, 300) AS n; CREATE TABLE busy ()"))
        .await
        .unwrap();
    let standby = Standby::of(&primary).await;
    let green = TestDb::empty().await;
    green.sql(tables).await;
    let text = r#"
format = 1
name = "fails-over"
blue = { url_env = "BLUE_DATABASE_URL" }
green = { url_env = "GREEN_DATABASE_URL" }
[[step]]
id = "capture"
phase = "capture"
kind = "start_capture"
tables = ["t"]
[[step]]
id = "copy"
phase = "copy"
kind = "copy"
tables = ["t"]
[[step]]
id = "add"
phase = "convert"
kind = "run_sql"
side = "blue"
sql = ["ALTER TABLE busy ADD COLUMN a int", "UPDATE t SET a = a + 1"]
[[step]]
id = "follow"
phase = "follow"
kind = "follow"
tables = ["t"]
until = { lag = "60s", for = "1ms" }
"#;
    let mut workspace = Workspace::new(text, &green, Some(&green));
    workspace.env[0].1 = format!(
        "host={},{} port=5432 user=postgres dbname=postgres target_session_attrs=read-write",
        primary.folder().display(),
        standby.folder().display()
    );
    let holder = primary.database("test", "postgres").unwrap().connect("slow-report").await.unwrap();
    holder.batch_execute("BEGIN; SELECT * FROM busy").await.unwrap();
    let run = Process::spawn(&mut workspace.command(&["run", "--execute"]));
    let waits = format!("SELECT count(*) FROM pg_stat_activity WHERE {} = ANY (pg_blocking_pids(pid))", holder.pid());
    eventually("the run waits on the old primary", async || blue.query_one(&waits, &[]).await.unwrap().get::<_, i64>(0) > 0)
        .await;
    let replayed = "SELECT bool_and(replay_lsn >= pg_current_wal_lsn()) FROM pg_stat_replication";
    eventually("the standby has everything", async || {
        blue.query_one(replayed, &[]).await.unwrap().get::<_, Option<bool>>(0) == Some(true)
    })
    .await;
    primary.stop_at_once().await.unwrap();
    let stopped = run.finish().exits(11);
    says(&stopped, &["next: crossfade run"]);
    let away = workspace.run(&["run", "--execute"]).exits(11);
    says(&away, &["target_session_attrs: it is read-only"]);
    let new = standby.database().connect("test").await.unwrap();
    new.batch_execute("SELECT pg_promote(true, 60)").await.unwrap();
    workspace.run(&["run", "--execute"]).exits(0);
    let rows = "SELECT sum(a) FROM t";
    assert_eq!(new.query_one(rows, &[]).await.unwrap().get::<_, i64>(0), 45_150 + 300);
    assert_eq!(green.value(rows).await, "45450");
    new.batch_execute("DELETE FROM t WHERE id > 200").await.unwrap();
    workspace.run(&["follow", "--until-caught-up"]).exits(0);
    assert_eq!(green.value("SELECT count(*) FROM t").await, "200");
    told(
        "blue fails over",
        "primary stopped at once in the middle of DDL, streaming standby promoted; two hosts, target_session_attrs=read-write",
        1,
        "stopped with the next command; the same command ended on the new primary, and green followed it",
    );
}

/// A session that idles in a transaction holds DDL back for longer than the plan waits: it is named, and the run goes on when it is gone.
#[tokio::test(flavor = "multi_thread")]
async fn a_session_idle_in_transaction_is_named() {
    let db = TestDb::empty().await;
    db.sql("CREATE TABLE t (id int)").await;
    let limits = "lock_timeout = \"100ms\"\nlock_retry_for = \"1s\"";
    let workspace = Workspace::new(&plan(limits, &[("run_sql", "sql = [\"ALTER TABLE t ADD COLUMN a int\"]")]), &db, None);
    let holder = db.database().connect("nightly").await.unwrap();
    holder.batch_execute("BEGIN").await.unwrap();
    holder.batch_execute("SELECT * FROM t").await.unwrap();
    let stopped = workspace.run(&["run", "--execute"]).exits(11);
    let named = format!("in the way: pid {} (nightly), idle in transaction, last command SELECT", holder.pid());
    says(&stopped, &["no lock within 1s of tries", &named, "SQLSTATE 55P03", "next: crossfade run"]);
    holder.batch_execute("COMMIT").await.unwrap();
    workspace.run(&["run", "--execute"]).exits(0);
    told(
        "session idle in transaction",
        "it holds ACCESS SHARE, ALTER TABLE waits",
        1,
        "tried again, then stopped with pid, application, state and command; the same command ended",
    );
}

/// An autovacuum gives way to DDL within lock_timeout; one to prevent wraparound does not, and is named.
#[tokio::test(flavor = "multi_thread")]
async fn autovacuums_in_the_way_of_ddl() {
    let cluster = own(&[
        ("autovacuum_freeze_max_age", "100000"),
        ("autovacuum_naptime", "1s"),
        ("autovacuum_max_workers", "1"),
        ("autovacuum_vacuum_cost_limit", "1"),
        ("autovacuum_vacuum_cost_delay", "20ms"),
        ("autovacuum_vacuum_insert_threshold", "-1"),
    ])
    .await;
    let db = TestDb::empty_on(&cluster).await;
    let working = |words: &str| {
        format!(
            "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'autovacuum worker' AND query LIKE 'autovacuum: VACUUM %public.t%' AND query {words} '%wraparound%'"
        )
    };
    let limits = "lock_timeout = \"200ms\"\nlock_retry_for = \"2s\"";
    let step = |column: &str| plan(limits, &[("run_sql", &format!("sql = [\"ALTER TABLE t ADD COLUMN {column} int\"]"))]);
    db.sql("CREATE TABLE t (id int, pad text); INSERT INTO t SELECT n, repeat('x', 500) FROM generate_series(1, 8000) AS n")
        .await;
    db.sql("UPDATE t SET id = id + 1").await;
    eventually("an autovacuum is at work", async || db.value(&working("NOT LIKE")).await == "1").await;
    let plain = Workspace::new(&step("a"), &db, None);
    plain.run(&["run", "--execute"]).exits(0);
    told("autovacuum in the way of DDL", "autovacuum slowed down by its cost limit", 1, "it gave way within lock_timeout");

    // As if the oldest row had been written so many transactions ago (ids count modulo 2^32).
    let old = "UPDATE pg_class SET relfrozenxid = ((pg_current_xact_id()::text::bigint + 4294967296 - 150000) % 4294967296)::text::xid \
               WHERE relname = 't'";
    db.sql(old).await;
    eventually("a vacuum to prevent wraparound is at work", async || db.value(&working("LIKE")).await == "1").await;
    let stopped = Workspace::new(&step("b"), &db, None);
    let ran = stopped.run(&["run", "--execute"]).exits(11);
    says(&ran, &["in the way: pid", "an autovacuum to prevent wraparound, which gives way to nobody", "next: crossfade run"]);
    told(
        "vacuum to prevent wraparound in the way of DDL",
        "relfrozenxid set back beyond autovacuum_freeze_max_age, vacuum slowed down by its cost limit",
        1,
        "named, stopped with the next command",
    );
}
