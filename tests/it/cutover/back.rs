//! Hydra's way back: what 2.3.0 holds, as rows of 1.11.10, gives the same 2.3.0 again.

use crate::hydra::{blue_1_11_10, plan, run};
use crate::support::{TestDb, Workspace};

fn steps(projections: &str, copy: bool) -> String {
    let projections = plan(&format!("projections/{projections}")).display().to_string();
    let copy = match copy {
        true => format!("[[step]]\nid = \"copy\"\nphase = \"copy\"\nkind = \"copy\"\nprojections = \"{projections}\"\n"),
        false => String::new(),
    };
    format!(
        "format = 1\nname = \"way\"\n[blue]\nurl_env = \"BLUE_DATABASE_URL\"\n[green]\nurl_env = \"GREEN_DATABASE_URL\"\n{copy}\
         [[step]]\nid = \"verify\"\nphase = \"copy\"\nkind = \"verify\"\nprojections = \"{projections}\"\n"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn hydra_back_to_1_11_10_loses_nothing_that_2_3_0_got_from_it() {
    let (old, new) = (blue_1_11_10().await, TestDb::empty().await);
    run(&Workspace::at(tempfile::tempdir().unwrap(), &old, Some(&new)), "hydra-2x-blue-green.toml", &["run", "--execute"])
        .exits(0);
    let back = blue_1_11_10().await;
    back.sql(
        "DO $$ BEGIN EXECUTE (SELECT 'TRUNCATE ' || string_agg(relname::text, ', ') FROM pg_class \
           WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace AND relname LIKE 'hydra\\_%' \
             AND relname !~ 'migration'); END $$",
    )
    .await;
    assert_eq!(back.value("SELECT count(*) FROM hydra_oauth2_refresh").await, "0");
    Workspace::new(&steps("hydra-1x-back", true), &new, Some(&back)).run(&["run", "--execute"]).exits(0);
    let sessions = "SELECT count(*) FROM hydra_oauth2_consent_request_handled";
    assert_ne!(back.value(sessions).await, "0");
    // Tokens, sessions and clients are what they were, as far as the way there took them.
    let same = "SELECT count(*) FROM hydra_oauth2_refresh WHERE active";
    assert_eq!(back.value(same).await, new.value(same).await);

    // There again: only flows that have no login of their own differ, in what they had borrowed from another's login.
    let ran = Workspace::new(&steps("hydra-2x", false), &back, Some(&new)).run(&["run", "--execute"]);
    assert!(matches!(ran.code, Some(0 | 14)), "{}{}", ran.stdout, ran.stderr);
    let others = "SELECT string_agg(DISTINCT d.table_name || ' ' || d.kind, ', ') FROM crossfade.divergence d \
                  LEFT JOIN hydra_oauth2_flow f ON d.table_name LIKE '%hydra_oauth2_flow' AND f.login_challenge = d.row_key ->> 'login_challenge' \
                  WHERE f.login_challenge IS DISTINCT FROM md5('login challenge of ' || f.consent_challenge_id)";
    assert_eq!(new.value(others).await, "", "{}", ran.stderr);
}

/// Nobody has to compare the two files.
#[test]
fn the_cutover_plan_is_the_blue_green_plan_and_a_switch_between_two_watches_with_its_end() {
    let steps = |name: &str| {
        let text = std::fs::read_to_string(plan(name)).unwrap();
        text.split("\n[[step]]\n").skip(1).map(|step| step.trim_end().to_owned()).collect::<Vec<_>>()
    };
    let (blue_green, cutover) = (steps("hydra-2x-blue-green.toml"), steps("hydra-2x-cutover.toml"));
    let (same, more): (Vec<_>, Vec<_>) = cutover.into_iter().partition(|step| blue_green.contains(step));
    assert_eq!(same, blue_green);
    let kinds: Vec<&str> = more.iter().map(|step| step.split("kind = \"").nth(1).unwrap().split('"').next().unwrap()).collect();
    assert_eq!(kinds, ["watch", "switch", "watch", "end_way_back"]);
    crossfade::plan::load(&plan("hydra-2x-cutover.toml")).unwrap_or_else(|problems| panic!("{problems}"));
}
