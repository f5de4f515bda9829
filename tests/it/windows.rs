//! `crossfade window`: the known quiet time is found from every source, and the estimate is what is really lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use serde_json::Value;

use crate::support::{Ran, TestDb, Workspace, crossfade, eventually};

fn window(words: &[&str]) -> Ran {
    Ran::of(crossfade().args(["--format", "json", "window"]).args(words).output().unwrap())
}

fn document(ran: Ran) -> Value {
    serde_json::from_str(&ran.exits(0).stdout).unwrap()
}

/// When a window begins, in a time zone: `Wed 03:00`.
fn begins(document: &Value, zone: &str) -> String {
    let at: Timestamp = document["windows"][0]["begins"].as_str().unwrap().parse().unwrap();
    at.to_zoned(TimeZone::get(zone).unwrap()).strftime("%a %H:%M").to_string()
}

/// Timestamps of four weeks: ten rows in each quarter of an hour, but on Wednesday from 03:00 to 04:30 in Berlin one.
const ROWS: &str = "
    CREATE TABLE token (id bigserial PRIMARY KEY, requested_at timestamp, \"When\" timestamptz);
    INSERT INTO token (requested_at, \"When\")
      SELECT at AT TIME ZONE 'UTC', at FROM (
        SELECT slot + n * interval '80 seconds' AS at, n, slot AT TIME ZONE 'Europe/Berlin' AS there
          FROM generate_series(date_trunc('hour', now()) - interval '28 days', now(), interval '15 minutes') AS slot,
               generate_series(0, 9) AS n) AS rows
      WHERE n = 0 OR NOT (extract(isodow FROM there) = 3 AND there::time >= '03:00' AND there::time < '04:30')";

#[tokio::test(flavor = "multi_thread")]
async fn the_quiet_window_of_rows_is_found() {
    let db = TestDb::empty().await;
    db.sql(ROWS).await;
    let url = db.url();
    for column in ["token.requested_at", "public.token.\"When\""] {
        let words = ["--blue", &url, "--column", column, "--duration", "1h30m", "--time-zone", "Europe/Berlin", "--since", "27d"];
        let found = document(window(&words));
        assert_eq!(begins(&found, "Europe/Berlin"), "Wed 03:00", "{found:#}");
        let mean = found["windows"][0]["writes"][0]["mean"].as_f64().unwrap();
        assert!((mean - 6.0).abs() < 0.5, "{found:#}");
        assert!(found["windows"][1]["writes"][0]["mean"].as_f64().unwrap() > 50.0, "{found:#}");
    }
    let words =
        ["window", "--blue", &url, "--column", "token.requested_at", "--duration", "1h30m", "--time-zone", "Europe/Berlin"];
    let more = ["--token-lifetime", "1h", "--margin", "5m", "--longest-lifetime", "24h"];
    let text = Ran::of(crossfade().args(words).args(more).env("COLUMNS", "60").output().unwrap()).exits(0).stdout;
    // Four weeks with the hour from 03:00 on at 4 of 40 rows: the lightest shade, half an hour later the next but one.
    let wednesday = text.lines().find(|line| line.starts_with("Wed ")).unwrap();
    assert!(wednesday.starts_with("Wed ██████░░▓▓██"), "{text}");
    assert!(text.contains("Token lifetime: with 2h 41m no client refreshes"), "{text}");
    let wrong = window(&["--blue", &url, "--column", "token.id", "--duration", "1h"]).exits(2);
    assert!(wrong.stderr.contains("a timestamp is expected") && wrong.stderr.contains("next:"), "{}", wrong.stderr);
}

/// Two weeks of an access log and of a range query, quiet on Sunday from 05:00 on in New York.
#[test]
fn the_quiet_window_of_requests_is_found() {
    let zone = TimeZone::get("America/New_York").unwrap();
    let quiet = |at: Timestamp| {
        let local = at.to_zoned(zone.clone());
        local.weekday() == jiff::civil::Weekday::Sunday && local.hour() == 5
    };
    let first: Timestamp = "2026-01-05T00:00:00Z".parse().unwrap();
    let (mut log, mut values) = (String::new(), Vec::new());
    for minute in 0..i64::from(14 * 24 * 60) {
        let at = first + minute.minutes();
        if !quiet(at) && minute % 5 == 0 {
            let time = at.strftime("%d/%b/%Y:%H:%M:%S +0000");
            log += &format!("10.0.0.1 - - [{time}] \"POST /oauth2/token HTTP/1.1\" 200 1 \"-\" \"-\"\n");
            log += &format!("10.0.0.1 - - [{time}] \"GET /userinfo?token=x HTTP/1.1\" 200 1 \"-\" \"-\"\n");
        }
        if minute % 10 == 0 {
            values.push(serde_json::json!([at.as_second(), if quiet(at) { "0" } else { "0.5" }]));
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let (access, matrix) = (folder.path().join("access.log"), folder.path().join("range.json"));
    std::fs::write(&access, log).unwrap();
    let answer = serde_json::json!({"status": "success", "data": {"resultType": "matrix", "result": [{"metric": {"method": "POST"}, "values": values}]}});
    std::fs::write(&matrix, answer.to_string()).unwrap();
    for (flag, file) in [("--access-log", &access), ("--prometheus", &matrix)] {
        let words = [flag, file.to_str().unwrap(), "--duration", "45m", "--time-zone", "America/New_York"];
        let found = document(window(&words));
        assert_eq!(begins(&found, "America/New_York"), "Sun 05:00", "{flag}: {:#}", found["windows"]);
        assert_eq!(found["windows"][0]["requests"].as_f64().unwrap().round(), 0.0, "{flag}");
    }
    // Half a day tells nothing of the other half.
    std::fs::write(&access, "- - - [05/Jan/2026:00:00:00 +0000] \"GET / HTTP/1.1\" 200 1\n").unwrap();
    let unknown = window(&["--access-log", access.to_str().unwrap(), "--duration", "45m"]);
    assert_eq!(unknown.code, Some(10), "{unknown:?}");
}

/// A time of SQL as text that `Timestamp` reads.
fn utc(time: &str) -> String {
    format!("to_char({time} AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')")
}

/// Writers at a known pace, a copy that nobody follows, and what blue then has and green has not.
#[tokio::test(flavor = "multi_thread")]
async fn the_estimate_is_what_is_really_lost() {
    let (blue, green) = (TestDb::empty().await, TestDb::empty().await);
    // What came in these minutes of the weeks before: 40 tokens and 10 consents a second.
    let tables = "CREATE TABLE token (id bigserial PRIMARY KEY, at timestamptz NOT NULL DEFAULT clock_timestamp()); \
                  CREATE TABLE consent (id bigserial PRIMARY KEY, at timestamptz NOT NULL DEFAULT clock_timestamp());";
    blue.sql(tables).await;
    green.sql(tables).await;
    blue.sql(
        "INSERT INTO token (at) SELECT now() - week * interval '7 days' + n * interval '25 milliseconds' \
           FROM generate_series(1, 2) AS week, generate_series(-72000, 72000) AS n; \
         INSERT INTO consent (at) SELECT now() - week * interval '7 days' + n * interval '100 milliseconds' \
           FROM generate_series(1, 2) AS week, generate_series(-18000, 18000) AS n; \
         ANALYZE",
    )
    .await;
    let plan = "format = 1\nname = \"lossy\"\nblue = { url_env = \"BLUE_DATABASE_URL\" }\ngreen = { url_env = \"GREEN_DATABASE_URL\" }\n\
                [[step]]\nid = \"copy\"\nphase = \"copy\"\nkind = \"copy\"\ntables = [\"token\", \"consent\"]\n";
    let workspace = Workspace::new(plan, &blue, Some(&green));
    let before: u64 = blue.value("SELECT count(*) FROM token").await.parse().unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = [("token", 25), ("consent", 100)]
        .into_iter()
        .map(|(table, pause)| {
            let (stop, database) = (Arc::clone(&stop), blue.database());
            tokio::spawn(async move {
                let session = database.connect("writer").await.unwrap();
                let began = Instant::now();
                for number in 0u32.. {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    tokio::time::sleep_until((began + Duration::from_millis(pause) * number).into()).await;
                    session.batch_execute(&format!("INSERT INTO {table} DEFAULT VALUES")).await.unwrap();
                }
            })
        })
        .collect();
    workspace.run(&["run", "--execute"]).exits(0);
    eventually("four hundred tokens are written", async || {
        blue.value("SELECT count(*) FROM token").await.parse::<u64>().unwrap() >= before + 400
    })
    .await;
    let end: Timestamp = blue.value(&utc("clock_timestamp()")).await.parse().unwrap();
    stop.store(true, Ordering::Relaxed);
    for writer in writers {
        writer.await.unwrap();
    }
    // The window is from the copy's snapshot to the switch: the last row that green has tells when the snapshot was taken.
    let begin: Timestamp = green.value(&format!("SELECT {} FROM token", utc("max(at)"))).await.parse().unwrap();
    let length = format!("{}ms", end.as_millisecond() - begin.as_millisecond());
    let (url, at) = (blue.url(), begin.to_string());
    let words = [
        "--blue",
        &url,
        "--column",
        "token.at",
        "--column",
        "consent.at",
        "--duration",
        &length,
        "--at",
        &at,
        "--time-zone",
        "UTC",
    ];
    let found = document(window(&words));
    for (index, table) in ["token", "consent"].into_iter().enumerate() {
        let mine = format!("(SELECT count(*) FROM {table} WHERE at > '2001-01-01' AND at <= '{end}')");
        let lost: f64 = blue.value(&mine).await.parse::<f64>().unwrap() - green.value(&mine).await.parse::<f64>().unwrap();
        let estimate = &found["windows"][0]["writes"][index];
        let expected = estimate["mean"].as_f64().unwrap();
        assert_eq!(estimate["kind"], format!("{table}.at"));
        eprintln!("{table}: {lost} lost, {expected:.0} expected, {length}");
        assert!(lost > 50.0 && (expected - lost).abs() <= lost * 0.1, "{table}: {lost} lost, {expected} expected\n{found:#}");
    }
}
