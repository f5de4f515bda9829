//! Following: after every batch green is what the projections give at the batch's snapshot, whatever blue's clients do.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crossfade::engine::latest_run;
use crossfade::follow::{Batch, Follower, Moment, Passed, Setup};
use crossfade::pg::{Opener, Session, Snapshot};
use crossfade::projection::{Bound, ProjectionSet, Target, bind, identity, load};
use crossfade::shadow::{Binaries, Cluster};
use crossfade::sql::QualifiedName;
use crossfade::verify::compare;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::hydra::{blue_1_11_10, logical_1_11_10, plan as shipped};
use crate::support::{Process, Ran, TestDb, Workspace, cluster, logical_cluster, start, start_logical};

const HEAD: &str =
    "format = 1\nname = \"follows\"\nblue = { url_env = \"BLUE_DATABASE_URL\" }\ngreen = { url_env = \"GREEN_DATABASE_URL\" }\n";

/// How changes become known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    Triggers,
    Slot,
}

impl Source {
    /// More keys of `start_capture`.
    fn keys(self) -> &'static str {
        match self {
            Source::Triggers => "",
            Source::Slot => "source = \"slot\"\nset_replica_identity = true",
        }
    }

    fn cluster(self) -> &'static Arc<Cluster> {
        match self {
            Source::Triggers => cluster(),
            Source::Slot => logical_cluster(),
        }
    }

    pub async fn start(self, binaries: &Binaries) -> Arc<Cluster> {
        match self {
            Source::Triggers => start(binaries).await,
            Source::Slot => start_logical(binaries).await,
        }
    }
}

