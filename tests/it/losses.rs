//! What `crossfade window` expects a copy that nobody follows to lose, held to what it really loses in the demo's traffic.
//!
//! The method: the demo's OAuth service runs on a database of Hydra 1.11.10 under its live clients, who log in, refresh and revoke
//! at a steady pace. Of some seconds of that the rows are set aside as they are at the end of them. Then green is filled by the
//! projections of 2.3.0 without capture, the clients go on for some seconds, and `verify` counts, kind by kind, the keys that green
//! lacks. Then blue is given a past: the rows set aside, at that pace, through the same quarters of an hour of the week before. `window`
//! is asked what a window from the copy's snapshot to the end would cost, and knows that past alone.

use std::sync::Arc;
use std::time::Duration;

use crossfade::demo::{Load, Mix, OAuthClient, Pool, STORE_1_11, Service, Worker, World, create_1x};
use jiff::Timestamp;
use serde_json::Value;

use crate::hydra;
use crate::support::{Ran, TestDb, Workspace, crossfade, eventually};

const SEED: &str = "losses";
/// Clients, and things they do in a second together.
const CLIENTS: usize = 8;
const RATE: u32 = 120;
/// How long is measured, in seconds, before the copy and at least after it.
const MEASURED: u32 = 7;
/// What `window` counts on blue, and where `verify` misses it on green.
const KINDS: [(&str, &str); 3] = [
    ("hydra_oauth2_authentication_request", "hydra_oauth2_flow"),
    ("hydra_oauth2_access", "hydra_oauth2_access"),
    ("hydra_oauth2_refresh", "hydra_oauth2_refresh"),
];

/// The shipped plan without what follows blue.
fn plan() -> String {
    let root = env!("CARGO_MANIFEST_DIR");
    format!(
        "format = 1\nname = \"unfollowed\"\nblue = {{ url_env = \"BLUE_DATABASE_URL\" }}\ngreen = {{ url_env = \"GREEN_DATABASE_URL\" }}\n\
         [[step]]\nid = \"schema\"\nphase = \"expand\"\nkind = \"migrate\"\nside = \"green\"\ndirectory = \"{root}/migrations/hydra-2x\"\n\
         history = {{ table = \"schema_migration\", column = \"version\", constants = {{ version_self = 0 }} }}\n\
         [[step]]\nid = \"copy\"\nphase = \"copy\"\nkind = \"copy\"\nprojections = \"{root}/plans/projections/hydra-2x\"\n\
         [[step]]\nid = \"end\"\nphase = \"follow\"\nkind = \"confirm\"\nquestion = \"Have the clients ended?\"\n\
         [[step]]\nid = \"verify\"\nphase = \"follow\"\nkind = \"verify\"\nprojections = \"{root}/plans/projections/hydra-2x\"\n"
    )
}

