//! Whole plans under faults at random moments: kill -9 of the process group, Ctrl-C, a backend of ours ended, either server
//! stopped at once and started again. The same command again, however often it was disturbed, ends as a run that nobody disturbed,
//! or a rollback ends where it began; nothing is lost that blue committed meanwhile, and nothing is left behind.
//!
//! `tests/torture COUNT SEED` runs many and prints `N runs, 0 lost, 0 stuck`; the test suite runs a few. A run that fails names its
//! seed and number: `CROSSFADE_TORTURE_ONLY=NUMBER tests/torture COUNT SEED` runs that one alone.

use std::collections::BTreeMap;
use std::os::unix::process::CommandExt;
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crossfade::shadow::{Binaries, Cluster};
use futures_util::FutureExt;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use crate::fingerprint::{assert_same, fingerprint};
use crate::hydra::{self, make_1_0_0, make_1_11_10, make_1_11_10_of};
use crate::revocations::GRANT;
use crate::support::{Ran, TestDb, Workspace, entries, eventually, nothing_left, start};
use crate::takeover::{equal, patient_plan, write};

/// Longer than any disturbed command may take; more is stuck.
const STUCK: Duration = Duration::from_secs(180);
/// How often the last command may be asked again when it stops with a reason: a server that came back a moment ago.
const PATIENCE: u32 = 4;

/// What is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Journey {
    /// `plans/hydra-1x-in-place.toml`
    InPlace,
    /// `plans/hydra-2x-blue-green.toml`, clients writing on blue all the while
    BlueGreen,
    /// `plans/hydra-2x-restore-migrate.toml`, the same
    RestoreMigrate,
    /// `crossfade copy`
    Clone,
    /// `plans/hydra-2x-cutover.toml` with its switch, and back again when it is taken back
    Cutover,
}

impl Journey {
    /// Long ones seldom.
    const DRAWN: [Journey; 12] = [
        Journey::InPlace,
        Journey::Clone,
        Journey::Cutover,
        Journey::InPlace,
        Journey::Clone,
        Journey::BlueGreen,
        Journey::InPlace,
        Journey::Clone,
        Journey::Cutover,
        Journey::InPlace,
        Journey::Clone,
        Journey::RestoreMigrate,
    ];

    fn is_written_to(self) -> bool {
        matches!(self, Journey::BlueGreen | Journey::RestoreMigrate | Journey::Cutover)
    }

    /// How much longer than [`Journey::InPlace`] it takes, about.
    fn length(self) -> f64 {
        match self {
            Journey::InPlace | Journey::Clone => 1.0,
            Journey::BlueGreen => 2.7,
            Journey::Cutover => 4.7,
            Journey::RestoreMigrate => 8.0,
        }
    }
}

/// What is done to a command that is at work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fault {
    KillGroup,
    Interrupt,
    EndBackend { green: bool },
    CrashServer { green: bool },
}

impl Fault {
    fn drawn(random: &mut fastrand::Rng) -> Self {
        let green = random.bool();
        match random.u32(0..10) {
            0..=4 => Fault::KillGroup,
            5 => Fault::Interrupt,
            6..=7 => Fault::EndBackend { green },
            _ => Fault::CrashServer { green },
        }
    }
}

/// Green's server of one worker, and the databases its runs begin with, on blue's.
struct Place {
    green: Arc<Cluster>,
    before: BTreeMap<Journey, TestDb>,
    /// What runs that nobody disturbed end with: blue, green.
    after: BTreeMap<Journey, Vec<Vec<String>>>,
    /// How long [`Journey::InPlace`] took undisturbed: faults fall into a journey's time.
    usual: Duration,
}

/// One run's databases and files.
struct Scene {
    blue: TestDb,
    green: TestDb,
    workspace: Workspace,
    journey: Journey,
}

