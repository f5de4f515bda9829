//! `docs/metrics.md` says which metrics there are, and the dashboard asks for no other. Prometheus itself reads them, and answers every panel.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};

use crossfade::report::METRICS;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

use crate::support::{Process, Ran, crossfade, eventually};
use crate::watching::stage;

fn file(name: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap()
}

/// The metrics that the router's page explains, as its source writes them.
fn of_the_router() -> BTreeSet<String> {
    let source = file("src/router/metrics.rs");
    let source = source.split("#[cfg(test)]").next().unwrap();
    let names = source
        .match_indices("crossfade_")
        .map(|(at, _)| source[at..].chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect::<String>());
    let parts = ["_bucket", "_sum", "_count"];
    names.filter(|name| !parts.iter().any(|part| name.ends_with(part))).collect()
}

#[test]
fn the_table_of_metrics_is_what_the_program_has() {
    let text = file("docs/metrics.md");
    let rows: Vec<Vec<&str>> = text
        .lines()
        .filter(|line| line.starts_with("| `crossfade_"))
        .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
        .collect();
    for metric in METRICS {
        let row = rows.iter().find(|row| row[0] == format!("`{}`", metric.name));
        let row = row.unwrap_or_else(|| panic!("docs/metrics.md does not name {}", metric.name));
        let labels = if metric.labels.is_empty() { "plan".to_owned() } else { format!("plan, {}", metric.labels) };
        assert_eq!((row[1], row[2]), (labels.as_str(), metric.help), "{}", metric.name);
    }
    let known: BTreeSet<String> =
        METRICS.iter().map(|metric| metric.name.to_owned()).chain(of_the_router()).map(|name| format!("`{name}`")).collect();
    let named: BTreeSet<String> = rows.iter().map(|row| row[0].to_owned()).collect();
    assert_eq!(named, known, "docs/metrics.md names what there is and nothing else");
}

#[test]
fn the_dashboard_asks_for_metrics_that_there_are() {
    let dashboard: Value = serde_json::from_str(&file("docs/grafana/crossfade.json")).unwrap();
    let mut asked = BTreeSet::new();
    let panels = dashboard["panels"].as_array().unwrap();
    assert!(panels.len() >= 8);
    for panel in panels {
        let targets = panel["targets"].as_array().unwrap();
        assert!(!targets.is_empty() && panel["title"].as_str().is_some_and(|title| !title.is_empty()), "{panel}");
        for target in targets {
            let expression = target["expr"].as_str().unwrap();
            let words = expression.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
            asked.extend(words.filter(|word| word.starts_with("crossfade_")).map(str::to_owned));
        }
    }
    let mut known = of_the_router();
    known.extend(METRICS.iter().map(|metric| metric.name.to_owned()));
    known.extend(["_bucket", "_sum", "_count"].map(|part| format!("crossfade_request_seconds{part}")));
    let unknown: Vec<&String> = asked.difference(&known).collect();
    assert!(unknown.is_empty() && asked.len() >= 10, "{unknown:?}");
    let ids: BTreeSet<i64> = panels.iter().filter_map(|panel| panel["id"].as_i64()).collect();
    assert_eq!(ids.len(), panels.len(), "every panel has an id of its own");
}

fn dashboard() -> Value {
    serde_json::from_str(&file("docs/grafana/crossfade.json")).unwrap()
}

/// Each expression of the dashboard, with its panel's title. Grafana puts in what is chosen for `$plan`.
fn expressions() -> Vec<(String, String)> {
    let dashboard = dashboard();
    let of = |panel: &Value| {
        let title = panel["title"].as_str().unwrap().to_owned();
        let targets = panel["targets"].as_array().unwrap().iter();
        targets.map(|target| (title.clone(), target["expr"].as_str().unwrap().replace("$plan", ".*"))).collect::<Vec<_>>()
    };
    dashboard["panels"].as_array().unwrap().iter().flat_map(of).collect()
}

/// What Grafana's own schema of dashboards (kind `dashboard`, classic form) asks for, and what an import into any data source needs.
#[test]
fn the_dashboard_has_the_form_that_grafana_asks_for() {
    let dashboard = dashboard();
    assert!(dashboard["schemaVersion"].as_u64().unwrap() >= 36, "{}", dashboard["schemaVersion"]);
    assert!((8..=40).contains(&dashboard["uid"].as_str().unwrap().len()));
    assert!(dashboard["time"]["from"].is_string() && dashboard["time"]["to"].is_string());
    assert!(dashboard.get("id").is_none_or(Value::is_null), "an id belongs to one installation");
    let variables = dashboard["templating"]["list"].as_array().unwrap();
    let kinds = ["query", "adhoc", "constant", "datasource", "interval", "textbox", "custom", "system"];
    let mut names = BTreeSet::new();
    for variable in variables {
        assert!(kinds.contains(&variable["type"].as_str().unwrap()), "{variable}");
        assert!(names.insert(variable["name"].as_str().unwrap()), "{variable}");
    }
    assert!(variables.iter().any(|variable| variable["type"] == "datasource" && variable["query"] == "prometheus"));
    let source = serde_json::json!({"type": "prometheus", "uid": "${source}"});
    let mut taken = BTreeSet::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        assert!(["stat", "gauge", "bargauge", "timeseries", "table"].contains(&panel["type"].as_str().unwrap()), "{panel}");
        assert_eq!(panel["datasource"], source, "{}", panel["title"]);
        let place = |key: &str| panel["gridPos"][key].as_u64().unwrap_or_else(|| panic!("{}: {key}", panel["title"]));
        let (x, y, w, h) = (place("x"), place("y"), place("w"), place("h"));
        assert!(w >= 1 && h >= 1 && x + w <= 24, "{}: 24 columns", panel["title"]);
        for cell in (x..x + w).flat_map(|column| (y..y + h).map(move |row| (column, row))) {
            assert!(taken.insert(cell), "{} lies on another panel", panel["title"]);
        }
        let targets = panel["targets"].as_array().unwrap();
        let letters: BTreeSet<&str> = targets.iter().map(|target| target["refId"].as_str().unwrap()).collect();
        assert_eq!(letters.len(), targets.len(), "{}", panel["title"]);
        for target in targets {
            let words = target["expr"].as_str().unwrap().split('$').skip(1);
            words.for_each(|word| {
                let name: String = word.trim_start_matches('{').chars().take_while(char::is_ascii_alphanumeric).collect();
                assert!(names.contains(name.as_str()), "{}: no variable ${name}", panel["title"]);
            });
        }
    }
}

