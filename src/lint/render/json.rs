//! One JSON document.

use serde::Serialize;

use super::message;
use crate::lint::{Described, Finding, Level, Lock, Report, Script, rules};
use crate::sql::{Block, QualifiedName};

/// The report as JSON: `findings`, `statements` and `summary`.
pub fn json(report: &Report) -> impl Serialize + '_ {
    let script = |file: usize| &report.scripts[file];
    Document {
        findings: report.findings.iter().map(|finding| found(finding, script(finding.file))).collect(),
        statements: report.described.iter().map(|described| looked_at(described, script(described.file))).collect(),
        summary: Summary {
            files: report.scripts.iter().filter(|script| !script.applied).count(),
            statements: report.statements(),
            errors: report.count(Level::Error),
            warnings: report.count(Level::Warning),
            notes: report.count(Level::Note),
            ignored: report.ignored,
        },
    }
}

#[derive(Serialize)]
struct Document<'r> {
    findings: Vec<Found<'r>>,
    statements: Vec<LookedAt<'r>>,
    summary: Summary,
}

#[derive(Serialize)]
struct Found<'r> {
    rule: &'r str,
    severity: &'static str,
    file: &'r str,
    line: usize,
    column: usize,
    end_line: usize,
    end_column: usize,
    message: String,
    locks: Vec<Taken>,
    safe_form: &'r str,
    count_query: Option<&'r str>,
    irreversible: bool,
    estimate: Option<Estimated>,
}

#[derive(Serialize)]
struct Estimated {
    table: String,
    rows: u64,
    bytes: u64,
    milliseconds: u64,
}

#[derive(Serialize)]
struct LookedAt<'r> {
    file: &'r str,
    line: usize,
    kind: &'r str,
    locks: Option<Vec<Taken>>,
    scans: Vec<String>,
    rewrites: Vec<String>,
    in_transaction: &'static str,
}

#[derive(Serialize)]
struct Taken {
    relation: String,
    mode: String,
    blocks: &'static str,
}

#[derive(Serialize)]
struct Summary {
    files: usize,
    statements: usize,
    errors: usize,
    warnings: usize,
    notes: usize,
    ignored: usize,
}

fn taken(lock: &Lock) -> Taken {
    Taken { relation: lock.relation.plain(), mode: lock.mode.to_string(), blocks: lock.mode.blocks() }
}

fn found<'r>(finding: &'r Finding, script: &'r Script) -> Found<'r> {
    let (line, column) = script.lines.place(&script.text, finding.at.start);
    let (end_line, end_column) = script.lines.place(&script.text, finding.at.end);
    Found {
        rule: finding.rule,
        severity: finding.level.as_str(),
        file: &script.name,
        line,
        column,
        end_line,
        end_column,
        message: message(finding),
        locks: finding.locks.iter().map(taken).collect(),
        safe_form: &finding.safe_form,
        count_query: finding.query.as_deref(),
        irreversible: rules::find(finding.rule).is_some_and(|rule| rule.irreversible),
        estimate: finding.estimate.as_ref().map(|estimate| Estimated {
            table: estimate.table.plain(),
            rows: estimate.rows,
            bytes: estimate.bytes,
            milliseconds: estimate.milliseconds,
        }),
    }
}

fn looked_at<'r>(described: &'r Described, script: &'r Script) -> LookedAt<'r> {
    let names = |relations: &[QualifiedName]| relations.iter().map(QualifiedName::plain).collect();
    LookedAt {
        file: &script.name,
        line: script.lines.place(&script.text, described.at.start).0,
        kind: &described.kind,
        locks: described.locks.as_ref().map(|locks| locks.iter().map(taken).collect()),
        scans: names(&described.scans),
        rewrites: names(&described.rewrites),
        in_transaction: match described.block {
            Block::Inside => "allowed",
            Block::Outside => "refused",
            Block::Control => "control",
        },
    }
}