/// A time of SQL as text that `Timestamp` reads.
fn utc(time: &str) -> String {
    format!("to_char({time}, 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_estimate_is_what_a_copy_without_follow_loses_in_the_demo() {
    let (blue, green) = (TestDb::empty().await, TestDb::empty().await);
    create_1x(&blue.session().await, 5000, 3, SEED).await.unwrap();
    let workspace = Workspace::new(&plan(), &blue, Some(&green));
    hydra::run(&workspace, "hydra-1x-in-place.toml", &["run", "--execute"]).exits(0);
    let world = World::of(&blue.session().await, SEED, 20_000).await.unwrap();
    let service = Service::start(Pool::open(&blue.database(), 8).await.unwrap(), &STORE_1_11).await.unwrap();
    let apps = Arc::new(world.apps);
    let mut shares: Vec<Vec<_>> = (0..CLIENTS).map(|_| Vec::new()).collect();
    for (index, held) in world.sessions.into_iter().enumerate() {
        shares[index % CLIENTS].push(held);
    }
    let http = OAuthClient::new(service.address());
    let workers = (1..).zip(shares).map(|(seed, share)| Worker::new(http.clone(), Arc::clone(&apps), seed, share)).collect();
    let load = Load::start(workers, Mix::WRITES, RATE);

    // Some seconds of it, as they stand at their end.
    tokio::time::sleep(Duration::from_secs(u64::from(MEASURED))).await;
    let mut aside = "BEGIN; CREATE SCHEMA lived;".to_owned();
    for (table, _) in KINDS {
        aside += &format!(
            "CREATE TABLE lived.{table} AS SELECT * FROM {table} \
             WHERE requested_at >= (now() AT TIME ZONE 'UTC') - interval '{MEASURED} seconds';"
        );
    }
    blue.sql(&(aside + "COMMIT")).await;

    // A copy that nobody follows, and as long a time after its snapshot.
    let mut copy = workspace.command(&["run", "--execute"]);
    Ran::of(tokio::task::spawn_blocking(move || copy.output().unwrap()).await.unwrap()).exits(12);
    let begin = green.value("SELECT max(requested_at) FROM hydra_oauth2_access").await;
    eventually("the time is over", async || {
        blue.value(&format!("SELECT now() AT TIME ZONE 'UTC' > timestamp '{begin}' + interval '{MEASURED} seconds'")).await
            == "true"
    })
    .await;
    let (_, measured) = load.finish().await.unwrap();
    let end: Timestamp = blue.value(&utc("clock_timestamp() AT TIME ZONE 'UTC'")).await.parse().unwrap();
    assert!(measured.failures().is_empty(), "{:?}", measured.failures());
    let ran = workspace.run(&["run", "--execute", "--approve", "end", "--format", "json"]).exits(14);
    let ran: Value = serde_json::from_str(&ran.stdout).unwrap();
    let findings: Vec<(&str, &str)> = ran["findings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|finding| (finding["object"].as_str().unwrap(), finding["what"].as_str().unwrap()))
        .collect();
    let lost = |table: &str| -> f64 {
        let of =
            |(object, what): &&(&str, &str)| *object == format!("table public.{table} on green") && what.contains(" missing:");
        let (_, what) = findings.iter().find(of).unwrap_or_else(|| panic!("{table}: {findings:?}"));
        what.split(' ').next().unwrap().parse().unwrap()
    };

    let at = blue.value(&utc(&format!("timestamp '{begin}'"))).await;
    let began: Timestamp = at.parse().unwrap();
    // How much of the pace of those seconds the clients kept later: other tests may take the machine from them.
    let seconds = (end.as_millisecond() - began.as_millisecond()) as f64 / 1000.0;
    let mut kept = Vec::new();
    for (table, _) in KINDS {
        let later: f64 =
            blue.value(&format!("SELECT count(*) FROM {table} WHERE requested_at > '{begin}'")).await.parse().unwrap();
        let before: f64 = blue.value(&format!("SELECT count(*) FROM lived.{table}")).await.parse().unwrap();
        kept.push((later / seconds) / (before / f64::from(MEASURED)));
    }

    // The week before: the same traffic all through the quarters of an hour that the window touches.
    let copies = 900 / MEASURED + 2;
    for (table, _) in KINDS {
        let columns = blue
            .value(&format!(
                "SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum) FROM pg_attribute \
                 WHERE attrelid = 'lived.{table}'::regclass AND attnum > 0 AND attname <> 'requested_at'"
            ))
            .await;
        blue.sql(&format!(
            "DO $$ DECLARE one record; BEGIN \
               FOR one IN SELECT conname FROM pg_constraint WHERE conrelid = '{table}'::regclass LOOP \
                 EXECUTE format('ALTER TABLE {table} DROP CONSTRAINT IF EXISTS %I CASCADE', one.conname); END LOOP; \
               FOR one IN SELECT indexrelid::regclass AS name FROM pg_index WHERE indrelid = '{table}'::regclass LOOP \
                 EXECUTE format('DROP INDEX %s', one.name); END LOOP; END $$; \
             INSERT INTO {table} ({columns}, requested_at) \
             SELECT {columns}, timestamp '{begin}' - interval '7 days' + copy * interval '{MEASURED} seconds' \
                      + (requested_at - (SELECT min(requested_at) FROM lived.{table})) \
             FROM lived.{table}, generate_series(-{copies}, {copies}) AS copy"
        ))
        .await;
    }
    let length = format!("{}ms", end.as_millisecond() - began.as_millisecond());
    let columns = KINDS.iter().flat_map(|(table, _)| ["--column".to_owned(), format!("{table}.requested_at")]);
    let words = ["--format", "json", "window", "--blue", &blue.url(), "--duration", &length, "--at", &at, "--time-zone", "UTC"];
    let asked = crossfade().args(words).args(["--since", "8d"]).args(columns).output().unwrap();
    let told: Value = serde_json::from_str(&Ran::of(asked).exits(0).stdout).unwrap();
    let writes = told["windows"][0]["writes"].as_array().unwrap();
    for (((kind, on_green), estimate), kept) in KINDS.iter().zip(writes).zip(kept) {
        assert_eq!(estimate["kind"], format!("{kind}.requested_at"));
        let (lost, expected) = (lost(on_green), estimate["mean"].as_f64().unwrap() * kept);
        eprintln!("{on_green}: {lost} lost in {length}, {expected:.0} expected ({:+.1} %)", (expected / lost - 1.0) * 100.0);
        assert!(lost > 200.0, "{on_green}: too few rows tell nothing: {lost}");
        assert!((expected - lost).abs() <= lost * 0.1, "{on_green}: {lost} lost, {expected} expected\n{:#}", told["windows"]);
    }
}
