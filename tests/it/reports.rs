//! What a run leaves for those who read about it: the record beside its journal, and the report in each form.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::support::{Process, Ran, TestDb, Workspace, crossfade, eventually};

const PLAN: &str = r#"
format = 1
name = "reported"
blue = { url_env = "BLUE_DATABASE_URL" }
green = { url_env = "GREEN_DATABASE_URL" }
[[step]]
id = "before"
phase = "preflight"
kind = "watch"
for = "1ms"
[[step.measure]]
name = "rows of <t>"
side = "blue"
sql = "SELECT count(*) FROM t"
[[step]]
id = "note"
phase = "expand"
kind = "run_sql"
side = "blue"
sql = ["ALTER TABLE t ADD COLUMN note text DEFAULT 'Kx7secret'", "UPDATE t SET note = 'Kx7secret' WHERE id = 8812345"]
undo_sql = ["ALTER TABLE t DROP COLUMN note"]
[[step]]
id = "clean"
phase = "expand"
kind = "clean_rows"
side = "blue"
table = "t"
where = "v = 'Kx7secret'"
delete = true
max_rows = 100
reason = "nobody needs <these>"
[[step]]
id = "capture"
phase = "capture"
kind = "start_capture"
tables = ["t"]
[[step]]
id = "copy"
phase = "copy"
kind = "copy"
tables = ["t"]
[[step]]
id = "follow"
phase = "follow"
kind = "follow"
tables = ["t"]
until = { lag = "20s", for = "6s" }
[[step]]
id = "verify"
phase = "follow"
kind = "verify"
tables = ["t"]
[[step]]
id = "after"
phase = "watch"
kind = "watch"
for = "1ms"
baseline = "before"
[[step.measure]]
name = "rows of <t>"
side = "blue"
sql = "SELECT count(*) FROM t"
degraded = { times = 2.0 }
"#;

