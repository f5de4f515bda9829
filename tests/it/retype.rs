//! Columns that get another type while old code goes on writing them.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crate::support::{Ran, TestDb, Workspace, crossfade, eventually};

/// Everything that may stand on a column.
const START: &str = "
CREATE TABLE schema_migration (version varchar(48) PRIMARY KEY);
CREATE TABLE customer (id bigint PRIMARY KEY);
INSERT INTO customer SELECT n FROM generate_series(1, 100) n;
CREATE TABLE orders (
    id serial PRIMARY KEY,
    amount integer NOT NULL DEFAULT 7,
    same integer NOT NULL DEFAULT 7,
    customer integer,
    placed timestamp,
    number varchar(20) UNIQUE,
    code varchar(12),
    state text,
    note text,
    CONSTRAINT amounts_are_small CHECK (amount >= 0 AND amount < 1000000),
    CONSTRAINT order_has_customer FOREIGN KEY (customer) REFERENCES customer (id) ON DELETE SET NULL DEFERRABLE
);
COMMENT ON COLUMN orders.amount IS 'in cents; it''s whole';
CREATE INDEX orders_by_amount ON orders (amount DESC, id) WHERE amount > 10;
CREATE UNIQUE INDEX orders_one_each ON orders (customer, placed, id);
CREATE INDEX orders_by_time ON orders (placed DESC NULLS LAST) INCLUDE (amount);
CREATE TABLE ledger (id serial PRIMARY KEY, number varchar(10) NOT NULL, day int, UNIQUE (number, day));
INSERT INTO ledger (number, day) SELECT n::text, n FROM generate_series(1, 3000) n;
CREATE TABLE late (id int PRIMARY KEY, n int UNIQUE DEFERRABLE);
CREATE VIEW open_orders AS SELECT id AS nr, state FROM orders WHERE note IS NULL;
INSERT INTO orders (amount, same, customer, placed, number, code, state, note)
SELECT n, n, n % 100 + 1, timestamp '2024-01-01' + n * interval '1 minute', n::text, n::text, 'open', 'x' FROM generate_series(1, 20000) n;
";

const UP: &str = "-- Amounts grow.
ALTER TABLE orders ALTER COLUMN amount TYPE bigint;
ALTER TABLE orders ALTER COLUMN placed TYPE timestamptz USING placed AT TIME ZONE 'UTC', ALTER COLUMN customer SET DATA TYPE bigint;
ALTER TABLE ledger ALTER COLUMN id TYPE bigint;
ALTER TABLE ledger ALTER COLUMN number TYPE varchar(8) COLLATE \"C\";
ALTER TABLE orders ALTER COLUMN code TYPE integer USING (nullif(code, '')::integer /* digits */);
";

fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("pop")).unwrap();
    for (name, text) in files {
        std::fs::write(folder.path().join("pop").join(name), text).unwrap();
    }
    std::fs::write(folder.path().join("start.sql"), START).unwrap();
    folder
}

fn rewrite(folder: &Path, db: &TestDb) -> Ran {
    let mut command = crossfade();
    command.args(["rewrite", "pop", "-o", "plan.toml"]).env("CROSSFADE_LINT_DATABASE_URL", db.url()).current_dir(folder);
    Ran::of(command.output().unwrap()).exits(0)
}

async fn started() -> TestDb {
    let db = TestDb::empty().await;
    db.sql(START).await;
    db
}

