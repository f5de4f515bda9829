//! `crossfade init`: a first plan that needs nothing but the decisions it lists.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::hydra;
use crate::support::{Ran, TestDb, Workspace, crossfade};

fn init(blue: &TestDb, green: &TestDb, out: &Path) -> Ran {
    let words = ["--format", "json", "init", "--blue", &blue.url(), "--green", &green.url(), "-o"];
    Ran::of(crossfade().args(words).arg(out).output().unwrap())
}

/// The places of a file that hold `"?"`, as paths.
fn open(value: &toml::Value, path: &mut Vec<String>, found: &mut Vec<Vec<String>>) {
    match value {
        toml::Value::String(text) if text == "?" => found.push(path.clone()),
        toml::Value::Table(table) => {
            for (key, value) in table {
                path.push(key.clone());
                open(value, path, found);
                path.pop();
            }
        }
        toml::Value::Array(list) => {
            for (index, value) in list.iter().enumerate() {
                path.push(index.to_string());
                open(value, path, found);
                path.pop();
            }
        }
        _ => {}
    }
}

fn at<'a>(value: &'a mut toml::Value, path: &[String]) -> Option<&'a mut toml::Value> {
    path.iter().try_fold(value, |value, key| match value {
        toml::Value::Array(list) => list.get_mut(key.parse::<usize>().ok()?),
        value => value.get_mut(key),
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn hydras_plan_is_accepted_after_the_listed_decisions() {
    let (blue, green) = (hydra::blue_1_11_10().await, TestDb::empty().await);
    // The schema of 2.3.0, as its migrations make it.
    let schema = "format = 1\nname = \"schema\"\nblue = { url_env = \"GREEN_DATABASE_URL\" }\n[[step]]\nid = \"schema\"\nphase = \"expand\"\n\
                  kind = \"migrate\"\nside = \"blue\"\ndirectory = \"DIR\"\nhistory = { table = \"schema_migration\", column = \"version\", constants = { version_self = 0 } }\n";
    let migrations = Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations/hydra-2x");
    let workspace = Workspace::new(&schema.replace("DIR", migrations.to_str().unwrap()), &blue, Some(&green));
    workspace.run(&["run", "--execute"]).exits(0);

    let folder = workspace.folder.path().join("draft");
    std::fs::create_dir(&folder).unwrap();
    let out = folder.join("first.toml");
    let written: Value = serde_json::from_str(&init(&blue, &green, &out).exits(0).stdout).unwrap();
    let decisions = written["decisions"].as_array().unwrap();
    // A table of its name and columns, one that changed, one that is new, one that the migrations filled.
    let plan = std::fs::read_to_string(&out).unwrap();
    assert!(folder.join("first.projections/hydra_client.toml").exists(), "{written:#}");
    assert!(decisions.iter().any(|decision| decision["table"] == "hydra_oauth2_flow"), "{written:#}");
    assert!(written["notes"].to_string().contains("schema_migration holds rows on green"), "{written:#}");
    for decision in decisions {
        let (file, line) = (decision["file"].as_str().unwrap(), decision["line"].as_u64().unwrap());
        assert!(plan.contains(&format!("{file}:{line}: ")), "the plan does not list {decision}");
    }
    // Until they are decided `check` refuses each of them, and nothing else.
    let refused = Ran::of(crossfade().args(["--format", "json", "check"]).arg(&out).output().unwrap()).exits(2);
    let problems: Value = serde_json::from_str(&refused.stdout).unwrap();
    for problem in problems["problems"].as_array().unwrap() {
        let name = Path::new(problem["file"].as_str().unwrap()).file_name().unwrap().to_str().unwrap().to_owned();
        assert!(decisions.iter().any(|decision| decision["file"].as_str().unwrap().ends_with(&name)), "{problem}");
    }

    // Decide as the shipped projections do.
    let mut filled = 0;
    let names: Vec<&str> = written["files"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
    for name in names.iter().filter(|name| name.contains(".projections/") && !name.ends_with("constants.toml")) {
        let path: PathBuf = folder.join(name);
        let mut draft: toml::Value = toml::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        let mut places = Vec::new();
        open(&draft, &mut Vec::new(), &mut places);
        let listed: Vec<&Value> = decisions.iter().filter(|decision| decision["file"] == **name).collect();
        assert_eq!(places.len(), listed.len(), "{name}: {places:?} {listed:?}");
        let shipped = hydra::plan("projections/hydra-2x").join(path.file_name().unwrap());
        let mut shipped: toml::Value = toml::from_str(&std::fs::read_to_string(&shipped).unwrap_or_default()).unwrap();
        for place in places {
            let decided = match place.last().map(String::as_str) {
                Some("table") => toml::Value::from("hydra_oauth2_authentication_request"),
                Some("from") => toml::Value::from("hydra_oauth2_authentication_request AS t"),
                // What the shipped projection leaves to a default has no expression there.
                _ => at(&mut shipped, &place).map_or("NULL".into(), |value| value.clone()),
            };
            assert!(decided.is_str(), "{name}: {place:?}");
            *at(&mut draft, &place).unwrap() = decided;
            filled += 1;
        }
        std::fs::write(&path, toml::to_string(&draft).unwrap()).unwrap();
    }
    assert_eq!(filled, decisions.len());
    let accepted = Ran::of(crossfade().arg("check").arg(&out).output().unwrap()).exits(0);
    assert!(accepted.stdout.contains("is right: 4 steps"), "{}", accepted.stdout);
    // Nothing is overwritten.
    let again = init(&blue, &green, &out).exits(2);
    assert!(again.stderr.contains("is there already"), "{}", again.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_with_its_decisions_runs() {
    let (blue, green) = (TestDb::empty().await, TestDb::empty().await);
    blue.sql(
        "CREATE TABLE customer (id int PRIMARY KEY, mail text, \"Odd Name\" int); \
         CREATE TABLE \"order\" (id int PRIMARY KEY, customer_id int, placed timestamp, \"user\" text); \
         INSERT INTO customer SELECT n, 'c' || n, n FROM generate_series(1, 500) n; \
         INSERT INTO \"order\" SELECT n, 1 + n % 500, '2026-01-01', 'u' FROM generate_series(1, 900) n",
    )
    .await;
    green
        .sql(
            "CREATE TABLE shop (id uuid PRIMARY KEY); INSERT INTO shop VALUES ('8a3f0f1c-0d1e-4a75-9c58-0f0b3f2f6a11'); \
             CREATE TABLE customer (id int PRIMARY KEY, mail text, \"Odd Name\" int); \
             CREATE TABLE \"order\" (id bigint PRIMARY KEY, customer_id int NOT NULL REFERENCES customer, placed timestamptz, \
                                     shop uuid NOT NULL REFERENCES shop, state text NOT NULL, note text, \"user\" text)",
        )
        .await;
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("shop.toml");
    let written: Value = serde_json::from_str(&init(&blue, &green, &out).exits(0).stdout).unwrap();
    let whats: Vec<&str> = written["decisions"].as_array().unwrap().iter().map(|one| one["what"].as_str().unwrap()).collect();
    assert_eq!(whats.len(), 2, "{whats:?}");
    let file = folder.path().join(written["decisions"][0]["file"].as_str().unwrap());
    let text = std::fs::read_to_string(&file).unwrap();
    let text =
        text.replace("placed = \"?\"", "placed = \"t.placed AT TIME ZONE 'UTC'\"").replace("state = \"?\"", "state = \"'open'\"");
    std::fs::write(&file, text).unwrap();
    let workspace = Workspace::at(folder, &blue, Some(&green));
    Ran::of(workspace.command_on(&["run", "--execute"], &out).output().unwrap()).exits(0);
    assert_eq!(
        green.value("SELECT count(*) FROM \"order\" WHERE state = 'open' AND placed = '2026-01-01 00:00:00+00'").await,
        "900"
    );
    assert_eq!(green.value("SELECT count(*) FROM customer WHERE \"Odd Name\" = id").await, "500");
}