/// A run that is over, under some traffic while it follows.
async fn stage() -> (Workspace, TestDb, TestDb) {
    let (blue, green) = (TestDb::empty().await, TestDb::empty().await);
    blue.sql("CREATE TABLE t (id int PRIMARY KEY, v text)").await;
    green.sql("CREATE TABLE t (id int PRIMARY KEY, v text, note text)").await;
    blue.sql("INSERT INTO t SELECT n, CASE WHEN n <= 7 THEN 'Kx7secret' ELSE 'Qz9value' END FROM generate_series(1, 20000) n")
        .await;
    let workspace = Workspace::new(PLAN, &blue, Some(&green));
    let mut run = Process::spawn(&mut workspace.command(&["run", "--execute"]));
    let mut id = 100_000;
    while run.is_running() {
        let _ = blue.session().await.batch_execute(&format!("INSERT INTO t (id, v) VALUES ({id}, 'Qz9value')")).await;
        id += 1;
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    run.finish().exits(0);
    (workspace, blue, green)
}

fn report(workspace: &Workspace, format: &str) -> String {
    workspace.run(&["report", "--format", format]).exits(0).stdout
}

fn run_directory(workspace: &Workspace) -> std::path::PathBuf {
    let runs = workspace.folder.path().join("state/reported");
    std::fs::read_dir(runs).unwrap().next().unwrap().unwrap().path()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_is_reported_in_every_form_without_a_value() {
    let (workspace, ..) = stage().await;
    let document: Value = serde_json::from_str(&report(&workspace, "json")).unwrap();
    let figures: Vec<&str> = document["series"].as_array().unwrap().iter().filter_map(|one| one["figure"].as_str()).collect();
    assert!(figures.contains(&"rows_per_second") && figures.contains(&"lag_seconds"), "{figures:?}");
    let of = |step: &str| -> Vec<Value> {
        let all = document["statements"].as_array().unwrap();
        let own = all.iter().find(|one| one[0] == step).unwrap_or_else(|| panic!("no statement of {step}: {all:?}"));
        own[1].as_array().unwrap().clone()
    };
    let note = of("note");
    let alter = note.iter().find(|one| one["statement"] == "ALTER TABLE t ADD COLUMN note text DEFAULT ?").unwrap();
    assert_eq!((&alter["lock"], &alter["times"]), (&"ACCESS EXCLUSIVE on t".into(), &1.into()));
    let copied: u64 = of("copy")
        .iter()
        .filter(|one| one["statement"].as_str().unwrap().starts_with("COPY"))
        .filter_map(|one| one["rows"].as_u64())
        .sum();
    let summary = document["summary"]["steps"].as_array().unwrap();
    let step = |name: &str| summary.iter().find(|step| step["step"] == name).unwrap();
    assert!(copied >= 19_993, "{copied}");
    assert!(step("follow")["figures"]["batches"].as_u64().unwrap() > 0);
    assert_eq!(
        (&document["set_aside"][0]["rows"], &document["set_aside"][0]["reason"]),
        (&7.into(), &"nobody needs <these>".into())
    );
    assert_eq!(document["verified"][0][1][0]["differing"], 0);
    assert_eq!(document["measures"][1][1][0]["verdict"], "healthy");
    let (first, last) = (&document["counters"]["green"][0], &document["counters"]["green"][1]);
    assert!(last["rows_inserted"].as_i64().unwrap() - first["rows_inserted"].as_i64().unwrap() >= 19_993, "{first} {last}");

    let text = report(&workspace, "text");
    for title in ["Databases", "Service", "Verification", "Where every row is, counted by verify", "Quarantine", "Statements"] {
        assert!(text.contains(&format!("\n{title}\n")), "{title}: {text}");
    }
    assert_eq!(text.matches("lag p99 ms").count(), 1, "the figures of a step are said once: {text}");
    let (markdown, html) = (report(&workspace, "markdown"), report(&workspace, "html"));
    assert!(markdown.contains("## Verification") && markdown.contains("nobody needs \\<these\\>"), "{markdown}");
    assert!(html.contains("nobody needs &lt;these&gt;") && !html.contains("<these>"));

    let directory = run_directory(&workspace);
    let of_directory = Ran::of(crossfade().arg("report").arg(&directory).args(["--format", "html"]).output().unwrap()).exits(0);
    assert_eq!(of_directory.stdout, html, "a run's directory is enough");
    let record = std::fs::read_to_string(directory.join("record.jsonl")).unwrap();
    for text in [&text, &markdown, &html, &record, &document.to_string()] {
        assert!(
            !text.contains("Kx7secret") && !text.contains("Qz9value") && !text.contains("8812345"),
            "a value of a row: {text}"
        );
    }
    assert!(record.len() < 200_000, "{} bytes for a run of seconds", record.len());
    browse(&html, workspace.folder.path());
}

/// Opens the page in a browser without a screen and without a network, and looks at what it drew.
fn browse(html: &str, folder: &Path) {
    let page = folder.join("report.html");
    std::fs::write(&page, html).unwrap();
    let Some(browser) = ["chromium", "chromium-browser", "google-chrome"].into_iter().find(|name| present(name)) else {
        eprintln!("not tested: no browser (chromium) is installed; the page's text is looked at instead");
        return looked_at(html);
    };
    let (dom, asked) = opened(browser, &page, folder);
    assert!(dom.contains("</main>"), "{dom}");
    looked_at(&dom);
    assert!(asked.is_empty(), "the page asks for {asked:?}");
    // A page that does ask is found out.
    std::fs::write(&page, "<img src='http://127.0.0.1:9/picture.png'>").unwrap();
    assert_eq!(opened(browser, &page, folder).1.first().map(String::as_str), Some("http://127.0.0.1:9/picture.png"));
}

/// What a browser made of a page, and what it asked the network for because of it. What the browser asks for itself are its maker's.
fn opened(browser: &str, page: &Path, folder: &Path) -> (String, Vec<String>) {
    let log = folder.join("net.json");
    let output = Command::new(browser)
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking"])
        .args(["--virtual-time-budget=2000", "--dump-dom"])
        .arg(format!("--user-data-dir={}", folder.join("browser").display()))
        .arg(format!("--log-net-log={}", log.display()))
        .arg(format!("file://{}", page.display()))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let log = std::fs::read_to_string(log).unwrap();
    let asked = log.split("\"url\":\"").skip(1).filter_map(|rest| rest.split('"').next());
    let own = |url: &&str| {
        ["file://", "chrome", "data:"].iter().any(|scheme| url.starts_with(scheme))
            || ["google", "gvt1.com"].iter().any(|maker| url.contains(maker))
    };
    let asked = asked.filter(|url| !own(url)).map(str::to_owned).collect();
    (String::from_utf8_lossy(&output.stdout).into_owned(), asked)
}

fn present(program: &str) -> bool {
    Command::new(program).arg("--version").output().is_ok_and(|output| output.status.success())
}

/// The charts are there, with points inside the drawing, and nothing points outside the page.
fn looked_at(dom: &str) {
    for id in ["steps-over-time", "throughput", "lag", "statements"] {
        assert!(dom.contains(&format!("<section id=\"{id}\">")), "no section {id}");
    }
    let lines: Vec<&str> = dom.split("<polyline").skip(1).collect();
    assert!(lines.len() >= 3, "throughput of both sides and lag: {} lines", lines.len());
    for line in &lines {
        let points = line.split("points=\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap();
        let points: Vec<(f64, f64)> = points
            .split(' ')
            .map(|point| point.split_once(',').unwrap())
            .map(|(x, y)| (x.parse().unwrap(), y.parse().unwrap()))
            .collect();
        assert!(
            points.len() > 1 && points.iter().all(|(x, y)| (0.0..=100.1).contains(x) && (0.0..=150.0).contains(y)),
            "{points:?}"
        );
    }
    assert!(dom.matches("<rect class=\"done\"").count() >= 8, "a bar for each step");
    for outside in ["<script", "<link", "<img", "<iframe", "@import", "url(", "src=", "href=", "http:", "https:"] {
        assert!(!dom.contains(outside), "the page points outside: {outside}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_recorded_survives_a_kill_and_a_report_does_without_it() {
    let db = TestDb::empty().await;
    db.sql("CREATE TABLE t (id int PRIMARY KEY)").await;
    let plan = r#"
format = 1
name = "reported"
blue = { url_env = "BLUE_DATABASE_URL" }
[[step]]
id = "slow"
phase = "expand"
kind = "run_sql"
side = "blue"
sql = ["SELECT pg_sleep(60)"]
undo_sql = ["SELECT 1"]
"#;
    let workspace = Workspace::new(plan, &db, None);
    let run = Process::spawn(&mut workspace.command(&["run", "--execute"]));
    let samples = || {
        let directory = workspace.folder.path().join("state/reported");
        let run = std::fs::read_dir(directory).ok()?.next()?.ok()?.path();
        Some(std::fs::read_to_string(run.join("record.jsonl")).ok()?.matches("\"sample\"").count())
    };
    eventually("two samples", async || samples().is_some_and(|count| count >= 2)).await;
    drop(run);
    let document: Value = serde_json::from_str(&report(&workspace, "json")).unwrap();
    assert_eq!(document["spans"][0]["end"], "open", "{document}");
    std::fs::remove_file(run_directory(&workspace).join("record.jsonl")).unwrap();
    assert!(report(&workspace, "html").contains("not finished"));
}
