//! A switch whose changes come from a replication slot: the slot goes when green serves, and not before.

use super::stage::{Link, PLAN, Stage};
use crate::support::{TestDb, logical_cluster};

async fn left(blue: &TestDb) -> String {
    blue.value(
        "SELECT concat_ws(' ', (SELECT string_agg(slot_name, ' ') FROM pg_replication_slots WHERE database = current_database()), \
         (SELECT string_agg(pubname, ' ') FROM pg_publication))",
    )
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_switch_drops_the_slot_when_green_serves() {
    let (blue, green) = (TestDb::empty_on(logical_cluster()).await, TestDb::empty().await);
    Stage::fill(&blue, &green).await;
    let link = Link::new();
    let plan = PLAN.replace("kind = \"start_capture\"", "kind = \"start_capture\"\nsource = \"slot\"");
    let stage = Stage::with(&format!("{plan}{}", link.participant()), blue, green);
    stage.ready().await;
    assert!(left(&stage.blue).await.contains("crossfade_"));
    // A switch that fails before the point of no return leaves the slot to the next one.
    std::fs::write(link.folder.path().join("broken"), "").unwrap();
    let go = ["run", "--execute", "--allow-hooks", "--approve", "to-green"];
    stage.run(&go).await.exits(11);
    assert!(left(&stage.blue).await.contains("crossfade_"));
    std::fs::remove_file(link.folder.path().join("broken")).unwrap();
    stage.blue.sql("INSERT INTO entry (account, tag) VALUES (1, 'between')").await;
    // Killed between the release and the end of the tidying: the next one tidies.
    let mut command = stage.workspace.command(&go);
    let killed =
        tokio::task::spawn_blocking(move || command.env("CROSSFADE_CRASH_AT", "to-green/slot-dropped").output().unwrap());
    assert_eq!(killed.await.unwrap().status.code(), None);
    assert_eq!(link.side(), "green");
    let ran = stage.run(&go).await.exits(0);
    assert_eq!(left(&stage.blue).await, "");
    assert!(!ran.stderr.contains("stays on blue"), "{}", ran.stderr);
    assert_eq!(stage.green.value("SELECT count(*) FROM entry WHERE tag = 'between'").await, "1");
    let status = stage.run(&["status"]).await.exits(0).stdout;
    assert!(!status.contains("slot "), "{status}");
    assert!(stage.run(&["finish", "--execute"]).await.exits(0).stdout.contains("keeps nothing going"));
    // The way back needs no slot, and leaves none.
    stage.run(&["rollback", "--execute", "--allow-hooks"]).await.exits(0);
    assert_eq!((link.side().as_str(), left(&stage.blue).await.as_str()), ("blue", ""));
}
