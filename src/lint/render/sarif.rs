//! SARIF 2.1.0 (OASIS): one result per finding, located in its file.

use serde_json::{Value, json};

use super::message;
use crate::lint::{Report, rules};

/// The report as a SARIF log.
pub fn sarif(report: &Report) -> Value {
    let mut used: Vec<&str> = report.findings.iter().map(|finding| finding.rule).collect();
    used.sort_unstable();
    used.dedup();
    let described = used.iter().filter_map(|id| rules::find(id)).map(|rule| {
        json!({
            "id": rule.id,
            "shortDescription": {"text": rule.title},
            "fullDescription": {"text": rule.effect},
            "help": {"text": format!("Instead: {}", rule.safe)},
            "properties": {"versions": rule.versions},
        })
    });
    let results = report.findings.iter().map(|finding| {
        let script = &report.scripts[finding.file];
        let (line, column) = script.lines.place(&script.text, finding.at.start);
        let (end_line, end_column) = script.lines.place(&script.text, finding.at.end);
        json!({
            "ruleId": finding.rule,
            "ruleIndex": used.binary_search(&finding.rule).unwrap_or_default(),
            "level": finding.level.as_str(),
            "message": {"text": format!("{}. Instead: {}", message(finding), finding.safe_form)},
            "locations": [{"physicalLocation": {
                "artifactLocation": {"uri": script.name},
                "region": {"startLine": line, "startColumn": column, "endLine": end_line, "endColumn": end_column.max(if line == end_line { column + 1 } else { 1 })},
            }}],
        })
    });
    json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": {"driver": {"name": "crossfade", "version": env!("CARGO_PKG_VERSION"), "rules": described.collect::<Vec<_>>()}},
            "columnKind": "unicodeCodePoints",
            "results": results.collect::<Vec<_>>(),
        }],
    })
}