#[tokio::test(flavor = "multi_thread")]
async fn a_type_changes_beside_old_code() {
    let db = started().await;
    let folder = folder(&[("20240101000000_types.postgres.up.sql", UP)]);
    let ran = rewrite(folder.path(), &db);
    assert!(!ran.stdout.contains("waits for an approval"), "{}", ran.stdout);
    // Both end the same: everything that stood on the columns stands there again.
    let mut command = crossfade();
    command.args(["-q", "prove", "pop", "plan.toml", "--start", "start.sql"]).current_dir(folder.path());
    let ran = Ran::of(command.output().unwrap()).exits(0);
    assert!(ran.stdout.contains("note: order of columns public.orders"), "{}", ran.stdout);
    for (from, to) in
        [("bigint", "integer"), ("WHERE (\"crossfade_amount_new\" > 10)", ""), ("amounts_are_small", "amounts_are_large")]
    {
        damaged(folder.path(), from, to);
    }

    // Old code writes the columns all the while, each value twice, and looks at nothing.
    let (stop, written, failed) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let mut writers = Vec::new();
    for number in 0..3u64 {
        let (session, stop) = (db.session().await, Arc::clone(&stop));
        let (written, failed) = (Arc::clone(&written), Arc::clone(&failed));
        writers.push(tokio::spawn(async move {
            let mut at = number;
            while !stop.load(Ordering::Acquire) {
                at += 3;
                let (id, value) = (at * 7919 % 20_000 + 1, at % 999_983);
                let sql = match at % 3 {
                    0 => format!(
                        "UPDATE orders SET amount = {value}, same = {value}, placed = placed + interval '1 hour' WHERE id = {id}"
                    ),
                    1 => format!(
                        "INSERT INTO orders (amount, same, customer, code) VALUES ({value}, {value}, {}, '{at}')",
                        at % 100 + 1
                    ),
                    _ => "INSERT INTO orders (customer) VALUES (NULL)".to_owned(),
                };
                let went = session.batch_execute(&sql).await;
                if went.is_err() { &failed } else { &written }.fetch_add(1, Ordering::AcqRel);
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        }));
    }
    eventually("old code writes", async || written.load(Ordering::Acquire) > 50).await;
    let workspace = Workspace::at(folder, &db, None);
    let ran = tokio::task::block_in_place(|| workspace.run(&["run", "--execute"])).exits(12);
    assert!(ran.stderr.contains("crossfade_amount_old"), "{}", ran.stderr);
    let so_far = written.load(Ordering::Acquire);
    eventually("old code goes on", async || written.load(Ordering::Acquire) > so_far + 50).await;
    tokio::task::block_in_place(|| workspace.run(&["run", "--execute", "--approve", "ask-contract"])).exits(0);
    stop.store(true, Ordering::Release);
    for writer in writers {
        writer.await.unwrap();
    }
    assert_eq!(failed.load(Ordering::Acquire), 0);
    assert_eq!(db.value("SELECT count(*) FROM orders WHERE amount IS DISTINCT FROM same").await, "0");
    let types = "SELECT string_agg(format_type(atttypid, atttypmod), ', ' ORDER BY attname) FROM pg_attribute \
                 WHERE attrelid = 'orders'::regclass AND attname IN ('amount', 'placed', 'customer', 'code')";
    assert_eq!(db.value(types).await, "bigint, integer, bigint, timestamp with time zone");
    assert_eq!(db.value("SELECT count(*) FROM pg_attribute WHERE attrelid = 'orders'::regclass AND attname LIKE 'crossfade%' AND NOT attisdropped").await, "0");
    assert_eq!(db.value("SELECT count(*) FROM pg_trigger WHERE tgrelid = 'orders'::regclass AND NOT tgisinternal").await, "0");
    assert_eq!(db.value("SELECT count(*) FROM pg_constraint WHERE NOT convalidated").await, "0");
    assert!(db.value("SELECT count(*) FROM orders WHERE id > 20000 AND same <> 7").await.parse::<u64>().unwrap() > 20);

    // Another run of the finished plan finds all of it there, asks nobody and changes nothing.
    let orders = "SELECT md5(string_agg(orders::text, ',' ORDER BY id)) FROM orders";
    let (rows, pieces) = (db.value(orders).await, db.value("SELECT count(*) FROM crossfade.rewritten").await);
    tokio::task::block_in_place(|| workspace.run(&["run", "--new"])).exits(0);
    let ran = tokio::task::block_in_place(|| workspace.run(&["run", "--execute", "--new"])).exits(0);
    assert!(!ran.stderr.contains("waits"), "{}", ran.stderr);
    assert_eq!(
        (db.value(orders).await, db.value(types).await.as_str()),
        (rows, "bigint, integer, bigint, timestamp with time zone")
    );
    assert_eq!(db.value("SELECT count(*) FROM crossfade.rewritten").await, pieces);
}

/// Damage to the plan is seen by the proof.
fn damaged(folder: &Path, from: &str, to: &str) {
    let mut open = vec![folder.join("plan")];
    let mut found = None;
    while let Some(next) = open.pop() {
        for entry in std::fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => open.push(path),
                false if std::fs::read_to_string(&path).unwrap().contains(from) => found = Some(path),
                false => {}
            }
        }
    }
    let file = found.unwrap_or_else(|| panic!("{from}"));
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace(from, to)).unwrap();
    let mut command = crossfade();
    command.args(["-q", "prove", "pop", "plan.toml", "--start", "start.sql"]).current_dir(folder);
    let ran = Ran::of(command.output().unwrap());
    assert!(!ran.stdout.contains("the same:"), "{from}: {}", ran.stdout);
    std::fs::write(&file, text).unwrap();
}

/// What stands on a column and cannot be carried over leaves the change to a person, with the reason.
#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_carried_over_waits() {
    let db = started().await;
    let text = "ALTER TABLE orders ALTER COLUMN id TYPE bigint;\nALTER TABLE customer ALTER COLUMN id TYPE numeric;\n\
                ALTER TABLE orders ALTER COLUMN state TYPE varchar(9);\nALTER TABLE orders ALTER COLUMN number DROP NOT NULL, \
                ALTER COLUMN number TYPE numeric(20) USING number::numeric;\n\
                ALTER TABLE late ALTER COLUMN n TYPE bigint;\n";
    let set = folder(&[("20240101000000_types.postgres.up.sql", text)]);
    let said = rewrite(set.path(), &db).stdout;
    for (line, why) in [
        (1, "view open_orders stands on it"),
        (2, "constraint order_has_customer on table orders stands on it"),
        (3, "view open_orders stands on it"),
        (5, "is more than its columns (DEFERRABLE)"),
        (4, "other changes of \"number\" in one statement with it"),
    ] {
        let place = format!("types.postgres.up.sql:{line}: ");
        assert!(said.lines().any(|one| one.contains(&place) && one.contains(why)), "{line}: {why}\n{said}");
    }
    // Without a database nothing is known of what stands on it.
    let mut command = crossfade();
    command.args(["rewrite", "pop", "-o", "blind.toml"]).current_dir(set.path());
    let said = Ran::of(command.output().unwrap()).exits(0).stdout;
    assert!(said.contains("ask with --connect"), "{said}");
}