/// Each of these for both sources.
macro_rules! for_both {
    ($($name:ident)*) => {
        mod by_triggers {
            $(#[tokio::test(flavor = "multi_thread")] async fn $name() { super::$name(super::Source::Triggers).await; })*
        }
        mod from_a_slot {
            $(#[tokio::test(flavor = "multi_thread")] async fn $name() { super::$name(super::Source::Slot).await; })*
        }
    };
}

for_both! {
    joined_tables_follow_eight_writers
    tables_that_are_truncated_follow_batches_read_ahead
    hydra_follows_eight_writers
    values_that_move_between_rows_follow
    a_truncated_table_follows
    ddl_on_blue_stops_with_the_table_and_the_next_command
    a_kill_at_any_place_of_a_batch_loses_nothing
    a_crash_of_either_server_is_waited_for
    a_huge_transaction_needs_little_memory
    the_step_ends_close_behind_and_verify_is_exact_under_writers
}

/// `[[step]]` tables: capture, copy, and what comes after.
fn plan(source: Source, keys: &str, after: &[(&str, &str)]) -> String {
    let step = |id: &str, phase: &str, kind: &str, more: &str| {
        format!("[[step]]\nid = \"{id}\"\nphase = \"{phase}\"\nkind = \"{kind}\"\n{keys}\n{more}\n")
    };
    let mut text =
        HEAD.to_owned() + &step("start", "capture", "start_capture", source.keys()) + &step("fill", "copy", "copy", "");
    for (kind, more) in after {
        text += &step(&format!("the-{kind}"), "follow", kind, more);
    }
    text
}

/// A run that has copied, on databases of its own.
pub struct Pair {
    pub workspace: Workspace,
    pub blue: TestDb,
    pub green: TestDb,
    set: ProjectionSet,
    tables: Vec<QualifiedName>,
}

impl Pair {
    /// Tables that are the same on both sides.
    async fn same(source: Source, sql: &str, rows: &str, tables: &[&str], after: &[(&str, &str)]) -> Self {
        let (blue, green) = (TestDb::empty_on(source.cluster()).await, TestDb::empty().await);
        blue.sql(sql).await;
        green.sql(sql).await;
        blue.sql(rows).await;
        let names: Vec<String> = tables.iter().map(|name| format!("\"{name}\"")).collect();
        let workspace = Workspace::new(&plan(source, &format!("tables = [{}]", names.join(", ")), after), &blue, Some(&green));
        let tables = tables.iter().map(|name| QualifiedName::bare(*name)).collect();
        Self { workspace, blue, green, set: ProjectionSet::default(), tables }
    }

    /// Projections from a folder.
    pub async fn projected(source: Source, blue: TestDb, green: TestDb, folder: &Path, after: &[(&str, &str)]) -> Self {
        let workspace =
            Workspace::new(&plan(source, &format!("projections = '{}'", folder.display()), after), &blue, Some(&green));
        let (set, _) = load(folder).unwrap();
        Self { workspace, blue, green, set, tables: Vec::new() }
    }

    /// The same with limits in the plan.
    pub fn limited(self, limits: &str) -> Self {
        let text = std::fs::read_to_string(self.workspace.plan()).unwrap();
        std::fs::write(self.workspace.plan(), text.replacen("[[step]]", &format!("[limits]\n{limits}\n[[step]]"), 1)).unwrap();
        self
    }

    /// What follows.
    async fn bound(&self) -> Vec<(Bound, Target)> {
        let (blue, green) = (self.blue.session().await, self.green.session().await);
        let (same, none) = identity(&blue, &green, &self.tables).await.unwrap();
        assert_eq!(none, []);
        let mut set = self.set.clone();
        set.projections.extend(same);
        let binding = bind(&blue, &green, &set, true).await.unwrap();
        assert_eq!((binding.findings, binding.following), (Vec::new(), Vec::new()));
        binding.bound
    }

    /// A follower of the run.
    async fn follower(&self) -> (Follower, Vec<Bound>) {
        self.follower_told(Arc::new(|_| ())).await
    }

    /// The same, which tells where it is.
    async fn follower_told(&self, told: Arc<dyn Fn(Moment) + Send + Sync>) -> (Follower, Vec<Bound>) {
        let bound = self.bound().await;
        let run = latest_run(&self.workspace.folder.path().join("state"), "follows").unwrap().unwrap();
        let opener = |db: &TestDb| Opener::new(db.database(), "test/follower".to_owned());
        let setup = Setup { run, blue: opener(&self.blue), green: opener(&self.green), bound: bound.clone(), told };
        (Follower::open(setup).await.unwrap(), bound.into_iter().map(|(bound, _)| bound).collect())
    }

    /// The step that follows, in a process of its own.
    pub fn spawn(&self, words: &[&str]) -> Process {
        Process::spawn(&mut self.workspace.command(words))
    }

    /// `crossfade follow` to the point where everything is on green; then green is compared.
    async fn caught_up(&self) -> Ran {
        let ran = self.workspace.run(&["follow", "--until-caught-up"]).exits(0);
        self.equal_now().await;
        ran
    }

    pub async fn equal_now(&self) {
        let bound: Vec<Bound> = self.bound().await.into_iter().map(|(bound, _)| bound).collect();
        let at = Snapshot::export(Opener::new(self.blue.database(), "test".to_owned())).await.unwrap();
        equal(&bound, &at, &self.green).await;
    }
}

/// Green is what the projections give at this snapshot.
async fn equal(bound: &[Bound], at: &Snapshot, green: &TestDb) {
    let green = Snapshot::export(Opener::new(green.database(), "test".to_owned())).await.unwrap();
    for comparison in compare(bound, at, &green, 2, &crossfade::terms::RunId::fresh(), |_, _| {}).await.unwrap() {
        assert_eq!(comparison.differences.kept(), [], "table {}", comparison.table.plain());
    }
}

/// Sessions that write at random until they are stopped.
pub struct Writers {
    stop: Arc<AtomicBool>,
    committed: Arc<AtomicU64>,
    ended: Arc<Mutex<BTreeMap<&'static str, u64>>>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl Writers {
    /// So many sessions with seeds from this one on, each pausing up to so many milliseconds; `statement` gives one at random.
    pub fn start(db: &TestDb, count: u64, seed: u64, pause: u64, statement: fn(&mut fastrand::Rng) -> String) -> Self {
        let (stop, committed) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let ended = Arc::new(Mutex::default());
        let writer = |number| {
            let (stop, committed, database) = (Arc::clone(&stop), Arc::clone(&committed), db.database());
            let ended: Arc<Mutex<BTreeMap<&'static str, u64>>> = Arc::clone(&ended);
            tokio::spawn(async move {
                let mut random = fastrand::Rng::with_seed(seed + number);
                let mut session: Option<Session> = None;
                while !stop.load(Ordering::Relaxed) {
                    let Some(open) = session.take().filter(|session| !session.is_closed()) else {
                        tokio::time::sleep(Duration::from_millis(20)).await;
                        session = database.connect("writer").await.ok();
                        continue;
                    };
                    if let Some(end) = transaction(&open, &mut random, statement).await {
                        committed.fetch_add(u64::from(end.starts_with("COMMIT")), Ordering::Relaxed);
                        *ended.lock().unwrap().entry(end).or_default() += 1;
                    }
                    session = Some(open);
                    tokio::time::sleep(Duration::from_millis(random.u64(0..pause))).await;
                }
            })
        };
        let tasks = (0..count).map(writer).collect();
        Self { stop, committed, ended, tasks }
    }

    /// How many transactions ended in which way.
    pub fn ended(&self) -> BTreeMap<&'static str, u64> {
        self.ended.lock().unwrap().clone()
    }

    pub fn committed(&self) -> u64 {
        self.committed.load(Ordering::Relaxed)
    }

    /// The number of committed transactions.
    pub async fn finish(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        for task in self.tasks {
            task.await.unwrap();
        }
        self.committed.load(Ordering::Relaxed)
    }
}

/// One transaction: a few statements, some under savepoints that are rolled back, some committed in two phases. Errors (a value
/// that is taken, a deadlock) end it. Gives how it ended, if it did as it was to.
async fn transaction(
    session: &Session,
    random: &mut fastrand::Rng,
    statement: fn(&mut fastrand::Rng) -> String,
) -> Option<&'static str> {
    let name = format!("prepared-{}-{}", session.pid(), random.u64(..));
    let mut text = vec!["BEGIN".to_owned()];
    for _ in 0..random.u8(1..6) {
        let one = statement(random);
        text.extend(match random.u8(0..6) {
            0 => vec!["SAVEPOINT s".to_owned(), one, "ROLLBACK TO s".to_owned()],
            1 => vec!["SAVEPOINT s".to_owned(), one, "RELEASE s".to_owned()],
            _ => vec![one],
        });
    }
    for one in text {
        if session.batch_execute(&one).await.is_err() {
            let _ = session.batch_execute("ROLLBACK").await; // the server may be away
            return None;
        }
    }
    let (end, prepared) = match random.u8(0..12) {
        0 | 1 => ("ROLLBACK", false),
        2 => ("COMMIT PREPARED", true),
        3 => ("ROLLBACK PREPARED", true),
        _ => ("COMMIT", false),
    };
    let first = if prepared { format!("PREPARE TRANSACTION '{name}'") } else { end.to_owned() };
    if session.batch_execute(&first).await.is_err() {
        let _ = session.batch_execute("ROLLBACK").await;
        return None;
    }
    if prepared {
        tokio::time::sleep(Duration::from_millis(random.u64(0..30))).await;
        session.batch_execute(&format!("{end} '{name}'")).await.ok()?;
    }
    Some(end)
}

