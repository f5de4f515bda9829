//! Rows that a cleanup set aside: listed, named, and put back bit for bit.

use crate::fingerprint::{assert_same, fingerprint};
use crate::support::{Ran, TestDb, Workspace, crossfade};

const PLAN: &str = r#"
format = 1
name = "clean"
[blue]
url_env = "BLUE_DATABASE_URL"
[[step]]
id = "remove"
phase = "expand"
kind = "clean_rows"
side = "blue"
table = "t"
where = "id % 10 = 1"
reason = "every tenth"
max_rows = 100
delete = true
cascades = true
[[step]]
id = "mend"
phase = "expand"
kind = "clean_rows"
side = "blue"
table = "note"
where = "text LIKE 'secret%'"
reason = "no secrets"
max_rows = 100
set = { text = "'-'" }
"#;

/// Values that a careless way back would bend: NULs in json, quotes, infinities, bytes, generated columns.
async fn database() -> TestDb {
    let db = TestDb::empty().await;
    db.sql(
        r#"CREATE TABLE t (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, v numeric, double numeric GENERATED ALWAYS AS (v * 2) STORED,
                           list text[], doc json, raw bytea, f float8, at timestamptz);
           CREATE TABLE child (id int PRIMARY KEY, t bigint REFERENCES t ON DELETE CASCADE);
           CREATE TABLE note (id int PRIMARY KEY, text text);
           INSERT INTO t (v, list, doc, raw, f, at)
             SELECT n / 3.0, ARRAY['a', NULL, '"' || n], '{"x":  "\u0000"}', '\x00ff', CASE WHEN n % 3 = 0 THEN 'NaN' ELSE 0.1 END,
                    CASE WHEN n % 4 = 0 THEN 'infinity' ELSE '2024-02-29 23:59:59.999999+00'::timestamptz END
               FROM generate_series(1, 100) AS n;
           INSERT INTO child SELECT n, n FROM generate_series(1, 100, 3) AS n;
           INSERT INTO note SELECT n, 'secret ' || n FROM generate_series(1, 5) AS n"#,
    )
    .await;
    db
}

struct Cleaned {
    db: TestDb,
    workspace: Workspace,
    before: Vec<String>,
}

impl Cleaned {
    async fn new() -> Self {
        let db = database().await;
        let before = fingerprint(&db).await;
        let workspace = Workspace::new(PLAN, &db, None);
        workspace.run(&["run", "--execute"]).exits(0);
        Self { db, workspace, before }
    }

    fn quarantine(&self, words: &[&str]) -> Ran {
        let mut command = crossfade();
        command.args(["quarantine", words[0]]).arg(self.workspace.plan()).args(&words[1..]);
        command.env("CROSSFADE_STATE", self.workspace.folder.path().join("state")).envs(self.workspace.env.iter().cloned());
        Ran::of(command.output().unwrap())
    }

