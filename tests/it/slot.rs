//! What belongs to capture from a replication slot alone: what it needs, how it is lost, and what is left of it.

use std::sync::Arc;

use crossfade::shadow::{Binaries, Cluster};

use crate::support::{TestDb, Workspace, logical_cluster};

const PLAN: &str = r#"
format = 1
name = "slot"
blue = { url_env = "BLUE_DATABASE_URL" }
green = { url_env = "GREEN_DATABASE_URL" }
[[step]]
id = "capture"
phase = "capture"
kind = "start_capture"
source = "slot"
projections = "projections"
tables = ["t"]
[[step]]
id = "copy"
phase = "copy"
kind = "copy"
projections = "projections"
tables = ["t"]
"#;

/// Leans on rows of `u` by a column that its primary key does not hold.
const LEANING: &str = r#"
table = "v"
key = ["id"]
[[source]]
name = "all"
drives = { table = "v", alias = "v" }
from = "v"
[source.columns]
id = "v.id"
n = "(SELECT count(*) FROM u WHERE u.v = v.id)"
[[source.dirty]]
table = "u"
by = ["v"]
"#;

const TABLES: &str = "CREATE TABLE t (id int PRIMARY KEY, n int); CREATE TABLE v (id int PRIMARY KEY, n bigint); \
                      CREATE TABLE u (id int PRIMARY KEY, v int NOT NULL)";

async fn stage(cluster: &Arc<Cluster>, plan: &str) -> (Workspace, TestDb, TestDb) {
    let (blue, green) = (TestDb::empty_on(cluster).await, TestDb::empty().await);
    blue.sql(TABLES).await;
    green.sql(TABLES).await;
    let workspace = Workspace::new(plan, &blue, Some(&green));
    let folder = workspace.folder.path().join("projections");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("v.toml"), LEANING).unwrap();
    (workspace, blue, green)
}