/// Writers against batches, each compared, until so many have changed something; then once more with blue at rest.
async fn under_writers(pair: &Pair, batches: u32, statement: fn(&mut fastrand::Rng) -> String) {
    let (mut follower, bound) = pair.follower().await;
    let writers = Writers::start(&pair.blue, 8, 0, 10, statement);
    let (began, mut changed) = (Instant::now(), 0);
    while changed < batches {
        assert!(began.elapsed() < Duration::from_secs(300), "only {changed} batches changed something");
        let Batch { at, passed: Passed { captured, .. } } = follower.batch().await.unwrap();
        equal(&bound, &at, &pair.green).await;
        changed += u32::from(captured > 0);
    }
    let committed = writers.finish().await;
    let last = follower.batch().await.unwrap();
    equal(&bound, &last.at, &pair.green).await;
    drop((last, follower));
    pair.equal_now().await;
    assert!(committed > u64::from(batches) * 5, "only {committed} transactions were committed");
}

/// What was read ahead may have made staging tables that are gone when it is forgotten: the next batch has its own.
#[tokio::test(flavor = "multi_thread")]
async fn a_batch_after_one_that_was_read_ahead_and_forgotten() {
    let (pair, _folder) = shop(Source::Triggers, &[]).await;
    pair.workspace.run(&["run", "--execute"]).exits(0);
    let (wrote, database) = (AtomicBool::new(false), pair.blue.database());
    let told = move |moment: Moment| {
        // Once, after the first batch was staged: the batch that is read ahead finds a table that no batch had before.
        if moment == Moment::Staged && !wrote.swap(true, Ordering::Relaxed) {
            let database = database.clone();
            let write = async move {
                database
                    .connect("test")
                    .await
                    .unwrap()
                    .batch_execute("UPDATE customer SET mail = 'new' WHERE id = 7")
                    .await
                    .unwrap();
            };
            std::thread::spawn(|| tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(write))
                .join()
                .unwrap();
        }
    };
    let (mut follower, bound) = pair.follower_told(Arc::new(told)).await;
    pair.blue.sql("UPDATE item SET made = now() WHERE id = 1").await;
    assert_eq!(follower.next().await.unwrap().captured, 1);
    pair.blue.sql("UPDATE customer SET mail = 'newer' WHERE id = 8").await;
    let Batch { at, passed } = follower.batch().await.unwrap();
    assert_eq!(passed.captured, 2);
    equal(&bound, &at, &pair.green).await;
    pair.blue.sql("UPDATE customer SET mail = 'newest' WHERE id = 9").await;
    for _ in 0..2 {
        follower.next().await.unwrap();
        pair.blue.sql("UPDATE customer SET mail = mail || '!' WHERE id = 9").await;
    }
    let Batch { at, .. } = follower.batch().await.unwrap();
    equal(&bound, &at, &pair.green).await;
}

pub const SHOP: &str = "
    CREATE TABLE region (id int PRIMARY KEY, name text NOT NULL);
    CREATE TABLE customer (id int PRIMARY KEY, region int REFERENCES region ON UPDATE CASCADE ON DELETE SET NULL, mail text UNIQUE, active boolean NOT NULL);
    CREATE INDEX ON customer (region);
    CREATE TABLE item (id int PRIMARY KEY, customer int NOT NULL REFERENCES customer ON UPDATE CASCADE ON DELETE CASCADE, code text UNIQUE, amount numeric NOT NULL, made timestamptz);
    CREATE INDEX ON item (customer);";

pub const SHOP_ROWS: &str = "
    INSERT INTO region SELECT n, 'region ' || n FROM generate_series(1, 5) n;
    INSERT INTO customer SELECT n, 1 + n % 5, 'mail' || n, n % 3 > 0 FROM generate_series(1, 60) n;
    INSERT INTO item SELECT n, 1 + n % 60, 'code' || n, n % 50, '2024-01-01'::timestamptz + n * interval '1 s' FROM generate_series(1, 300) n;";

pub const SHOP_GREEN: &str = "
    CREATE TABLE account (id bigint PRIMARY KEY, mail varchar(80) UNIQUE, region text, spent numeric NOT NULL);
    CREATE TABLE sale (id text PRIMARY KEY, account bigint NOT NULL REFERENCES account, code text UNIQUE, mail text, amount numeric, made timestamptz, doc json);";

pub const ACCOUNT: &str = r#"
table = "account"
key = ["id"]
[[source]]
name = "customers"
drives = { table = "customer", alias = "c" }
from = "customer AS c LEFT JOIN region AS r ON r.id = c.region"
[source.columns]
id = "c.id"
mail = "c.mail"
region = "r.name"
spent = "coalesce((SELECT sum(i.amount) FROM item AS i WHERE i.customer = c.id), 0)"
[[source.dirty]]
table = "region"
by = ["id"]
watch = ["name"]
rows = "SELECT c.id FROM changed JOIN customer AS c ON c.region = changed.id"
[[source.dirty]]
table = "item"
by = ["customer"]
watch = ["amount"]
"#;

/// Rows move between the two sources as amounts change; both lean on the customer.
pub const SALE: &str = r#"
table = "sale"
key = ["id"]
[[source]]
name = "small"
drives = { table = "item", alias = "i" }
from = "item AS i JOIN customer AS c ON c.id = i.customer"
where = "i.amount < 25"
[source.columns]
id = "i.id"
account = "c.id"
code = "i.code"
mail = "c.mail"
amount = "i.amount"
made = "i.made"
doc = "json_build_object('amount', i.amount, 'active', c.active)"
[[source.dirty]]
table = "customer"
by = ["id"]
watch = ["mail", "active"]
rows = "SELECT i.id FROM changed JOIN item AS i ON i.customer = changed.id"
[[source]]
name = "large"
drives = { table = "item", alias = "i" }
from = "item AS i"
where = "i.amount >= 25"
[source.columns]
id = "i.id"
account = "i.customer"
code = "i.code"
mail = "'nobody'"
amount = "i.amount"
made = "i.made"
doc = "'{}'::json"
"#;

