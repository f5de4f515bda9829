//! The two plans of this repository, on real data: undisturbed, killed at every crash point, killed at random moments.

use std::time::{Duration, Instant};

use crate::hydra::{blue_1_0_0, blue_1_11_10, catalog, fixture, history, rows, run};
use crate::support::{TestDb, Workspace, eventually};

const IN_PLACE: &str = "hydra-1x-in-place.toml";
const BLUE_GREEN: &str = "hydra-2x-blue-green.toml";

/// Both databases have the same catalog, recorded versions and rows.
async fn assert_same(one: &TestDb, other: &TestDb) {
    assert_eq!(rows(one).await, rows(other).await);
    assert_eq!(history(one).await, history(other).await);
    let (one, other) = (catalog(one).await, catalog(other).await);
    for (table, definition) in one["tables"].as_object().unwrap() {
        assert_eq!(Some(definition), other["tables"].get(table), "{table}");
    }
    assert_eq!(one, other);
}

/// Nothing of a run is left on the server.
async fn nothing_left(db: &TestDb) {
    let left = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE 'crossfade/%'";
    eventually("no backend of ours is left", async || db.value(left).await == "0").await;
    assert_eq!(db.value("SELECT count(*) FROM pg_index WHERE NOT indisvalid OR NOT indisready").await, "0", "invalid indexes");
}

fn versions(name: &str) -> Vec<String> {
    let mut versions: Vec<String> = serde_json::from_value(fixture(name)).unwrap();
    versions.sort();
    versions
}

#[tokio::test]
async fn in_place_gives_the_catalog_and_history_of_1_11_10() {
    let blue = blue_1_0_0().await;
    let before = rows(&blue).await;
    let workspace = Workspace::at(tempfile::tempdir().unwrap(), &blue, None);
    run(&workspace, IN_PLACE, &["run", "--execute"]).exits(0);
    assert_eq!(catalog(&blue).await, fixture("catalog-1.11.10.json"));
    assert_eq!(history(&blue).await, versions("history-1.11.10.json"));
    let counts = |rows: &[(String, i64, String)]| -> Vec<(String, i64)> {
        rows.iter().filter(|(table, ..)| !table.contains("migration")).map(|(table, count, _)| (table.clone(), *count)).collect()
    };
    let after = counts(&rows(&blue).await);
    for table in counts(&before) {
        assert!(after.contains(&table), "{table:?} is not in {after:?}");
    }
    nothing_left(&blue).await;
    // The same command again has nothing to do.
    let again = run(&workspace, IN_PLACE, &["run", "--execute"]).exits(0);
    assert!(again.stdout.contains("already over"), "{}", again.stdout);
}

#[tokio::test]
async fn in_place_and_back_again() {
    let blue = blue_1_0_0().await;
    let before = (catalog(&blue).await, rows(&blue).await);
    let workspace = Workspace::at(tempfile::tempdir().unwrap(), &blue, None);
    run(&workspace, IN_PLACE, &["run", "--execute"]).exits(0);
    run(&workspace, IN_PLACE, &["rollback", "--execute"]).exits(0);
    assert_eq!(before, (catalog(&blue).await, rows(&blue).await));
    nothing_left(&blue).await;
}

#[tokio::test]
async fn without_execute_nothing_changes() {
    let (blue, green) = (blue_1_11_10().await, TestDb::empty().await);
    let before = (catalog(&blue).await, catalog(&green).await);
    let workspace = Workspace::at(tempfile::tempdir().unwrap(), &blue, Some(&green));
    let preview = run(&workspace, BLUE_GREEN, &["run"]).exits(0);
    assert!(preview.stdout.contains("Nothing is changed without --execute"), "{}", preview.stdout);
    assert_eq!(before, (catalog(&blue).await, catalog(&green).await));
    for db in [&blue, &green] {
        assert_eq!(
            db.value("SELECT count(*) FROM pg_namespace WHERE nspname = 'crossfade' AND current_database() <> ''").await,
            {
                // Blue was brought to 1.11.10 by crossfade, so it has our schema; green has nothing.
                if std::ptr::eq(db, &blue) { "1" } else { "0" }
            }
        );
    }
    assert!(!workspace.folder.path().join("state").exists());
}

#[tokio::test]
async fn blue_green_gives_the_catalog_and_history_of_2_3_0() {
    let (blue, green) = (blue_1_11_10().await, TestDb::empty().await);
    let blue_before = rows(&blue).await;
    let workspace = Workspace::at(tempfile::tempdir().unwrap(), &blue, Some(&green));
    run(&workspace, BLUE_GREEN, &["run", "--execute"]).exits(0);
    assert_eq!(catalog(&green).await, fixture("catalog-2.3.0.json"));
    assert_eq!(history(&green).await, versions("history-2.3.0.json"));
    assert_eq!(rows(&blue).await, blue_before, "blue is only read");
    nothing_left(&blue).await;
    nothing_left(&green).await;
    let sessions = |query: &str| {
        format!("SELECT count(*) || ' ' || coalesce(sum(hashtextextended(s::text, 0)::numeric), 0) FROM ({query}) s")
    };
    let valid_on_blue = blue.value(&sessions(include_str!("../../src/demo/sessions.sql"))).await;
    let valid_on_green = green.value(&sessions(include_str!("../../src/demo/sessions-2x.sql"))).await;
    assert_eq!(valid_on_blue, valid_on_green);
}