async fn own(settings: &[(&'static str, &str)]) -> Arc<Cluster> {
    let settings = settings.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
    Arc::new(Cluster::start(&Binaries::find().unwrap(), settings).await.unwrap())
}

#[track_caller]
fn says(text: &str, words: &[&str]) {
    for words in words {
        assert!(text.contains(words), "`{words}` is not in:\n{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_identity_that_lacks_a_column_is_refused_with_the_command() {
    let (workspace, blue, _green) = stage(logical_cluster(), PLAN).await;
    let refused = workspace.run(&["run", "--execute"]).exits(10).stderr;
    says(
        &refused,
        &[
            "table public.u on blue",
            "a replica identity (DEFAULT) without v",
            "ALTER TABLE \"public\".\"u\" REPLICA IDENTITY FULL; or set_replica_identity = true",
        ],
    );
    blue.sql("ALTER TABLE t DROP CONSTRAINT t_pkey").await;
    blue.sql("CREATE UNIQUE INDEX u_v ON u (v)").await;
    let refused = workspace.run(&["run", "--execute"]).exits(10).stderr;
    says(&refused, &["ALTER TABLE \"public\".\"u\" REPLICA IDENTITY USING INDEX \"u_v\""]);
    blue.sql("ALTER TABLE t ADD PRIMARY KEY (id); ALTER TABLE u REPLICA IDENTITY USING INDEX u_v").await;
    workspace.run(&["run", "--execute"]).exits(0);
    // An identity that is changed later is noticed, and so is a publication.
    for (change, back, said) in [
        (
            "ALTER TABLE u REPLICA IDENTITY DEFAULT",
            "ALTER TABLE u REPLICA IDENTITY USING INDEX u_v",
            "has another replica identity",
        ),
        (
            "DO $$ BEGIN EXECUTE 'ALTER PUBLICATION ' || (SELECT pubname FROM pg_publication) || ' DROP TABLE t'; END $$",
            "SELECT 1",
            "is not in the publication as it was",
        ),
    ] {
        blue.sql(change).await;
        let stopped = workspace.run(&["follow", "--until-caught-up"]).exits(10).stderr;
        says(&stopped, &[said, "crossfade rollback"]);
        blue.sql(back).await;
    }
    workspace.run(&["rollback", "--execute"]).exits(0);
    assert_eq!(blue.value("SELECT count(*) FROM pg_publication").await, "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_server_lacks_is_said_all_at_once() {
    let cluster = own(&[("wal_level", "replica"), ("max_replication_slots", "0")]).await;
    let (mut workspace, blue, _green) = stage(&cluster, PLAN).await;
    blue.sql("CREATE ROLE plain LOGIN; GRANT CREATE ON DATABASE postgres TO plain").await;
    blue.sql(&format!("GRANT CREATE ON DATABASE {} TO plain; ALTER TABLE t OWNER TO plain; ALTER TABLE u OWNER TO plain; ALTER TABLE v OWNER TO plain", blue.name()))
        .await;
    workspace.env[0].1 = blue.url().replace("postgres@", "plain@");
    let refused = workspace.run(&["run", "--execute"]).exits(10).stderr;
    says(
        &refused,
        &[
            "wal_level on blue: is replica",
            "max_replication_slots on blue: is 0, and all are taken",
            "ALTER ROLE \"plain\" REPLICATION",
            "GRANT rds_replication TO \"plain\"",
            "REPLICA IDENTITY FULL",
        ],
    );
    // On RDS and Aurora no role has that attribute; whether the stream then opens is for that server to say.
    blue.sql("CREATE ROLE rds_replication; GRANT rds_replication TO plain").await;
    let refused = workspace.run(&["run", "--execute"]).exits(10).stderr;
    assert!(!refused.contains("may not read the stream"), "{refused}");
}

/// A slot whose log the server threw away, and one that somebody dropped: a clear stop, and a rollback that leaves nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_lost_slot_stops_with_what_to_do() {
    let cluster = own(&[("max_slot_wal_keep_size", "1MB"), ("min_wal_size", "32MB"), ("max_wal_size", "32MB")]).await;
    let plan = PLAN.replace("source = \"slot\"", "source = \"slot\"\nset_replica_identity = true");
    let (workspace, blue, green) = stage(&cluster, &plan).await;
    workspace.run(&["run", "--execute"]).exits(0);
    blue.sql("INSERT INTO t VALUES (1, 1)").await;
    workspace.run(&["follow", "--until-caught-up"]).exits(0);
    assert_eq!(green.value("SELECT n FROM t").await, "1");
    let preflight = workspace.run(&["preflight"]);
    says(
        &preflight.stdout,
        &["replication slot crossfade_", "follow or roll back the crossfade run", "max_slot_wal_keep_size on blue: is 1 MB"],
    );
    for _ in 0..6 {
        blue.sql("SELECT pg_logical_emit_message(false, 'noise', repeat('x', 1000000)), pg_switch_wal()").await;
    }
    blue.sql("CHECKPOINT").await;
    assert_eq!(blue.value("SELECT wal_status FROM pg_replication_slots").await, "lost");
    let stopped = workspace.run(&["follow", "--until-caught-up"]).exits(10).stderr;
    says(&stopped, &["replication slot crossfade_", "is lost", "max_slot_wal_keep_size", "crossfade rollback"]);
    blue.sql("SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots").await;
    let stopped = workspace.run(&["follow", "--until-caught-up"]).exits(10).stderr;
    says(&stopped, &["is gone", "crossfade rollback"]);
    workspace.run(&["rollback", "--execute"]).exits(0);
    assert_eq!(blue.value("SELECT count(*) FROM pg_publication").await, "0");
    assert_eq!(blue.value("SELECT relreplident FROM pg_class WHERE relname = 'u'").await, "d");
    assert_eq!(green.value("SELECT count(*) FROM crossfade.inbox_position").await, "0");
}

/// A transaction that is open when the slot is made and one that writes on afterwards: both are on green in the end.
#[tokio::test(flavor = "multi_thread")]
async fn transactions_around_the_beginning_are_all_there() {
    let cluster = own(&[]).await;
    let plan = PLAN.replace("source = \"slot\"", "source = \"slot\"\nset_replica_identity = true");
    let (workspace, blue, green) = stage(&cluster, &plan).await;
    let early = blue.session().await;
    early.batch_execute("BEGIN; INSERT INTO t VALUES (1, 1)").await.unwrap();
    let run = crate::support::Process::spawn(&mut workspace.command(&["run", "--execute"]));
    crate::support::eventually("the slot waits for the open transaction", async || {
        let waits = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_create_logical_replication_slot%' AND wait_event_type = 'Lock'";
        blue.value(waits).await != "0"
    })
    .await;
    let later = blue.session().await;
    later.batch_execute("BEGIN; INSERT INTO t VALUES (2, 2)").await.unwrap();
    early.batch_execute("INSERT INTO t VALUES (3, 3); COMMIT").await.unwrap();
    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    later.batch_execute("INSERT INTO v VALUES (1, 0); COMMIT").await.unwrap();
    run.finish().exits(0);
    blue.sql("INSERT INTO u VALUES (1, 1); UPDATE t SET id = 20 WHERE id = 2").await;
    workspace.run(&["follow", "--until-caught-up"]).exits(0);
    assert_eq!(green.value("SELECT string_agg(id || ':' || n, ' ' ORDER BY id) FROM t").await, "1:1 3:3 20:2");
    assert_eq!(green.value("SELECT n FROM v").await, "1");
}

/// Two tables of one name: a TRUNCATE of the one that the rules of revocations do not read follows, one of the other stops.
#[tokio::test(flavor = "multi_thread")]
async fn a_truncate_stops_the_table_of_the_rules_and_none_of_its_name() {
    const RULES: &str = r#"
[[capture]]
table = "t"
as = "change"
columns = ["id"]
[[revocation]]
what = "card"
query = "SELECT id, NULL AS client, NULL AS subject, transaction, written_at AS revoked_at FROM change WHERE operation = 'd'"
replay = ["DELETE FROM t WHERE id::text = ANY ($1)"]
proof = "SELECT id::text FROM t WHERE id::text = ANY ($1)"
"#;
    let plan = PLAN
        .replace("projections = \"projections\"\ntables = [\"t\"]", "tables = [\"t\", \"other.t\"]")
        .replace("source = \"slot\"", "source = \"slot\"\nrevocations = \"rules.toml\"");
    let (workspace, blue, green) = stage(logical_cluster(), &plan).await;
    std::fs::write(workspace.folder.path().join("rules.toml"), RULES).unwrap();
    for db in [&blue, &green] {
        db.sql("CREATE SCHEMA other; CREATE TABLE other.t (LIKE public.t INCLUDING ALL)").await;
    }
    blue.sql("INSERT INTO t VALUES (1, 1); INSERT INTO other.t VALUES (1, 1)").await;
    workspace.run(&["run", "--execute"]).exits(0);
    blue.sql("TRUNCATE other.t").await;
    workspace.run(&["follow", "--until-caught-up"]).exits(0);
    assert_eq!(green.value("(SELECT count(*) FROM t) || ' ' || (SELECT count(*) FROM other.t)").await, "1 0");
    blue.sql("TRUNCATE t").await;
    let stopped = workspace.run(&["follow", "--until-caught-up"]).exits(10).stderr;
    says(&stopped, &["table public.t on blue", "was truncated, and its revocations are told from its rows"]);
    workspace.run(&["rollback", "--execute"]).exits(0);
}