pub fn shop_write(random: &mut fastrand::Rng) -> String {
    let mut n = |to: u32| random.u32(1..=to);
    let (a, b, c, what) = (n(80), n(80), n(400), n(16));
    match what {
        1 => format!("INSERT INTO customer VALUES ({a}, 1 + {a} % 5, 'mail' || {b}, true) ON CONFLICT DO NOTHING"),
        2 => format!("DELETE FROM customer WHERE id = {a}"),
        3 => format!("UPDATE customer SET id = id + 80 WHERE id = {a}"),
        4 => format!("UPDATE customer SET id = id - 80 WHERE id = {a} + 80"),
        // Three mails move around in a circle.
        5 => format!(
            "UPDATE customer AS c SET mail = 'x' || c.mail WHERE id IN ({a}, {b}); UPDATE customer AS c SET mail = v.mail FROM \
             (SELECT id, substr(lead(mail, 1, first) OVER (ORDER BY id), 2) AS mail FROM (SELECT id, mail, first_value(mail) OVER (ORDER BY id) AS first \
              FROM customer WHERE id IN ({a}, {b})) AS f) AS v WHERE v.id = c.id"
        ),
        6 => format!("UPDATE customer SET active = NOT active WHERE id BETWEEN {a} AND {a} + 3"),
        7 => format!("UPDATE region SET name = name || '.' WHERE id = 1 + {a} % 5"),
        8 => format!("UPDATE region SET id = id + 5 - 10 * (id / 6) WHERE id = 1 + {a} % 10"),
        9 | 10 => format!(
            "INSERT INTO item SELECT {c}, (SELECT min(id) FROM customer WHERE id >= {a}), 'code' || {b}, {b}, now() ON CONFLICT DO NOTHING"
        ),
        11 => format!("DELETE FROM item WHERE id = {c}"),
        12 | 13 => format!("UPDATE item SET amount = 50 - amount WHERE id BETWEEN {c} AND {c} + 5"),
        14 => format!("UPDATE item SET id = id + 400 - 800 * (id / 401) WHERE id IN ({c}, {c} + 400)"),
        15 => format!("UPDATE item SET customer = (SELECT min(id) FROM customer WHERE id >= {a}) WHERE id = {c}"),
        // A code moves from one row to another, old or new.
        _ => format!(
            "WITH gone AS (DELETE FROM item WHERE code = 'code' || {b} RETURNING *) INSERT INTO item SELECT 1000 + {c}, customer, code || '+', amount, made FROM gone ON CONFLICT DO NOTHING; \
             UPDATE item SET code = 'code' || {b} WHERE id = 1000 + {c} AND NOT EXISTS (SELECT FROM item WHERE code = 'code' || {b})"
        ),
    }
}

/// The shop, copied, with its folder of projections.
async fn shop(source: Source, after: &[(&str, &str)]) -> (Pair, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("account.toml"), ACCOUNT).unwrap();
    std::fs::write(folder.path().join("sale.toml"), SALE).unwrap();
    let (blue, green) = (TestDb::empty_on(source.cluster()).await, TestDb::empty().await);
    blue.sql(SHOP).await;
    blue.sql(SHOP_ROWS).await;
    green.sql(SHOP_GREEN).await;
    (Pair::projected(source, blue, green, folder.path(), after).await, folder)
}

async fn joined_tables_follow_eight_writers(source: Source) {
    let (pair, _folder) = shop(source, &[]).await;
    pair.workspace.run(&["run", "--execute"]).exits(0);
    under_writers(&pair, 12, shop_write).await;
}

/// Neither a follower that reads ahead nor those who truncate wait for the other for ever.
async fn tables_that_are_truncated_follow_batches_read_ahead(source: Source) {
    let (pair, _folder) = shop(source, &[]).await;
    pair.workspace.run(&["run", "--execute"]).exits(0);
    let (mut follower, bound) = pair.follower().await;
    let writers = Writers::start(&pair.blue, 8, 0, 10, |random| match random.u8(0..30) {
        0 => "TRUNCATE item".to_owned(),
        _ => shop_write(random),
    });
    let (began, mut ahead) = (Instant::now(), 0);
    while ahead < 24 {
        assert!(began.elapsed() < Duration::from_secs(300), "only {ahead} batches changed something");
        ahead += u32::from(follower.next().await.unwrap().captured > 0);
        if ahead % 4 == 3 {
            let Batch { at, .. } = follower.batch().await.unwrap(); // it forgets what was read ahead
            follower.release(at);
        }
    }
    writers.finish().await;
    let last = follower.batch().await.unwrap();
    equal(&bound, &last.at, &pair.green).await;
}

/// Who compares at a batch's snapshot gives up when somebody waits to truncate what it must still read: that one waits for the snapshot.
#[tokio::test(flavor = "multi_thread")]
async fn a_comparison_does_not_wait_for_who_waits_for_it() {
    let (pair, _folder) = shop(Source::Triggers, &[]).await;
    pair.workspace.run(&["run", "--execute"]).exits(0);
    let (mut follower, bound) = pair.follower().await;
    let Batch { at, .. } = follower.batch().await.unwrap();
    let truncates = pair.blue.session().await;
    let truncated = tokio::spawn(async move { truncates.batch_execute("TRUNCATE item").await });
    let waits = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'TRUNCATE%' AND wait_event_type = 'Lock'";
    until("somebody waits to truncate", async || pair.blue.value(waits).await == "1").await;
    let of_green = Snapshot::export(Opener::new(pair.green.database(), "test".to_owned())).await.unwrap();
    let compared = compare(&bound, &at, &of_green, 2, &crossfade::terms::RunId::fresh(), |_, _| {}).await;
    let error = compared.expect_err("it should not have waited");
    assert!(crossfade::pg::explain(&error).contains("lock timeout"), "{error:?}");
    follower.release(at);
    truncated.await.unwrap().unwrap();
    drop(follower);
    pair.caught_up().await;
}

