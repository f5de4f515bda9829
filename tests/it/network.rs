//! The network fails between crossfade and real servers: answers that are lost after the server did the work, resets in the middle of
//! COPY, connections that go silent, latency and drips. The same command again ends as a run that nobody disturbed: rows equal, nothing
//! done twice, nothing left behind.
//!
//! `CROSSFADE_FAULT_RUNS` is how many moments are drawn of each sort (the suite draws few), `CROSSFADE_FAULT_SEED` which.

use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::sync::OnceCell;

use crate::fingerprint::{assert_same, fingerprint, fingerprints};
use crate::proxy::{At, Blow, Fault, Proxy, Weather};
use crate::support::{Process, Ran, TestDb, Workspace, crossfade, eventually};
use crate::told::{asked, told};

/// Longer than any disturbed command may take; more is stuck.
const STUCK: Duration = Duration::from_secs(180);

/// What changes blue alone, then a copy that follows.
const PLAN: &str = r#"
format = 1
name = "network"
blue = { url_env = "BLUE_DATABASE_URL" }
green = { url_env = "GREEN_DATABASE_URL" }
[limits]
jobs = 2
[[step]]
id = "count"
phase = "expand"
kind = "run_sql"
side = "blue"
sql = ["UPDATE counter SET n = n + 1", "INSERT INTO noted SELECT n FROM counter"]
[[step]]
id = "index"
phase = "expand"
kind = "create_index"
side = "blue"
table = "orders"
name = "orders_customer"
columns = ["customer"]
[[step]]
id = "key"
phase = "expand"
kind = "add_constraint"
side = "blue"
table = "orders"
name = "orders_customer_key"
foreign_key = { columns = ["customer"], references = "customer", referenced_columns = ["id"] }
[[step]]
id = "fill"
phase = "expand"
kind = "backfill"
side = "blue"
table = "orders"
set = { cents = "amount * 100" }
where = "cents IS NULL"
set_aside = false
[[step]]
id = "whole"
phase = "expand"
kind = "set_not_null"
side = "blue"
table = "orders"
column = "cents"
[[step]]
id = "capture"
phase = "capture"
kind = "start_capture"
tables = ["customer", "orders"]
[[step]]
id = "copy"
phase = "copy"
kind = "copy"
tables = ["customer", "orders"]
[[step]]
id = "meanwhile"
phase = "convert"
kind = "run_sql"
side = "blue"
sql = ["UPDATE customer SET note = note || '!' WHERE id % 3 = 0", "DELETE FROM orders WHERE id % 10 = 0"]
[[step]]
id = "follow"
phase = "follow"
kind = "follow"
tables = ["customer", "orders"]
until = { lag = "60s", for = "1ms" }
[[step]]
id = "verify"
phase = "follow"
kind = "verify"
tables = ["customer", "orders"]
"#;

const TABLES: &str = "
    CREATE TABLE customer (id int PRIMARY KEY, note text NOT NULL);
    CREATE TABLE orders (id int PRIMARY KEY, customer int, amount int, cents int, touched int NOT NULL);
    CREATE INDEX orders_amount ON orders (amount);";

/// Each change of an order is counted, so that one that is made twice shows.
const BLUE: &str = "
    CREATE TABLE counter (n int); INSERT INTO counter VALUES (0); CREATE TABLE noted (n int);
    INSERT INTO customer SELECT n, 'note ' || n FROM generate_series(1, 90) AS n;
    INSERT INTO orders SELECT n, 1 + n % 90, n % 50, NULL, 0 FROM generate_series(1, 900) AS n;
    CREATE FUNCTION counted() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.touched = OLD.touched + 1; RETURN NEW; END $$;
    CREATE TRIGGER counted BEFORE UPDATE ON orders FOR EACH ROW EXECUTE FUNCTION counted()";

/// One run, with a proxy in front of each side.
struct Scene {
    blue: TestDb,
    green: TestDb,
    workspace: Workspace,
    to_blue: Proxy,
    to_green: Proxy,
}

