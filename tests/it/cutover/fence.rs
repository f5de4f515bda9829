//! The fence under writers of every sort.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crossfade::cutover::fence::{Fence, REFUSED, Standing};
use crossfade::limits::Limits;
use crossfade::sql::QualifiedName;
use crossfade::terms::RunId;

use crate::support::{TestDb, eventually};

fn limits() -> Limits {
    Limits { lock_timeout: Duration::from_millis(200), lock_retry_for: Duration::from_secs(20), ..Limits::default() }
}

fn run() -> RunId {
    RunId::existing("20261122t011500123-3fa9")
}

async fn close(fence: &Fence, db: &TestDb, limits: &Limits) -> anyhow::Result<()> {
    fence.close(&mut db.session().await, &db.session().await, limits, "they go to green now", None, &mut |_| ()).await
}

const LEDGER: &str = "CREATE SCHEMA crossfade; CREATE ROLE writer_{db}; \
    CREATE TABLE ledger (id bigserial PRIMARY KEY, writer int, n bigint); \
    CREATE TABLE entry (id bigserial PRIMARY KEY, ledger bigint REFERENCES ledger ON DELETE CASCADE); \
    CREATE TABLE parted (id bigint, at int) PARTITION BY RANGE (at); \
    CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM (0) TO (100); \
    INSERT INTO ledger (writer, n) SELECT 0, n FROM generate_series(1, 50) AS n; \
    INSERT INTO entry (ledger) SELECT id FROM ledger; \
    GRANT ALL ON ALL TABLES IN SCHEMA public TO writer_{db}; GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO writer_{db}";

async fn ledger() -> (TestDb, Fence) {
    let db = TestDb::empty().await;
    db.sql(&LEDGER.replace("{db}", db.name())).await;
    let tables = ["ledger", "entry", "parted"].map(QualifiedName::bare);
    let fence = Fence::around(&db.session().await, &run(), &tables).await.unwrap();
    (db, fence)
}

async fn end(db: TestDb) {
    let name = db.name().to_owned();
    db.sql(&format!("DROP OWNED BY writer_{name}; DROP ROLE writer_{name}")).await;
}

const CONTENT: &str = "SELECT concat_ws(' ', (SELECT count(*) FROM ledger), (SELECT sum(n) FROM ledger), (SELECT count(*) FROM entry), \
                              (SELECT count(*) FROM parted))";