/// A random row's key.
fn some(random: &mut fastrand::Rng, table: &str, key: &str) -> String {
    format!("(SELECT {key} FROM {table} ORDER BY md5({key}::text || '{}') LIMIT 1)", random.u32(..))
}

/// A copy of a row with other values in some columns.
fn again(random: &mut fastrand::Rng, table: &str, key: &str, values: &str) -> String {
    let source = some(random, table, key);
    format!(
        "INSERT INTO {table} SELECT (jsonb_populate_record(t, jsonb_build_object({values}))).* FROM {table} AS t WHERE {key} = {source} \
         ON CONFLICT DO NOTHING"
    )
}

/// What a Hydra 1.x does to its tables, and what it should not.
fn hydra_write(random: &mut fastrand::Rng) -> String {
    const CONSENT: &str = "hydra_oauth2_consent_request";
    const ANSWER: &str = "hydra_oauth2_consent_request_handled";
    const LOGIN: &str = "hydra_oauth2_authentication_request";
    const LOGIN_ANSWER: &str = "hydra_oauth2_authentication_request_handled";
    const SESSION: &str = "hydra_oauth2_authentication_session";
    let fresh = format!("{:032x}", random.u128(..));
    let token = ["access", "code", "oidc", "pkce", "refresh"][random.usize(..5)];
    let token = format!("hydra_oauth2_{token}");
    let consent = some(random, CONSENT, "challenge");
    match random.u8(0..20) {
        0 | 1 => again(random, &token, "signature", &format!("'signature', '{fresh}'")),
        2 => format!("UPDATE {token} SET active = NOT active WHERE signature = {}", some(random, &token, "signature")),
        3 => format!("DELETE FROM {token} WHERE signature = {}", some(random, &token, "signature")),
        4 => format!("UPDATE {token} SET signature = '{fresh}' WHERE signature = {}", some(random, &token, "signature")),
        // A consent with its answer, for a login that has one already.
        5 | 6 => format!(
            "{}; {}",
            again(
                random,
                CONSENT,
                "challenge",
                &format!(
                    "'challenge', '{fresh}', 'verifier', '{fresh}', 'requested_at', '2020-01-01'::timestamp + random() * interval '9 y'"
                )
            ),
            again(random, ANSWER, "challenge", &format!("'challenge', '{fresh}', 'error', '{{}}'"))
        ),
        7 => again(random, CONSENT, "challenge", &format!("'challenge', '{fresh}', 'verifier', '{fresh}'")),
        8 => format!("DELETE FROM {CONSENT} WHERE challenge = {consent}"),
        9 => format!("DELETE FROM {ANSWER} WHERE challenge = {consent}"),
        10 => format!(
            "UPDATE {ANSWER} SET error = CASE error WHEN '{{}}' THEN '{{\"error\":\"denied\"}}' ELSE '{{}}' END, was_used = NOT was_used WHERE challenge = {consent}"
        ),
        11 => format!("UPDATE {CONSENT} SET login_challenge = {} WHERE challenge = {consent}", some(random, LOGIN, "challenge")),
        12 => format!("UPDATE {CONSENT} SET client_id = {} WHERE challenge = {consent}", some(random, "hydra_client", "id")),
        13 => format!("DELETE FROM {SESSION} WHERE id = {}", some(random, SESSION, "id")),
        14 => format!("DELETE FROM {LOGIN} WHERE challenge = {}", some(random, LOGIN, "challenge")),
        15 => format!(
            "UPDATE {LOGIN_ANSWER} SET acr = 'acr {fresh}', was_used = true WHERE challenge = {}",
            some(random, LOGIN_ANSWER, "challenge")
        ),
        16 => format!("UPDATE hydra_client SET client_name = '{fresh}' WHERE id = {}", some(random, "hydra_client", "id")),
        17 => {
            let pk = random.u32(1_000_000..2_000_000_000);
            again(random, "hydra_client", "id", &format!("'id', 'new-{fresh}', 'pk', {pk}"))
        }
        18 if random.u8(0..4) == 0 => format!("DELETE FROM hydra_client WHERE id = {}", some(random, "hydra_client", "id")),
        18 => format!("UPDATE {LOGIN} SET subject = '{fresh}' WHERE challenge = {}", some(random, LOGIN, "challenge")),
        _ => {
            let jwk = some(random, "hydra_jwk", "kid");
            format!(
                "UPDATE hydra_jwk SET version = version + 1 WHERE kid = {jwk}; DELETE FROM hydra_oauth2_jti_blacklist WHERE signature = {}",
                some(random, "hydra_oauth2_jti_blacklist", "signature")
            )
        }
    }
}

/// Blue at 1.11.10 and green with the 2.3.0 schema.
async fn hydra(source: Source) -> Pair {
    let blue = match source {
        Source::Triggers => blue_1_11_10().await,
        Source::Slot => logical_1_11_10().await,
    };
    let green = TestDb::empty().await;
    let schema = format!(
        "{HEAD}[[step]]\nid = \"schema\"\nphase = \"expand\"\nkind = \"migrate\"\nside = \"green\"\ndirectory = '{}'\n\
         history = {{ table = \"schema_migration\", column = \"version\", constants = {{ version_self = 0 }} }}\n",
        shipped("../migrations/hydra-2x").display()
    );
    Workspace::new(&schema, &blue, Some(&green)).run(&["run", "--execute"]).exits(0);
    Pair::projected(source, blue, green, &shipped("projections/hydra-2x"), &[]).await
}

