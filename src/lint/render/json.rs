//! One JSON document.

use std::borrow::Cow;
use std::io::{self, Write};

use serde::{Serialize, Serializer};
use serde_json::to_vec;

use super::message;
use crate::lint::parallel::in_order;
use crate::lint::{Described, Finding, Level, Lock, Report, Script, rules};
use crate::sql::{Block, QualifiedName};

/// Writes the report as JSON on one line: `findings`, `statements` and `summary`. Its parts get their form on all processors.
///
/// # Errors
/// When `out` cannot be written, or the machine refuses a thread.
pub fn json(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    let scripts = &report.scripts;
    out.write_all(b"{\"findings\":[")?;
    list(out, &report.findings, |finding: &Finding| to_vec(&found(finding, &scripts[finding.file])))?;
    out.write_all(b"],\"statements\":[")?;
    list(out, &report.described, |described: &Described| to_vec(&looked_at(described, &scripts[described.file])))?;
    out.write_all(b"],\"summary\":")?;
    let summary = Summary {
        files: report.scripts.iter().filter(|script| !script.applied).count(),
        statements: report.statements(),
        errors: report.count(Level::Error),
        warnings: report.count(Level::Warning),
        notes: report.count(Level::Note),
        ignored: report.ignored,
    };
    out.write_all(&to_vec(&summary)?)?;
    out.write_all(b"}\n")
}

/// Writes the items of a list, as `form` gives each.
fn list<T: Sync>(out: &mut dyn Write, items: &[T], form: impl Fn(&T) -> serde_json::Result<Vec<u8>> + Sync) -> io::Result<()> {
    const TOGETHER: usize = 256;
    let joined = |part: &[T]| part.iter().map(&form).collect::<Result<Vec<_>, _>>().map(|items| items.join(&b','));
    let (mut written, mut first) = (Ok(()), true);
    let mut write = |part: serde_json::Result<Vec<u8>>| {
        if !std::mem::take(&mut first) {
            out.write_all(b",")?;
        }
        out.write_all(&part?)
    };
    let each = |part| {
        if written.is_ok() {
            written = write(part);
        }
    };
    in_order(items.chunks(TOGETHER).collect(), joined, each).map_err(io::Error::other)?;
    written
}

/// A list whose items get their form only when they are written, so that no two of them have to be held at once.
struct Each<'r, T, F>(&'r [T], F);

impl<'r, T, S: Serialize, F: Fn(&'r T) -> S> Serialize for Each<'r, T, F> {
    fn serialize<Z: Serializer>(&self, serializer: Z) -> Result<Z::Ok, Z::Error> {
        serializer.collect_seq(self.0.iter().map(&self.1))
    }
}

#[derive(Serialize)]
struct Found<'r, L> {
    rule: &'r str,
    severity: &'static str,
    file: &'r str,
    line: usize,
    column: usize,
    end_line: usize,
    end_column: usize,
    message: Cow<'r, str>,
    locks: L,
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
struct LookedAt<'r, L, N> {
    file: &'r str,
    line: usize,
    kind: &'r str,
    locks: Option<L>,
    scans: N,
    rewrites: N,
    in_transaction: &'static str,
}

#[derive(Serialize)]
struct Taken {
    relation: String,
    mode: &'static str,
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
    Taken { relation: lock.relation.plain(), mode: lock.mode.as_str(), blocks: lock.mode.blocks() }
}

fn found<'r>(finding: &'r Finding, script: &'r Script) -> impl Serialize + use<'r> {
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
        locks: Each(&finding.locks, taken),
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

fn looked_at<'r>(described: &'r Described, script: &'r Script) -> impl Serialize + use<'r> {
    let names = |relations: &'r [QualifiedName]| Each(relations, QualifiedName::plain);
    LookedAt {
        file: &script.name,
        line: script.lines.place(&script.text, described.at.start).0,
        kind: &described.kind,
        locks: described.locks.as_deref().map(|locks| Each(locks, taken)),
        scans: names(&described.scans),
        rewrites: names(&described.rewrites),
        in_transaction: match described.block {
            Block::Inside => "allowed",
            Block::Outside => "refused",
            Block::Control => "control",
        },
    }
}