#[tokio::test]
async fn a_write_on_blue_after_the_copy_is_divergence() {
    let (blue, green) = (blue_1_11_10().await, TestDb::empty().await);
    let workspace = Workspace::at(tempfile::tempdir().unwrap(), &blue, Some(&green));
    run(&workspace, BLUE_GREEN, &["run", "--execute"]).exits(0);
    green.sql("UPDATE hydra_oauth2_flow SET state = 128 WHERE login_challenge IN (SELECT login_challenge FROM hydra_oauth2_flow WHERE state = 6 ORDER BY 1 LIMIT 3)").await;
    let plan = r#"
format = 1
name = "verify-only"
blue = { url_env = "BLUE_DATABASE_URL" }
green = { url_env = "GREEN_DATABASE_URL" }
[[step]]
id = "verify"
phase = "copy"
kind = "verify"
projections = "PROJECTIONS"
"#
    .replace("PROJECTIONS", crate::hydra::plan("projections/hydra-2x").to_str().unwrap());
    let alone = Workspace::new(&plan, &blue, Some(&green));
    let found = alone.run(&["run", "--execute"]).exits(14);
    assert!(found.stderr.contains("hydra_oauth2_flow"), "{}", found.stderr);
}

/// Runs a plan again and again, killed at every crash point once, until it ends by itself.
fn through_every_crash_point(workspace: &Workspace, plan: &str, words: &[&str]) -> usize {
    let seen = workspace.folder.path().join("seen");
    for crashes in 0..2000 {
        let ran = crate::support::Ran::of(
            workspace.command_on(words, &crate::hydra::plan(plan)).env("CROSSFADE_CRASH_SEEN", &seen).output().unwrap(),
        );
        if ran.code.is_some() {
            ran.exits(0);
            assert_eq!(std::fs::read_to_string(&seen).unwrap().lines().count(), crashes);
            return crashes;
        }
    }
    panic!("no end after 2000 crashes");
}

/// Kills a run at random moments, `kills` times at most, then lets it end.
fn through_random_kills(workspace: &Workspace, plan: &str, words: &[&str], kills: u32, longest: Duration) {
    let mut random = fastrand::Rng::with_seed(7);
    for _ in 0..kills {
        let mut child = workspace
            .command_on(words, &crate::hydra::plan(plan))
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let until = Instant::now() + longest.mul_f64(random.f64());
        loop {
            if child.try_wait().unwrap().is_some() {
                break;
            }
            if Instant::now() > until {
                child.kill().unwrap();
                child.wait().unwrap();
                break;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }
    run(workspace, plan, words).exits(0);
}

#[tokio::test]
async fn in_place_survives_a_crash_at_every_point() {
    let (undisturbed, blue) = (blue_1_0_0().await, blue_1_0_0().await);
    run(&Workspace::at(tempfile::tempdir().unwrap(), &undisturbed, None), IN_PLACE, &["run", "--execute"]).exits(0);
    let workspace = Workspace::at(tempfile::tempdir().unwrap(), &blue, None);
    let crashes = through_every_crash_point(&workspace, IN_PLACE, &["run", "--execute"]);
    assert!(crashes > 20, "{crashes}");
    assert_same(&blue, &undisturbed).await;
    nothing_left(&blue).await;
}

#[tokio::test]
async fn in_place_survives_random_kills() {
    let (undisturbed, blue) = (blue_1_0_0().await, blue_1_0_0().await);
    let began = Instant::now();
    run(&Workspace::at(tempfile::tempdir().unwrap(), &undisturbed, None), IN_PLACE, &["run", "--execute"]).exits(0);
    let workspace = Workspace::at(tempfile::tempdir().unwrap(), &blue, None);
    through_random_kills(&workspace, IN_PLACE, &["run", "--execute"], 15, began.elapsed());
    assert_same(&blue, &undisturbed).await;
    nothing_left(&blue).await;
}

#[tokio::test]
async fn blue_green_survives_a_crash_at_every_point() {
    let (blue, undisturbed, green) = (blue_1_11_10().await, TestDb::empty().await, TestDb::empty().await);
    let other = blue_1_11_10().await; // one run captures a blue database
    run(&Workspace::at(tempfile::tempdir().unwrap(), &other, Some(&undisturbed)), BLUE_GREEN, &["run", "--execute"]).exits(0);
    let workspace = Workspace::at(tempfile::tempdir().unwrap(), &blue, Some(&green));
    let crashes = through_every_crash_point(&workspace, BLUE_GREEN, &["run", "--execute"]);
    assert!(crashes > 20, "{crashes}");
    assert_same(&green, &undisturbed).await;
    nothing_left(&blue).await;
    nothing_left(&green).await;
}

#[tokio::test]
async fn blue_green_survives_random_kills() {
    let (blue, undisturbed, green) = (blue_1_11_10().await, TestDb::empty().await, TestDb::empty().await);
    let began = Instant::now();
    let other = blue_1_11_10().await; // one run captures a blue database
    run(&Workspace::at(tempfile::tempdir().unwrap(), &other, Some(&undisturbed)), BLUE_GREEN, &["run", "--execute"]).exits(0);
    let workspace = Workspace::at(tempfile::tempdir().unwrap(), &blue, Some(&green));
    through_random_kills(&workspace, BLUE_GREEN, &["run", "--execute"], 15, began.elapsed());
    assert_same(&green, &undisturbed).await;
    nothing_left(&blue).await;
    nothing_left(&green).await;
}

#[tokio::test]
async fn blue_green_and_back_again() {
    let (blue, green) = (blue_1_11_10().await, TestDb::empty().await);
    let before = (catalog(&green).await, rows(&green).await);
    let workspace = Workspace::at(tempfile::tempdir().unwrap(), &blue, Some(&green));
    run(&workspace, BLUE_GREEN, &["run", "--execute"]).exits(0);
    run(&workspace, BLUE_GREEN, &["rollback", "--execute"]).exits(0);
    assert_eq!(before, (catalog(&green).await, rows(&green).await));
    nothing_left(&green).await;
}