async fn hydra_follows_eight_writers(source: Source) {
    let pair = hydra(source).await;
    pair.workspace.run(&["run", "--execute"]).exits(0);
    under_writers(&pair, 10, hydra_write).await;
}

/// Values that move between rows, rows that point at each other, and types without an equality.
async fn values_that_move_between_rows_follow(source: Source) {
    let sql = "CREATE TYPE mood AS ENUM ('good', 'bad');
        CREATE TABLE self (id int PRIMARY KEY, up int REFERENCES self, code text UNIQUE, note int UNIQUE DEFERRABLE);
        CREATE TABLE child (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, code text REFERENCES self (code) ON UPDATE CASCADE ON DELETE RESTRICT,
            m mood[], doc json, at point, n numeric, twice numeric GENERATED ALWAYS AS (n * 2) STORED, list text[]);
        CREATE UNIQUE INDEX ON child (lower(list[1])) WHERE n > 0";
    let rows = "INSERT INTO self SELECT n, nullif(n / 2, 0), 'c' || n, n FROM generate_series(1, 20) n;
        INSERT INTO child (code, m, doc, at, n, list) SELECT 'c' || n, '{good,bad}', '{\"a\": 1}', point(n, n), n, ARRAY['x' || n, E'tab\\t\\\\'] FROM generate_series(1, 20) n";
    let pair = Pair::same(source, sql, rows, &["self", "child"], &[]).await;
    pair.workspace.run(&["run", "--execute"]).exits(0);
    let (mut follower, bound) = pair.follower().await;
    for change in [
        // A circle of unique values that others point to.
        "UPDATE self SET code = 'd' || id WHERE id < 4; UPDATE self SET code = 'c' || 1 + id % 3 WHERE id < 4",
        "UPDATE child SET list[1] = 'y' || id; UPDATE child SET list[1] = 'X' || 1 + id % 20",
        "BEGIN; SET CONSTRAINTS ALL DEFERRED; UPDATE self SET note = 1 + id % 20; COMMIT",
        "UPDATE child SET doc = '{\"a\":1}', n = n + 0.00, at = point(0, 0), m = NULL WHERE id % 2 = 0",
        // A new row takes the value of one that goes, and its children.
        "INSERT INTO self VALUES (30, NULL, 'new', 30); UPDATE child SET code = 'new' WHERE code = 'c5'; UPDATE self SET up = NULL WHERE up = 5; \
         DELETE FROM self WHERE id = 5; UPDATE self SET code = 'c5' WHERE id = 30",
        "INSERT INTO self VALUES (41, NULL, 'n41', 41), (40, 41, 'n40', 40); UPDATE self SET up = 40 WHERE id = 41",
        "UPDATE self SET id = id + 100 WHERE id > 10 AND NOT EXISTS (SELECT FROM self AS s WHERE s.up = self.id)",
        "DELETE FROM child; DELETE FROM self; INSERT INTO self VALUES (1, 1, 'one', 1)",
        "TRUNCATE self CASCADE; INSERT INTO self VALUES (2, 2, 'one', 1); INSERT INTO child (code, n, list) VALUES ('one', 1, '{a}')",
    ] {
        pair.blue.sql(change).await;
        let Batch { at, passed: Passed { captured, .. } } = follower.batch().await.unwrap();
        assert!(captured > 0, "{change}");
        equal(&bound, &at, &pair.green).await;
    }
    drop(follower);
    pair.workspace.run(&["rollback", "--execute"]).exits(0);
    assert_eq!(pair.green.value("SELECT count(*) FROM child").await, "0");
}

async fn a_truncated_table_follows(source: Source) {
    let (pair, _folder) = shop(source, &[]).await;
    pair.workspace.run(&["run", "--execute"]).exits(0);
    let (mut follower, bound) = pair.follower().await;
    for change in [
        "TRUNCATE item; INSERT INTO item VALUES (1, 1, 'one', 7)",
        "BEGIN; UPDATE customer SET mail = mail || '!'; TRUNCATE item; INSERT INTO item VALUES (2, 2, 'two', 30), (3, 2, 'one', 1); COMMIT",
        "TRUNCATE customer CASCADE",
    ] {
        pair.blue.sql(change).await;
        let Batch { at, .. } = follower.batch().await.unwrap();
        equal(&bound, &at, &pair.green).await;
    }
    assert_eq!(pair.green.value("(SELECT count(*) FROM account) + (SELECT count(*) FROM sale)").await, "0");
}

async fn ddl_on_blue_stops_with_the_table_and_the_next_command(source: Source) {
    let (pair, _folder) = shop(source, &[]).await;
    pair.workspace.run(&["run", "--execute"]).exits(0);
    pair.caught_up().await;
    pair.blue.sql("ALTER TABLE item ADD COLUMN colour text").await;
    let stopped = pair.workspace.run(&["follow", "--until-caught-up"]).exits(10);
    for words in ["table public.item", "next: "] {
        assert!(stopped.stderr.contains(words), "`{words}` is not in:\n{}", stopped.stderr);
    }
}

/// A process that dies anywhere in a batch leaves nothing to mend: the next one goes on.
async fn a_kill_at_any_place_of_a_batch_loses_nothing(source: Source) {
    let (pair, _folder) = shop(source, &[]).await;
    pair.workspace.run(&["run", "--execute"]).exits(0);
    let mut random = fastrand::Rng::with_seed(5);
    for place in ["follow/arrived", "follow/staged", "follow/changed", "follow/committed"] {
        let session = pair.blue.session().await;
        for _ in 0..40 {
            let _ = session.batch_execute(&shop_write(&mut random)).await; // a value may be taken
        }
        let killed = pair.workspace.command(&["follow", "--until-caught-up"]).env("CROSSFADE_CRASH_AT", place).output().unwrap();
        assert_eq!(killed.status.code(), None, "it was to be killed at {place}");
        pair.caught_up().await;
    }
    pair.workspace.run(&["rollback", "--execute"]).exits(0);
    assert_eq!(pair.green.value("SELECT count(*) FROM sale").await, "0");
}

