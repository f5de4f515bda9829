//! Readiness goes by the revocations: one that is not proved on green, or cannot be asked for, is a NoGo.

use super::stage::{Stage, Switchboard};
use crate::hydra::{blue_1_11_10, plan};
use crate::support::TestDb;

/// The shipped plan without its watches, with another participant than the router.
fn switching(board: &Switchboard) -> String {
    let shipped = std::fs::read_to_string(plan("hydra-2x-cutover.toml")).unwrap();
    let (head, steps) = shipped.split_once("[[step]]").unwrap();
    let stays = |step: &&str| !step.contains("kind = \"watch\"");
    let steps: Vec<String> = steps.split("[[step]]").filter(stays).map(|step| format!("[[step]]{step}")).collect();
    let router = "[[step.participant]]\nkind = \"router\"\nname = \"router\"\nsocket = \"router-state/admin.sock\"\n";
    let text = format!("{head}{}", steps.concat());
    assert!(text.contains(router));
    text.replace(router, &board.participant())
        .replace("hold_for = \"10s\"\nmax_lag = \"2s\"", "hold_for = \"60s\"\nmax_lag = \"60s\"")
        .replace("until = { lag = \"1s\", for = \"1s\" }", "until = { lag = \"60s\", for = \"1s\" }")
        .replace("../migrations", plan("../migrations").to_str().unwrap())
        .replace("\"projections/", &format!("\"{}/", plan("projections").to_str().unwrap()))
        .replace("\"revocations/", &format!("\"{}/", plan("revocations").to_str().unwrap()))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_that_is_not_proved_or_not_known_is_a_no_go() {
    let board = Switchboard::start().await;
    let (blue, green) = (blue_1_11_10().await, TestDb::empty().await);
    // A session with fresh tokens: what has ended by itself cannot be revoked.
    let one = "SELECT min(r.request_id) FROM hydra_oauth2_refresh r JOIN hydra_oauth2_access a USING (request_id) WHERE r.active AND a.active";
    let one = blue.value(one).await;
    for table in ["hydra_oauth2_refresh", "hydra_oauth2_access"] {
        blue.sql(&format!("UPDATE {table} SET requested_at = now() AT TIME ZONE 'UTC' WHERE request_id = '{one}'")).await;
    }
    let stage = Stage::with(&switching(&board), blue, green);
    let ran = stage.run(&["run", "--execute"]).await.exits(12);
    assert!(ran.stderr.contains("--approve switch"), "{}", ran.stderr);
    stage
        .blue
        .sql(&format!(
            "BEGIN; UPDATE hydra_oauth2_refresh SET active = false WHERE request_id = '{one}'; \
             DELETE FROM hydra_oauth2_access WHERE request_id = '{one}'; COMMIT"
        ))
        .await;
    stage.run(&["follow", "--until-caught-up"]).await.exits(0);
    let active = format!("SELECT count(*) FROM hydra_oauth2_refresh WHERE active AND request_id = '{one}'");
    assert_eq!(stage.green.value(&active).await, "0");

    // Somebody brings the access back on green.
    stage.green.sql(&format!("UPDATE hydra_oauth2_refresh SET active = true WHERE request_id = '{one}'")).await;
    let cutover: &[&str] = &["cutover", "--execute", "--approve", "cutover"];
    let ran = stage.run(cutover).await.exits(10);
    assert!(ran.stderr.contains("revocations") && ran.stderr.contains("1 are not proved effective on green"), "{}", ran.stderr);
    assert!(!ran.stderr.contains(&one), "{}", ran.stderr);
    assert_eq!(board.side(), "blue");
    stage.green.sql(&format!("UPDATE hydra_oauth2_refresh SET active = false WHERE request_id = '{one}'")).await;

    // What cannot be asked is not known.
    stage.green.sql("ALTER TABLE crossfade.revocation RENAME proved_at TO elsewhere").await;
    let ran = stage.run(cutover).await.exits(10);
    assert!(ran.stderr.contains("revocations") && ran.stderr.contains("not known"), "{}", ran.stderr);
    assert_eq!(board.side(), "blue");
    stage.green.sql("ALTER TABLE crossfade.revocation RENAME elsewhere TO proved_at").await;

    stage.run(cutover).await.exits(0);
    assert_eq!(board.side(), "green");
}
