//! Every row is accounted for: on blue, in green by projection, left out, or set aside; printed by `crossfade report`.

use std::path::Path;

use serde_json::Value;

use crate::hydra;
use crate::support::{TestDb, Workspace};

/// The accounts that a step counted, as `report --format json` prints them.
fn accounts(report: &str, step: &str) -> Vec<Value> {
    let report: Value = serde_json::from_str(report).unwrap();
    let steps = report["summary"]["steps"].as_array().unwrap();
    steps.iter().find(|one| one["step"] == step).unwrap()["accounts"].as_array().unwrap().clone()
}

fn number(value: &Value, key: &str) -> u64 {
    value[key].as_u64().unwrap_or_else(|| panic!("no number {key} in {value}"))
}

/// The rows of one blue table, as one green table sees them.
fn origin<'a>(accounts: &'a [Value], green: &str, blue: &str) -> &'a Value {
    let account = accounts.iter().find(|account| account["table"] == format!("public.{green}")).unwrap();
    let from = account["from"].as_array().unwrap();
    from.iter().find(|origin| origin["table"] == format!("public.{blue}")).unwrap()
}

/// The planned journey with every violating kind, and with two cleanups on green between copy and comparison.
#[tokio::test(flavor = "multi_thread")]
async fn every_row_of_the_hydra_journey_is_accounted_for() {
    const EACH: u64 = hydra::PLANTED as u64;
    assert_eq!(EACH, 20);
    let (blue, green) = (hydra::blue_1_11_10().await, TestDb::empty().await);
    let before = hydra::rows(&blue).await;
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let cleanup = "[[step]]\nid = \"clean-lost-logins\"\nphase = \"follow\"\nkind = \"clean_rows\"\nside = \"green\"\n\
        table = \"hydra_oauth2_flow\"\nwhere = \"state IN (1, 128) AND consent_challenge_id IS NULL\"\n\
        reason = \"nobody can finish these logins\"\nmax_rows = 1000\ndelete = true\ncascades = true\n\n\
        [[step]]\nid = \"mend-urls\"\nphase = \"follow\"\nkind = \"clean_rows\"\nside = \"green\"\ntable = \"hydra_oauth2_flow\"\n\
        where = \"request_url <> '' AND state = 129\"\nreason = \"refused\"\nmax_rows = 1000\nset = { request_url = \"''\" }\n\n";
    let plan = std::fs::read_to_string(hydra::plan("hydra-2x-blue-green.toml")).unwrap();
    let (first, last) = plan.split_once("[[step]]\nid = \"verify-rows\"").unwrap();
    let plan = format!("{first}{cleanup}[[step]]\nid = \"verify-rows\"{last}")
        .replace("\"revocations/", &format!("\"{}/", root.join("plans/revocations").to_str().unwrap()))
        .replace("../migrations", root.join("migrations").to_str().unwrap())
        .replace("\"projections/hydra-2x\"", &format!("{:?}", root.join("plans/projections/hydra-2x").to_str().unwrap()));
    let workspace = Workspace::new(&plan, &blue, Some(&green));
    workspace.run(&["preflight"]).exits(0);
    workspace.run(&["run", "--execute"]).exits(0);
    assert_eq!(hydra::rows(&blue).await, before, "blue-green cleans nothing on blue");
    assert_eq!(green.value("SELECT count(*) FROM crossfade.divergence").await, "0");

    let report = workspace.run(&["report", "--format", "json"]).exits(0).stdout;
    let accounts = accounts(&report, "verify-rows");
    assert_eq!(accounts.len(), 13);
    let (mut set_aside, mut mended) = (0, 0);
    for account in &accounts {
        let name = account["table"].as_str().unwrap();
        let held: u64 = green.value(&format!("SELECT count(*) FROM {name}")).await.parse().unwrap();
        assert_eq!(number(account, "held"), held, "{name}");
        assert_eq!(number(account, "projected"), held + number(account, "set_aside"), "{name}");
        for origin in account["from"].as_array().unwrap() {
            let table = origin["table"].as_str().unwrap();
            let rows: u64 = blue.value(&format!("SELECT count(*) FROM {table}")).await.parse().unwrap();
            assert_eq!(number(origin, "rows"), rows, "{table}");
            assert_eq!(number(origin, "brought") + number(origin, "left_out"), rows, "{table}");
        }
        set_aside += number(account, "set_aside");
        mended += number(account, "mended");
    }
    let quarantined = |step: &str| format!("SELECT count(*) FROM crossfade.quarantine WHERE step = '{step}'");
    assert!(set_aside > 0 && mended > 0);
    assert_eq!(set_aside.to_string(), green.value(&quarantined("clean-lost-logins")).await);
    assert_eq!(mended.to_string(), green.value(&quarantined("mend-urls")).await);
    // 10 and 12: tokens whose client or consent is gone; 02 and 03: unanswered consents that hang on nothing.
    for kind in ["access", "refresh", "code", "oidc", "pkce"] {
        let table = format!("hydra_oauth2_{kind}");
        assert_eq!(number(origin(&accounts, &table, &table), "left_out"), 2 * EACH, "{kind}");
    }
    let flow = |blue: &str| number(origin(&accounts, "hydra_oauth2_flow", blue), "left_out");
    let ordinary = "SELECT count(*) FROM hydra_oauth2_consent_request AS c WHERE challenge NOT LIKE 'dead%' AND login_challenge IS NULL \
        AND NOT EXISTS (SELECT FROM hydra_oauth2_consent_request_handled AS ca WHERE ca.challenge = c.challenge)";
    let ordinary: u64 = blue.value(ordinary).await.parse().unwrap(); // their login was logged out before they were answered
    assert_eq!(flow("hydra_oauth2_consent_request"), 2 * EACH + ordinary);
    for whole in ["authentication_request", "authentication_request_handled", "consent_request_handled"] {
        assert_eq!(flow(&format!("hydra_oauth2_{whole}")), 0, "{whole}");
    }
    let text = workspace.run(&["report"]).exits(0).stdout;
    assert!(text.contains("Where every row is, counted by verify-rows") && !text.contains("DOES NOT ADD UP"), "{text}");
    assert!(
        text.contains("public.hydra_oauth2_consent_request on blue") && text.contains("→ public.hydra_oauth2_flow"),
        "{text}"
    );
    workspace.run(&["rollback", "--execute"]).exits(0);
}

