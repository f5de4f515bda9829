//! Triggers of capture and the outbox they fill: which keys, in which transactions, and what is noticed.

use std::collections::BTreeMap;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crossfade::capture::{Changed, Outbox, Piece, Reading, Shape, install, installed, obstacles, remove};
use crossfade::pg::{Opener, Snapshot, ensure_control};
use crossfade::projection::Captured;
use crossfade::shadow::{Binaries, Cluster};
use crossfade::sql::{Ident, QualifiedName};
use crossfade::terms::{RunId, StepId};

use crate::support::{TestDb, Workspace, cluster, eventually, since};

const MANY: &str =
    "format = 1\nname = \"capture\"\nblue = { url_env = \"BLUE_DATABASE_URL\" }\ngreen = { url_env = \"GREEN_DATABASE_URL\" }\n";

fn captured(table: &str, columns: &[&str], watch: Option<&[&str]>) -> Captured {
    let list = |names: &[&str]| names.iter().map(|name| Ident::new(*name)).collect();
    Captured { table: QualifiedName::new("public", table), columns: list(columns), watch: watch.map(list) }
}

fn run() -> RunId {
    RunId::existing("the-run")
}

fn opener(db: &TestDb) -> Opener {
    Opener::new(db.database(), "test".to_owned())
}

/// Captures tables as the step does.
async fn capture(db: &TestDb, tables: &[Captured]) -> Outbox {
    let mut session = db.session().await;
    ensure_control(&mut session).await.unwrap();
    let found = obstacles(&session, tables, &run(), false).await.unwrap();
    assert!(found.is_empty(), "{found:?}");
    for table in tables {
        let shape = Shape::read(&session, table).await.unwrap().unwrap();
        let step = StepId::new("the-step").unwrap();
        for statement in install(&session, &run(), &step, &shape, 1_000_000).await.unwrap() {
            session.batch_execute(&statement).await.unwrap_or_else(|error| panic!("{error:?}: {statement}"));
        }
    }
    Outbox::open(opener(db), opener(db), &run()).await.unwrap().unwrap()
}

async fn snapshot(db: &TestDb) -> (Snapshot, String) {
    let snapshot = Snapshot::export(opener(db)).await.unwrap();
    let text = snapshot.session().query_one("SELECT pg_current_snapshot()::text", &[]).await.unwrap().get(0);
    (snapshot, text)
}

/// Reads one outbox from snapshot to snapshot.
struct Reader<'a> {
    db: &'a TestDb,
    outbox: Outbox,
    at: String,
}

impl<'a> Reader<'a> {
    async fn of(db: &'a TestDb, tables: &[Captured]) -> Self {
        let outbox = capture(db, tables).await;
        let (_, at) = snapshot(db).await;
        Self { db, outbox, at }
    }

    /// What happened since the last call: `table: key|key, key|key`, sorted, or `table: all`.
    async fn changes(&mut self) -> Vec<String> {
        let (now, text) = snapshot(self.db).await;
        assert_eq!(self.outbox.check(&now).await.unwrap(), Reading::Faithful);
        let names: Vec<String> = self.outbox.tables().iter().map(|table| table.table.name().as_str().to_owned()).collect();
        let mut lines = Vec::new();
        let each = async |piece: Piece| {
            lines.push(match piece {
                Piece::Truncated { table } => format!("{}: all", names[table]),
                Piece::Rows { table, keys, .. } => {
                    let shown = |key: &Vec<Option<String>>| {
                        key.iter().map(|value| value.as_deref().unwrap_or("NULL")).collect::<Vec<_>>().join("|")
                    };
                    let mut keys: Vec<String> = keys.iter().map(shown).collect();
                    keys.sort();
                    format!("{}: {}", names[table], keys.join(", "))
                }
            });
            Ok(())
        };
        self.outbox.between(&self.at, &now, each).await.unwrap();
        self.at = text;
        lines.sort();
        lines
    }

    /// Runs SQL on a session of its own and gives what it changed.
    async fn after(&mut self, sql: &str) -> Vec<String> {
        self.db.sql(sql).await;
        self.changes().await
    }
}

const TABLES: &str = "
    CREATE TABLE parent (id int PRIMARY KEY, tag text, note text);
    CREATE TABLE child (id int PRIMARY KEY, parent int REFERENCES parent ON DELETE CASCADE ON UPDATE CASCADE);
    CREATE TABLE grandchild (a int, b text, child int REFERENCES child ON DELETE SET NULL, PRIMARY KEY (a, b));";

fn family() -> Vec<Captured> {
    vec![captured("parent", &["id"], None), captured("child", &["id", "parent"], None), captured("grandchild", &["a", "b"], None)]
}

