//! Hydra databases for the tests: 1.0.0 with generated data, 1.11.10 by our own in-place plan, and what they must become.

use std::path::{Path, PathBuf};

use tokio::sync::OnceCell;

use crate::support::{Ran, TestDb, Workspace, logical_cluster};

/// Sessions of the generated data.
const SESSIONS: u32 = 300;
/// Rows of each kind that breaks a 2.x migration.
pub const PLANTED: u32 = 20;

/// A plan of this repository.
pub fn plan(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("plans").join(name)
}

/// A new copy of a 1.0.0 database with generated data.
pub async fn blue_1_0_0() -> TestDb {
    static TEMPLATE: OnceCell<TestDb> = OnceCell::const_new();
    let template = TEMPLATE
        .get_or_init(|| async {
            let db = TestDb::empty().await;
            make_1_0_0(&db, SESSIONS, PLANTED).await;
            db
        })
        .await;
    TestDb::from_template(template.name()).await
}

/// Makes an empty database a 1.0.0 one with generated data.
pub async fn make_1_0_0(db: &TestDb, sessions: u32, planted: u32) {
    db.sql(include_str!("../../src/demo/hydra-1.0.0.sql")).await;
    let settings = format!(
        "SET crossfade.sessions = '{sessions}'; SET crossfade.seed = '7'; SET crossfade.planted = '{planted}'; \
         SET crossfade.now = '2026-01-01 00:00:00';"
    );
    let session = db.session().await;
    session.batch_execute(&settings).await.unwrap();
    session.batch_execute(include_str!("../../src/demo/data.sql")).await.unwrap();
}

/// A new copy of the same database at 1.11.10, brought there by the in-place plan.
pub async fn blue_1_11_10() -> TestDb {
    static TEMPLATE: OnceCell<TestDb> = OnceCell::const_new();
    let template = TEMPLATE
        .get_or_init(|| async {
            let db = blue_1_0_0().await;
            in_place(&db);
            db
        })
        .await;
    TestDb::from_template(template.name()).await
}

/// The same on the cluster of the tests with slots.
pub async fn logical_1_11_10() -> TestDb {
    static TEMPLATE: OnceCell<TestDb> = OnceCell::const_new();
    let template = TEMPLATE
        .get_or_init(|| async {
            let db = TestDb::empty_on(logical_cluster()).await;
            make_1_11_10(&db).await;
            db
        })
        .await;
    TestDb::copy_of(template).await
}

/// Makes an empty database a 1.11.10 one with generated data, brought there by the in-place plan.
pub async fn make_1_11_10(db: &TestDb) {
    make_1_11_10_of(db, SESSIONS, PLANTED).await;
}

/// The same with so many sessions, and rows of each kind that breaks a 2.x migration.
pub async fn make_1_11_10_of(db: &TestDb, sessions: u32, planted: u32) {
    make_1_0_0(db, sessions, planted).await;
    in_place(db);
}

fn in_place(db: &TestDb) {
    let workspace = Workspace::at(tempfile::tempdir().unwrap(), db, None);
    run(&workspace, "hydra-1x-in-place.toml", &["run", "--execute"]).exits(0);
}

/// Runs a command on a plan of this repository.
pub fn run(workspace: &Workspace, name: &str, words: &[&str]) -> Ran {
    Ran::of(workspace.command_on(words, &plan(name)).output().unwrap())
}

/// The catalog of a database as the fixtures have it, without the positions of columns.
pub async fn catalog(db: &TestDb) -> serde_json::Value {
    let row = db.session().await.query_one(include_str!("../fixtures/hydra/catalog.sql"), &[]).await.unwrap();
    without_positions(row.get(0))
}

/// A fixture.
pub fn fixture(name: &str) -> serde_json::Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/hydra").join(name);
    without_positions(serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap())
}

fn without_positions(mut value: serde_json::Value) -> serde_json::Value {
    match &mut value {
        serde_json::Value::Object(map) => {
            // Columns stand in table order: names make their order comparable.
            if let Some(serde_json::Value::Array(columns)) = map.get_mut("columns")
                && columns.iter().all(|column| column.get("position").is_some())
            {
                columns.sort_by_key(|column| column["name"].as_str().unwrap_or_default().to_owned());
            }
            map.remove("position");
            map.values_mut().for_each(|inner| *inner = without_positions(inner.take()));
        }
        serde_json::Value::Array(items) => items.iter_mut().for_each(|item| *item = without_positions(item.take())),
        _ => {}
    }
    value
}

/// The versions a database records, in order.
pub async fn history(db: &TestDb) -> Vec<String> {
    let rows = db.session().await.query("SELECT version::text FROM schema_migration ORDER BY 1", &[]).await.unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

/// Row count and order-independent hash of every table outside schema crossfade. The random id of the network and the times it was
/// made at are the same in no two green databases: they are masked.
pub async fn rows(db: &TestDb) -> Vec<(String, i64, String)> {
    let session = db.session().await;
    let tables = session
        .query(
            "SELECT c.oid::regclass::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
             WHERE c.relkind = 'r' AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'crossfade') ORDER BY 1",
            &[],
        )
        .await
        .unwrap();
    let network: Option<String> = match session.query_opt("SELECT id::text FROM networks", &[]).await {
        Ok(row) => row.map(|row| row.get(0)),
        Err(_) => None,
    };
    let network = network.unwrap_or_else(|| "no network".to_owned());
    let mut all = Vec::new();
    for table in tables {
        let table: String = table.get(0);
        let row = if table == "networks" { "'network'" } else { "replace(t::text, $1, 'network')" };
        let sql =
            format!("SELECT count(*), coalesce(sum(hashtextextended({row}, 0)::numeric), 0)::text FROM {table} t WHERE $1 <> ''");
        let found = session.query_one(&sql, &[&network]).await.unwrap();
        all.push((table, found.get(0), found.get(1)));
    }
    all
}

/// The steps of the shipped blue-green plan that leave blue as it is: no capture, and nothing that needs it. Its paths are absolute.
pub fn without_capture() -> String {
    let shipped = std::fs::read_to_string(plan("hydra-2x-blue-green.toml")).unwrap();
    let kinds = ["require", "migrate", "copy", "verify"];
    let stays = |step: &&str| kinds.iter().any(|kind| step.contains(&format!("kind = \"{kind}\"")));
    let (head, steps) = shipped.split_once("[[step]]").unwrap();
    let steps: Vec<String> = steps.split("[[step]]").filter(stays).map(|step| format!("[[step]]{step}")).collect();
    assert_eq!(steps.len(), kinds.len());
    format!("{head}{}", steps.concat())
        .replace("../migrations", plan("../migrations").to_str().unwrap())
        .replace("\"projections/", &format!("\"{}/", plan("projections").to_str().unwrap()))
}