impl Scene {
    async fn set(place: &Place, journey: Journey) -> Self {
        let blue = TestDb::copy_of(&place.before[&journey]).await;
        let green = TestDb::empty_on(&place.green).await;
        let workspace = match journey {
            Journey::BlueGreen => Workspace::new(&patient_plan("hydra-2x-blue-green.toml"), &blue, Some(&green)),
            Journey::RestoreMigrate => Workspace::new(&patient_plan("hydra-2x-restore-migrate.toml"), &blue, Some(&green)),
            Journey::Cutover => {
                let folder = tempfile::tempdir().unwrap();
                std::os::unix::fs::symlink("blue", folder.path().join("now")).unwrap();
                std::fs::write(folder.path().join("plan.toml"), cutover_plan(folder.path())).unwrap();
                Workspace::at(folder, &blue, Some(&green))
            }
            Journey::InPlace | Journey::Clone => Workspace::at(tempfile::tempdir().unwrap(), &blue, Some(&green)),
        };
        std::fs::create_dir(workspace.folder.path().join("tmp")).unwrap();
        Self { blue, green, workspace, journey }
    }

    fn command(&self, back: bool) -> Command {
        let word = if back { "rollback" } else { "run" };
        let folder = self.workspace.folder.path();
        let mut command = match self.journey {
            Journey::InPlace => self.workspace.command_on(&[word, "--execute"], &hydra::plan("hydra-1x-in-place.toml")),
            Journey::BlueGreen | Journey::RestoreMigrate => self.workspace.command(&[word, "--execute"]),
            Journey::Cutover if back => self.workspace.command(&[word, "--execute", "--allow-hooks"]),
            Journey::Cutover => self.workspace.command(&[word, "--execute", "--allow-hooks", "--approve", "switch"]),
            Journey::Clone if back => self.workspace.command_on(&[word, "--execute"], &folder.join("state").join("copy.toml")),
            Journey::Clone => {
                let mut command = crate::support::crossfade();
                command.args(["copy", "--execute", "--blue", &self.blue.url(), "--green", &self.green.url()]);
                command.env("CROSSFADE_STATE", folder.join("state"));
                command
            }
        };
        command.env("TMPDIR", folder.join("tmp")).process_group(0).stdin(Stdio::null());
        command
    }

    /// Whether a run has begun, so that there is something to take back.
    fn has_begun(&self) -> bool {
        fn journals(folder: &Path) -> bool {
            entries(folder).iter().any(|path| match path.is_dir() {
                true => journals(path),
                false => path.extension().is_some_and(|end| end == "jsonl"),
            })
        }
        journals(&self.workspace.folder.path().join("state"))
    }

    /// What the command that is disturbed says.
    fn said(&self) -> PathBuf {
        self.workspace.folder.path().join("said")
    }

    /// The side that the program which takes part in the switch serves.
    fn linked(&self) -> String {
        std::fs::read_link(self.workspace.folder.path().join("now")).unwrap().display().to_string()
    }

    fn server(&self, green: bool) -> &TestDb {
        if green { &self.green } else { &self.blue }
    }

    /// Runs the command and disturbs it; it may also end before.
    async fn disturb(&self, back: bool, fault: Fault, after: Duration) {
        let said = std::fs::File::create(self.said()).unwrap();
        let mut child = self.command(back).stdout(Stdio::null()).stderr(said).spawn().unwrap();
        let until = Instant::now() + after;
        while Instant::now() < until && child.try_wait().unwrap().is_none() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        match fault {
            Fault::KillGroup => {
                let _ = killpg(group(&child), Signal::SIGKILL);
                child.wait().unwrap();
            }
            Fault::Interrupt => {
                let _ = killpg(group(&child), Signal::SIGINT);
                self.ends(child, "after Ctrl-C").await;
            }
            Fault::EndBackend { green } => {
                let end = "SELECT count(pg_terminate_backend(pid)) FROM (SELECT pid FROM pg_stat_activity \
                           WHERE datname = current_database() AND application_name LIKE 'crossfade%' ORDER BY random() LIMIT 1) AS b";
                self.server(green).value(end).await;
                self.ends(child, "after the end of a backend").await;
            }
            Fault::CrashServer { green } => {
                let server = self.server(green).cluster();
                server.stop_at_once().await.unwrap();
                tokio::time::sleep(Duration::from_millis(100)).await;
                server.start_again().await.unwrap();
                self.ends(child, "after a server's crash").await;
            }
        }
    }