    fn json(&self, words: &[&str]) -> serde_json::Value {
        let mut all = words.to_vec();
        all.extend(["--format", "json"]);
        serde_json::from_str(&self.quarantine(&all).exits(0).stdout).unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_are_counted_and_named_without_their_values() {
    let cleaned = Cleaned::new().await;
    let list = cleaned.quarantine(&["list"]).exits(0).stdout;
    for words in [
        "remove, public.t on blue: 10 rows",
        "remove, public.child on blue: 4 rows",
        "mend, public.note on blue: 5 rows",
        "every tenth",
    ] {
        assert!(list.contains(words), "`{words}` is not in:\n{list}");
    }
    let list = cleaned.json(&["list", "--step", "mend"]);
    assert_eq!(list["quarantine"].as_array().unwrap().len(), 1);
    assert_eq!((&list["quarantine"][0]["rows"], &list["quarantine"][0]["restored"]), (&5.into(), &0.into()));
    let show = cleaned.quarantine(&["show"]).exits(0).stdout;
    assert_eq!(show.lines().count(), 19, "{show}");
    assert!(!show.contains("secret "), "{show}");
    let rows = cleaned.quarantine(&["show", "--rows", "--table", "note"]).exits(0).stdout;
    let rows: Vec<serde_json::Value> = serde_json::from_str(&rows).unwrap();
    assert_eq!(rows.len(), 5);
    assert_eq!(rows[0]["row"]["text"], "secret 1");
    let none = cleaned.quarantine(&["show", "--rows", "--table", "nobody"]).exits(0).stdout;
    assert_eq!(none, "[]\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_go_back_bit_for_bit_and_only_once() {
    let cleaned = Cleaned::new().await;
    let emptied = fingerprint(&cleaned.db).await;
    let said = cleaned.quarantine(&["restore"]).exits(0).stdout;
    assert!(said.contains("without --execute") && said.contains("public.t on blue: 10 rows would be restored"), "{said}");
    assert_same("a restore without --execute", &[emptied], &[fingerprint(&cleaned.db).await]);
    assert_eq!(cleaned.json(&["list"])["quarantine"][0]["restored"], 0);

    let said = cleaned.quarantine(&["restore", "--execute"]).exits(0).stdout;
    assert!(said.contains("public.child on blue: 4 rows restored, 0 left"), "{said}");
    assert_same("restored", std::slice::from_ref(&cleaned.before), &[fingerprint(&cleaned.db).await]);
    assert_eq!(cleaned.db.value("SELECT count(*) FROM crossfade.quarantine WHERE restored_at IS NULL").await, "0");

    let said = cleaned.quarantine(&["restore", "--execute"]).exits(0).stdout;
    assert!(said.contains("public.t on blue: 0 rows restored, 0 left"), "{said}");
    assert_same("restored twice", std::slice::from_ref(&cleaned.before), &[fingerprint(&cleaned.db).await]);
    cleaned.workspace.run(&["rollback", "--execute"]).exits(0);
    assert_same("rolled back after a restore", std::slice::from_ref(&cleaned.before), &[fingerprint(&cleaned.db).await]);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_step_or_table_goes_back_alone() {
    let cleaned = Cleaned::new().await;
    cleaned.quarantine(&["restore", "--step", "mend", "--execute"]).exits(0);
    assert_eq!(cleaned.db.value("SELECT count(*) FROM note WHERE text LIKE 'secret%'").await, "5");
    assert_eq!(cleaned.db.value("SELECT count(*) FROM t").await, "90");
    cleaned.quarantine(&["restore", "--table", "t", "--execute"]).exits(0);
    assert_eq!(cleaned.db.value("SELECT count(*) FROM t").await, "100");
    assert_eq!(cleaned.db.value("SELECT count(*) FROM child").await, "30");
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_whose_place_is_taken_are_named() {
    let cleaned = Cleaned::new().await;
    cleaned
        .db
        .sql(
            "INSERT INTO t (id, v) OVERRIDING SYSTEM VALUE VALUES (11, 7); UPDATE note SET text = 'new since' WHERE id = 3; \
             CREATE UNIQUE INDEX t_v ON t (v) WHERE v = 7 OR id = 21",
        )
        .await;
    let dry = cleaned.quarantine(&["restore"]).exits(10).stdout;
    assert!(dry.contains("public.t on blue: 9 rows would be restored"), "{dry}");
    assert!(dry.contains("public.note on blue: 4 rows would be restored"), "{dry}");
    let said = cleaned.quarantine(&["restore", "--execute"]).exits(10).stdout;
    assert!(said.contains("public.t on blue: 8 rows restored, 2 left") && said.contains("1 row cannot go back"), "{said}");
    assert!(said.contains("1 row did not go back: another unique key of public.t"), "{said}");
    assert!(said.contains("key digests") && !said.contains("secret") && !said.contains("new since"), "{said}");
    assert_eq!(cleaned.db.value("SELECT v FROM t WHERE id = 11").await, "7");
    assert_eq!(cleaned.db.value("SELECT text FROM note WHERE id = 3").await, "new since");
    let digest = crossfade::terms::key_digest(&cleaned.db.value("SELECT jsonb_build_object('id', '11')").await);
    assert!(said.contains(&digest), "{digest} is not in:\n{said}");
    assert_eq!(cleaned.db.value("SELECT count(*) FROM crossfade.quarantine WHERE restored_at IS NULL").await, "3");
    cleaned.db.sql("DELETE FROM t WHERE id = 11").await;
    cleaned.quarantine(&["restore", "--step", "remove", "--execute"]).exits(0);
    assert_eq!(cleaned.db.value("SELECT count(*) FROM t").await, "100");
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_break_a_constraint_added_since_stay_and_the_others_go_back() {
    let cleaned = Cleaned::new().await;
    cleaned.db.sql("ALTER TABLE note ADD CONSTRAINT harmless CHECK (text NOT LIKE 'secret%')").await;
    let said = cleaned.quarantine(&["restore", "--execute"]).exits(10).stdout;
    assert!(said.contains("public.note on blue: 0 rows restored, 5 left") && said.contains("harmless"), "{said}");
    assert!(said.contains("public.t on blue: 10 rows restored, 0 left") && !said.contains("secret "), "{said}");
    cleaned.db.sql("ALTER TABLE note DROP CONSTRAINT harmless").await;
    cleaned.quarantine(&["restore", "--execute"]).exits(0);
    assert_same("restored", std::slice::from_ref(&cleaned.before), &[fingerprint(&cleaned.db).await]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_needs_the_run_its_plan_and_its_database() {
    let cleaned = Cleaned::new().await;
    let said = cleaned.quarantine(&["restore", "--run", "nobody", "--execute"]).exits(2).stderr;
    assert!(said.contains("no run nobody"), "{said}");
    cleaned.quarantine(&["restore", "--step", "nobody", "--execute"]).exits(2);
    let other = database().await;
    let said = cleaned.quarantine(&["restore", "--execute", "--blue", &other.url()]).exits(2).stderr;
    assert!(said.contains("another blue database"), "{said}");
    std::fs::write(cleaned.workspace.plan(), PLAN.replace("no secrets", "none")).unwrap();
    let said = cleaned.quarantine(&["restore", "--execute"]).exits(2).stderr;
    assert!(said.contains("step mend has changed since"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_put_back_is_in_the_report_and_the_run_still_rolls_back() {
    let cleaned = Cleaned::new().await;
    cleaned.quarantine(&["restore", "--execute", "--step", "mend"]).exits(0);
    cleaned.db.sql("INSERT INTO t (id, v) OVERRIDING SYSTEM VALUE VALUES (11, 7)").await;
    cleaned.quarantine(&["restore", "--execute", "--table", "t"]).exits(10);
    let report = cleaned.workspace.run(&["report", "--format", "json"]).exits(0).stdout;
    let report: serde_json::Value = serde_json::from_str(&report).unwrap();
    let restores = report["summary"]["restores"].as_array().unwrap();
    let told: Vec<_> =
        restores.iter().map(|one| (one["step"].as_str(), one["waiting"].as_u64(), one["outcome"].clone())).collect();
    assert_eq!(
        told,
        [(Some("mend"), Some(5), serde_json::json!([5, 0])), (Some("remove"), Some(10), serde_json::json!([9, 1])),]
    );
    let text = cleaned.workspace.run(&["report"]).exits(0).stdout;
    assert!(text.contains("public.t on blue: of 10 rows set aside 9 put back, 1 left"), "{text}");
    cleaned.db.sql("DELETE FROM t WHERE id = 11").await;
    cleaned.workspace.run(&["rollback", "--execute"]).exits(0);
    assert_same("rolled back", std::slice::from_ref(&cleaned.before), &[fingerprint(&cleaned.db).await]);
}
