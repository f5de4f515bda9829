//! `docs/metrics.md` says which metrics there are, and the dashboard asks for no other.

use std::collections::BTreeSet;
use std::path::Path;

use crossfade::report::METRICS;
use serde_json::Value;

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
