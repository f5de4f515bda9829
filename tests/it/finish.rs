//! What a run that is done keeps going on blue: it is named wherever somebody looks, and `crossfade finish` ends it.

use std::sync::Arc;

use crossfade::shadow::Cluster;
use serde_json::Value;

use crate::support::{TestDb, Workspace, cluster, logical_cluster};

const PLAN: &str = r#"
format = 1
name = "ends"
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
id = "follow"
phase = "follow"
kind = "follow"
tables = ["t"]
until = { lag = "20s", for = "1ms" }
"#;

/// How changes become known: more keys of `start_capture`, and where.
fn source(slot: bool) -> (String, &'static Arc<Cluster>) {
    match slot {
        true => (PLAN.replace("kind = \"start_capture\"", "kind = \"start_capture\"\nsource = \"slot\""), logical_cluster()),
        false => (PLAN.to_owned(), cluster()),
    }
}

async fn stage(slot: bool) -> (Workspace, TestDb, TestDb) {
    let (plan, cluster) = source(slot);
    let (blue, green) = (TestDb::empty_on(cluster).await, TestDb::empty().await);
    for db in [&blue, &green] {
        db.sql("CREATE TABLE t (id int PRIMARY KEY, v text)").await;
    }
    blue.sql("INSERT INTO t VALUES (1, 'first')").await;
    (Workspace::new(&plan, &blue, Some(&green)), blue, green)
}

/// What of us is on blue outside of our schema.
async fn left(blue: &TestDb) -> String {
    blue.value(
        "SELECT concat_ws(' ', (SELECT string_agg(slot_name, ' ') FROM pg_replication_slots WHERE database = current_database()), \
         (SELECT string_agg(pubname, ' ') FROM pg_publication), \
         (SELECT string_agg(tgname, ' ') FROM pg_trigger WHERE tgname LIKE 'crossfade%'))",
    )
    .await
}

fn json(workspace: &Workspace, words: &[&str]) -> Value {
    serde_json::from_str(&said(workspace, &[words, &["--format", "json"]].concat())).unwrap()
}

/// What a command prints. `status` waits ten seconds for the databases: on a machine that is busier than that it is asked again.
fn said(workspace: &Workspace, words: &[&str]) -> String {
    for _ in 0..10 {
        let text = workspace.run(words).exits(0).stdout;
        if !text.contains("no answer within") {
            return text;
        }
    }
    panic!("the databases do not answer {words:?}");
}