#[tokio::test(flavor = "multi_thread")]
async fn no_write_commits_after_the_fence_and_every_writer_writes_again_after_its_end() {
    let (db, fence) = ledger().await;
    let (stop, committed, refused) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let mut writers = Vec::new();
    for writer in 0..8_i32 {
        let (stop, committed, refused) = (Arc::clone(&stop), Arc::clone(&committed), Arc::clone(&refused));
        let mut session = db.session().await;
        if writer % 2 == 1 {
            session.batch_execute(&format!("SET ROLE writer_{}", db.name())).await.unwrap();
        }
        if writer == 4 {
            session.batch_execute("SET session_replication_role = replica").await.unwrap();
        }
        writers.push(tokio::spawn(async move {
            let level = if writer % 3 == 0 {
                tokio_postgres::IsolationLevel::RepeatableRead
            } else {
                tokio_postgres::IsolationLevel::ReadCommitted
            };
            while !stop.load(Ordering::Relaxed) {
                let result = async {
                    let transaction = session.build_transaction().isolation_level(level).start().await?;
                    transaction.query("SELECT count(*) FROM ledger", &[]).await?; // the snapshot is older than the write
                    transaction.execute("INSERT INTO ledger (writer, n) VALUES ($1, 1)", &[&writer]).await?;
                    transaction.batch_execute("UPDATE ledger SET n = n WHERE id = 1 + (random() * 40)::int").await?;
                    transaction
                        .batch_execute(
                            "INSERT INTO parted VALUES (1, 5); SAVEPOINT s; DELETE FROM entry WHERE id = -1; ROLLBACK TO s",
                        )
                        .await?;
                    transaction.commit().await
                };
                match result.await {
                    Ok(()) => committed.fetch_add(1, Ordering::Relaxed),
                    Err(error) if error.code().is_some_and(|code| code.code() == REFUSED) => {
                        refused.fetch_add(1, Ordering::Relaxed)
                    }
                    Err(error) if matches!(error.code().map(|code| code.code()), Some("40001" | "40P01")) => 0,
                    Err(error) => panic!("a writer met {error:?}"),
                };
            }
        }));
    }
    eventually("writers write", async || committed.load(Ordering::Relaxed) > 50).await;
    close(&fence, &db, &limits()).await.unwrap();
    let at_the_fence = db.value(CONTENT).await;
    fence.prove(&db.database()).await.unwrap();
    let before = refused.load(Ordering::Relaxed);
    eventually("every writer is refused", async || refused.load(Ordering::Relaxed) > before + 200).await;
    assert_eq!(db.value(CONTENT).await, at_the_fence, "rows changed behind the fence");
    // New sessions, other ways to write, other roles.
    for sql in [
        "INSERT INTO parted_1 VALUES (1, 1)",
        "TRUNCATE entry",
        "COPY ledger FROM STDIN",
        "DELETE FROM ledger WHERE id = 7",
        "WITH gone AS (DELETE FROM entry RETURNING id) SELECT count(*) FROM gone",
        "MERGE INTO entry e USING (SELECT 1 AS id) s ON e.id = s.id WHEN MATCHED THEN DELETE",
    ] {
        let session = db.session().await;
        session.batch_execute(&format!("SET ROLE writer_{}", db.name())).await.unwrap();
        if sql.starts_with("TRUNCATE") {
            session.batch_execute("RESET ROLE").await.unwrap();
        }
        let tried = match sql.starts_with("COPY") {
            false => session.batch_execute(sql).await.err(),
            true => {
                use futures_util::SinkExt;
                let sink = session.copy_in::<_, bytes::Bytes>(sql).await.unwrap();
                let mut sink = std::pin::pin!(sink);
                let sent = sink.send(bytes::Bytes::from_static(b"9999\t1\t1\n")).await.err();
                sent.or(sink.finish().await.err())
            }
        };
        let error = tried.unwrap_or_else(|| panic!("{sql} went through"));
        assert_eq!(error.code().map(|code| code.code()), Some(REFUSED), "{sql}: {error:?}");
    }
    assert_eq!(db.value(CONTENT).await, at_the_fence);
    // The run's own sessions pass: reverse projections keep a fenced database current.
    let ours = db.database().connect(&format!("crossfade/{}/follow/1", run())).await.unwrap();
    ours.batch_execute("BEGIN; DELETE FROM ledger; ROLLBACK").await.unwrap();

    // Open it while a reader holds every table: nobody waits.
    let reader = db.session().await;
    reader.batch_execute("BEGIN; SELECT * FROM ledger, entry, parted LIMIT 1").await.unwrap();
    let before = committed.load(Ordering::Relaxed);
    fence.open(&db.session().await).await.unwrap();
    eventually("writers write again", async || committed.load(Ordering::Relaxed) > before + 50).await;
    assert_eq!(fence.standing(&db.session().await).await.unwrap(), Standing::Open);
    assert!(fence.prove(&db.database()).await.is_err(), "an open fence proves nothing");
    reader.batch_execute("ROLLBACK").await.unwrap();
    stop.store(true, Ordering::Relaxed);
    for writer in writers {
        writer.await.unwrap();
    }
    fence.remove(&mut db.session().await, &db.session().await, &limits(), &mut |_| ()).await.unwrap();
    assert_eq!(fence.standing(&db.session().await).await.unwrap(), Standing::Absent);
    assert_eq!(db.value("SELECT count(*) FROM pg_trigger WHERE tgname LIKE 'crossfade%'").await, "0");
    assert_eq!(db.value("SELECT count(*) FROM pg_proc WHERE pronamespace = 'crossfade'::regnamespace").await, "0");
    end(db).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fence_lifts_itself_in_time_and_not_once_it_is_sealed() {
    let (db, fence) = ledger().await;
    let put_up = async |lifts_after: Duration| {
        let (mut session, observer) = (db.session().await, db.session().await);
        fence.close(&mut session, &observer, &limits(), "they go to green now", Some(lifts_after), &mut |_| ()).await.unwrap();
    };
    let writer = db.session().await;
    let writes = async || writer.execute("INSERT INTO ledger (writer, n) VALUES (1, 1)", &[]).await.is_ok();
    put_up(Duration::from_secs(3)).await;
    fence.prove(&db.database()).await.unwrap();
    assert!(!writes().await, "a closed fence");
    eventually("the fence lifts itself", async || writes().await).await;
    assert_eq!(fence.standing(&db.session().await).await.unwrap(), Standing::Open);
    assert!(fence.prove(&db.database()).await.is_err(), "a fence that lifted itself proves nothing");
    let late = fence.seal(&db.session().await, "they go to green now").await.unwrap_err();
    assert!(late.to_string().contains("lifted itself"), "{late}");
    assert!(writes().await, "a seal that comes too late closes nothing");

    put_up(Duration::from_secs(3600)).await;
    fence.seal(&db.session().await, "they go to green now").await.unwrap();
    let body = db.value("SELECT prosrc FROM pg_proc WHERE pronamespace = 'crossfade'::regnamespace AND proname = 'fence'").await;
    assert!(!body.contains("lifts") && !writes().await, "{body}");
    fence.prove(&db.database()).await.unwrap();
    end(db).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fence_names_what_is_in_its_way_and_leaves_nothing_behind() {
    let (db, fence) = ledger().await;
    let short = Limits { lock_timeout: Duration::from_millis(100), lock_retry_for: Duration::from_secs(2), ..Limits::default() };
    let writer = db.database().connect("the-nightly-job").await.unwrap();
    writer.batch_execute("BEGIN; UPDATE entry SET ledger = 2 WHERE id = 1").await.unwrap();
    let error = format!("{:#}", close(&fence, &db, &short).await.unwrap_err());
    assert!(error.contains("the-nightly-job"), "{error}");
    assert_eq!(fence.standing(&db.session().await).await.unwrap(), Standing::Absent);
    writer.batch_execute("PREPARE TRANSACTION 'order 66'").await.unwrap();
    let obstacles = fence.obstacles(&db.session().await).await.unwrap();
    assert!(obstacles.len() == 1 && obstacles[0].object.contains("'order 66'"), "{obstacles:?}");
    let error = format!("{:#}", close(&fence, &db, &short).await.unwrap_err());
    assert!(error.contains("'order 66'"), "{error}");
    db.session().await.batch_execute("ROLLBACK PREPARED 'order 66'").await.unwrap();
    assert!(fence.obstacles(&db.session().await).await.unwrap().is_empty());
    close(&fence, &db, &short).await.unwrap();
    fence.prove(&db.database()).await.unwrap();
    // A fence with one trigger disabled is not closed, and is closed by closing it again.
    db.sql("DROP TRIGGER crossfade_fence ON entry").await;
    assert_eq!(fence.standing(&db.session().await).await.unwrap(), Standing::Open);
    assert!(fence.prove(&db.database()).await.unwrap_err().to_string().contains("entry"));
    close(&fence, &db, &short).await.unwrap();
    fence.prove(&db.database()).await.unwrap();
    // Another run sees whose it is.
    let tables = fence.tables().to_vec();
    let stranger = Fence::around(&db.session().await, &RunId::existing("20261122t011500124-0000"), &tables).await.unwrap();
    assert_eq!(stranger.standing(&db.session().await).await.unwrap(), Standing::Foreign(run()));
    assert_eq!(stranger.obstacles(&db.session().await).await.unwrap().len(), 1);
    stranger.open(&db.session().await).await.unwrap();
    fence.prove(&db.database()).await.unwrap();
    end(db).await;
}
