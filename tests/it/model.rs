//! A model of following: whatever is killed and whenever, after every batch green is what the projections give at the snapshot
//! that its watermark names.
//!
//! Two witnesses that crossfade knows nothing of. On blue a trigger on each row writes down every version of every row with its
//! transaction: from that the tables can be had again as any snapshot saw them. On green a trigger that waits for the end of
//! the transaction writes down, with each new watermark, all rows that are there then. At the end each batch is held against
//! the model: the projections, said once more in plain SQL over the tables as they were.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crossfade::shadow::Binaries;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::follow::{
    ACCOUNT, Pair, SALE, SHOP, SHOP_GREEN, SHOP_ROWS, Source, Writers, moved_at, settle_prepared, shop_write, until,
};
use crate::support::{TestDb, start};

/// On blue, before its first row.
const VERSIONS: &str = "
    CREATE TABLE version (seq bigint GENERATED ALWAYS AS IDENTITY, transaction xid8 NOT NULL DEFAULT pg_current_xact_id(),
        of text NOT NULL, id int NOT NULL, data jsonb, how text NOT NULL);
    CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$
        DECLARE how text := CASE WHEN current_query() !~ TG_TABLE_NAME THEN 'cascading ' ELSE '' END || TG_OP; BEGIN
        IF TG_OP = 'UPDATE' THEN how := how || CASE WHEN OLD.id <> NEW.id THEN ' of a key' ELSE '' END; END IF;
        IF TG_OP <> 'INSERT' THEN INSERT INTO version (of, id, how) VALUES (TG_TABLE_NAME, OLD.id, how); END IF;
        IF TG_OP <> 'DELETE' THEN INSERT INTO version (of, id, data, how) VALUES (TG_TABLE_NAME, NEW.id, to_jsonb(NEW), how); END IF;
        RETURN NULL; END $$;
    CREATE TRIGGER note AFTER INSERT OR UPDATE OR DELETE ON region FOR EACH ROW EXECUTE FUNCTION note();
    CREATE TRIGGER note AFTER INSERT OR UPDATE OR DELETE ON customer FOR EACH ROW EXECUTE FUNCTION note();
    CREATE TRIGGER note AFTER INSERT OR UPDATE OR DELETE ON item FOR EACH ROW EXECUTE FUNCTION note();";