const PLAN: &str =
    "format = 1\nname = \"count\"\n[blue]\nurl_env = \"BLUE_DATABASE_URL\"\n[green]\nurl_env = \"GREEN_DATABASE_URL\"\n";

fn step(id: &str, phase: &str, rest: &str) -> String {
    format!("[[step]]\nid = \"{id}\"\nphase = \"{phase}\"\n{rest}\n")
}

/// A row that gives several rows, a table that is read by two sources, an inherited table, rows set aside on blue before.
#[tokio::test(flavor = "multi_thread")]
async fn rows_are_counted_once_however_often_they_are_read() {
    let (blue, green) = (TestDb::empty().await, TestDb::empty().await);
    blue.sql(
        "CREATE TABLE person (id int PRIMARY KEY, home text, work text, boss int);
         INSERT INTO person SELECT n, 'h' || n, CASE WHEN n % 2 = 0 THEN 'w' || n END, nullif(n / 3, 0) FROM generate_series(1, 30) n;
         CREATE TABLE visit (id int, at date NOT NULL, person int, PRIMARY KEY (id, at)) PARTITION BY RANGE (at);
         CREATE TABLE visit_1 PARTITION OF visit FOR VALUES FROM ('2024-01-01') TO ('2024-02-01');
         CREATE TABLE visit_2 PARTITION OF visit FOR VALUES FROM ('2024-02-01') TO ('2024-03-01');
         INSERT INTO visit SELECT n, '2024-01-01'::date + n, n % 40 FROM generate_series(0, 49) n",
    )
    .await;
    green
        .sql(
            "CREATE TABLE phone (person int, kind text, number text, PRIMARY KEY (person, kind));
             CREATE TABLE boss (id int PRIMARY KEY, name text); CREATE TABLE visit (id int PRIMARY KEY, name text)",
        )
        .await;
    let clean = step(
        "clean",
        "expand",
        "kind = \"clean_rows\"\nside = \"blue\"\ntable = \"person\"\nwhere = \"id > 28\"\nreason = \"too many\"\nmax_rows = 5\ndelete = true",
    );
    let copy = step("copy", "copy", "kind = \"copy\"\nprojections = \"projections\"");
    let verify = step("verify", "copy", "kind = \"verify\"\nprojections = \"projections\"");
    let workspace = Workspace::new(&format!("{PLAN}{clean}{copy}{verify}"), &blue, Some(&green));
    let folder = workspace.folder.path().join("projections");
    std::fs::create_dir(&folder).unwrap();
    let source = |name: &str, table: &str, from: &str, filter: &str, columns: &str| {
        format!(
            "[[source]]\nname = \"{name}\"\ndrives = {{ table = \"{table}\", alias = \"x\" }}\nfrom = \"{from}\"\nwhere = \"{filter}\"\n\
             [source.columns]\n{columns}\n"
        )
    };
    let phone = |kind: &str| {
        let columns = format!("person = \"x.id\"\nkind = \"'{kind}'\"\nnumber = \"x.{kind}\"");
        source(kind, "person", "person AS x", &format!("x.{kind} IS NOT NULL AND x.id > 3"), &columns)
    };
    let boss = source(
        "leads",
        "person",
        "person AS x JOIN LATERAL (SELECT p.id FROM person AS p WHERE p.boss = x.id LIMIT 1) AS any_one ON true",
        "true",
        "id = \"x.id\"\nname = \"x.home\"",
    );
    let visit =
        source("all", "person", "person AS x JOIN visit AS v ON v.person = x.id", "true", "id = \"v.id\"\nname = \"x.home\"");
    for (name, text) in [
        ("phone", format!("table = \"phone\"\nkey = [\"person\", \"kind\"]\n{}{}", phone("home"), phone("work"))),
        ("boss", format!("table = \"boss\"\nkey = [\"id\"]\n{boss}")),
        ("visit", format!("table = \"visit\"\nkey = [\"id\"]\n{visit}")),
    ] {
        std::fs::write(folder.join(format!("{name}.toml")), text).unwrap();
    }
    workspace.run(&["run", "--execute"]).exits(0);
    let found = accounts(&workspace.run(&["report", "--format", "json"]).exits(0).stdout, "verify");
    let of = |green: &str, blue: &str| {
        let origin = origin(&found, green, blue);
        ["rows", "brought", "left_out", "set_aside"].map(|key| number(origin, key))
    };
    assert_eq!(of("phone", "person"), [28, 25, 3, 2]);
    assert_eq!(of("boss", "person"), [28, 9, 19, 2]);
    let visits = blue.value("SELECT count(*) FROM visit JOIN person ON person.id = visit.person").await.parse().unwrap();
    assert_eq!(of("visit", "visit"), [50, visits, 50 - visits, 0]);
    let text = workspace.run(&["report"]).exits(0).stdout;
    assert!(text.contains("person on blue"), "{text}");
}

