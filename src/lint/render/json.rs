//! One JSON document.

use serde_json::{Value, json};

use super::message;
use crate::lint::{Level, Lock, Report, rules};
use crate::sql::{Block, QualifiedName};

fn lock(lock: &Lock) -> Value {
    json!({"relation": lock.relation.plain(), "mode": lock.mode.to_string(), "blocks": lock.mode.blocks()})
}

/// The report as JSON: `findings`, `statements` and `summary`.
pub fn json(report: &Report) -> Value {
    let findings = report.findings.iter().map(|finding| {
        let script = &report.scripts[finding.file];
        let (line, column) = script.lines.place(&script.text, finding.at.start);
        let (end_line, end_column) = script.lines.place(&script.text, finding.at.end);
        json!({
            "rule": finding.rule,
            "severity": finding.level.as_str(),
            "file": script.name,
            "line": line,
            "column": column,
            "end_line": end_line,
            "end_column": end_column,
            "message": message(finding),
            "locks": finding.locks.iter().map(lock).collect::<Vec<_>>(),
            "safe_form": finding.safe_form,
            "count_query": finding.query,
            "irreversible": rules::find(finding.rule).is_some_and(|rule| rule.irreversible),
            "estimate": finding.estimate.as_ref().map(|estimate| json!({
                "table": estimate.table.plain(),
                "rows": estimate.rows,
                "bytes": estimate.bytes,
                "milliseconds": estimate.milliseconds,
            })),
        })
    });
    let names = |relations: &[QualifiedName]| relations.iter().map(QualifiedName::plain).collect::<Vec<_>>();
    let statements = report.described.iter().map(|described| {
        let script = &report.scripts[described.file];
        json!({
            "file": script.name,
            "line": script.lines.place(&script.text, described.at.start).0,
            "kind": described.kind,
            "locks": described.locks.as_ref().map(|locks| locks.iter().map(lock).collect::<Vec<_>>()),
            "scans": names(&described.scans),
            "rewrites": names(&described.rewrites),
            "in_transaction": match described.block {
                Block::Inside => "allowed",
                Block::Outside => "refused",
                Block::Control => "control",
            },
        })
    });
    json!({
        "findings": findings.collect::<Vec<_>>(),
        "statements": statements.collect::<Vec<_>>(),
        "summary": {
            "files": report.scripts.iter().filter(|script| !script.applied).count(),
            "statements": report.statements(),
            "errors": report.count(Level::Error),
            "warnings": report.count(Level::Warning),
            "notes": report.count(Level::Note),
            "ignored": report.ignored,
        },
    })
}
