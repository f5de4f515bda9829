//! Following: after every batch green is what the projections give at the batch's snapshot, whatever blue's clients do.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crossfade::engine::latest_run;
use crossfade::follow::{Batch, Follower, Setup};
use crossfade::pg::{Opener, Session, Snapshot};
use crossfade::projection::{Bound, ProjectionSet, Target, bind, identity, load};
use crossfade::sql::QualifiedName;
use crossfade::verify::compare;

use crate::hydra::{blue_1_11_10, plan as shipped};
use crate::support::{Ran, TestDb, Workspace, eventually};

const HEAD: &str =
    "format = 1\nname = \"follows\"\nblue = { url_env = \"BLUE_DATABASE_URL\" }\ngreen = { url_env = \"GREEN_DATABASE_URL\" }\n";

/// `[[step]]` tables: capture, copy, and what comes after.
fn plan(keys: &str, after: &[(&str, &str)]) -> String {
    let step = |id: &str, phase: &str, kind: &str, more: &str| {
        format!("[[step]]\nid = \"{id}\"\nphase = \"{phase}\"\nkind = \"{kind}\"\n{keys}\n{more}\n")
    };
    let mut text = HEAD.to_owned() + &step("start", "capture", "start_capture", "") + &step("fill", "copy", "copy", "");
    for (kind, more) in after {
        text += &step(&format!("the-{kind}"), "follow", kind, more);
    }
    text
}

/// A run that has copied, on databases of its own.
struct Pair {
    workspace: Workspace,
    blue: TestDb,
    green: TestDb,
    set: ProjectionSet,
    tables: Vec<QualifiedName>,
}

impl Pair {
    /// Tables that are the same on both sides.
    async fn same(sql: &str, rows: &str, tables: &[&str], after: &[(&str, &str)]) -> Self {
        let (blue, green) = (TestDb::empty().await, TestDb::empty().await);
        blue.sql(sql).await;
        green.sql(sql).await;
        blue.sql(rows).await;
        let names: Vec<String> = tables.iter().map(|name| format!("\"{name}\"")).collect();
        let workspace = Workspace::new(&plan(&format!("tables = [{}]", names.join(", ")), after), &blue, Some(&green));
        let tables = tables.iter().map(|name| QualifiedName::bare(*name)).collect();
        Self { workspace, blue, green, set: ProjectionSet::default(), tables }
    }

    /// Projections from a folder.
    async fn projected(blue: TestDb, green: TestDb, folder: &Path, after: &[(&str, &str)]) -> Self {
        let workspace = Workspace::new(&plan(&format!("projections = '{}'", folder.display()), after), &blue, Some(&green));
        let (set, _) = load(folder).unwrap();
        Self { workspace, blue, green, set, tables: Vec::new() }
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
        let bound = self.bound().await;
        let run = latest_run(&self.workspace.folder.path().join("state"), "follows").unwrap().unwrap();
        let opener = |db: &TestDb| Opener::new(db.database(), "test/follower".to_owned());
        let setup =
            Setup { run, blue: opener(&self.blue), green: opener(&self.green), bound: bound.clone(), told: Arc::new(|_| ()) };
        (Follower::open(setup).await.unwrap(), bound.into_iter().map(|(bound, _)| bound).collect())
    }

    /// The step that follows, in a process of its own.
    fn spawn(&self, words: &[&str]) -> Child {
        self.workspace.command(words).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    async fn equal_now(&self) {
        let bound: Vec<Bound> = self.bound().await.into_iter().map(|(bound, _)| bound).collect();
        let at = Snapshot::export(Opener::new(self.blue.database(), "test".to_owned())).await.unwrap();
        equal(&bound, &at, &self.green).await;
    }
}

/// Green is what the projections give at this snapshot.
async fn equal(bound: &[Bound], at: &Snapshot, green: &TestDb) {
    let green = Snapshot::export(Opener::new(green.database(), "test".to_owned())).await.unwrap();
    for comparison in compare(bound, at, &green, 2, |_, _| {}).await.unwrap() {
        assert_eq!(comparison.differences.kept(), [], "table {}", comparison.table.plain());
    }
}

/// Sessions that write at random until they are stopped.
struct Writers {
    stop: Arc<AtomicBool>,
    committed: Arc<AtomicU64>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl Writers {
    /// `statement` gives one at random.
    fn start(db: &TestDb, count: u64, statement: fn(&mut fastrand::Rng) -> String) -> Self {
        let (stop, committed) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let writer = |number| {
            let (stop, committed, database) = (Arc::clone(&stop), Arc::clone(&committed), db.database());
            tokio::spawn(async move {
                let mut random = fastrand::Rng::with_seed(number);
                let mut session: Option<Session> = None;
                while !stop.load(Ordering::Relaxed) {
                    let Some(open) = session.take().filter(|session| !session.is_closed()) else {
                        tokio::time::sleep(Duration::from_millis(20)).await;
                        session = database.connect("writer").await.ok();
                        continue;
                    };
                    if transaction(&open, &mut random, statement).await {
                        committed.fetch_add(1, Ordering::Relaxed);
                    }
                    session = Some(open);
                    tokio::time::sleep(Duration::from_millis(random.u64(0..10))).await;
                }
            })
        };
        let tasks = (0..count).map(writer).collect();
        Self { stop, committed, tasks }
    }

    fn committed(&self) -> u64 {
        self.committed.load(Ordering::Relaxed)
    }

    /// The number of committed transactions.
    async fn finish(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        for task in self.tasks {
            task.await.unwrap();
        }
        self.committed.load(Ordering::Relaxed)
    }
}

/// One transaction: a few statements, some under savepoints that are rolled back, some committed in two phases. Errors (a value
/// that is taken, a deadlock) end it.
async fn transaction(session: &Session, random: &mut fastrand::Rng, statement: fn(&mut fastrand::Rng) -> String) -> bool {
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
            return false;
        }
    }
    let (end, second) = match random.u8(0..12) {
        0 | 1 => ("ROLLBACK".to_owned(), None),
        2 => (format!("PREPARE TRANSACTION '{name}'"), Some(format!("COMMIT PREPARED '{name}'"))),
        3 => (format!("PREPARE TRANSACTION '{name}'"), Some(format!("ROLLBACK PREPARED '{name}'"))),
        _ => ("COMMIT".to_owned(), None),
    };
    if session.batch_execute(&end).await.is_err() {
        let _ = session.batch_execute("ROLLBACK").await;
        return false;
    }
    if let Some(second) = second {
        tokio::time::sleep(Duration::from_millis(random.u64(0..30))).await;
        return session.batch_execute(&second).await.is_ok();
    }
    end == "COMMIT"
}