/// A row that is gone from green, and one that a stranger changed there, are no rows of the account, whatever was set aside.
#[tokio::test(flavor = "multi_thread")]
async fn rows_that_are_missing_are_told_from_rows_set_aside() {
    let (blue, green) = (TestDb::empty().await, TestDb::empty().await);
    blue.sql("CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t SELECT n, 'v' || n FROM generate_series(1, 50) n").await;
    green.sql("CREATE TABLE t (id int PRIMARY KEY, v text)").await;
    let copy = step("copy", "copy", "kind = \"copy\"\ntables = [\"t\"]");
    let clean = step(
        "clean",
        "copy",
        "kind = \"clean_rows\"\nside = \"green\"\ntable = \"t\"\nwhere = \"id > 40\"\nreason = \"x\"\nmax_rows = 10\ndelete = true",
    );
    let harm = |sql: &str| {
        step("harm", "copy", &format!("kind = \"run_sql\"\nside = \"green\"\nsql = [\"{sql}\"]\nundo_sql = [\"SELECT 1\"]"))
    };
    let verify = step("verify", "copy", "kind = \"verify\"\ntables = [\"t\"]");
    for (sql, words, code) in [
        ("SELECT 1", "adds up", 0),
        ("DELETE FROM t WHERE id = 3", "50 rows by projection, but 39 on green and 10 set aside there", 14),
        ("UPDATE t SET v = 'new' WHERE id = 3", "1 key of 50 different", 14),
        ("INSERT INTO t VALUES (45, 'v45')", "50 rows by projection, but 41 on green and 10 set aside there", 14),
        ("UPDATE crossfade.quarantine SET row_text = replace(row_text, 'v45', 'v54')", "1 key of 50 different", 14),
    ] {
        let workspace = Workspace::new(&format!("{PLAN}{copy}{clean}{}{verify}", harm(sql)), &blue, Some(&green));
        workspace.run(&["run", "--execute"]).exits(code);
        let report = workspace.run(&["report"]).exits(0).stdout;
        assert!(report.contains(words) && report.contains("Where every row is"), "{sql}: `{words}` is not in\n{report}");
        green.sql("TRUNCATE t; DROP SCHEMA crossfade CASCADE").await;
    }
}