    async fn ends(&self, mut child: Child, when: &str) {
        let began = Instant::now();
        while child.try_wait().unwrap().is_none() {
            if began.elapsed() > STUCK {
                let _ = killpg(group(&child), Signal::SIGKILL);
                child.wait().unwrap();
                panic!("stuck: it goes on {when}:\n{}", std::fs::read_to_string(self.said()).unwrap());
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Runs the command undisturbed until it is done. Green's migrations cannot be undone: then green is made anew.
    async fn finish(&self, back: bool) {
        let (mut said, mut anew) = (String::new(), false);
        for _ in 0..PATIENCE {
            let mut command = self.command(back);
            let ran = tokio::task::spawn_blocking(move || Ran::of(command.output().unwrap()));
            let ran = tokio::time::timeout(STUCK, ran).await.expect("stuck: it does not end").unwrap();
            if ran.code == Some(0) {
                return;
            }
            if back
                && self.journey == Journey::RestoreMigrate
                && !anew
                && ran.stderr.contains("step migrate-green cannot be undone")
            {
                self.green.make_anew().await;
                anew = true;
                continue;
            }
            said = format!("exit {:?}\n{}\n{}", ran.code, ran.stdout, ran.stderr);
        }
        panic!("stuck: asked {PATIENCE} times; the last one: {said}");
    }
}

/// The shipped plan without what needs the router (other tests have it): a program takes part in the switch instead. Its watches
/// look at the router, and the end of the way back would leave nothing to take back.
fn cutover_plan(folder: &Path) -> String {
    let text = patient_plan("hydra-2x-cutover.toml");
    let (head, steps) = text.split_once("\n[[step]]\n").unwrap();
    let needed = |step: &&str| !["watch", "end_way_back"].iter().any(|kind| step.contains(&format!("kind = \"{kind}\"")));
    let steps: Vec<&str> = steps.split("\n[[step]]\n").filter(needed).collect();
    let router = "kind = \"router\"\nname = \"router\"\nsocket = \"router-state/admin.sock\"\n";
    let (now, text) = (folder.join("now").display().to_string(), [&[head], steps.as_slice()].concat().join("\n[[step]]\n"));
    assert!(text.contains(router) && text.contains("max_lag = \"2s\""));
    let link = format!(
        "kind = \"command\"\nname = \"link\"\nto_blue = [\"ln\", \"-sfn\", \"blue\", \"{now}\"]\n\
         to_green = [\"ln\", \"-sfn\", \"green\", \"{now}\"]\nprobe = [\"sh\", \"-c\", \"test $(readlink {now}) = green\"]\n"
    );
    text.replace(router, &link).replace("max_lag = \"2s\"", "max_lag = \"1m\"")
}

/// Whether clients may write.
async fn is_open(db: &TestDb) -> bool {
    let session = db.session().await;
    session.batch_execute("BEGIN; UPDATE hydra_client SET client_name = client_name WHERE false; ROLLBACK").await.is_ok()
}

fn group(child: &Child) -> Pid {
    Pid::from_raw(child.id().cast_signed())
}

impl Place {
    async fn make() -> Self {
        let binaries = Binaries::find().unwrap();
        let (blue, green) = (start(&binaries).await, start(&binaries).await);
        let (old, new) = (TestDb::empty_on(&blue).await, TestDb::empty_on(&blue).await);
        make_1_0_0(&old, 120, hydra::PLANTED).await;
        make_1_11_10(&new).await;
        let written = TestDb::copy_of(&new).await;
        // Without rows that break blue's own foreign keys: no clone of those could have the keys.
        let cloned = TestDb::empty_on(&blue).await;
        make_1_11_10_of(&cloned, 120, 0).await;
        new.sql(GRANT).await;
        written.sql(GRANT).await;
        let switched = TestDb::copy_of(&new).await;
        cloned.sql("DROP SCHEMA crossfade CASCADE").await;
        let before = BTreeMap::from([
            (Journey::InPlace, old),
            (Journey::BlueGreen, new),
            (Journey::RestoreMigrate, written),
            (Journey::Clone, cloned),
            (Journey::Cutover, switched),
        ]);
        let mut place = Self { green, before, after: BTreeMap::new(), usual: Duration::ZERO };
        for journey in [Journey::InPlace, Journey::Clone] {
            let scene = Scene::set(&place, journey).await;
            let began = Instant::now();
            scene.finish(false).await;
            if journey == Journey::InPlace {
                place.usual = began.elapsed();
            }
            place.after.insert(journey, vec![fingerprint(&scene.blue).await, fingerprint(&scene.green).await]);
        }
        place
    }

    /// One run: what was done to it.
    async fn run(&self, random: &mut fastrand::Rng, journey: Journey) -> (Vec<Fault>, bool) {
        let scene = Scene::set(self, journey).await;
        let before = [fingerprint(&scene.blue).await, fingerprint(&scene.green).await];
        let stop = Arc::new(AtomicBool::new(false));
        let writer = journey.is_written_to().then(|| tokio::spawn(write_on(scene.blue.database(), Arc::clone(&stop))));
        let mut faults = Vec::new();
        let usual = self.usual.mul_f64(journey.length());
        for _ in 0..random.u32(1..=4) {
            let fault = Fault::drawn(random);
            faults.push(fault);
            scene.disturb(false, fault, usual.mul_f64(random.f64())).await;
        }
        let back = random.u32(0..3) == 0 && scene.has_begun();
        if back {
            for _ in 0..random.u32(0..=2) {
                let fault = Fault::drawn(random);
                faults.push(fault);
                scene.disturb(true, fault, usual.mul_f64(random.f64() / 2.0)).await;
            }
        }
        scene.finish(back).await;
        stop.store(true, Ordering::Relaxed);
        if let Some(writer) = writer {
            writer.await.unwrap();
        }
        if journey == Journey::Cutover {
            let (serves, other) = if back { (&scene.blue, &scene.green) } else { (&scene.green, &scene.blue) };
            assert_eq!(scene.linked(), if back { "blue" } else { "green" }, "lost: what takes part serves another side");
            assert!(back || !is_open(other).await, "lost: both sides take writes");
            assert!(back || is_open(serves).await, "stuck: no side takes writes");
        }
        match (back, journey) {
            (true, _) => {
                // What clients wrote meanwhile stays on blue.
                let found = [fingerprint(&scene.blue).await, fingerprint(&scene.green).await];
                let kept = |side: &Vec<String>| -> Vec<String> {
                    let rows = |line: &&String| !(journey.is_written_to() && line.starts_with("rows "));
                    side.iter().filter(rows).cloned().collect()
                };
                assert_same("lost: after the rollback", &before.each_ref().map(kept), &found.each_ref().map(kept));
            }
            (false, Journey::BlueGreen | Journey::RestoreMigrate) => {
                let mut follow = scene.workspace.command(&["follow", "--until-caught-up"]);
                tokio::task::spawn_blocking(move || Ran::of(follow.output().unwrap()).exits(0)).await.unwrap();
                equal(&scene.blue, &scene.green).await;
            }
            (false, Journey::Cutover) => equal(&scene.blue, &scene.green).await,
            (false, Journey::InPlace | Journey::Clone) => {
                let found = vec![fingerprint(&scene.blue).await, fingerprint(&scene.green).await];
                assert_same("lost: after the run", &self.after[&journey], &found);
            }
        }
        let left = "SELECT (SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE 'crossfade%') \
                    + (SELECT count(*) FROM pg_index WHERE NOT indisvalid OR NOT indisready) + (SELECT count(*) FROM pg_prepared_xacts) \
                    + (SELECT count(*) FROM pg_replication_slots)";
        for side in [&scene.blue, &scene.green] {
            eventually("no backend, invalid index, prepared transaction or slot is left", async || side.value(left).await == "0")
                .await;
        }
        let temporary = scene.workspace.folder.path().join("tmp");
        nothing_left(&temporary, "the run").await;
        (faults, back)
    }
}

/// Clients of blue: each statement as often as it takes, whatever happens to the server.
async fn write_on(blue: crossfade::pg::Database, stop: Arc<AtomicBool>) {
    let mut number = 0;
    let mut session = None;
    while !stop.load(Ordering::Relaxed) {
        if session.is_none() {
            session = blue.connect("test").await.ok();
        }
        let Some(open) = &session else {
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        };
        for statement in write(number) {
            if open.batch_execute(&statement).await.is_err() {
                session = None; // unknown whether it committed: the next number is another session's
                break;
            }
        }
        number += 1;
        tokio::time::sleep(Duration::from_millis(40)).await;
    }
}

fn asked(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name}={text} is not a number")))
}

/// What a worker did: runs by journey and way, faults, and the runs that ended otherwise than they must.
type Told = (BTreeMap<(Journey, bool), u32>, BTreeMap<Fault, u32>, Vec<String>);

/// Takes runs until none is left.
async fn work(seed: u64, next: &AtomicU64, numbers: &[u64]) -> Told {
    let place = Place::make().await;
    let (mut runs, mut faults, mut bad) = (BTreeMap::new(), BTreeMap::new(), Vec::new());
    while let Some(number) = numbers.get(usize::try_from(next.fetch_add(1, Ordering::Relaxed)).unwrap()) {
        let mut random = fastrand::Rng::with_seed(seed.wrapping_mul(1_000_003).wrapping_add(*number));
        let journey = Journey::DRAWN[usize::try_from(*number).unwrap() % Journey::DRAWN.len()];
        match AssertUnwindSafe(place.run(&mut random, journey)).catch_unwind().await {
            Ok((done, back)) => {
                *runs.entry((journey, back)).or_insert(0) += 1;
                done.into_iter().for_each(|fault| *faults.entry(fault).or_insert(0) += 1);
            }
            Err(why) => {
                let why = why.downcast_ref::<String>().cloned().or_else(|| why.downcast_ref::<&str>().map(ToString::to_string));
                bad.push(format!("run {number} ({journey:?}): {}", why.unwrap_or_default()));
            }
        }
    }
    (runs, faults, bad)
}

#[test]
fn disturbed_runs_end_as_undisturbed_ones() {
    let count = asked("CROSSFADE_TORTURE").unwrap_or(3);
    let seed = asked("CROSSFADE_TORTURE_SEED").unwrap_or(1);
    let only = asked("CROSSFADE_TORTURE_ONLY");
    let numbers: Vec<u64> = (0..count).filter(|number| only.is_none_or(|only| only == *number)).collect();
    let (began, next) = (Instant::now(), AtomicU64::new(0));
    let worker = || {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(work(seed, &next, &numbers))
    };
    let told: Vec<Told> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..asked("CROSSFADE_TORTURE_WORKERS").unwrap_or(1)).map(|_| scope.spawn(worker)).collect();
        workers.into_iter().map(|worker| worker.join().unwrap()).collect()
    });
    let (mut runs, mut faults, mut bad) = (BTreeMap::new(), BTreeMap::new(), Vec::new());
    for (more, met, wrong) in told {
        more.into_iter().for_each(|(key, n)| *runs.entry(key).or_insert(0) += n);
        met.into_iter().for_each(|(key, n)| *faults.entry(key).or_insert(0) += n);
        bad.extend(wrong);
    }
    for ((journey, back), runs) in &runs {
        println!("{journey:?}, {}: {runs} runs", if *back { "taken back" } else { "to its end" });
    }
    for (fault, times) in &faults {
        println!("{fault:?}: {times} times");
    }
    let stuck = bad.iter().filter(|why| why.contains("stuck")).count();
    println!(
        "seed {seed}: {} runs, {} lost, {stuck} stuck, in {:.0} s",
        numbers.len(),
        bad.len() - stuck,
        began.elapsed().as_secs_f64()
    );
    assert!(bad.is_empty(), "seed {seed}:\n{}", bad.join("\n\n"));
}
