//! Restore, migrate, and follow: a green that was copied as it is and migrated with the upstream defects becomes what the
//! projections give, while blue is written to all the while and revocations come in.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crossfade::pg::{Opener, Snapshot};
use crossfade::projection::{Bound, bind, load};
use crossfade::terms::RunId;
use crossfade::verify::compare;

use crate::hydra::{blue_1_11_10, plan};
use crate::revocations::GRANT;
use crate::support::{Ran, TestDb, Workspace};

/// A shipped plan; only, how close green must be on a machine that does other things too is left open.
pub fn patient_plan(name: &str) -> String {
    let shipped = std::fs::read_to_string(plan(name)).unwrap();
    let close = "until = { lag = \"1s\", for = \"1s\" }";
    assert!(shipped.contains(close));
    let mut text = shipped.replace(close, "until = { lag = \"5m\", for = \"1ms\" }");
    for folder in ["../migrations", "audit", "repair", "projections", "revocations"] {
        text = text.replace(&format!("\"{folder}/"), &format!("\"{}/", plan(folder).display()));
    }
    text
}

/// Sessions that are there before the copy, for the writers to revoke.
const OLD: u64 = 80;

/// What clients do, number by number: a grant, a rotation, revocations of sessions that the copy has and of new ones.
pub fn write(number: u64) -> Vec<String> {
    let revoke = |request: &str| {
        format!(
            "BEGIN; UPDATE hydra_oauth2_refresh SET active = false WHERE request_id = 'c-{request}'; \
             DELETE FROM hydra_oauth2_access WHERE request_id = 'c-{request}'; COMMIT"
        )
    };
    let consent = |request: &str| {
        let tables = ["access", "refresh", "code"]
            .map(|table| format!("DELETE FROM hydra_oauth2_{table} WHERE challenge_id = 'c-{request}'; "));
        format!(
            "BEGIN; {}DELETE FROM hydra_oauth2_consent_request_handled WHERE challenge = 'c-{request}'; \
             DELETE FROM hydra_oauth2_consent_request WHERE challenge = 'c-{request}'; COMMIT",
            tables.concat()
        )
    };
    let new = format!("new-{number}");
    let mut all = vec![format!("SELECT granted('{new}')")];
    if number.is_multiple_of(2) {
        all.push(format!(
            "BEGIN; DELETE FROM hydra_oauth2_access WHERE request_id = 'c-{new}'; \
             UPDATE hydra_oauth2_refresh SET active = false WHERE request_id = 'c-{new}'; SELECT tokens('{new}', 2); COMMIT"
        ));
    }
    if number.is_multiple_of(3) {
        all.push(if number.is_multiple_of(2) { revoke(&new) } else { consent(&new) });
    }
    // Slowly enough that some are left for every step of the run.
    let old = number / 4;
    if number.is_multiple_of(4) && old < OLD {
        all.push(if old.is_multiple_of(2) { revoke(&format!("old-{old}")) } else { consent(&format!("old-{old}")) });
    }
    all
}

/// Green is what the projections give at blue as it is now.
pub async fn equal(blue: &TestDb, green: &TestDb) {
    let (set, _) = load(&Path::new(env!("CARGO_MANIFEST_DIR")).join("plans/projections/hydra-2x")).unwrap();
    let binding = bind(&blue.session().await, &green.session().await, &set, true).await.unwrap();
    assert_eq!(binding.findings, []);
    let bound: Vec<Bound> = binding.bound.into_iter().map(|(bound, _)| bound).collect();
    let at = async |db: &TestDb| Snapshot::export(Opener::new(db.database(), "test".to_owned())).await.unwrap();
    for comparison in compare(&bound, &at(blue).await, &at(green).await, 2, &RunId::fresh(), |_, _| {}).await.unwrap() {
        assert_eq!(comparison.differences.kept(), [], "table {}", comparison.table.plain());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn projections_take_a_migrated_green_over_under_writers() {
    let (blue, green) = (blue_1_11_10().await, TestDb::empty().await);
    blue.sql(GRANT).await;
    for number in 0..OLD {
        blue.sql(&format!("SELECT granted('old-{number}')")).await;
    }
    let (stop, written) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let session = blue.session().await;
    let (ended, counted) = (Arc::clone(&stop), Arc::clone(&written));
    let writer = tokio::spawn(async move {
        while !ended.load(Ordering::Relaxed) {
            for statement in write(counted.fetch_add(1, Ordering::Relaxed)) {
                session.batch_execute(&statement).await.unwrap();
            }
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    });
    let workspace = Workspace::new(&patient_plan("hydra-2x-restore-migrate.toml"), &blue, Some(&green));
    let mut command = workspace.command(&["run", "--execute"]);
    let ran = tokio::task::spawn_blocking(move || Ran::of(command.output().unwrap())).await.unwrap();
    stop.store(true, Ordering::Relaxed);
    writer.await.unwrap();
    let ran = ran.exits(0);
    assert!(written.load(Ordering::Relaxed) > 20);
    // The migrations did their damage, the repair and the taking over had something to do, and the gate found nothing.
    for words in [" lost: valid on blue, not valid on green", "rows repaired", "take-over: done", "audit-repaired: done"] {
        assert!(ran.stderr.contains(words), "{words} is not in:\n{}", ran.stderr);
    }

    let caught_up = workspace.run(&["follow", "--until-caught-up"]).exits(0);
    equal(&blue, &green).await;
    let told = workspace.run(&["revocations", "--format", "json"]).exits(0);
    let told: serde_json::Value = serde_json::from_str(&told.stdout).unwrap();
    let count = |name: &str| told[name].as_u64().unwrap();
    assert!(count("captured") > 10, "{}", caught_up.stderr);
    assert_eq!((count("replayed"), count("pending")), (count("captured"), 0));
    assert!(count("proved") > 0);
    // Whatever was revoked of what the copy brought has no access on green, by green's own tables.
    let old = (written.load(Ordering::Relaxed) - 1) / 4;
    let alive = "SELECT count(*) FROM hydra_oauth2_refresh WHERE active AND request_id = ANY (ARRAY(SELECT 'c-old-' || n FROM generate_series(0, OLD) n))"
        .replace("OLD", &old.min(OLD - 1).to_string());
    assert_eq!(green.value(&alive).await, "0");

    // The migrations cannot be undone. Green is a copy: made anew, it keeps nobody from taking capture off blue.
    let kept = workspace.run(&["rollback", "--execute"]).exits(13);
    assert!(kept.stderr.contains("step migrate-green cannot be undone"), "{}", kept.stderr);
    let captured = "SELECT count(*) FROM pg_trigger WHERE tgname LIKE 'crossfade%'";
    assert_ne!(blue.value(captured).await, "0");
    green.make_anew().await;
    green.sql("CREATE TABLE of_others ()").await;
    let other = workspace.run(&["rollback", "--execute"]).exits(2);
    assert!(other.stderr.contains("belongs to other databases: green was database"), "{}", other.stderr);
    green.sql("DROP TABLE of_others").await;
    workspace.run(&["rollback", "--execute"]).exits(0);
    assert_eq!(blue.value(captured).await, "0");
}
