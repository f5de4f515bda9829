//! Repairs while blue goes on: what is revoked there meanwhile stays revoked, with and without capture, and a repair and a follower
//! never move green at the same time.

use crossfade::pg::{Session, ensure_control};

use crate::support::{Process, Ran, TestDb, Workspace, eventually};

const TABLE: &str = "CREATE TABLE session (id int PRIMARY KEY, subject text NOT NULL, state text NOT NULL)";

const PROJECTION: &str = r#"
table = "session"
key = ["id"]
[[source]]
name = "sessions"
drives = { table = "session", alias = "s" }
from = "session AS s"
[source.columns]
id = "s.id"
subject = "s.subject"
state = "s.state"
"#;

const REPAIRS: &str = r#"
[[table]]
table = "session"
reason = "states that a migration got wrong, and rows that it lost"
update = ["subject", "state"]
only = "state = 'refused'"
insert_from = ["sessions"]
"#;

const HEAD: &str = r#"
format = 1
name = "repairs"
blue = { url_env = "BLUE_DATABASE_URL" }
green = { url_env = "GREEN_DATABASE_URL" }
"#;

/// The sessions 3 to 8 that green has wrong: 3 and 4 are gone, the others are refused.
const DAMAGE: &str =
    "DELETE FROM session WHERE id IN (3, 4); UPDATE session SET state = 'refused', subject = '' WHERE id BETWEEN 5 AND 8";

/// What blue does while green is being repaired: one session of each kind of damage is revoked, one gets another subject.
const MEANWHILE: &str = "DELETE FROM session WHERE id IN (3, 5); UPDATE session SET subject = 'moved' WHERE id = 6";

const STATES: &str =
    "SELECT string_agg(id || ' ' || subject || ' ' || state, ', ' ORDER BY id) FROM session WHERE id BETWEEN 3 AND 8";

async fn pair(steps: &str) -> (TestDb, TestDb, Workspace) {
    let (blue, green) = (TestDb::empty().await, TestDb::empty().await);
    blue.sql(&format!("{TABLE}; INSERT INTO session SELECT n, 'user-' || n, 'granted' FROM generate_series(1, 20) n")).await;
    green.sql(TABLE).await;
    let workspace = Workspace::new(&format!("{HEAD}{steps}"), &blue, Some(&green));
    let folder = workspace.folder.path();
    std::fs::create_dir(folder.join("projections")).unwrap();
    std::fs::write(folder.join("projections/session.toml"), PROJECTION).unwrap();
    std::fs::write(folder.join("repairs.toml"), REPAIRS).unwrap();
    (blue, green, workspace)
}

/// Holds a repair up between staging and its first row: it notes each row that it makes.
async fn held(green: &TestDb) -> Session {
    let mut session = green.session().await;
    ensure_control(&mut session).await.unwrap();
    session.batch_execute("BEGIN; LOCK TABLE crossfade.repair_made IN EXCLUSIVE MODE").await.unwrap();
    session
}

/// Waits until the right rows are staged: their last index is there.
async fn staged(green: &TestDb) {
    let index = "SELECT EXISTS (SELECT FROM pg_index WHERE indrelid = to_regclass('crossfade.repair_new_0'))";
    eventually("the right rows are staged", async || green.value(index).await == "true").await;
}

/// Blue is not captured: what was staged is looked at again after it was used.
#[tokio::test(flavor = "multi_thread")]
async fn what_blue_revokes_after_the_staging_is_taken_back() {
    let (blue, green, workspace) = pair(
        "[[step]]\nid = \"repair\"\nphase = \"convert\"\nkind = \"repair\"\nrepairs = \"repairs.toml\"\nprojections = \"projections\"\n",
    )
    .await;
    green.sql(&format!("INSERT INTO session SELECT n, 'user-' || n, 'granted' FROM generate_series(1, 20) n; {DAMAGE}")).await;
    let lock = held(&green).await;
    let repair = Process::spawn(&mut workspace.command(&["run", "--execute"]));
    staged(&green).await;
    blue.sql(MEANWHILE).await;
    lock.batch_execute("COMMIT").await.unwrap();
    let ran = repair.finish().exits(0);
    assert_eq!(
        green.value(STATES).await,
        "4 user-4 granted, 5  refused, 6 moved granted, 7 user-7 granted, 8 user-8 granted",
        "{}",
        ran.stderr
    );
    assert!(ran.stderr.contains("3 taken back: blue changed meanwhile"), "{}", ran.stderr);
    // The undo knows what was taken back and what was not.
    workspace.run(&["rollback", "--execute"]).exits(0);
    assert_eq!(green.value(STATES).await, "5  refused, 6  refused, 7  refused, 8  refused");
}

const FOLLOWED: &str = r#"
[[step]]
id = "start"
phase = "capture"
kind = "start_capture"
projections = "projections"
[[step]]
id = "copy"
phase = "copy"
kind = "copy"
projections = "projections"
[[step]]
id = "look"
phase = "convert"
kind = "confirm"
question = "go on?"
[[step]]
id = "repair"
phase = "convert"
kind = "repair"
repairs = "repairs.toml"
projections = "projections"
[[step]]
id = "follow"
phase = "follow"
kind = "follow"
projections = "projections"
until = { lag = "5s", for = "1ms" }
[[step]]
id = "verify"
phase = "follow"
kind = "verify"
projections = "projections"
"#;

/// Blue is captured: the repair waits for no follower and lets none pass, and what blue does meanwhile follows.
#[tokio::test(flavor = "multi_thread")]
async fn a_repair_and_a_follower_take_turns() {
    let (blue, green, workspace) = pair(FOLLOWED).await;
    workspace.run(&["run", "--execute"]).exits(12);

    let mut follower = Process::spawn(&mut workspace.command(&["follow"]));
    blue.sql("INSERT INTO session VALUES (100, 'user-100', 'granted')").await;
    eventually("the follower is at work", async || green.value("SELECT count(*) FROM session WHERE id = 100").await == "1").await;
    green.sql(DAMAGE).await;
    let refused = workspace.run(&["run", "--execute", "--approve", "look"]).exits(10);
    assert!(refused.stderr.contains("is being followed by another crossfade"), "{}", refused.stderr);
    assert!(follower.is_running());
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(follower.id().cast_signed()), nix::sys::signal::Signal::SIGTERM).unwrap();
    follower.finish();

    let lock = held(&green).await;
    let repair = Process::spawn(&mut workspace.command(&["run", "--execute"]));
    staged(&green).await;
    blue.sql(MEANWHILE).await;
    let refused: Ran = workspace.run(&["follow", "--until-caught-up"]).exits(10);
    assert!(refused.stderr.contains("is being followed by another crossfade"), "{}", refused.stderr);
    lock.batch_execute("COMMIT").await.unwrap();
    let ran = repair.finish().exits(0);
    assert_eq!(
        green.value(STATES).await,
        "4 user-4 granted, 6 moved granted, 7 user-7 granted, 8 user-8 granted",
        "{}",
        ran.stderr
    );
    assert_eq!(green.value("SELECT count(*) FROM session").await, blue.value("SELECT count(*) FROM session").await);
}
