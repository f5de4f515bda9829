//! A copy whose snapshot is held by a process of its own: killed and taken up, shared with workers, paused and slowed down.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::{Process, Ran, TestDb, Workspace, crossfade, eventually};

/// A table of several parts, one of one part, small ones.
const BLUE: &str = "
CREATE TABLE big (id int PRIMARY KEY, pad text NOT NULL);
INSERT INTO big SELECT n, repeat(md5(n::text), 30) FROM generate_series(1, 20000) AS n;
CREATE TABLE middle (id int PRIMARY KEY, pad text); INSERT INTO middle SELECT n, repeat('x', 900) FROM generate_series(1, 1000) AS n;
CREATE TABLE small (id int PRIMARY KEY, big int REFERENCES big); INSERT INTO small SELECT n, n FROM generate_series(1, 100) AS n;
CREATE INDEX small_big ON small (big); ANALYZE";

/// What nobody may see who reads at an earlier snapshot: rows come, go, and move to other blocks.
const CHANGES: &str = "
DELETE FROM small WHERE id > 50; DELETE FROM big WHERE id % 3 = 0 AND id > 100; UPDATE big SET pad = 'changed' WHERE id % 5 = 0;
INSERT INTO big SELECT n, 'new' FROM generate_series(20001, 21000) AS n; UPDATE middle SET pad = pad || '!'";

struct Pair {
    blue: TestDb,
    green: TestDb,
    state: tempfile::TempDir,
}

impl Pair {
    async fn of(sql: &str) -> Self {
        let (blue, green) = (TestDb::empty().await, TestDb::empty().await);
        blue.sql(sql).await;
        Self { blue, green, state: tempfile::tempdir().unwrap() }
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = crossfade();
        command.args(words).env("CROSSFADE_STATE", self.state.path());
        command.env("BLUE_DATABASE_URL", self.blue.url()).env("GREEN_DATABASE_URL", self.green.url());
        command
    }

    fn run(&self, words: &[&str]) -> Ran {
        Ran::of(self.command(words).output().unwrap())
    }

    fn copy(&self) -> Command {
        self.command(&["copy", "--execute", "--jobs", "2"])
    }

    fn plan(&self) -> String {
        self.state.path().join("copy.toml").display().to_string()
    }

    /// Where a command waits at a named place until [`Gate::open`].
    fn waiting(&self, command: &mut Command, place: &str) -> Gate {
        let file = self.state.path().join(format!("waits-{}", place.replace('/', "-")));
        command.env("CROSSFADE_WAIT_AT", place).env("CROSSFADE_WAIT_FILE", &file);
        Gate(file)
    }

    async fn parts(&self) -> usize {
        self.green.value("SELECT count(*) FROM crossfade.copy_part WHERE projection <> '*'").await.parse().unwrap()
    }

    async fn missing(&self) -> usize {
        self.green.value("SELECT count(*) FROM crossfade.copy_missing").await.parse().unwrap()
    }

    /// Nothing of ours is left: no holder, no session of it on either side, no row.
    async fn nothing_is_held(&self) {
        eventually("the holder ended", async || holders(self.state.path()).is_empty()).await;
        for side in [&self.blue, &self.green] {
            let sessions = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE 'crossfade/snapshot/%'";
            eventually("its sessions ended", async || side.value(sessions).await == "0").await;
        }
        assert_eq!(
            self.green
                .value("SELECT (SELECT count(*) FROM crossfade.copy_snapshot) + (SELECT count(*) FROM crossfade.copy_missing)")
                .await,
            "0"
        );
    }
}

/// A place where a command waits.
struct Gate(PathBuf);

impl Gate {
    async fn reached(&self) {
        eventually("the command is at its place", async || self.0.exists()).await;
    }

    fn open(&self) {
        std::fs::remove_file(&self.0).unwrap();
    }
}

/// The rows of every table as number and hash.
async fn content(db: &TestDb) -> Vec<String> {
    let mut found = Vec::new();
    for table in ["big", "middle", "small"] {
        let sql = format!("SELECT count(*) || ' ' || coalesce(sum(hashtextextended(t::text, 0)::numeric), 0) FROM {table} AS t");
        found.push(db.value(&sql).await);
    }
    found
}

