//! Programs that read all columns, found where they can be seen: in the server's statistics, in its sessions, in source code.

use crossfade::shadow::{Binaries, Cluster};

use crate::support::{Ran, TestDb, crossfade};

const PLAN: &str = r#"
format = 1
name = "stars"
[blue]
url_env = "BLUE_DATABASE_URL"
[[step]]
id = "by-name"
phase = "preflight"
kind = "explicit_columns"
side = "blue"
source_folders = ["program"]
tables = { seen_before = ["extra"], seen_now = ["extra"], in_source = ["extra"], never = ["extra"], grown = ["there"] }
"#;

#[tokio::test(flavor = "multi_thread")]
async fn are_found_in_statistics_sessions_and_source() {
    let shared = TestDb::empty().await;
    if shared.value("SELECT count(*) FROM pg_available_extensions WHERE name = 'pg_stat_statements'").await == "0" {
        eprintln!("pg_stat_statements is not installed on this machine: not tested");
        return;
    }
    let settings = vec![("shared_preload_libraries", "pg_stat_statements".to_owned())];
    let cluster = Cluster::start(&Binaries::find().unwrap(), settings).await.unwrap();
    let connect = async |name: &str| cluster.database("test", "postgres").unwrap().connect(name).await.unwrap();
    let app = connect("old-release").await;
    app.batch_execute(
        "CREATE EXTENSION pg_stat_statements; CREATE TABLE seen_before (id int, \"Odd name\" text);
         CREATE TABLE seen_now (id int); CREATE TABLE in_source (id int); CREATE TABLE never (id int); CREATE TABLE grown (there int)",
    )
    .await
    .unwrap();
    for _ in 0..3 {
        app.query("SELECT * FROM seen_before s WHERE \"Odd name\" = 'hunter2'", &[]).await.unwrap();
    }
    app.query("SELECT id, count(*) FROM never GROUP BY id", &[]).await.unwrap();
    app.query("SELECT * FROM grown", &[]).await.unwrap();
    let now = connect("running-program").await;
    now.batch_execute("BEGIN").await.unwrap();
    now.query("SELECT * FROM seen_now WHERE id = 4711", &[]).await.unwrap();

    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("program")).unwrap();
    std::fs::write(
        folder.path().join("program/store.go"),
        "package store\n\nconst q = `SELECT * FROM in_source WHERE id = $1`\nconst fine = `SELECT id FROM never`\n",
    )
    .unwrap();
    let run = |plan: &str| {
        std::fs::write(folder.path().join("plan.toml"), plan).unwrap();
        let mut command = crossfade();
        command.args(["run", "--execute", "--new"]).arg(folder.path().join("plan.toml"));
        command.env("BLUE_DATABASE_URL", cluster.url("postgres")).env("CROSSFADE_STATE", folder.path().join("state"));
        Ran::of(command.output().unwrap())
    };
    let found = run(PLAN).exits(10);
    for words in [
        "blocks: public.seen_before",
        "run 3 times by role postgres",
        "next: name the columns: id, \"Odd name\"",
        "blocks: public.seen_now",
        "application \"running-program\"",
        "blocks: public.in_source",
        "store.go:3",
    ] {
        assert!(found.stderr.contains(words), "`{words}` is not in:\n{}", found.stderr);
    }
    assert_eq!(found.stderr.matches("blocks: ").count(), 3, "{}", found.stderr);
    assert!(!found.stderr.contains("hunter2") && !found.stderr.contains("4711"), "{}", found.stderr);
    let warned = run(&PLAN.replace("side =", "on_finding = \"warn\"\nside =")).exits(0);
    assert_eq!(warned.stderr.matches("warning: ").count(), 3, "{}", warned.stderr);
}