#[track_caller]
fn says(text: &str, words: &[&str]) {
    for words in words {
        assert!(text.contains(words), "`{words}` is not in:\n{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_is_named_until_it_is_ended() {
    let (workspace, blue, green) = stage(true).await;
    let ran = workspace.run(&["run", "--execute"]).exits(0);
    let slot = blue.value("SELECT slot_name FROM pg_replication_slots WHERE database = current_database()").await;
    let goes_on = format!("replication slot {slot} stays on blue, which keeps its log for it; next: crossfade follow ");
    says(&ran.stderr, &[&goes_on, "crossfade finish ", "crossfade rollback "]);
    says(&workspace.run(&["report"]).exits(0).stdout, &[&goes_on]);
    let quiet = said(&workspace, &["status"]);
    says(&quiet, &[&goes_on, &format!("slot {slot}: is not being read; "), "bytes of blue's log are not told yet"]);

    blue.sql("INSERT INTO t SELECT n, 'later' FROM generate_series(2, 5000) n").await;
    let status = json(&workspace, &["status"]);
    let (of, told) = (&status["slots"][0], &status["follow"]["slot"]);
    assert_eq!(
        (&of["name"], &of["run"], &told["name"]),
        (&slot.clone().into(), &status["run"], &slot.clone().into()),
        "{status}"
    );
    assert!(of["behind_bytes"].as_u64().unwrap() > 5_000 * 30, "{status}");
    assert!(of["kept_bytes"].as_u64() >= of["behind_bytes"].as_u64() && told["state"]["lost"] == false, "{status}");
    assert_eq!(json(&workspace, &["report"])["goes_on"][0]["step"], "capture");

    let announced = workspace.run(&["finish"]).exits(0).stdout;
    says(&announced, &["Nothing is changed without --execute", &slot, "finish"]);
    assert!(left(&blue).await.contains(&slot));
    let finished = json(&workspace, &["finish", "--execute"]);
    assert_eq!(
        (&finished["ended"][0], &finished["figures"]["changes_applied"]),
        (&"capture".into(), &4_999.into()),
        "{finished}"
    );
    assert_eq!((left(&blue).await.as_str(), green.value("SELECT count(*) FROM t").await.as_str()), ("", "5000"));

    let status = json(&workspace, &["status"]);
    assert_eq!(
        (&status["slots"], &status["goes_on"], &status["follow"]),
        (&Value::Array(vec![]), &Value::Array(vec![]), &Value::Null)
    );
    assert!(!workspace.run(&["report"]).exits(0).stdout.contains("stays on blue"));
    says(&workspace.run(&["finish", "--execute"]).exits(0).stdout, &["keeps nothing going"]);
    says(&workspace.run(&["follow", "--until-caught-up"]).exits(10).stderr, &["captures nothing for this run"]);
    workspace.run(&["rollback", "--execute"]).exits(0);
    assert_eq!(green.value("SELECT count(*) FROM t").await, "0");
    says(&workspace.run(&["finish", "--execute"]).exits(0).stdout, &["keeps nothing going"]);
}

/// Whatever kills it: the same command goes on, and nothing that blue had committed is lost.
#[tokio::test(flavor = "multi_thread")]
async fn a_killed_finish_is_finished() {
    for (slot, places) in [
        (true, ["capture/caught-up", "capture/slot-dropped", "capture/released", "capture/emptied", "capture/ended"]),
        (false, ["capture/caught-up", "capture/released", "capture/emptied", "capture/ended", "capture/changed"]),
    ] {
        for place in places {
            let (workspace, blue, green) = stage(slot).await;
            workspace.run(&["run", "--execute"]).exits(0);
            blue.sql("UPDATE t SET v = 'last'; INSERT INTO t VALUES (2, 'new')").await;
            let killed = workspace.command(&["finish", "--execute"]).env("CROSSFADE_CRASH_AT", place).output().unwrap();
            assert_eq!(killed.status.code(), None, "it was to be killed at {place}");
            // The last batch of the second attempt finds nothing captured where the first had got as far.
            workspace.run(&["finish", "--execute"]).exits(0);
            let rows = green.value("SELECT string_agg(v, ' ' ORDER BY id) FROM t").await;
            assert_eq!((left(&blue).await.as_str(), rows.as_str()), ("", "last new"), "{place}, slot: {slot}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn triggers_are_named_until_they_are_ended() {
    let (workspace, blue, green) = stage(false).await;
    let usage = workspace.run(&["finish", "--execute"]).exits(2).stderr;
    says(&usage, &["has no run"]);
    let ran = workspace.run(&["run", "--execute"]).exits(0);
    says(&ran.stderr, &["triggers stay on 1 tables of blue and record every change; next: crossfade follow", "crossfade finish"]);
    blue.sql("DELETE FROM t").await;
    // Somebody follows: it is not ended behind their back.
    let follower = crate::support::Process::spawn(&mut workspace.command(&["follow"]));
    crate::support::eventually("it follows", async || green.value("SELECT count(*) FROM t").await == "0").await;
    let refused = workspace.run(&["finish", "--execute"]).exits(10).stderr;
    says(&refused, &["is being followed by another crossfade"]);
    assert!(left(&blue).await.contains("crossfade_capture_insert"));
    drop(follower);
    blue.sql("INSERT INTO t VALUES (7, 'seven')").await;
    workspace.run(&["finish", "--execute"]).exits(0);
    assert_eq!((left(&blue).await.as_str(), green.value("SELECT v FROM t").await.as_str()), ("", "seven"));
    assert_eq!(blue.value("SELECT count(*) FROM crossfade.outbox").await, "0");
}

/// A slot called like ours, of a run whose journal is gone, is named before there is a run and beside one, and preflight's word for it
/// is no other.
#[tokio::test(flavor = "multi_thread")]
async fn a_slot_of_no_run_is_named_with_the_command_that_drops_it() {
    let (workspace, blue, _green) = stage(true).await;
    workspace.run(&["run", "--execute"]).exits(0);
    let slot = blue.value("SELECT slot_name FROM pg_replication_slots WHERE database = current_database()").await;
    std::fs::remove_dir_all(workspace.folder.path().join("state")).unwrap();
    let text = said(&workspace, &["status"]);
    let drop = format!("SELECT pg_drop_replication_slot('{slot}'); DROP PUBLICATION IF EXISTS \"{slot}\"");
    says(&text, &["has no run", &format!("slot {slot}, of no run of this plan that has a journal here"), &drop]);
    let status = json(&workspace, &["status"]);
    assert_eq!((&status["slots"][0]["name"], &status["slots"][0]["run"]), (&slot.into(), &Value::Null), "{status}");
    for sql in drop.split("; ") {
        blue.sql(sql).await;
    }
    assert_eq!((left(&blue).await.as_str(), &json(&workspace, &["status"])["slots"]), ("", &Value::Array(vec![])));
}