#[tokio::test(flavor = "multi_thread")]
async fn every_statement_records_the_keys_it_touches() {
    let db = TestDb::empty().await;
    db.sql(TABLES).await;
    let mut reader = Reader::of(&db, &family()).await;
    assert!(reader.after("SELECT 1").await.is_empty());
    assert_eq!(
        reader.after("INSERT INTO parent SELECT n, 't', 'n' FROM generate_series(1, 5) n").await,
        ["parent: 1, 2, 3, 4, 5"]
    );
    assert_eq!(reader.after("UPDATE parent SET note = 'x' WHERE id < 3").await, ["parent: 1, 2"]);
    assert_eq!(reader.after("UPDATE parent SET id = id + 100 WHERE id > 3").await, ["parent: 104, 105, 4, 5"]);
    assert!(reader.after("UPDATE parent SET note = 'x' WHERE id > 1000").await.is_empty());
    let upsert = "INSERT INTO parent VALUES (1, 'u', 'u'), (6, 'i', 'i') ON CONFLICT (id) DO UPDATE SET note = excluded.note";
    assert_eq!(reader.after(upsert).await, ["parent: 1", "parent: 6"], "a row that stays and a row that comes, told apart");
    assert!(reader.after("INSERT INTO parent VALUES (1, 'u', 'u') ON CONFLICT DO NOTHING").await.is_empty());
    reader
        .after("INSERT INTO child VALUES (10, 1), (11, 2), (12, 2); INSERT INTO grandchild VALUES (1, 'x', 10), (2, 'y', 11)")
        .await;
    let joined = "UPDATE child SET parent = 3 FROM parent WHERE parent.id = child.parent AND parent.note = 'u'";
    assert_eq!(reader.after(joined).await, ["child: 10|1, 10|3"]);
    let cascade = "UPDATE parent SET id = 20 WHERE id = 2";
    assert_eq!(reader.after(cascade).await, ["child: 11|2, 11|20, 12|2, 12|20", "parent: 2, 20"]);
    let cascades = "DELETE FROM parent WHERE id IN (3, 20)";
    let gone = ["child: 10|3, 11|20, 12|20", "grandchild: 1|x, 2|y", "parent: 20, 3"];
    assert_eq!(reader.after(cascades).await, gone);
    let with = "WITH gone AS (DELETE FROM grandchild RETURNING a, b) INSERT INTO parent SELECT a + 200, b, b FROM gone";
    assert_eq!(reader.after(with).await, ["grandchild: 1|x, 2|y", "parent: 201, 202"]);
    let one =
        "DO $$ BEGIN FOR n IN 301..303 LOOP INSERT INTO parent VALUES (n); DELETE FROM parent WHERE id = n; END LOOP; END $$";
    assert_eq!(reader.after(one).await, ["parent: 301, 302, 303"]);
    if since(15, "MERGE") {
        let merge = "MERGE INTO parent p USING (VALUES (1), (201), (400)) v(id) ON p.id = v.id \
                     WHEN MATCHED AND v.id = 1 THEN UPDATE SET note = 'm' WHEN MATCHED THEN DELETE \
                     WHEN NOT MATCHED THEN INSERT VALUES (v.id, 'm', 'm')";
        assert_eq!(reader.after(merge).await, ["parent: 1", "parent: 201, 400"]);
    }
    assert_eq!(reader.after("TRUNCATE child CASCADE").await, ["child: all", "grandchild: all"]);
    let both = "BEGIN; TRUNCATE grandchild; INSERT INTO grandchild VALUES (7, 'z'); COMMIT";
    assert_eq!(reader.after(both).await, ["grandchild: 7|z", "grandchild: all"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn copy_from_is_recorded() {
    use bytes::Bytes;
    use futures_util::SinkExt;
    let db = TestDb::empty().await;
    db.sql(TABLES).await;
    let mut reader = Reader::of(&db, &family()).await;
    let session = db.session().await;
    let sink = session.copy_in::<_, Bytes>("COPY grandchild (a, b) FROM STDIN").await.unwrap();
    tokio::pin!(sink);
    sink.send(Bytes::from_static(b"1\tx\n2\t\\\\y\n")).await.unwrap();
    sink.finish().await.unwrap();
    assert_eq!(reader.changes().await, ["grandchild: 1|x, 2|\\y"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_leaves_out_updates_that_change_nothing_that_counts() {
    let db = TestDb::empty().await;
    db.sql(
        "CREATE TABLE t (id int PRIMARY KEY, by text, w numeric, c text, doc jsonb, free text); \
            INSERT INTO t SELECT n, 'b' || n % 2, 1, 'c', '{}', '' FROM generate_series(1, 6) n",
    )
    .await;
    let mut reader = Reader::of(&db, &[captured("t", &["by"], Some(&["w", "c", "doc"]))]).await;
    assert!(reader.after("UPDATE t SET free = 'x'").await.is_empty());
    assert!(reader.after("UPDATE t SET w = w, c = c, doc = doc").await.is_empty());
    assert_eq!(reader.after("UPDATE t SET w = 2 WHERE id = 1").await, ["t: b1"]);
    // Equal, but not the same.
    assert_eq!(reader.after("UPDATE t SET w = 1.0 WHERE id = 2").await, ["t: b0"]);
    assert_eq!(reader.after("UPDATE t SET doc = '{\"a\": 1}' WHERE id = 2").await, ["t: b0"]);
    assert_eq!(reader.after("UPDATE t SET doc = '{\"a\": 1.0}', free = 'y' WHERE id < 4").await, ["t: b0, b1"]);
    assert_eq!(reader.after("UPDATE t SET by = 'b2' WHERE id = 1").await, ["t: b1, b2"]);
    assert_eq!(reader.after("UPDATE t SET c = NULL WHERE id = 5").await, ["t: b1"]);
    assert!(reader.after("UPDATE t SET c = NULL WHERE id = 5").await.is_empty());
    // The set of values stays, the rows that have them change places.
    reader.after("UPDATE t SET by = 's', w = id, doc = '{}', c = '' WHERE id IN (3, 4)").await;
    assert_eq!(reader.after("UPDATE t SET w = 7 - w WHERE id IN (3, 4)").await, ["t: s"]);
    assert_eq!(reader.after("UPDATE t SET id = id + 10 WHERE id = 3").await, ["t: s"]);
    assert_eq!(reader.after("DELETE FROM t WHERE id = 4").await, ["t: s"]);
}

/// A cluster that takes prepared transactions.
async fn preparing() -> Arc<Cluster> {
    Arc::new(Cluster::start(&Binaries::find().unwrap(), vec![("max_prepared_transactions", "20".to_owned())]).await.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_rolls_back_and_everything_that_commits_is_seen() {
    let cluster = preparing().await;
    let db = TestDb::empty_on(&cluster).await;
    db.sql(TABLES).await;
    let mut reader = Reader::of(&db, &family()).await;
    let savepoints = "BEGIN; INSERT INTO parent VALUES (1); SAVEPOINT a; INSERT INTO parent VALUES (2); ROLLBACK TO a; \
                      INSERT INTO parent VALUES (3); SAVEPOINT b; INSERT INTO parent VALUES (4); RELEASE b; COMMIT";
    assert_eq!(reader.after(savepoints).await, ["parent: 1, 3, 4"]);
    assert!(reader.after("BEGIN; INSERT INTO parent VALUES (9); ROLLBACK").await.is_empty());
    assert!(reader.after("BEGIN; INSERT INTO parent VALUES (5); PREPARE TRANSACTION 'one'").await.is_empty());
    // Younger transactions overtake the prepared one.
    assert_eq!(reader.after("INSERT INTO parent VALUES (6)").await, ["parent: 6"]);
    assert!(reader.after("BEGIN; INSERT INTO parent VALUES (7); PREPARE TRANSACTION 'two'").await.is_empty());
    assert_eq!(reader.after("COMMIT PREPARED 'one'").await, ["parent: 5"]);
    assert!(reader.after("ROLLBACK PREPARED 'two'").await.is_empty());
    // A transaction that is open across several batches.
    let open = db.session().await;
    open.batch_execute("BEGIN; INSERT INTO parent VALUES (10); SAVEPOINT s; DELETE FROM parent WHERE id = 1").await.unwrap();
    assert_eq!(reader.after("DELETE FROM parent WHERE id = 3").await, ["parent: 3"]);
    assert!(reader.changes().await.is_empty());
    open.batch_execute("COMMIT").await.unwrap();
    assert_eq!(reader.changes().await, ["parent: 1, 10"]);
}

/// Every row of the outbox, with the oracle's word on both snapshots, against what `between` gave.
#[tokio::test(flavor = "multi_thread")]
async fn between_two_snapshots_is_what_one_sees_and_the_other_does_not() {
    let cluster = preparing().await;
    let db = TestDb::empty_on(&cluster).await;
    db.sql("CREATE TABLE t (id bigint PRIMARY KEY, n int); CREATE SEQUENCE s").await;
    let outbox = capture(&db, &[captured("t", &["id"], None)]).await;
    let (_, mut since) = snapshot(&db).await;
    let stop = Arc::new(AtomicBool::new(false));
    let mut writers = Vec::new();
    for number in 0..8 {
        let (session, stop) = (db.session().await, Arc::clone(&stop));
        writers.push(tokio::spawn(async move {
            let mut random = fastrand::Rng::with_seed(number);
            while !stop.load(Ordering::Relaxed) {
                let mut sql = "BEGIN;".to_owned();
                for _ in 0..random.usize(1..4) {
                    sql += " INSERT INTO t SELECT nextval('s'), 0 FROM generate_series(1, 3); SAVEPOINT p; UPDATE t SET n = n + 1 \
                            WHERE id = (SELECT id FROM t ORDER BY id DESC LIMIT 1 OFFSET 40) ;";
                    sql += [" RELEASE p;", " ROLLBACK TO p;", ""][random.usize(0..3)];
                }
                session.batch_execute(&sql).await.unwrap();
                tokio::time::sleep(Duration::from_micros(random.u64(0..3000))).await;
                let name = format!("g{number}");
                match random.u8(0..10) {
                    0 | 1 => session.batch_execute("ROLLBACK").await.unwrap(),
                    2 => {
                        session.batch_execute(&format!("PREPARE TRANSACTION '{name}'")).await.unwrap();
                        tokio::time::sleep(Duration::from_millis(random.u64(0..20))).await;
                        let end = if random.bool() { "COMMIT" } else { "ROLLBACK" };
                        session.batch_execute(&format!("{end} PREPARED '{name}'")).await.unwrap();
                    }
                    _ => session.batch_execute("COMMIT").await.unwrap(),
                }
            }
        }));
    }
    let (mut batches, mut total, mut running) = (0, 0, 0);
    while batches < 60 || total < 2000 {
        let (now, text) = snapshot(&db).await;
        running += text.rsplit(':').next().unwrap().split(',').filter(|id| !id.is_empty()).count();
        let mut given: BTreeMap<String, u32> = BTreeMap::new();
        let each = async |piece: Piece| {
            let Piece::Rows { keys, .. } = piece else { panic!("nobody truncates") };
            for key in keys {
                *given.entry(key[0].clone().unwrap()).or_default() += 1;
            }
            Ok(())
        };
        total += outbox.between(&since, &now, each).await.unwrap();
        let oracle = "SELECT DISTINCT keys[1] FROM crossfade.outbox WHERE pg_visible_in_snapshot(transaction, $1::text::pg_snapshot) \
                      AND NOT pg_visible_in_snapshot(transaction, $2::text::pg_snapshot)";
        let rows = now.session().query(oracle, &[&text, &since]).await.unwrap();
        let told: BTreeMap<String, u32> = rows.iter().map(|row| (row.get(0), 1)).collect();
        assert_eq!(given, told, "from {since} to {text}");
        // The rows themselves: all that this snapshot sees is in this batch or in one before.
        if batches % 3 == 0 {
            outbox.purge(&since).await.unwrap();
        }
        (since, batches) = (text, batches + 1);
    }
    stop.store(true, Ordering::Relaxed);
    for writer in writers {
        writer.await.unwrap();
    }
    assert!(running > 50, "only {running} transactions were open at {batches} snapshots");
}

#[tokio::test(flavor = "multi_thread")]
async fn values_have_one_text_whatever_the_writer_set() {
    let db = TestDb::empty().await;
    db.sql(
        "CREATE TYPE mood AS ENUM ('good', 'bad'); CREATE DOMAIN day AS date; \
            CREATE TABLE t (at timestamptz, day day, span interval, f float8, raw bytea, list date[], during tstzrange, m mood, \
                            PRIMARY KEY (at, day, span, f, raw, list, during, m))",
    )
    .await;
    let columns = ["at", "day", "during", "f", "list", "m", "raw", "span"];
    let mut reader = Reader::of(&db, &[captured("t", &columns, None)]).await;
    let insert = "INSERT INTO t VALUES ('2024-02-29 12:00:00+00', '2024-02-29', '1 day 02:03:04', 0.1::float8 + 0.2, '\\x00ff', \
                                        '{2024-02-29}', '[2024-02-29 12:00:00+00,)', 'bad')";
    let odd = "SET datestyle = 'SQL, DMY'; SET timezone = 'Asia/Tokyo'; SET intervalstyle = 'iso_8601'; SET extra_float_digits = -5; \
               SET bytea_output = 'escape'; SET search_path = ''";
    let first = reader.after(insert).await;
    assert_eq!(
        first,
        [
            "t: 2024-02-29 12:00:00+00|2024-02-29|[\"2024-02-29 12:00:00+00\",)|0.30000000000000004|{2024-02-29}|bad|\\x00ff|1 day 02:03:04"
        ]
    );
    assert_eq!(reader.after(&format!("{odd}; DELETE FROM public.t")).await, first);
}

/// A role that may write the table and nothing else, in replica mode, and through a function of another owner.
#[tokio::test(flavor = "multi_thread")]
async fn writers_need_no_privilege_and_replica_sessions_are_recorded() {
    let db = TestDb::empty().await;
    db.sql(TABLES).await;
    let role = format!("writer_{}", db.name());
    db.sql(&format!("CREATE ROLE {role} LOGIN; GRANT INSERT, UPDATE, DELETE, SELECT ON parent TO {role}")).await;
    let mut reader = Reader::of(&db, &family()).await;
    let writer = cluster().database("writer", db.name()).unwrap();
    let session = writer.connect("test").await.unwrap();
    session.batch_execute(&format!("SET ROLE {role}; SET search_path = ''")).await.unwrap();
    let refused = session.batch_execute("SELECT * FROM crossfade.outbox").await.unwrap_err();
    assert_eq!(crossfade::pg::sqlstate(&refused), "42501");
    let writes = "INSERT INTO public.parent VALUES (1); UPDATE public.parent SET id = 2; DELETE FROM public.parent";
    session.batch_execute(writes).await.unwrap();
    assert_eq!(reader.changes().await, ["parent: 1, 2"]);
    assert_eq!(reader.after("SET session_replication_role = replica; INSERT INTO parent VALUES (3)").await, ["parent: 3"]);
    drop(session);
    db.sql(&format!("DROP OWNED BY {role}; DROP ROLE {role}")).await;
}

/// The functions run with our rights: nothing that a writer puts before the server's own objects may get into them.
#[tokio::test(flavor = "multi_thread")]
async fn a_writer_cannot_slip_objects_of_its_own_into_our_functions() {
    let db = TestDb::empty().await;
    let role = format!("intruder_{}", db.name());
    db.sql(&format!(
        "CREATE TABLE plain (id int PRIMARY KEY, name text); CREATE TABLE watched (id int PRIMARY KEY, name text, w text, free int); \
         CREATE ROLE {role} LOGIN; GRANT ALL ON plain, watched TO {role}; GRANT CREATE ON DATABASE {0} TO {role}",
        db.name()
    ))
    .await;
    let tables = [captured("plain", &["id", "name"], None), captured("watched", &["name"], Some(&["w"]))];
    let mut reader = Reader::of(&db, &tables).await;
    let session = db.session().await;
    session
        .batch_execute(&format!(
            "SET ROLE {role}; CREATE SCHEMA evil; CREATE TABLE evil.caught (who text); \
             CREATE FUNCTION evil.note() RETURNS boolean LANGUAGE sql AS $$INSERT INTO evil.caught VALUES (current_user) RETURNING true$$; \
             CREATE FUNCTION evil.same(text, text) RETURNS boolean LANGUAGE sql AS 'SELECT evil.note()'; \
             CREATE FUNCTION evil.same(bigint, bigint) RETURNS boolean LANGUAGE sql AS 'SELECT evil.note()'; \
             CREATE FUNCTION evil.same(bigint, int) RETURNS boolean LANGUAGE sql AS 'SELECT evil.note()'; \
             CREATE OPERATOR evil.= (LEFTARG = text, RIGHTARG = text, FUNCTION = evil.same); \
             CREATE OPERATOR evil.<> (LEFTARG = bigint, RIGHTARG = bigint, FUNCTION = evil.same); \
             CREATE OPERATOR evil.<> (LEFTARG = bigint, RIGHTARG = int, FUNCTION = evil.same); \
             CREATE OPERATOR evil.> (LEFTARG = bigint, RIGHTARG = int, FUNCTION = evil.same); \
             CREATE OPERATOR evil.= (LEFTARG = bigint, RIGHTARG = int, FUNCTION = evil.same); \
             CREATE FUNCTION evil.count(text) RETURNS bigint LANGUAGE sql AS 'SELECT evil.note()::int::bigint'; \
             CREATE FUNCTION evil.pg_current_xact_id() RETURNS xid8 LANGUAGE sql AS $$SELECT evil.note(); SELECT '3'::xid8$$; \
             CREATE FUNCTION evil.clock_timestamp() RETURNS timestamptz LANGUAGE sql AS 'SELECT evil.note(); SELECT now()'; \
             CREATE DOMAIN evil.text AS pg_catalog.text; CREATE VIEW evil.new_rows AS SELECT 1 AS id, 'x' AS name, 'y' AS w WHERE evil.note(); \
             CREATE VIEW evil.old_rows AS SELECT * FROM evil.new_rows; CREATE TEMP TABLE outbox (x int); CREATE TEMP TABLE new_rows (id int, name text); \
             SET search_path = evil, pg_temp, public, pg_catalog"
        ))
        .await
        .unwrap();
    session
        .batch_execute(
            "INSERT INTO public.plain VALUES (1, 'a'), (2, 'b'); UPDATE public.plain SET id = id OPERATOR(pg_catalog.+) 10; DELETE FROM public.plain; \
             INSERT INTO public.watched VALUES (1, 'a', 'w', 0), (2, 'b', NULL, 0)",
        )
        .await
        .unwrap();
    assert_eq!(reader.changes().await, ["plain: 11|a, 12|b, 1|a, 2|b", "watched: a, b"]);
    session.batch_execute("UPDATE public.watched SET free = 1").await.unwrap();
    assert!(reader.changes().await.is_empty());
    session.batch_execute("UPDATE public.watched SET w = 'z' WHERE name OPERATOR(pg_catalog.=) 'b'").await.unwrap();
    assert_eq!(reader.changes().await, ["watched: b"]);
    assert_eq!(db.value("SELECT string_agg(who, ' ') FROM evil.caught").await, "");
    drop(session);
    db.sql(&format!("DROP OWNED BY {role} CASCADE; DROP ROLE {role}")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_statement_comes_in_pieces_and_is_purged_in_parts() {
    let db = TestDb::empty().await;
    db.sql("CREATE TABLE t (id int PRIMARY KEY)").await;
    let outbox = capture(&db, &[captured("t", &["id"], None)]).await;
    let (_, before) = snapshot(&db).await;
    db.sql("INSERT INTO t SELECT generate_series(1, 70000)").await;
    let (now, after) = snapshot(&db).await;
    let mut sizes = Vec::new();
    let each = async |piece: Piece| {
        if let Piece::Rows { keys, .. } = piece {
            sizes.push(keys.len());
        }
        Ok(())
    };
    assert_eq!(outbox.between(&before, &now, each).await.unwrap(), 70_000);
    assert_eq!(sizes, [20_000, 20_000, 20_000, 10_000]);
    db.sql("INSERT INTO t SELECT generate_series(70001, 70010)").await;
    assert_eq!(outbox.purge(&before).await.unwrap(), 0);
    assert_eq!(outbox.purge(&after).await.unwrap(), 70_000);
    assert_eq!(outbox.purge(&after).await.unwrap(), 0);
    assert_eq!(db.value("SELECT count(*) FROM crossfade.outbox").await, "10");
    let backlog = outbox.backlog().await.unwrap();
    assert!(backlog.oldest.unwrap().elapsed().unwrap() < Duration::from_secs(600));
    assert!(backlog.bytes > backlog.alarm, "{backlog:?}");
}

async fn altered(outbox: &Outbox, db: &TestDb) -> Vec<String> {
    let (now, _) = snapshot(db).await;
    match outbox.check(&now).await {
        Ok(reading) => {
            assert_eq!(reading, Reading::Faithful);
            Vec::new()
        }
        Err(error) => {
            let changed = error.downcast::<Changed>().unwrap();
            changed.findings.into_iter().map(|found| format!("{} {}", found.object, found.what)).collect()
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_leaves_rows_and_triggers_alone_is_no_alarm() {
    let db = TestDb::empty().await;
    db.sql("CREATE TABLE t (id int PRIMARY KEY, v text, w int); INSERT INTO t SELECT n, 'v', n FROM generate_series(1, 100) n")
        .await;
    let outbox = capture(&db, &[captured("t", &["id"], None)]).await;
    for harmless in [
        "VACUUM FULL t",
        "ANALYZE t",
        "CREATE INDEX ON t (w)",
        "TRUNCATE t",
        "INSERT INTO t VALUES (1, 'v', 2)",
        "GRANT SELECT ON t TO PUBLIC",
        "ALTER TABLE t SET (fillfactor = 50)",
        "VACUUM t",
    ] {
        db.sql(harmless).await;
    }
    assert_eq!(altered(&outbox, &db).await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_done_to_tables_and_triggers_behind_our_back_is_noticed() {
    for (sql, words) in [
        ("DROP TABLE t", "was dropped"),
        ("DROP TABLE t; CREATE TABLE t (id int PRIMARY KEY, v text, w int)", "was dropped"),
        ("ALTER TABLE t RENAME TO other", "was renamed to public.other"),
        ("CREATE SCHEMA s; ALTER TABLE t SET SCHEMA s", "was renamed to s.t"),
        ("ALTER TABLE t ADD COLUMN x int", "gained column x"),
        ("ALTER TABLE t DROP COLUMN w", "lost column w"),
        ("ALTER TABLE t RENAME COLUMN w TO x", "lost column w"),
        ("ALTER TABLE t ALTER COLUMN v TYPE varchar", "another type in column v"),
        ("ALTER TABLE t ALTER COLUMN v TYPE text USING upper(v)", "was rewritten by ALTER TABLE"),
        ("ALTER TABLE t SET UNLOGGED", "another kind of table"),
        ("CREATE TABLE heir () INHERITS (t)", "inheritance tree"),
        ("ALTER TABLE t DISABLE TRIGGER crossfade_capture_update", "trigger crossfade_capture_update that was disabled"),
        (
            "ALTER TABLE t DISABLE TRIGGER ALL; ALTER TABLE t ENABLE ALWAYS TRIGGER crossfade_capture_insert; \
             ALTER TABLE t ENABLE ALWAYS TRIGGER crossfade_capture_update; ALTER TABLE t ENABLE ALWAYS TRIGGER crossfade_capture_delete; \
             ALTER TABLE t ENABLE ALWAYS TRIGGER crossfade_capture_truncate; ALTER TABLE t ENABLE ALWAYS TRIGGER crossfade_capture_moved",
            "trigger crossfade_capture_delete that was disabled",
        ),
        ("DROP TRIGGER crossfade_capture_delete ON t", "lost trigger crossfade_capture_delete"),
        (
            "DO $$ BEGIN EXECUTE (SELECT format('ALTER FUNCTION %s COST 7', oid::regprocedure) FROM pg_proc WHERE proname LIKE 'capture\\_%insert'); END $$",
            "trigger crossfade_capture_insert",
        ),
        ("DELETE FROM crossfade.captured", "is not captured any more"),
    ] {
        let db = TestDb::empty().await;
        db.sql(
            "CREATE TABLE t (id int PRIMARY KEY, v text, w int); INSERT INTO t SELECT n, 'v', n FROM generate_series(1, 100) n",
        )
        .await;
        let outbox = capture(&db, &[captured("t", &["id"], None)]).await;
        db.sql(sql).await;
        let found = altered(&outbox, &db).await;
        assert!(found.iter().any(|line| line.contains(words)), "`{words}` after {sql}: {found:?}");
        assert!(found.iter().all(|line| line.starts_with("table public.t on blue ")), "{found:?}");
    }
}

/// A table that is emptied after a snapshot was taken looks empty to it.
#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_that_a_truncate_overtook_is_not_read() {
    let db = TestDb::empty().await;
    db.sql("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1)").await;
    let outbox = capture(&db, &[captured("t", &["id"], None)]).await;
    for sql in ["TRUNCATE t", "VACUUM FULL t", "DROP TABLE t"] {
        let (before, _) = snapshot(&db).await;
        db.sql(sql).await;
        assert_eq!(outbox.check(&before).await.unwrap(), Reading::Overtaken, "{sql}");
        drop(before);
    }
    db.sql("CREATE TABLE u (id int PRIMARY KEY)").await;
    let other = TestDb::empty().await;
    other.sql("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1)").await;
    let outbox = capture(&other, &[captured("t", &["id"], None)]).await;
    let (now, _) = snapshot(&other).await;
    assert_eq!(outbox.check(&now).await.unwrap(), Reading::Faithful);
    let refused = other.session().await.batch_execute("SET lock_timeout = 50; TRUNCATE t").await.unwrap_err();
    assert_eq!(crossfade::pg::sqlstate(&refused), "55P03", "the snapshot is being read");
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_that_triggers_would_not_see_whole_are_refused() {
    let db = TestDb::empty().await;
    let mut session = db.session().await;
    ensure_control(&mut session).await.unwrap();
    let role = format!("stranger_{}", db.name());
    db.sql(&format!(
        "CREATE TABLE parts (id int) PARTITION BY RANGE (id); CREATE TABLE part PARTITION OF parts DEFAULT; CREATE TABLE base (id int); \
         CREATE TABLE heir () INHERITS (base); CREATE UNLOGGED TABLE quick (id int); CREATE VIEW v AS SELECT 1 AS id; \
         CREATE TABLE price (id money, kind regclass); CREATE TABLE plain (id int); CREATE ROLE {role}; CREATE TABLE theirs (id int)"
    ))
    .await;
    let refused = [
        ("parts", "id", "is partitioned"),
        ("part", "id", "is a partition"),
        ("base", "id", "inheritance tree"),
        ("heir", "id", "inheritance tree"),
        ("quick", "id", "is unlogged"),
        ("v", "id", "is no table"),
        ("price", "id", "type money"),
        ("price", "kind", "type regclass"),
        ("plain", "other", "has no column other"),
        ("nowhere", "id", "does not exist"),
    ];
    let tables: Vec<Captured> = refused.iter().map(|(table, column, _)| captured(table, &[column], None)).collect();
    let found = obstacles(&session, &tables, &run(), false).await.unwrap();
    for (table, _, words) in refused {
        let object = format!("table public.{table} on blue");
        assert!(found.iter().any(|f| f.object == object && f.what.contains(words)), "{table}: `{words}` is not in {found:?}");
    }
    assert_eq!(found.len(), refused.len(), "{found:?}");
    session.batch_execute(&format!("GRANT ALL ON ALL TABLES IN SCHEMA crossfade, public TO {role}; GRANT USAGE ON SCHEMA crossfade TO {role}; SET ROLE {role}")).await.unwrap();
    let found = obstacles(&session, &[captured("theirs", &["id"], None)], &run(), false).await.unwrap();
    assert!(found[0].what.contains("belongs to a role") && found[0].next.contains("GRANT the owner"), "{found:?}");
    session.batch_execute("RESET ROLE").await.unwrap();
    db.sql(&format!("DROP OWNED BY {role}; DROP ROLE {role}")).await;
    let one = [captured("plain", &["id"], None)];
    let _outbox = capture(&db, &one).await;
    assert!(obstacles(&session, &one, &run(), false).await.unwrap().is_empty());
    let found = obstacles(&session, &one, &RunId::existing("another"), false).await.unwrap();
    assert!(found[0].what.contains("captured for run the-run already"), "{found:?}");
}

/// The tables are renamed, or gone, when capture ends.
#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_capture_finds_its_triggers_wherever_they_are() {
    let db = TestDb::empty().await;
    db.sql("CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE b (id int PRIMARY KEY)").await;
    let _outbox = capture(&db, &[captured("a", &["id"], None), captured("b", &["id"], None)]).await;
    db.sql("ALTER TABLE a RENAME TO other; DROP TABLE b").await;
    let session = db.session().await;
    for round in 0..2 {
        for table in installed(&session, &run()).await.unwrap() {
            for statement in remove(&session, &table).await.unwrap() {
                session.batch_execute(&statement).await.unwrap_or_else(|error| panic!("{round}: {error:?}"));
            }
        }
    }
    assert_eq!(db.value("SELECT count(*) FROM pg_trigger WHERE NOT tgisinternal").await, "0");
    assert_eq!(db.value("SELECT count(*) FROM pg_proc WHERE pronamespace = 'crossfade'::regnamespace").await, "0");
    db.sql("INSERT INTO other VALUES (1)").await;
}

fn plan(tables: &str) -> String {
    format!(
        "{MANY}[limits]\nlock_timeout = \"100ms\"\nlock_retry_for = \"20s\"\n[[step]]\nid = \"capture\"\nphase = \"capture\"\nkind = \"start_capture\"\ntables = [{tables}]\n"
    )
}

/// `pg_dump -s` of everything but our own schema.
fn dump(db: &TestDb) -> String {
    // The server's programs may be found through links.
    let server = Binaries::find().unwrap().program("postgres").canonicalize().unwrap();
    let output =
        Command::new(server.with_file_name("pg_dump")).args(["-s", "-N", "crossfade", "-d", &db.url()]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().filter(|line| !line.contains("restrict")).collect::<Vec<_>>().join("\n") // a random key per dump
}

#[tokio::test(flavor = "multi_thread")]
async fn the_step_waits_for_readers_that_lock_and_its_undo_leaves_blue_as_it_was() {
    let (blue, green) = (TestDb::empty().await, TestDb::empty().await);
    for db in [&blue, &green] {
        db.sql(TABLES).await;
    }
    let before = dump(&blue);
    let workspace = Workspace::new(&plan("\"parent\", \"child\", \"grandchild\""), &blue, Some(&green));
    let writer = blue.database().connect("slow-writer").await.unwrap();
    writer.batch_execute("BEGIN; INSERT INTO child VALUES (1, NULL)").await.unwrap();
    let mut running = workspace.command(&["run", "--execute"]);
    let running = running.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    eventually("the step to wait for the writer", async || {
        let waits =
            "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'crossfade/%' AND wait_event_type = 'Lock'";
        blue.value(waits).await != "0"
    })
    .await;
    // Others write on between the tries.
    let other = blue.session().await;
    other.batch_execute("SET statement_timeout = '5s'; INSERT INTO child VALUES (2, NULL)").await.unwrap();
    tokio::time::sleep(Duration::from_millis(600)).await;
    writer.batch_execute("COMMIT").await.unwrap();
    let output = tokio::task::spawn_blocking(move || running.wait_with_output().unwrap()).await.unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{told}");
    assert!(told.contains("slow-writer"), "{told}");
    assert_eq!(blue.value("SELECT count(*) FROM pg_trigger WHERE tgname LIKE 'crossfade%' AND tgenabled = 'A'").await, "15");
    blue.sql("INSERT INTO parent VALUES (1)").await;
    assert_eq!(blue.value("SELECT count(*) FROM crossfade.outbox").await, "1");
    assert_ne!(dump(&blue), before);
    // A reader that holds a lock is in the way of DROP TRIGGER.
    let reader = blue.database().connect("slow-reader").await.unwrap();
    reader.batch_execute("BEGIN; SELECT * FROM parent").await.unwrap();
    let mut back = workspace.command(&["rollback", "--execute"]);
    let back = back.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    eventually("the undo to wait for the reader", async || {
        let waits =
            "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'crossfade/%' AND wait_event_type = 'Lock'";
        blue.value(waits).await != "0"
    })
    .await;
    reader.batch_execute("COMMIT").await.unwrap();
    let output = tokio::task::spawn_blocking(move || back.wait_with_output().unwrap()).await.unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(dump(&blue), before);
    assert_eq!(blue.value("SELECT count(*) FROM crossfade.outbox").await, "0");
    assert_eq!(blue.value("SELECT count(*) FROM crossfade.captured").await, "0");
    let functions = "SELECT count(*) FROM pg_proc WHERE pronamespace = 'crossfade'::regnamespace";
    assert_eq!(blue.value(functions).await, "0");
}
