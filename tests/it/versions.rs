//! Blue and green on two clusters, as in production: of two major versions where there are several. With
//! `CROSSFADE_PG_BINDIRS=/old/bin:/new/bin` blue is the oldest of them and green the newest.

use std::sync::{Arc, OnceLock};

use crossfade::shadow::{Binaries, Cluster};

use crate::cutover::stage::{Link, PLAN, Stage};
use crate::fingerprint::{assert_same, fingerprint, fingerprints};
use crate::hydra::{catalog, fixture, history, make_1_11_10, run, without_capture};
use crate::support::{Ran, TestDb, Workspace, crossfade, since, start, start_logical};

const BLUE_GREEN: &str = "hydra-2x-blue-green.toml";

/// A database on each of two clusters.
struct Pair {
    blue: TestDb,
    green: TestDb,
    majors: [u32; 2],
}

impl Pair {
    async fn start() -> Self {
        Self::of(start).await
    }

    async fn of<F: Future<Output = Arc<Cluster>>>(blue: impl FnOnce(&'static Binaries) -> F) -> Self {
        static FOUND: OnceLock<Vec<Binaries>> = OnceLock::new();
        let found = FOUND.get_or_init(|| Binaries::find_all().unwrap());
        let (oldest, newest) = (&found[0], &found[found.len() - 1]);
        let majors = [oldest.major(), newest.major()];
        let clusters: [Arc<Cluster>; 2] = [blue(oldest).await, start(newest).await];
        let pair = Self { blue: TestDb::empty_on(&clusters[0]).await, green: TestDb::empty_on(&clusters[1]).await, majors };
        for (db, major) in [&pair.blue, &pair.green].into_iter().zip(majors) {
            let told = db.value("current_setting('server_version_num')::int / 10000").await;
            assert_eq!(told, major.to_string());
        }
        eprintln!("blue on PostgreSQL {}, green on {}", majors[0], majors[1]);
        pair
    }
}

#[tokio::test]
async fn the_blue_green_plan_between_two_clusters_and_back_again() {
    let Pair { blue, green, .. } = Pair::start().await;
    make_1_11_10(&blue).await;
    let before = fingerprints(&blue, Some(&green)).await;
    // Without capture a run leaves blue as it is.
    let copied = Workspace::new(&without_capture(), &blue, Some(&green));
    copied.run(&["run", "--execute"]).exits(0);
    is_2_3_0(&blue, &green).await;
    assert_same("after the run", &before[..1], &[fingerprint(&blue).await]);
    copied.run(&["rollback", "--execute"]).exits(0);
    assert_same("after the rollback", &before, &fingerprints(&blue, Some(&green)).await);

    let workspace = Workspace::at(tempfile::tempdir().unwrap(), &blue, Some(&green));
    run(&workspace, BLUE_GREEN, &["run", "--execute"]).exits(0);
    is_2_3_0(&blue, &green).await;
    run(&workspace, BLUE_GREEN, &["rollback", "--execute"]).exits(0);
    assert_same("after the rollback of what was captured", &before, &fingerprints(&blue, Some(&green)).await);
}

/// The catalog, the history and the text of every session that is valid, without the help of either server's hashes.
async fn is_2_3_0(blue: &TestDb, green: &TestDb) {
    assert_eq!(catalog(green).await, fixture("catalog-2.3.0.json"));
    let mut versions: Vec<String> = serde_json::from_value(fixture("history-2.3.0.json")).unwrap();
    versions.sort();
    assert_eq!(history(green).await, versions);
    let sessions = |query: &str| format!("SELECT string_agg(md5(s::text), ' ' ORDER BY md5(s::text)) FROM ({query}) s");
    let on_blue = blue.value(&sessions(include_str!("../../src/demo/sessions.sql"))).await;
    assert!(on_blue.len() > 1000, "{on_blue}");
    assert_eq!(on_blue, green.value(&sessions(include_str!("../../src/demo/sessions-2x.sql"))).await);
}

/// Types whose text or binary form could differ between versions, and enough of them for several parts of 4 MiB.
const LEDGER: &str = "CREATE TABLE ledger (id bigint PRIMARY KEY, pad text, price numeric, share float8, narrow float4, doc jsonb, raw json, \
        at timestamptz, day date, span interval, times tstzrange, bytes bytea, list int[], net inet, yes bool, mark uuid, bits bit(5), \
        twice bigint GENERATED ALWAYS AS (id * 2) STORED)";
const LEDGER_ROWS: &str = "INSERT INTO ledger SELECT n, repeat(md5(n::text), 50), n / 7.0, n / 7.0, n / 7.0, \
        jsonb_build_object('n', n, 'f', n / 3.0), '{\"a\": 1,  \"a\": 2}', '2024-02-29'::timestamptz + n * interval '1 ms', \
        '2024-02-29'::date - n, n * interval '1 day 1 s', tstzrange('2024-01-01', CASE WHEN n % 2 = 0 THEN '2025-01-01'::timestamptz END), \
        decode(md5(n::text), 'hex'), ARRAY[n, NULL], '10.0.0.1', n % 3 = 0, md5(n::text)::uuid, B'10101' \
        FROM generate_series(1, 8000) AS n";

#[tokio::test]
async fn a_table_of_several_parts_arrives_on_the_other_cluster() {
    let pair = Pair::start().await;
    pair.blue.sql(LEDGER).await;
    pair.green.sql(LEDGER).await;
    pair.blue.sql(LEDGER_ROWS).await;
    let step = |kind: &str| format!("[[step]]\nid = \"{kind}\"\nphase = \"copy\"\nkind = \"{kind}\"\ntables = [\"ledger\"]\n");
    let head = "format = 1\nname = \"parts\"\nblue = { url_env = \"BLUE_DATABASE_URL\" }\ngreen = { url_env = \"GREEN_DATABASE_URL\" }\n";
    let plan = format!("{head}{}{}", step("copy"), step("verify"));
    Workspace::new(&plan, &pair.blue, Some(&pair.green)).run(&["run", "--execute"]).exits(0);
    let digest = "SELECT string_agg(md5(l::text), ' ' ORDER BY id) FROM ledger l";
    assert_eq!(pair.blue.value(digest).await, pair.green.value(digest).await);
    let parts: u32 = pair.green.value("SELECT count(*) FROM crossfade.copy_part WHERE projection <> '*'").await.parse().unwrap();
    if pair.majors[0] < 14 {
        assert_eq!(parts, 1, "before PostgreSQL 14 a range of blocks costs a read of the whole table");
    } else {
        assert!(parts > 1, "{parts} part");
    }
    pair.green.sql("UPDATE ledger SET share = 0 WHERE id = 4711").await;
    let alone = Workspace::new(&format!("{head}{}", step("verify")), &pair.blue, Some(&pair.green));
    let found = alone.run(&["run", "--execute"]).exits(14);
    assert!(found.stderr.contains("ledger"), "{}", found.stderr);
}

/// To green, with what was written between, and back, with what green took.
async fn there_and_back(pair: Pair, plan: &str) {
    Stage::fill(&pair.blue, &pair.green).await;
    let link = Link::new();
    let stage = Stage::with(&format!("{plan}{}", link.participant()), pair.blue, pair.green);
    stage.ready().await;
    stage.blue.sql("INSERT INTO entry (account, tag) VALUES (1, 'between'); DELETE FROM account WHERE id = 7").await;
    stage.run(&["run", "--execute", "--allow-hooks", "--approve", "to-green"]).await.exits(0);
    assert_eq!(link.side(), "green");
    stage.assert_equal().await;
    stage.green.sql("INSERT INTO entry (account, tag) VALUES (2, 'on green'); DELETE FROM account WHERE id = 8").await;
    // What green holds is not green's any more when blue serves again.
    stage.run(&["rollback", "--execute", "--allow-hooks"]).await.exits(0);
    assert_eq!(link.side(), "blue");
    let told = "SELECT concat_ws(' ', (SELECT count(*) FROM account), (SELECT count(*) FROM entry WHERE tag IN ('between', 'on green')))";
    assert_eq!(stage.blue.value(told).await, "98 2");
}

#[tokio::test(flavor = "multi_thread")]
async fn triggers_tell_of_changes_and_the_switch_goes_there_and_back() {
    there_and_back(Pair::start().await, PLAN).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_tells_of_changes_and_the_switch_goes_there_and_back() {
    let plan = PLAN.replace("kind = \"start_capture\"", "kind = \"start_capture\"\nsource = \"slot\"");
    let pair = Pair::of(start_logical).await;
    if pair.majors[0] < 14 {
        Stage::fill(&pair.blue, &pair.green).await;
        let refused = Workspace::new(&format!("{plan}{}", Link::new().participant()), &pair.blue, Some(&pair.green))
            .run(&["run", "--execute", "--allow-hooks"])
            .exits(10);
        assert!(refused.stderr.contains("capture by triggers: leave `source` away"), "{}", refused.stderr);
        return;
    }
    there_and_back(pair, &plan).await;
}

#[tokio::test]
async fn a_clone_of_a_database() {
    let pair = Pair::start().await;
    pair.blue.sql(LEDGER).await;
    pair.blue.sql(LEDGER_ROWS).await;
    pair.blue.sql("CREATE INDEX ON ledger (day, share); CREATE VIEW days AS SELECT DISTINCT day FROM ledger").await;
    let state = tempfile::tempdir().unwrap();
    let mut command = crossfade();
    command.args(["copy", "--execute", "--blue", &pair.blue.url(), "--green", &pair.green.url()]);
    command.env("CROSSFADE_STATE", state.path());
    Ran::of(command.output().unwrap()).exits(0);
    for what in ["(SELECT string_agg(md5(l::text), ' ' ORDER BY id) FROM ledger l)", "(SELECT count(*)::text FROM days)"] {
        assert_eq!(pair.blue.value(&format!("SELECT {what}")).await, pair.green.value(&format!("SELECT {what}")).await);
    }
    // Newer servers write views in another way, and 18 has NOT NULL as constraints of their own.
    let comparable = |lines: Vec<String>| -> Vec<String> {
        let other =
            |line: &String| line.starts_with("view ") || (line.starts_with("constraint ") && line.contains("_not_null NOT NULL"));
        lines.into_iter().filter(|line| pair.majors[0] == pair.majors[1] || !other(line)).collect()
    };
    let catalogs = [comparable(fingerprint(&pair.blue).await), comparable(fingerprint(&pair.green).await)];
    assert_same("the clone", &catalogs[..1], &catalogs[1..]);
}

#[tokio::test]
async fn time_limits_of_a_database_end_no_session_of_ours() {
    let db = TestDb::empty().await;
    for (major, limit) in [(14, "idle_session_timeout"), (17, "transaction_timeout")] {
        if since(major, limit) {
            db.sql(&format!("ALTER DATABASE {} SET {limit} = '1h'", db.name())).await;
            assert_eq!(db.value(&format!("current_setting('{limit}')")).await, "0");
        }
    }
}