/// Both servers crash in turn while one process follows: it waits for them and goes on.
async fn a_crash_of_either_server_is_waited_for(source: Source) {
    let binaries = Binaries::find().unwrap();
    let (one, other) = (source.start(&binaries).await, start(&binaries).await);
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("account.toml"), ACCOUNT).unwrap();
    std::fs::write(folder.path().join("sale.toml"), SALE).unwrap();
    let (blue, green) = (TestDb::empty_on(&one).await, TestDb::empty_on(&other).await);
    blue.sql(SHOP).await;
    blue.sql(SHOP_ROWS).await;
    green.sql(SHOP_GREEN).await;
    let pair = Pair::projected(source, blue, green, folder.path(), &[]).await;
    pair.workspace.run(&["run", "--execute"]).exits(0);
    let follower = pair.spawn(&["follow"]);
    let writers = Writers::start(&pair.blue, 4, 0, 10, shop_write);
    for (turn, db) in [&pair.blue, &pair.green, &pair.green, &pair.blue].into_iter().enumerate() {
        let (before, moved) = (writers.committed(), moved_at(&pair.green).await);
        until("writers and follower go on", async || writers.committed() > before + 20 && moved_at(&pair.green).await != moved)
            .await;
        let victim: i32 = db.value("SELECT pid FROM pg_stat_activity WHERE backend_type = 'checkpointer'").await.parse().unwrap();
        kill(Pid::from_raw(victim), Signal::SIGKILL).unwrap_or_else(|error| panic!("turn {turn}: {error}"));
        // The server ends every session, recovers, and lets us in again.
        until("the server is back", async || match db.database().connect("test").await {
            Ok(session) => {
                match session.query_one("SELECT pid FROM pg_stat_activity WHERE backend_type = 'checkpointer'", &[]).await {
                    Ok(row) => row.get::<_, i32>(0) != victim,
                    Err(_) => false,
                }
            }
            Err(_) => false,
        })
        .await;
        settle_prepared(db).await;
    }
    writers.finish().await;
    kill(Pid::from_raw(follower.id().cast_signed()), Signal::SIGINT).unwrap();
    let ran = follower.finish().exits(0);
    assert!(ran.stderr.contains("waits for a server") && ran.stderr.contains("follows again"), "{}", ran.stderr);
    pair.caught_up().await;
}

pub async fn moved_at(green: &TestDb) -> Option<String> {
    let session = green.database().connect("test").await.ok()?;
    let row = session.query_one("SELECT moved_at::text FROM crossfade.watermark", &[]).await.ok()?;
    Some(row.get(0))
}

/// A transaction that was prepared outlives a crash and keeps its locks: whoever prepared it has to come back and end it. Here
/// writers that are gone do not, so half of theirs are committed and half are rolled back.
pub async fn settle_prepared(db: &TestDb) {
    let session = db.session().await;
    let orphaned = "SELECT gid FROM pg_prepared_xacts WHERE database = current_database()
                    AND split_part(gid, '-', 2)::int NOT IN (SELECT pid FROM pg_stat_activity) ORDER BY prepared";
    for (number, row) in session.query(orphaned, &[]).await.unwrap().into_iter().enumerate() {
        let end = if number.is_multiple_of(2) { "COMMIT" } else { "ROLLBACK" };
        session.batch_execute(&format!("{end} PREPARED '{}'", row.get::<_, String>(0))).await.unwrap();
    }
}

/// Asks until it holds, at most a minute.
pub async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    for _ in 0..1200 {
        if holds().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("waited a minute for: {what}");
}