/// Batches while the writers write, each compared; gives the number of those that changed something.
async fn batches(pair: &Pair, follower: &mut Follower, bound: &[Bound], during: Duration) -> u64 {
    let (began, mut changed) = (Instant::now(), 0);
    while began.elapsed() < during {
        let Batch { at, captured, .. } = follower.batch().await.unwrap();
        equal(bound, &at, &pair.green).await;
        changed += u64::from(captured > 0);
    }
    changed
}

const SHOP: &str = "
    CREATE TABLE region (id int PRIMARY KEY, name text NOT NULL);
    CREATE TABLE customer (id int PRIMARY KEY, region int REFERENCES region ON UPDATE CASCADE ON DELETE SET NULL, mail text UNIQUE, active boolean NOT NULL);
    CREATE INDEX ON customer (region);
    CREATE TABLE item (id int PRIMARY KEY, customer int NOT NULL REFERENCES customer ON UPDATE CASCADE ON DELETE CASCADE, code text UNIQUE, amount numeric NOT NULL, made timestamptz);
    CREATE INDEX ON item (customer);";

const SHOP_ROWS: &str = "
    INSERT INTO region SELECT n, 'region ' || n FROM generate_series(1, 5) n;
    INSERT INTO customer SELECT n, 1 + n % 5, 'mail' || n, n % 3 > 0 FROM generate_series(1, 60) n;
    INSERT INTO item SELECT n, 1 + n % 60, 'code' || n, n % 50, '2024-01-01'::timestamptz + n * interval '1 s' FROM generate_series(1, 300) n;";

const SHOP_GREEN: &str = "
    CREATE TABLE account (id bigint PRIMARY KEY, mail varchar(80) UNIQUE, region text, spent numeric NOT NULL);
    CREATE TABLE sale (id text PRIMARY KEY, account bigint NOT NULL REFERENCES account, code text UNIQUE, mail text, amount numeric, made timestamptz, doc json);";

const ACCOUNT: &str = r#"
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
const SALE: &str = r#"
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

fn shop_write(random: &mut fastrand::Rng) -> String {
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
async fn shop(after: &[(&str, &str)]) -> (Pair, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("account.toml"), ACCOUNT).unwrap();
    std::fs::write(folder.path().join("sale.toml"), SALE).unwrap();
    let (blue, green) = (TestDb::empty().await, TestDb::empty().await);
    blue.sql(SHOP).await;
    blue.sql(SHOP_ROWS).await;
    green.sql(SHOP_GREEN).await;
    (Pair::projected(blue, green, folder.path(), after).await, folder)
}

#[tokio::test(flavor = "multi_thread")]
async fn joined_tables_follow_eight_writers() {
    let (pair, _folder) = shop(&[]).await;
    pair.workspace.run(&["run", "--execute"]).exits(0);
    let (mut follower, bound) = pair.follower().await;
    let writers = Writers::start(&pair.blue, 8, shop_write);
    let changed = batches(&pair, &mut follower, &bound, Duration::from_secs(8)).await;
    let committed = writers.finish().await;
    let last = follower.batch().await.unwrap();
    equal(&bound, &last.at, &pair.green).await;
    drop((last, follower));
    pair.equal_now().await;
    assert!(changed > 20 && committed > 500, "{changed} batches of {committed} transactions");
}