/// On green, when the copy is there.
const WITNESS: &str = "
    CREATE TABLE batch (seq bigint GENERATED ALWAYS AS IDENTITY, snapshot text NOT NULL, rows text[] NOT NULL);
    CREATE FUNCTION witness() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        INSERT INTO batch (snapshot, rows) SELECT NEW.snapshot::text, coalesce(array_agg(line ORDER BY line COLLATE \"C\"), '{}')
        FROM (SELECT 'account ' || to_jsonb(a)::text FROM account AS a UNION ALL SELECT 'sale ' || to_jsonb(s)::text FROM sale AS s) AS all_rows (line);
        RETURN NULL; END $$;
    CREATE CONSTRAINT TRIGGER witness AFTER INSERT OR UPDATE ON crossfade.watermark DEFERRABLE INITIALLY DEFERRED
        FOR EACH ROW EXECUTE FUNCTION witness();";

/// The projections of the shop over its tables as the snapshot `$1` saw them.
const MODEL: &str = "
    WITH last AS MATERIALIZED (SELECT DISTINCT ON (of, id) of, data FROM version
        WHERE pg_visible_in_snapshot(transaction, $1::text::pg_snapshot) ORDER BY of, id, seq DESC),
    r AS MATERIALIZED (SELECT (jsonb_populate_record(NULL::region, data)).* FROM last WHERE of = 'region' AND data IS NOT NULL),
    c AS MATERIALIZED (SELECT (jsonb_populate_record(NULL::customer, data)).* FROM last WHERE of = 'customer' AND data IS NOT NULL),
    i AS MATERIALIZED (SELECT (jsonb_populate_record(NULL::item, data)).* FROM last WHERE of = 'item' AND data IS NOT NULL),
    account AS (SELECT c.id::bigint AS id, c.mail, r.name AS region,
            coalesce((SELECT sum(i.amount) FROM i WHERE i.customer = c.id), 0) AS spent
        FROM c LEFT JOIN r ON r.id = c.region),
    sale AS (SELECT i.id::text AS id, i.customer::bigint AS account, i.code,
            CASE WHEN i.amount < 25 THEN (SELECT c.mail FROM c WHERE c.id = i.customer) ELSE 'nobody' END AS mail, i.amount, i.made,
            CASE WHEN i.amount < 25 THEN jsonb_build_object('amount', i.amount, 'active', (SELECT c.active FROM c WHERE c.id = i.customer))
                 ELSE '{}' END AS doc
        FROM i)
    SELECT coalesce(array_agg(line ORDER BY line COLLATE \"C\"), '{}')
    FROM (SELECT 'account ' || to_jsonb(account)::text FROM account UNION ALL SELECT 'sale ' || to_jsonb(sale)::text FROM sale) AS all_rows (line)";

fn number(variable: &str, otherwise: u64) -> u64 {
    std::env::var(variable).map_or(otherwise, |text| text.parse().unwrap_or_else(|_| panic!("{variable} is no number")))
}

#[tokio::test(flavor = "multi_thread")]
async fn every_batch_is_a_snapshot_by_triggers() {
    every_batch_is_a_snapshot(Source::Triggers).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_batch_is_a_snapshot_from_a_slot() {
    every_batch_is_a_snapshot(Source::Slot).await;
}

/// What strikes: crossfade killed; its sessions on blue cut; its sessions on green or half of the writers' cut; a process of either server
/// killed, so that it recovers by itself; either server stopped at once, and started again after a while.
const BLOWS: u64 = 7;

async fn every_batch_is_a_snapshot(source: Source) {
    let rounds = number("CROSSFADE_MODEL_ROUNDS", BLOWS + 2);
    let seed = number("CROSSFADE_MODEL_SEED", fastrand::u64(..1_000_000));
    // Half of the runs read each batch while the one before is applied: no batch is as short as that.
    let hurries = seed.is_multiple_of(2) == (source == Source::Triggers);
    eprintln!("CROSSFADE_MODEL_SEED={seed} CROSSFADE_MODEL_ROUNDS={rounds}, {source:?}, hurries: {hurries}");
    let mut random = fastrand::Rng::with_seed(seed);
    let binaries = Binaries::find().unwrap();
    let (one, other) = (source.start(&binaries).await, start(&binaries).await);
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("account.toml"), ACCOUNT).unwrap();
    std::fs::write(folder.path().join("sale.toml"), SALE).unwrap();
    let (blue, green) = (TestDb::empty_on(&one).await, TestDb::empty_on(&other).await);
    blue.sql(SHOP).await;
    blue.sql(VERSIONS).await;
    blue.sql(SHOP_ROWS).await;
    green.sql(SHOP_GREEN).await;
    let pair = Pair::projected(source, blue, green, folder.path(), &[]).await;
    let pair = if hurries { pair.limited("follow_batch_time = \"1us\"") } else { pair };
    let writers = Writers::start(&pair.blue, 8, seed, 60, shop_write);
    pair.workspace.run(&["run", "--execute"]).exits(0);
    pair.green.sql(WITNESS).await;

    let mut follower = pair.spawn(&["follow"]);
    let mut done = BTreeSet::new();
    for round in 0..rounds {
        // Something has happened since the last blow, and something is under way now.
        let (before, mut moved, mut moves) = (writers.committed(), moved_at(&pair.green).await, 0);
        let mut asked = Instant::now();
        until("writers and follower go on", async || {
            if asked.elapsed() > Duration::from_secs(1) {
                settle_prepared(&pair.blue).await;
                asked = Instant::now();
            }
            let now = moved_at(&pair.green).await;
            moves += u32::from(now.is_some() && now != moved);
            moved = now.or(moved.take());
            writers.committed() > before + 10 && moves > 1
        })
        .await;
        tokio::time::sleep(Duration::from_millis(random.u64(0..150))).await; // not to wait for anything: to strike anywhere
        // Each sort of blow comes once before the draw.
        let blow = if round < BLOWS { (round + seed) % BLOWS } else { random.u64(..BLOWS) };
        done.insert(blow);
        match blow {
            0 => {
                kill(Pid::from_raw(follower.id().cast_signed()), Signal::SIGKILL).unwrap();
                assert_eq!(follower.finish().code, None);
                follower = pair.spawn(&["follow"]);
            }
            1 => cut(&pair.blue, "application_name LIKE 'crossfade/%'").await,
            2 => {
                let (side, whose) = match random.bool() {
                    true => (&pair.green, "application_name LIKE 'crossfade/%'"),
                    false => (&pair.blue, "application_name = 'writer' AND random() < 0.5"),
                };
                cut(side, whose).await;
            }
            3 => crash(&pair.blue).await,
            4 => crash(&pair.green).await,
            5 => stop_and_start(&pair.blue, random.u64(0..500)).await,
            _ => stop_and_start(&pair.green, random.u64(0..500)).await,
        }
        if !follower.is_running() {
            panic!("round {round}, blow {blow}: the follower ended: {:?}", follower.finish());
        }
    }
    let ended = writers.ended();
    // The last blow may have cut a writer off from what it had prepared, and others wait for that.
    let mut finished = std::pin::pin!(writers.finish());
    let committed = loop {
        match tokio::time::timeout(Duration::from_secs(1), finished.as_mut()).await {
            Ok(committed) => break committed,
            Err(_) => settle_prepared(&pair.blue).await,
        }
    };
    settle_prepared(&pair.blue).await;
    kill(Pid::from_raw(follower.id().cast_signed()), Signal::SIGKILL).unwrap();
    drop(follower);
    pair.workspace.run(&["follow", "--until-caught-up"]).exits(0);
    pair.equal_now().await;

    let (green, blue) = (pair.green.session().await, pair.blue.session().await);
    let batches = green.query("SELECT snapshot, rows FROM batch ORDER BY seq", &[]).await.unwrap();
    assert!(batches.len() as u64 >= rounds, "{} batches in {rounds} rounds", batches.len());
    for (number, row) in batches.iter().enumerate() {
        let (snapshot, rows): (String, Vec<String>) = (row.get(0), row.get(1));
        let model: Vec<String> = blue.query_one(MODEL, &[&snapshot]).await.unwrap().get(0);
        let (model, rows): (BTreeSet<_>, BTreeSet<_>) = (model.into_iter().collect(), rows.into_iter().collect());
        let (lost, extra): (Vec<_>, Vec<_>) = (model.difference(&rows).collect(), rows.difference(&model).collect());
        assert!(lost.is_empty() && extra.is_empty(), "batch {number} at {snapshot}: lost {lost:#?}, extra {extra:#?}");
    }
    assert!(rounds < BLOWS || done.len() as u64 == BLOWS, "{done:?}");
    // The writers did what they were to do.
    for end in ["COMMIT", "ROLLBACK", "COMMIT PREPARED", "ROLLBACK PREPARED"] {
        assert!(ended.contains_key(end), "{ended:?}");
    }
    let kinds = "SELECT string_agg(how || ' ' || rows, ', ' ORDER BY how) FROM (SELECT how, count(*) AS rows FROM version GROUP BY how) AS v";
    let kinds = pair.blue.value(kinds).await;
    for kind in ["INSERT ", "UPDATE ", "UPDATE of a key ", "DELETE ", "cascading UPDATE ", "cascading DELETE "] {
        assert!(kinds.split(", ").any(|one| one.starts_with(kind)), "no {kind}: {kinds}");
    }
    eprintln!(
        "{source:?}: {} batches equal the model, {committed} transactions {ended:?}, blows {done:?}, rows: {kinds}",
        batches.len()
    );
    pair.workspace.run(&["rollback", "--execute"]).exits(0);
    assert_eq!(pair.blue.value("SELECT count(*) FROM pg_replication_slots").await, "0");
}

/// Ends sessions.
async fn cut(db: &TestDb, whose: &str) {
    let sql = format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND {whose}");
    db.session().await.batch_execute(&sql).await.unwrap();
}

/// Stops the server at once, and starts it again after so many milliseconds in which there is none.
async fn stop_and_start(db: &TestDb, away: u64) {
    db.cluster().stop_at_once().await.unwrap();
    assert!(db.database().connect("test").await.is_err(), "the server is still there");
    tokio::time::sleep(Duration::from_millis(away)).await; // not to wait for anything: others come meanwhile
    db.cluster().start_again().await.unwrap();
    settle_prepared(db).await;
}

/// A process of the server dies: it ends every session at once, and recovers from its log.
pub async fn crash(db: &TestDb) {
    let asked = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'checkpointer'";
    let victim: i32 = db.value(asked).await.parse().unwrap();
    kill(Pid::from_raw(victim), Signal::SIGKILL).unwrap();
    until("the server is back", async || match db.database().connect("test").await {
        Ok(session) => match session.query_one(asked, &[]).await {
            Ok(row) => row.get::<_, i32>(0) != victim,
            Err(_) => false,
        },
        Err(_) => false,
    })
    .await;
    settle_prepared(db).await;
}