/// One transaction of 300,000 rows, and one that changes them all, pass through a process of bounded memory.
async fn a_huge_transaction_needs_little_memory(source: Source) {
    let pair =
        Pair::same(source, "CREATE TABLE t (id int PRIMARY KEY, v text NOT NULL)", "INSERT INTO t VALUES (0, 'x')", &["t"], &[])
            .await;
    pair.workspace.run(&["run", "--execute"]).exits(0);
    let many = "INSERT INTO t SELECT n, md5(n::text) FROM generate_series(1, 300000) n";
    for change in [many, "UPDATE t SET v = v || '.'"] {
        pair.blue.sql(change).await;
        let began = Instant::now();
        let mut child = pair.spawn(&["follow", "--until-caught-up", "--format", "json"]);
        let mut peak = 0;
        while child.is_running() {
            let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
            let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or("0 kB");
            let kilobytes: u64 = line.trim().trim_end_matches(" kB").trim().parse().unwrap();
            peak = peak.max(kilobytes);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let ran = child.finish().exits(0);
        eprintln!("{change}: peak {peak} kB, {:.1} s: {}", began.elapsed().as_secs_f64(), ran.stdout);
        let figures: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
        assert!(figures["figures"]["changes_applied"].as_u64().unwrap() >= 300_000, "{}", ran.stdout);
        assert!(peak > 5_000 && peak < 100_000, "peak of resident memory: {peak} kB");
    }
    pair.equal_now().await;
    // What is on green is gone from the outbox.
    assert_eq!(pair.blue.value("SELECT count(*) FROM crossfade.outbox").await, "0");
    assert_eq!(pair.green.value("SELECT count(*) FROM crossfade.inbox").await, "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn status_tells_how_far_green_is_behind() {
    let table = "CREATE TABLE t (id int PRIMARY KEY, v text NOT NULL)";
    let pair = Pair::same(Source::Triggers, table, "INSERT INTO t VALUES (0, 'x')", &["t"], &[]).await;
    pair.workspace.run(&["run", "--execute"]).exits(0);
    let status = || -> serde_json::Value {
        let ran = pair.workspace.run(&["status", "--format", "json"]).exits(0);
        serde_json::from_str::<serde_json::Value>(&ran.stdout).unwrap()["follow"].take()
    };
    let quiet = status();
    assert_eq!((&quiet["lag_rows"], &quiet["lag_bytes"], &quiet["lag_seconds"]), (&0.into(), &0.into(), &0.0.into()), "{quiet}");
    assert_eq!((&quiet["outbox_alarm"], &quiet["outbox_alarm_bytes"]), (&"none".into(), &1_000_000_000_u64.into()), "{quiet}");

    pair.blue.sql("INSERT INTO t SELECT n, 'y' FROM generate_series(1, 500) n; DELETE FROM t WHERE id <= 10").await;
    let behind = status();
    assert_eq!((&behind["lag_rows"], &behind["lag_rows_estimated"]), (&511.into(), &false.into()), "{behind}");
    assert!(behind["lag_bytes"].as_u64().unwrap() > 511 * 20 && behind["lag_seconds"].as_f64().unwrap() > 0.0, "{behind}");
    let text = pair.workspace.run(&["status"]).exits(0).stdout;
    assert!(text.contains("follow: green is 511 changed rows") && !text.contains("warning:"), "{text}");

    pair.caught_up().await;
    assert_eq!(status()["lag_rows"], 0);
    pair.blue.sql("UPDATE crossfade.captured SET alarm = 1000").await;
    let over = status();
    assert_eq!(over["outbox_alarm"], "over", "{over}");
    let text = pair.workspace.run(&["status"]).exits(0).stdout;
    assert!(text.contains("warning: the outbox on blue takes") && text.contains("no write fails for it"), "{text}");
    let nowhere = pair.workspace.run(&["status", "--blue", "postgresql://nobody@:1/x?host=/nowhere"]).exits(0).stdout;
    assert!(nowhere.contains("follow: unknown: "), "{nowhere}");
    pair.workspace.run(&["rollback", "--execute"]).exits(0);
    assert!(status().is_null());
}

async fn the_step_ends_close_behind_and_verify_is_exact_under_writers(source: Source) {
    let until = ("follow", "until = { lag = \"20s\", for = \"2s\" }");
    let (pair, _folder) = shop(source, &[until, ("verify", "")]).await;
    let writers = Writers::start(&pair.blue, 4, 0, 10, shop_write);
    let ran = pair.workspace.run(&["run", "--execute", "--format", "json"]).exits(0);
    writers.finish().await;
    let summary: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    let steps = summary["summary"]["steps"].as_array().unwrap();
    let figures = &steps.iter().find(|step| step["step"] == "the-follow").unwrap()["figures"];
    for name in ["batches", "changes_captured", "changes_applied"] {
        assert!(figures[name].as_u64().unwrap() > 0, "{name}: {figures}");
    }
    assert!(figures["lag_p99_ms"].as_u64() >= figures["lag_p50_ms"].as_u64(), "{figures}");
    // Without a follower green stands still.
    pair.blue.sql("INSERT INTO customer VALUES (777, NULL, 'late', true)").await;
    assert_eq!(pair.green.value("SELECT count(*) FROM account WHERE id = 777").await, "0");
    pair.caught_up().await;
    assert_eq!(pair.green.value("SELECT count(*) FROM account WHERE id = 777").await, "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_keeps_green_from_following_is_said_at_once() {
    let (pair, _folder) = shop(Source::Triggers, &[("follow", "")]).await;
    pair.green.sql("CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'").await;
    pair.green.sql("CREATE TRIGGER loud BEFORE INSERT ON account FOR EACH ROW EXECUTE FUNCTION f()").await;
    let stopped = pair.workspace.run(&["run", "--execute"]).exits(10);
    assert!(stopped.stderr.contains("trigger loud of table public.account on green"), "{}", stopped.stderr);
    pair.green.sql("DROP TRIGGER loud ON account").await;
    let (follower, _) = pair.follower().await;
    let second = pair.workspace.run(&["follow", "--until-caught-up"]).exits(10);
    assert!(second.stderr.contains("is being followed by another crossfade"), "{}", second.stderr);
    drop(follower);
}

/// A projection that reads a table without saying what its changes do cannot be captured; it can be copied.
#[tokio::test(flavor = "multi_thread")]
async fn a_missing_rule_is_said_with_the_table() {
    let folder = tempfile::tempdir().unwrap();
    let account = ACCOUNT.split("[[source.dirty]]").next().unwrap();
    std::fs::write(folder.path().join("account.toml"), account).unwrap();
    std::fs::write(folder.path().join("sale.toml"), SALE.replace("key = [\"id\"]", "key = [\"code\"]")).unwrap();
    let (blue, green) = (TestDb::empty().await, TestDb::empty().await);
    blue.sql(SHOP).await;
    green.sql(SHOP_GREEN).await;
    let pair = Pair::projected(Source::Triggers, blue, green, folder.path(), &[]).await;
    let stopped = pair.workspace.run(&["run", "--execute"]).exits(10);
    for words in [
        "reads table public.region, and does not say which rows",
        "reads table public.item, and does not say which rows",
        "[[source.dirty]] table = \"region\"",
        "column code of the key may be NULL",
    ] {
        assert!(stopped.stderr.contains(words), "`{words}` is not in:\n{}", stopped.stderr);
    }
}