impl Scene {
    async fn set() -> Self {
        Self::of(&format!("{TABLES}{BLUE}"), TABLES).await
    }

    async fn of(on_blue: &str, on_green: &str) -> Self {
        let (blue, green) = (TestDb::empty().await, TestDb::empty().await);
        blue.sql(on_blue).await;
        green.sql(on_green).await;
        let (to_blue, to_green) = (Proxy::before(&blue), Proxy::before(&green));
        let mut workspace = Workspace::new(PLAN, &blue, Some(&green));
        workspace.env[0].1 = to_blue.url(&blue);
        workspace.env[1].1 = to_green.url(&green);
        Self { blue, green, workspace, to_blue, to_green }
    }

    fn proxy(&self, green: bool) -> &Proxy {
        if green { &self.to_green } else { &self.to_blue }
    }

    async fn run(&self, words: &[&str]) -> Ran {
        ended(Process::spawn(&mut self.workspace.command(words))).await
    }

    /// A full clone, which makes its plan itself.
    async fn copy(&self) -> Ran {
        let mut command = crossfade();
        command.args(["copy", "--execute", "--jobs", "2"]).envs(self.workspace.env.iter().cloned());
        ended(Process::spawn(command.env("CROSSFADE_STATE", self.workspace.folder.path().join("state")))).await
    }

    async fn state(&self) -> Vec<Vec<String>> {
        fingerprints(&self.blue, Some(&self.green)).await
    }

    /// The same command again until it is done, at most three times.
    async fn ends_as(&self, undisturbed: &[Vec<String>], what: &str) {
        let mut said = String::new();
        for _ in 0..3 {
            let ran = self.run(&["run", "--execute"]).await;
            if ran.code == Some(0) {
                assert_same(what, undisturbed, &self.state().await);
                return self.nothing_is_left(what).await;
            }
            said = ran.stderr;
        }
        panic!("{what}: asked three times; the last one:\n{said}");
    }

    async fn nothing_is_left(&self, what: &str) {
        let left = "SELECT (SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE 'crossfade%') \
                    + (SELECT count(*) FROM pg_index WHERE NOT indisvalid OR NOT indisready) \
                    + (SELECT count(*) FROM pg_prepared_xacts WHERE database = current_database()) \
                    + (SELECT count(*) FROM pg_replication_slots WHERE database = current_database())";
        for side in [&self.blue, &self.green] {
            eventually(what, async || side.value(left).await == "0").await;
        }
    }
}