/// The holders that commands with this state directory started, by process id.
fn holders(state: &Path) -> Vec<i32> {
    let with = |path: PathBuf, text: &str| {
        std::fs::read(path).is_ok_and(|bytes| bytes.windows(text.len()).any(|window| window == text.as_bytes()))
    };
    let variable = format!("CROSSFADE_STATE={}", state.display());
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let held = processes
        .filter(|entry| with(entry.path().join("cmdline"), "hold-snapshot") && with(entry.path().join("environ"), &variable));
    held.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

fn signal(process: &Process, signal: Signal) {
    kill(Pid::from_raw(i32::try_from(process.id()).unwrap()), signal).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_copy_goes_on_with_the_parts_that_are_missing() {
    let pair = Pair::of(BLUE).await;
    let at_the_snapshot = content(&pair.blue).await;
    // At the plan, with a part sent, after one part, after another.
    for place in ["planned", "part-sent", "part", "part"] {
        let killed = pair.copy().env("CROSSFADE_CRASH_AT", format!("everything/{place}")).output().unwrap();
        assert_eq!(killed.status.code(), None, "it was to be killed at {place}");
        assert_eq!(holders(pair.state.path()).len(), 1, "its snapshot is held by one process");
    }
    pair.blue.sql(CHANGES).await;
    let (before, missing) = (pair.parts().await, pair.missing().await);
    assert!(before >= 2 && missing >= 2, "{before} parts, {missing} missing");
    let status = pair.run(&["status", &pair.plan()]).exits(0);
    assert!(status.stdout.contains(&format!("copy everything: {before} parts with ")), "{}", status.stdout);
    assert!(status.stdout.contains(&format!(" rows are in, {missing} are missing")), "{}", status.stdout);
    pair.green.sql("CREATE TABLE crossfade.seen AS SELECT projection, source, part, done_at FROM crossfade.copy_part").await;

    let resumed = Ran::of(pair.copy().output().unwrap()).exits(0);
    let said = format!("{before} parts are in, {missing} are missing");
    assert!(resumed.stderr.contains(&said), "`{said}` is not in:\n{}", resumed.stderr);
    assert_eq!(pair.parts().await, before + missing);
    let kept = "SELECT count(*) FROM crossfade.seen JOIN crossfade.copy_part USING (projection, source, part, done_at)";
    assert_eq!(pair.green.value(kept).await, before.to_string(), "no part came twice");
    assert_eq!(content(&pair.green).await, at_the_snapshot, "green is blue as the snapshot saw it");
    pair.nothing_is_held().await;
}

/// By projection too, where tables and indexes are there before; and a signal keeps what is committed.
#[tokio::test(flavor = "multi_thread")]
async fn a_killed_copy_step_goes_on_with_the_parts_that_are_missing() {
    let pair = Pair::of(BLUE).await;
    pair.green
        .sql(
            "CREATE TABLE big (id int PRIMARY KEY, pad text NOT NULL); CREATE TABLE middle (id int PRIMARY KEY, pad text); \
                    CREATE TABLE small (id int PRIMARY KEY, big int REFERENCES big); CREATE INDEX small_big ON small (big)",
        )
        .await;
    let plan = "format = 1\nname = \"held\"\n[blue]\nurl_env = \"BLUE_DATABASE_URL\"\n[green]\nurl_env = \"GREEN_DATABASE_URL\"\n\
                [limits]\njobs = 2\n[[step]]\nid = \"fill\"\nphase = \"copy\"\nkind = \"copy\"\ntables = [\"big\", \"middle\", \"small\"]\n";
    let workspace = Workspace::new(plan, &pair.blue, Some(&pair.green));
    let command = || {
        let mut command = workspace.command(&["run", "--execute"]);
        command.env("CROSSFADE_STATE", pair.state.path());
        command
    };
    let at_the_snapshot = content(&pair.blue).await;
    let killed = command().env("CROSSFADE_CRASH_AT", "fill/part").output().unwrap();
    assert_eq!(killed.status.code(), None, "it was to be killed");
    pair.blue.sql(CHANGES).await;

    let mut stopped = command();
    let gate = pair.waiting(&mut stopped, "fill/part");
    let stopped = Process::spawn(&mut stopped);
    gate.reached().await;
    signal(&stopped, Signal::SIGTERM);
    gate.open();
    let stopped = stopped.finish().exits(130);
    assert!(stopped.stderr.contains("goes on from the snapshot that was held"), "{}", stopped.stderr);
    let (before, missing) = (pair.parts().await, pair.missing().await);
    assert!(before >= 2 && missing >= 1, "{before} parts, {missing} missing");

    let resumed = Ran::of(command().output().unwrap()).exits(0);
    assert!(resumed.stderr.contains(&format!("{before} parts are in, {missing} are missing")), "{}", resumed.stderr);
    assert_eq!(content(&pair.green).await, at_the_snapshot);
    assert_eq!(pair.green.value("SELECT count(*) FROM pg_index JOIN pg_class c ON c.oid = indrelid WHERE indisvalid AND relnamespace = 'public'::regnamespace").await, "4");
    assert_eq!(pair.green.value("SELECT count(*) FROM pg_constraint WHERE contype = 'f' AND convalidated").await, "1");
    pair.nothing_is_held().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_its_snapshot_a_copy_says_why_it_begins_again() {
    let pair = Pair::of(BLUE).await;
    let killed = pair.copy().env("CROSSFADE_CRASH_AT", "everything/part").output().unwrap();
    assert_eq!(killed.status.code(), None, "it was to be killed");
    let [holder] = holders(pair.state.path())[..] else { panic!("one holder") };
    kill(Pid::from_raw(holder), Signal::SIGKILL).unwrap();
    pair.blue.sql(CHANGES).await;
    let again = Ran::of(pair.copy().output().unwrap()).exits(0);
    assert!(again.stderr.contains("nobody holds their snapshot any more"), "{}", again.stderr);
    assert_eq!(content(&pair.green).await, content(&pair.blue).await);
    pair.nothing_is_held().await;

    // A new run is killed; what is taken back holds nothing, and neither does one whose time is over or whose database is gone.
    pair.run(&["rollback", &pair.plan(), "--execute"]).exits(0);
    let kill_at = |place: &str, time: &str| {
        let mut command = pair.command(&["copy", "--execute", "--new", "--hold-snapshot", time]);
        assert_eq!(command.env("CROSSFADE_CRASH_AT", format!("everything/{place}")).output().unwrap().status.code(), None);
    };
    kill_at("snapshot", "1h");
    assert_eq!(holders(pair.state.path()).len(), 1);
    pair.run(&["rollback", &pair.plan(), "--execute"]).exits(0);
    pair.nothing_is_held().await;
    kill_at("part", "1h");
    pair.run(&["rollback", &pair.plan(), "--execute"]).exits(0);
    pair.nothing_is_held().await;
    kill_at("part", "1s");
    eventually("its time is over", async || holders(pair.state.path()).is_empty()).await;
    pair.run(&["rollback", &pair.plan(), "--execute"]).exits(0);
    kill_at("part", "0s");
    assert_eq!(holders(pair.state.path()), [0; 0], "nobody was to hold it");
    pair.run(&["rollback", &pair.plan(), "--execute"]).exits(0);
    kill_at("part", "1h");
    let Pair { blue, green, state } = pair;
    drop(blue);
    eventually("blue is gone", async || holders(state.path()).is_empty()).await;
    drop(green);
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_come_and_die_and_the_driver_ends_alone() {
    let pair = Pair::of(BLUE).await;
    let nobody = pair.run(&["copy-worker"]).exits(2);
    assert!(nobody.stderr.contains("no copy loads rows into this green now"), "{}", nobody.stderr);
    let worker = || pair.command(&["copy-worker", "--jobs", "1", "--wait", "20s"]);
    let early = Process::spawn(worker().env("CROSSFADE_CRASH_AT", "copy-worker/part-sent"));
    let mut driver = pair.command(&["copy", "--execute", "--jobs", "1"]);
    let gate = pair.waiting(&mut driver, "everything/part");
    let driver = Process::spawn(&mut driver);
    gate.reached().await;
    assert_eq!(early.finish().code, None, "it was to be killed with a part in its hands");
    // The driver rests with the first part: all other parts but the small tables' are for whoever comes.
    let (one, two) = (Process::spawn(&mut worker()), Process::spawn(&mut worker()));
    let brought = |ran: Ran| -> usize {
        let text = ran.exits(0).stdout;
        text.strip_prefix("brought ").and_then(|rest| rest.split(' ').next()).unwrap().parse().unwrap()
    };
    let all = brought(one.finish()) + brought(two.finish());
    assert_eq!(pair.missing().await, 1, "the small table is the driver's");
    assert_eq!(all + 1, pair.parts().await);
    assert!(all >= 4, "{all} parts by workers");
    gate.open();
    let driven = driver.finish().exits(0);
    assert!(driven.stderr.contains(&format!("{all} parts by workers elsewhere")), "{}", driven.stderr);
    assert_eq!(content(&pair.green).await, content(&pair.blue).await);
    pair.nothing_is_held().await;
    pair.run(&["rollback", &pair.plan(), "--execute"]).exits(0);

    // One dies with a part in its hands while the driver is at work; one is there when the copy is taken back.
    let mut driver = pair.command(&["copy", "--execute", "--jobs", "1", "--new"]);
    let gate = pair.waiting(&mut driver, "everything/part");
    let driver = Process::spawn(&mut driver);
    gate.reached().await;
    let mut held = worker();
    let in_hand = pair.waiting(&mut held, "copy-worker/part-sent");
    let held = Process::spawn(&mut held);
    in_hand.reached().await;
    gate.open();
    eventually("the driver waits for the part", async || pair.missing().await == 1).await;
    drop(held); // kill -9
    driver.finish().exits(0);
    assert_eq!(content(&pair.green).await, content(&pair.blue).await);
    pair.nothing_is_held().await;
    pair.run(&["rollback", &pair.plan(), "--execute"]).exits(0);

    let killed = pair.command(&["copy", "--execute", "--new"]).env("CROSSFADE_CRASH_AT", "everything/part").output().unwrap();
    assert_eq!(killed.status.code(), None);
    let mut held = worker();
    std::fs::remove_file(&in_hand.0).unwrap();
    let in_hand = pair.waiting(&mut held, "copy-worker/part-sent");
    let held = Process::spawn(&mut held);
    in_hand.reached().await;
    pair.run(&["rollback", &pair.plan(), "--execute"]).exits(0);
    in_hand.open();
    let over = held.finish().exits(0);
    assert!(over.stdout.contains("brought 0 parts"), "{}", over.stdout);
    pair.nothing_is_held().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_pauses_for_a_person_and_for_its_limits() {
    let pair = Pair::of("CREATE TABLE big (id int PRIMARY KEY, pad text); INSERT INTO big SELECT n, repeat('x', 1000) FROM generate_series(1, 4000) AS n; \
                         CREATE TABLE middle (id int); CREATE TABLE small (id int); ANALYZE").await;
    let nothing = |words: &[&str]| {
        let ran = pair.run(words).exits(2);
        assert!(ran.stderr.contains("loads no rows now") || ran.stderr.contains("has no run"), "{}", ran.stderr);
    };
    pair.run(&["copy"]).exits(0);
    nothing(&["pause", &pair.plan()]);
    // By a signal, and on by a command; by a command, and on by a signal.
    let paused = "SELECT paused FROM crossfade.copy_snapshot";
    let looks =
        "SELECT count(*) FROM crossfade.copy_snapshot WHERE paused AND driven_at > now() - interval '5 s' AND driven_at > ";
    for by_signal in [true, false] {
        let mut driver = pair.command(&["copy", "--execute", "--new"]);
        let gate = pair.waiting(&mut driver, "everything/planned");
        let driver = Process::spawn(&mut driver);
        gate.reached().await;
        if by_signal {
            signal(&driver, Signal::SIGUSR1);
        } else {
            let told = pair.run(&["pause", &pair.plan()]).exits(0);
            assert!(told.stdout.contains("everything paused"), "{}", told.stdout);
        }
        gate.open();
        eventually("the driver pauses", async || pair.green.value(paused).await == "true").await;
        let since = pair.green.value("SELECT driven_at FROM crossfade.copy_snapshot").await;
        eventually("the driver looked again", async || pair.green.value(&format!("{looks} '{since}'")).await == "1").await;
        assert_eq!(pair.parts().await, 0, "a paused copy loads nothing");
        let status = pair.run(&["status", &pair.plan()]).exits(0);
        assert!(status.stdout.contains("paused: `crossfade resume` lets it go on"), "{}", status.stdout);
        if by_signal {
            pair.run(&["resume", &pair.plan()]).exits(0);
        } else {
            signal(&driver, Signal::SIGUSR2);
        }
        let ran = driver.finish().exits(0);
        for words in ["everything: paused: ", "everything: goes on"] {
            assert!(ran.stderr.contains(words), "`{words}` is not in:\n{}", ran.stderr);
        }
        nothing(&["resume", &pair.plan()]);
        pair.run(&["rollback", &pair.plan(), "--execute"]).exits(0);
    }

    // While others are at work.
    let busy = pair.blue.session().await;
    let pid = busy.pid();
    let work = tokio::spawn(async move { busy.batch_execute("SET application_name = 'other'; SELECT pg_sleep(600)").await });
    let active = format!("SELECT count(*) FROM pg_stat_activity WHERE pid = {pid} AND state = 'active'");
    eventually("somebody is at work", async || pair.blue.value(&active).await == "1").await;
    let driver = Process::spawn(&mut pair.command(&["copy", "--execute", "--new", "--max-active-sessions", "0"]));
    let waits = "SELECT coalesce((SELECT waits FROM crossfade.copy_snapshot), '')";
    eventually("the driver waits", async || {
        pair.green.value("SELECT to_regclass('crossfade.copy_snapshot') IS NOT NULL").await == "true"
            && pair.green.value(waits).await.contains("sessions of others at work: 1 (max_active_sessions is 0)")
    })
    .await;
    assert_eq!(pair.parts().await, 0);
    pair.blue.sql(&format!("SELECT pg_terminate_backend({pid})")).await;
    assert!(work.await.unwrap().is_err());
    driver.finish().exits(0);
    pair.run(&["rollback", &pair.plan(), "--execute"]).exits(0);

    // So many bytes need at least so long.
    let began = Instant::now();
    pair.run(&["copy", "--execute", "--new", "--max-rate", "4 MB"]).exits(0);
    assert!(began.elapsed().as_secs_f64() > 0.7, "4 MB at 4 MB/s took {:?}", began.elapsed());
    assert_eq!(content(&pair.green).await, content(&pair.blue).await);
    pair.nothing_is_held().await;
}