/// Whether a program of Prometheus' Debian package is there; when not, says what goes untested.
fn there(program: &str) -> bool {
    let found = Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok();
    if !found {
        eprintln!("not tested: this needs `{program}` (Debian: apt-get install prometheus)");
    }
    found
}

#[test]
fn the_expressions_of_the_dashboard_are_promql() {
    if !there("promtool") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let check = |expressions: &[String]| {
        let rules = expressions
            .iter()
            .enumerate()
            .map(|(n, expr)| format!("  - record: crossfade:{n}\n    expr: {}\n", serde_json::json!(expr)));
        let path = folder.path().join("rules.yml");
        std::fs::write(&path, format!("groups:\n- name: dashboard\n  rules:\n{}", rules.collect::<String>())).unwrap();
        Ran::of(Command::new("promtool").args(["check", "rules"]).arg(path).output().unwrap())
    };
    let all: Vec<String> = expressions().into_iter().map(|(_, expression)| expression).collect();
    assert!(all.len() > 15, "{all:?}");
    check(&all).exits(0);
    assert_ne!(check(&["rate(crossfade_lag_seconds)".to_owned()]).code, Some(0), "the check can fail");
}

fn free() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// The body of the answer to a GET.
fn get(address: SocketAddr, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.write_all(format!("GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n").as_bytes()).ok()?;
    stream.set_read_timeout(Some(std::time::Duration::from_secs(5))).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer.split_once("\r\n\r\n")?.1.to_owned())
}

/// A run that waits for a lock and a router, scraped by a real Prometheus; every expression of the dashboard is asked of it.
#[tokio::test(flavor = "multi_thread")]
async fn prometheus_scrapes_a_run_and_a_router_and_answers_every_panel() {
    if !there("prometheus") {
        return;
    }
    let (workspace, _blue, holder) = stage().await;
    let (run_at, admin, public, prometheus) = (free(), free(), free(), free());
    let folder = workspace.folder.path();
    let token = folder.join("token");
    let config = format!(
        "format = 1\nname = \"scraped\"\nstate = \"router\"\nfirst = \"blue\"\n[admin]\naddress = \"{admin}\"\ntoken_file = \"token\"\n\
         [[listen]]\nname = \"public\"\naddress = \"{public}\"\nblue = \"http://{run_at}\"\ngreen = \"http://{run_at}\"\n"
    );
    std::fs::write(folder.join("router.toml"), config).unwrap();
    let _router = Process::spawn(crossfade().arg("route").arg(folder.join("router.toml")));
    let run = Process::spawn(&mut workspace.command(&["run", "--execute", "--metrics-addr", &run_at.to_string()]));
    let scrape = format!(
        "global: {{ scrape_interval: 1s, scrape_timeout: 1s }}\nscrape_configs:\n- job_name: run\n  static_configs: [ {{ targets: ['{run_at}'] }} ]\n\
         - job_name: router\n  authorization: {{ credentials_file: {} }}\n  static_configs: [ {{ targets: ['{admin}'] }} ]\n",
        token.display()
    );
    std::fs::write(folder.join("prometheus.yml"), scrape).unwrap();
    let mut server = Command::new("prometheus");
    server.arg("--log.level=warn").arg(format!("--config.file={}", folder.join("prometheus.yml").display()));
    server
        .arg(format!("--storage.tsdb.path={}", folder.join("tsdb").display()))
        .arg(format!("--web.listen-address={prometheus}"));
    let _server = Process::spawn(&mut server);
    let ask = |expression: &str| -> Option<Value> {
        let query = utf8_percent_encode(expression, NON_ALPHANUMERIC);
        let answer: Value = serde_json::from_str(&get(prometheus, &format!("/api/v1/query?query={query}"))?).ok()?;
        assert_eq!(answer["status"], "success", "{expression}: {answer}");
        Some(answer["data"]["result"].clone())
    };
    let rows = |expression: &str| ask(expression).and_then(|result| Some(result.as_array()?.len())).unwrap_or_default();
    eventually("requests through the router are counted", async || {
        let _ = get(public, "/metrics");
        rows("sum by (side, status) (rate(crossfade_requests_total[1m])) > 0") > 0
    })
    .await;
    eventually("the run is scraped", async || rows("crossfade_blockers{plan=\"watched\"} > 0") > 0).await;
    let mut without = Vec::new();
    for (panel, expression) in expressions() {
        let found = rows(&expression);
        eprintln!("{panel}: {found} series: {expression}");
        if found == 0 {
            without.push(expression);
        }
    }
    // A blue without standby, a run that follows nothing, a step whose end is not known.
    let none = [
        "crossfade_lag_seconds",
        "crossfade_database_replication_lag_seconds",
        "crossfade_step_units",
        "crossfade_step_remaining_seconds",
    ];
    assert!(without.iter().all(|expression| none.iter().any(|name| expression.starts_with(name))), "{without:?}");
    holder.batch_execute("COMMIT").await.unwrap();
    run.finish().exits(0);
}