/// Waits for a process, not for ever.
async fn ended(mut process: Process) -> Ran {
    let began = Instant::now();
    while process.is_running() {
        assert!(began.elapsed() < STUCK, "stuck: it goes on after {STUCK:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    process.finish()
}

/// What a run through the proxies ends with when nothing disturbs it, and how much passed: requests, commits, bytes of COPY in and out,
/// of blue and of green.
struct Undisturbed {
    state: Vec<Vec<String>>,
    passed: [[u64; 4]; 2],
}

async fn undisturbed() -> &'static Undisturbed {
    static FOUND: OnceCell<Undisturbed> = OnceCell::const_new();
    FOUND
        .get_or_init(|| async {
            let scene = Scene::set().await;
            scene.run(&["run", "--execute"]).await.exits(0);
            Undisturbed { state: scene.state().await, passed: [scene.to_blue.passed(), scene.to_green.passed()] }
        })
        .await
}

/// A moment among so many; not among the last, since polls make every run a little different.
fn drawn(random: &mut fastrand::Rng, of: u64) -> u64 {
    random.u64(1..=(of * 7 / 10).max(1))
}

fn random() -> fastrand::Rng {
    fastrand::Rng::with_seed(asked("CROSSFADE_FAULT_SEED", 1))
}

/// Ends of commands that a fault disturbed.
#[derive(Default)]
struct Ends {
    by_itself: u64,
    stopped: u64,
}

impl Ends {
    /// A run under a fault is done by itself, or stops with what to do; nothing else.
    #[track_caller]
    fn add(&mut self, ran: &Ran, what: &str) {
        match ran.code {
            Some(0) => self.by_itself += 1,
            Some(11) => {
                assert!(
                    ran.stderr.contains("next: ") || ran.stderr.contains("cannot connect"),
                    "{what}: no next command:\n{}",
                    ran.stderr
                );
                self.stopped += 1;
            }
            code => panic!("{what}: exit {code:?}\n{}\n{}", ran.stdout, ran.stderr),
        }
    }

    fn tell(&self, fault: &str, how: &str) {
        told(fault, how, self.stopped, "stopped with the next command; the same command ended as undisturbed");
        told(fault, how, self.by_itself, "went on by itself, ended as undisturbed");
    }
}

/// One run under one fault, then the same command. How much passes depends on how long a run takes, which is looked at all the while:
/// a moment that did not come is moved to half of it.
async fn under(ends: &mut Ends, green: bool, mut fault: Fault) {
    let side = if green { "green" } else { "blue" };
    loop {
        let (what, scene) = (format!("{fault:?} on {side}"), Scene::set().await);
        scene.proxy(green).arm(fault);
        let ran = scene.run(&["run", "--execute"]).await;
        if scene.proxy(green).struck() == 0 {
            ran.exits(0);
            fault.at = earlier(fault.at).unwrap_or_else(|| panic!("{what} does not come"));
            continue;
        }
        ends.add(&ran, &what);
        return scene.ends_as(&undisturbed().await.state, &what).await;
    }
}

fn earlier(at: At) -> Option<At> {
    match at {
        At::Request(number) if number > 1 => Some(At::Request(number / 2)),
        At::Commit(number) if number > 1 => Some(At::Commit(number / 2)),
        _ => None,
    }
}

/// The commit happened, and nobody says so.
#[tokio::test(flavor = "multi_thread")]
async fn answers_of_commits_are_lost() {
    let (mut random, mut ends, passed) = (random(), Ends::default(), undisturbed().await.passed);
    for number in 0..asked("CROSSFADE_FAULT_RUNS", 2) {
        let green = number % 2 == 1;
        let at = At::Commit(drawn(&mut random, passed[usize::from(green)][1]));
        under(&mut ends, green, Fault { at, blow: Blow::LoseAnswer, everywhere: random.bool() }).await;
    }
    ends.tell("answer lost after COMMIT", "proxy forwards COMMIT, waits for the answer, drops it, resets the connection");
}

/// Statements whose effect stays although nobody heard of it.
#[tokio::test(flavor = "multi_thread")]
async fn answers_of_statements_outside_transactions_are_lost() {
    let mut ends = Ends::default();
    for words in ["CREATE INDEX CONCURRENTLY", "VALIDATE CONSTRAINT"] {
        under(&mut ends, false, Fault { at: At::Query(words), blow: Blow::LoseAnswer, everywhere: false }).await;
    }
    ends.tell(
        "answer lost of CREATE INDEX CONCURRENTLY, VALIDATE",
        "proxy lets the statement end, drops the answer, resets the connection",
    );
}

/// Any request: answered and not heard, or cut in its middle; one connection, or all of a side.
#[tokio::test(flavor = "multi_thread")]
async fn requests_are_cut_at_random() {
    let (mut random, passed) = (random(), undisturbed().await.passed);
    for (blow, fault, how) in [
        (
            Blow::LoseAnswer,
            "answer lost of any request",
            "proxy, random request of blue or green: answered, not passed on, reset",
        ),
        (
            Blow::Reset,
            "connection reset (RST) in any request",
            "proxy, random request of blue or green: half of it sent, then SO_LINGER 0",
        ),
    ] {
        let mut ends = Ends::default();
        for _ in 0..asked("CROSSFADE_FAULT_RUNS", 2) {
            let green = random.bool();
            let at = At::Request(drawn(&mut random, passed[usize::from(green)][0]));
            under(&mut ends, green, Fault { at, blow, everywhere: random.bool() }).await;
        }
        ends.tell(fault, how);
    }
}

const BIG: &str = "
    CREATE TABLE big (id bigserial PRIMARY KEY, code text UNIQUE, note text);
    INSERT INTO big (code, note) SELECT 'c' || n, repeat(md5(n::text), 8) FROM generate_series(1, 8000) AS n;
    CREATE INDEX big_note ON big (note);
    CREATE TABLE small (id int PRIMARY KEY, big bigint REFERENCES big); INSERT INTO small SELECT n, n FROM generate_series(1, 500) AS n;
    ANALYZE";

/// A clone, cut among the rows it reads or writes.
#[tokio::test(flavor = "multi_thread")]
async fn a_copy_is_reset_in_the_middle_of_its_rows() {
    let mut random = random();
    for green in [false, true] {
        let mut ends = Ends::default();
        for _ in 0..asked("CROSSFADE_FAULT_RUNS", 1) {
            let bytes = random.u64(1..2_000_000);
            let at = if green { At::CopyIn(bytes) } else { At::CopyOut(bytes) };
            let (what, scene) = (format!("reset at {at:?}"), Scene::of(BIG, "SELECT 1").await);
            scene.proxy(green).arm(Fault { at, blow: Blow::Reset, everywhere: random.bool() });
            let ran = scene.copy().await;
            assert_eq!(scene.proxy(green).struck(), 1, "{what} did not come:\n{}", ran.stderr);
            ends.add(&ran, &what);
            scene.copy().await.exits(0);
            assert_same(&what, &[fingerprint(&scene.blue).await], &[fingerprint(&scene.green).await]);
            scene.nothing_is_left(&what).await;
        }
        let direction = if green { "COPY to green" } else { "COPY from blue" };
        ends.tell(&format!("reset in the middle of {direction}"), "proxy, crossfade copy: RST among the rows, at a random byte");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_network_changes_nothing() {
    let drip = ("slow drip", "proxy passes on 29 bytes at a time", Weather { drip: Some(29), ..Weather::default() });
    let latency =
        ("latency", "proxy: each piece 3 ms later, each way", Weather { latency: Duration::from_millis(3), drip: None });
    for (fault, how, weather) in [drip, latency] {
        let scene = Scene::set().await;
        scene.to_blue.weather(weather);
        scene.to_green.weather(weather);
        scene.run(&["run", "--execute"]).await.exits(0);
        assert_same(fault, &undisturbed().await.state, &scene.state().await);
        told(fault, how, 1, "ended as undisturbed");
    }
}

/// A follower meets lost answers by itself, asks green where it is, and goes on.
#[tokio::test(flavor = "multi_thread")]
async fn a_follower_goes_on_by_itself() {
    let (mut random, scene, mut cuts) = (random(), Scene::set().await, 0);
    scene.run(&["run", "--execute"]).await.exits(0);
    let rows = async |db: &TestDb| {
        let lines = fingerprint(db).await;
        lines.into_iter().filter(|line| line.starts_with("rows customer") || line.starts_with("rows orders")).collect::<Vec<_>>()
    };
    for round in 0..2 + asked("CROSSFADE_FAULT_RUNS", 2) {
        for number in 0..5 {
            let id = 1 + random.u32(0..900);
            scene.blue.sql(&format!("UPDATE orders SET amount = amount + 1 WHERE id = {id}")).await;
            let new = 10_000 + round * 10 + number;
            scene.blue.sql(&format!("INSERT INTO orders VALUES ({new}, 1 + {new} % 90, 1, 1, 0)")).await;
        }
        let green = round % 2 == 0;
        let at = if green { At::Commit(1) } else { At::Request(random.u64(30..60)) };
        scene.proxy(green).arm(Fault { at, blow: Blow::LoseAnswer, everywhere: round % 4 == 0 });
        let ran = scene.run(&["follow", "--until-caught-up"]).await.exits(0);
        cuts += u64::from(ran.stderr.contains("waits for a server"));
        assert_eq!(rows(&scene.blue).await, rows(&scene.green).await, "{at:?}:\n{}", ran.stderr);
    }
    assert!(cuts > 0 && scene.to_green.struck() > 0);
    let rounds = scene.to_blue.struck() + scene.to_green.struck();
    told(
        "answer lost of a follower's batch",
        "proxy, COMMIT on green or a request of blue: answered, not passed on, reset",
        rounds,
        "went on by itself, green equal to blue",
    );
    scene.nothing_is_left("after following").await;
}

/// One side answers, the other does not: nothing that watches the first keeps the command from ending.
#[tokio::test(flavor = "multi_thread")]
async fn a_follower_whose_green_is_away_can_be_stopped() {
    let mut scene = Scene::set().await;
    scene.run(&["run", "--execute"]).await.exits(0);
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    scene.workspace.env[1].1 = format!("postgresql://postgres@127.0.0.1:{nobody}/green?sslmode=disable&connect_timeout=2");
    let said = scene.workspace.folder.path().join("said");
    let mut command = scene.workspace.command(&["follow"]);
    let mut child = command.stderr(std::fs::File::create(&said).unwrap()).spawn().unwrap();
    eventually("it waits", async || std::fs::read_to_string(&said).unwrap().contains("waits for a server")).await;
    kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGINT).unwrap();
    let ends = tokio::time::timeout(Duration::from_secs(20), async {
        while child.try_wait().unwrap().is_none() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    let ended = ends.await.is_ok();
    let _ = child.kill();
    assert!(ended, "it goes on after Ctrl-C:\n{}", std::fs::read_to_string(&said).unwrap());
}

/// Every connection of a side goes silent, and both ends stay open: who waits can only be interrupted. What then holds the driver's lock
/// is named until the server gives the dead session up.
#[tokio::test(flavor = "multi_thread")]
async fn connections_that_go_silent() {
    let (mut random, passed) = (random(), undisturbed().await.passed);
    let runs = asked("CROSSFADE_FAULT_RUNS", 1);
    for number in 0..runs {
        let green = number % 2 == 1;
        let mut at = At::Request(drawn(&mut random, passed[usize::from(green)][0]));
        let (scene, mut process) = loop {
            let scene = Scene::set().await;
            scene.proxy(green).arm(Fault { at, blow: Blow::Freeze, everywhere: true });
            let mut process = Process::spawn(&mut scene.workspace.command(&["run", "--execute"]));
            while scene.proxy(green).struck() == 0 && process.is_running() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            if scene.proxy(green).struck() == 1 {
                break (scene, process);
            }
            at = earlier(at).unwrap();
        };
        let pid = Pid::from_raw(process.id().cast_signed());
        kill(pid, Signal::SIGINT).unwrap();
        tokio::time::sleep(Duration::from_millis(300)).await; // the second of two signals is another
        if process.is_running() {
            kill(pid, Signal::SIGINT).unwrap();
        }
        let ran = ended(process).await;
        assert!(matches!(ran.code, Some(11 | 130)), "{at:?}: {:?}\n{}", ran.code, ran.stderr);
        let refused = scene.run(&["run", "--execute"]).await;
        if refused.code != Some(0) {
            for words in ["holds the driver lock", "pg_terminate_backend("] {
                assert!(refused.stderr.contains(words), "{at:?}: `{words}` is not in:\n{}", refused.stderr);
            }
        }
        scene.to_blue.strike(Blow::Reset);
        scene.to_green.strike(Blow::Reset);
        scene.ends_as(&undisturbed().await.state, &format!("silent at {at:?}")).await;
    }
    told(
        "connections go silent (half-open)",
        "proxy forwards nothing and closes nothing; two Ctrl-C, the same command",
        runs,
        "ended as undisturbed; a dead session that holds the lock is named",
    );
}

/// Where this test program is started again as the relay of a network namespace; otherwise no test.
#[test]
fn relay() {
    let Some((port, socket)) = std::env::var("CROSSFADE_TEST_RELAY").ok().and_then(|text| {
        let (port, socket) = text.split_once(':')?;
        Some((port.parse::<u16>().ok()?, socket.to_owned()))
    }) else {
        return;
    };
    let listener = std::net::TcpListener::bind(("127.0.0.1", port)).unwrap();
    for client in listener.incoming() {
        let (mut client, mut server) = (client.unwrap(), std::os::unix::net::UnixStream::connect(&socket).unwrap());
        let (mut back_client, mut back_server) = (client.try_clone().unwrap(), server.try_clone().unwrap());
        std::thread::spawn(move || {
            std::io::copy(&mut client, &mut server).and_then(|_| server.shutdown(std::net::Shutdown::Both))
        });
        std::thread::spawn(move || std::io::copy(&mut back_server, &mut back_client));
    }
}

/// In a network namespace of its own: the relay, the command, and once `cut` is there a queue that drops every packet.
const NAMESPACE: &str = r#"
ip link set lo up || exit 77
tc qdisc add dev lo root pfifo || exit 77
"$RELAY" network::relay --exact --nocapture >/dev/null 2>&1 &
relay=$!
trap 'kill $relay' EXIT
touch "$FOLDER/ready"
"$CROSSFADE" run "$FOLDER/plan.toml" --execute &
run=$!
while [ ! -e "$FOLDER/cut" ]; do sleep 0.02; done
tc qdisc replace dev lo root tbf rate 8bit burst 1 limit 1 || exit 77
wait $run
"#;

/// Packets are really lost, in the middle of a run: with libpq's keywords for dead peers crossfade notices, and stops with what to do.
#[tokio::test(flavor = "multi_thread")]
async fn a_network_that_loses_every_packet_is_noticed() {
    let scene = Scene::set().await;
    let folder = scene.workspace.folder.path();
    let socket = scene.blue.cluster().folder().join(".s.PGSQL.5432");
    let url = |db: &TestDb| {
        format!(
            "postgresql://postgres@127.0.0.1:5999/{}?sslmode=disable&connect_timeout=2&keepalives_idle=1&keepalives_interval=1&keepalives_count=2&tcp_user_timeout=3000",
            db.name()
        )
    };
    let mut command = Command::new("unshare");
    // As root without a user namespace: its files may belong to others.
    command.arg(if nix::unistd::geteuid().is_root() { "-n" } else { "-Urn" }).args(["sh", "-c", NAMESPACE]);
    command
        .env("RELAY", std::env::current_exe().unwrap())
        .env("CROSSFADE", env!("CARGO_BIN_EXE_crossfade"))
        .env("FOLDER", folder);
    command.env("CROSSFADE_TEST_RELAY", format!("5999:{}", socket.display())).env("CROSSFADE_STATE", folder.join("state"));
    command.env("BLUE_DATABASE_URL", url(&scene.blue)).env("GREEN_DATABASE_URL", url(&scene.green));
    // The run waits here, so that the network goes away in its middle.
    let holder = scene.blue.session().await;
    holder.batch_execute("BEGIN; SELECT count(*) FROM orders").await.unwrap();
    let mut process = Process::spawn(&mut command);
    let waits =
        "SELECT count(*) > 0 FROM pg_stat_activity WHERE cardinality(pg_blocking_pids(pid)) > 0 AND datname = current_database()";
    while scene.blue.value(waits).await != "true" {
        if !process.is_running() {
            let ran = process.finish();
            assert!(ran.code == Some(77) || ran.stderr.contains("unshare"), "{:?}\n{}", ran.code, ran.stderr);
            return eprintln!("not tested: packets cannot be dropped here (unshare, ip and tc): {}", ran.stderr.trim());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    std::fs::write(folder.join("cut"), "").unwrap();
    let ran = ended(process).await.exits(11);
    assert!(ran.stderr.contains("next: "), "{}", ran.stderr);
    holder.batch_execute("COMMIT").await.unwrap();
    // The relay is gone with its namespace, and its sessions with it.
    scene.ends_as(&undisturbed().await.state, "every packet was lost").await;
    told(
        "every packet lost",
        "network namespace, tc tbf drops all; tcp_user_timeout=3000, keepalives_idle=1",
        1,
        "noticed, stopped with the next command; the same command ended as undisturbed",
    );
}