/// A column that the set adds and fills holds in rows of older code what it would hold had the row been there before; until the
/// contract, or until the column is renamed.
#[tokio::test(flavor = "multi_thread")]
async fn new_columns_keep_step_with_old_code() {
    let add = "ALTER TABLE orders ADD COLUMN total bigint, ADD COLUMN kind text;\n\
               UPDATE orders SET total = amount * 2, kind = CASE WHEN code = '' THEN 'none' ELSE 'some' END;\n\
               ALTER TABLE orders ALTER COLUMN total SET NOT NULL;\n";
    let db = started().await;
    let set = folder(&[("20240101000000_totals.postgres.up.sql", add)]);
    rewrite(set.path(), &db);
    let mut command = crossfade();
    command.args(["-q", "prove", "pop", "plan.toml", "--start", "start.sql"]).current_dir(set.path());
    Ran::of(command.output().unwrap()).exits(0);
    let workspace = Workspace::at(set, &db, None);
    let ran = tokio::task::block_in_place(|| workspace.run(&["run", "--execute"])).exits(12);
    assert!(ran.stderr.contains("what keeps total, kind of orders in step"), "{}", ran.stderr);
    let of = |id: &str| format!("SELECT concat_ws(' ', amount, total, kind) FROM orders WHERE id = {id}");
    assert_eq!(db.value(&of("5")).await, "5 10 some");
    db.sql("INSERT INTO orders (id, amount, code) VALUES (100001, 30, ''), (100002, 31, 'x')").await;
    assert_eq!(db.value(&of("100001")).await, "30 60 none");
    db.sql("UPDATE orders SET amount = 40 WHERE id = 100001; UPDATE orders SET amount = 41, total = 7 WHERE id = 100002").await;
    assert_eq!(db.value(&of("100001")).await, "40 80 none");
    // Code that knows the column is left alone, and a change of something else leaves it too.
    assert_eq!(db.value(&of("100002")).await, "41 7 some");
    db.sql("UPDATE orders SET note = 'y' WHERE id = 100002").await;
    assert_eq!(db.value(&of("100002")).await, "41 7 some");
    tokio::task::block_in_place(|| workspace.run(&["run", "--execute", "--approve", "ask-contract"])).exits(0);
    assert_eq!(db.value("SELECT count(*) FROM pg_trigger WHERE tgrelid = 'orders'::regclass AND NOT tgisinternal").await, "0");

    // A rename ends it, with the approval that the rename needs.
    let db = started().await;
    let rename = "ALTER TABLE orders RENAME COLUMN total TO doubled;\n";
    let set = folder(&[("20240101000000_totals.postgres.up.sql", add), ("20240102000000_rename.up.sql", rename)]);
    let said = rewrite(set.path(), &db).stdout;
    assert!(said.contains("rename.up.sql:1: programs that use the old name"), "{said}");
    let workspace = Workspace::at(set, &db, None);
    tokio::task::block_in_place(|| workspace.run(&["run", "--execute"])).exits(12);
    db.sql("INSERT INTO orders (id, amount, code) VALUES (100001, 30, '')").await;
    assert_eq!(db.value(&of("100001")).await, "30 60 none");
    let plan = std::fs::read_to_string(workspace.plan()).unwrap();
    let approval = plan.lines().find_map(|line| line.strip_prefix("id = \"approve-")).unwrap().trim_end_matches('"');
    tokio::task::block_in_place(|| workspace.run(&["run", "--execute", "--approve", &format!("approve-{approval}")])).exits(0);
    db.sql("INSERT INTO orders (id, amount, doubled) VALUES (100002, 30, 1)").await;
    assert_eq!(db.value("SELECT doubled FROM orders WHERE id = 100002").await, "1");

    // What its backfill filled has another name by now and other values: another run leaves them alone.
    tokio::task::block_in_place(|| workspace.run(&["run", "--execute", "--new"])).exits(0);
    assert_eq!(db.value("SELECT doubled FROM orders WHERE id = 100002").await, "1");

    // Another plan for the same database does its own pieces.
    let more = "ALTER TABLE orders ADD COLUMN half bigint;\nUPDATE orders SET half = amount / 2;\n";
    let set = folder(&[("20240103000000_halves.postgres.up.sql", more)]);
    rewrite(set.path(), &db);
    let workspace = Workspace::at(set, &db, None);
    tokio::task::block_in_place(|| workspace.run(&["run", "--execute"])).exits(12);
    assert_eq!(db.value("SELECT half FROM orders WHERE id = 100001").await, "15");
}
