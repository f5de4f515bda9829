//! `crossfade trace PATH...`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};

use super::migrations::{FilesArgs, Found};
use super::{Format, print_json, text};
use crate::lint::layout::Direction;
use crate::lint::{self, Config, Known, Report};
use crate::sql::QualifiedName;
use crate::step::Stop;
use crate::terms::Exit;
use crate::trace::{Blocked, Observed, Scratch, Trace, trace, unrunnable};

#[derive(Debug, Args)]
pub(super) struct TraceArgs {
    #[command(flatten)]
    files: FilesArgs,
    /// What the migrations begin with: SQL files as pg_dump writes them, schema or rows; may be given several times
    #[arg(long, value_name = "FILE")]
    start: Vec<PathBuf>,
    /// Give every table that is empty then this many generated rows
    #[arg(long, value_name = "ROWS", default_value_t = 0)]
    rows: u32,
}

pub(super) async fn trace_command(args: &TraceArgs, format: Format, quiet: bool) -> anyhow::Result<Exit> {
    let inputs: Vec<lint::Input> = args.files.migrations(Direction::Up)?.iter().map(Found::input).collect();
    let before = !args.start.is_empty() || inputs.iter().any(|input| input.applied);
    // What cannot be run is known before a server is started.
    let config = Config::default();
    let first = lint::lint(inputs.clone(), &config, Known::new()).map_err(|why| anyhow::anyhow!(why))?;
    let wrong = unrunnable(&first);
    if !wrong.is_empty() {
        return Err(Stop::Usage(format!("nothing was run: {}", wrong.join("; "))).into());
    }
    let (scratch, unfilled) = Scratch::start(&args.start, args.rows).await?;
    let mut config = Config::default();
    config.set_version(&scratch.major().to_string()).map_err(Stop::Usage)?;
    let known = super::known::known(&scratch.session().await?).await?;
    let report = lint::lint(inputs, &config, known).map_err(|why| anyhow::anyhow!(why))?;
    let found = trace(scratch.database(), &report).await?;
    match format {
        Format::Json => print_json(&document(&report, &found, scratch.major(), &unfilled))?,
        _ => text::print(&render(&report, &found, scratch.major()))?,
    }
    if !quiet {
        unfilled.iter().for_each(|why| eprintln!("no generated rows, or fewer: {why}"));
        if !before {
            eprintln!("nothing was there before the migrations, so no table was in use; --start or --applied say what is");
        }
    }
    if let Some(failure) = &found.failure {
        let (file, line) = (&report.scripts[failure.file].name, failure.line);
        anyhow::bail!("{file}:{line}: {}; what comes after it was not run", failure.why);
    }
    Ok(if found.differing() == 0 { Exit::Done } else { Exit::Divergence })
}

/// A time in words, to a tenth of a millisecond.
fn time(time: Duration) -> String {
    match time.as_secs_f64() {
        seconds if seconds < 1.0 => format!("{:.1} ms", seconds * 1_000.0),
        seconds => format!("{seconds:.1} s"),
    }
}

fn names(relations: &[QualifiedName]) -> String {
    relations.iter().map(QualifiedName::plain).collect::<Vec<_>>().join(", ")
}

/// `reads of t for 3.0 ms, writes to t for 5.0 ms`.
fn blocked(all: &[Blocked]) -> String {
    let each = all.iter().flat_map(|one| {
        let table = one.relation.plain();
        let reads = one.reads.map(|took| format!("reads of {table} for {}", time(took)));
        let writes = one.writes.map(|took| format!("writes to {table} for {}", time(took)));
        reads.into_iter().chain(writes)
    });
    each.collect::<Vec<_>>().join(", ")
}

fn render(report: &Report, found: &Trace, major: u32) -> String {
    let mut out = String::new();
    for (at, statement) in found.statements.iter().enumerate() {
        out += &statement_text(report, statement);
        let next = found.statements.get(at + 1).and_then(|next| next.transaction);
        if let Some(number) = statement.transaction.filter(|number| next != Some(*number)) {
            let transaction = &found.transactions[number];
            out += &format!("{}: its transaction took {}", report.scripts[transaction.file].name, time(transaction.took));
            if !transaction.blocked.is_empty() {
                out += &format!("; it blocked {}", blocked(&transaction.blocked));
            }
            out += "\n";
        }
    }
    let files = report.scripts.iter().filter(|script| !script.applied).count();
    let differing = found.differing();
    let plural = |count: usize, noun: &str| format!("{count} {noun}{}", if count == 1 { "" } else { "s" });
    let verdict = match differing {
        0 => "lint says what the server did".to_owned(),
        _ => format!("lint says otherwise of {}", plural(differing, "statement")),
    };
    out + &format!(
        "{} of {} on PostgreSQL {major}: {verdict}\n",
        plural(found.statements.len(), "statement"),
        plural(files, "file")
    )
}

fn statement_text(report: &Report, statement: &Observed) -> String {
    let alone = if statement.alone { ", outside a transaction" } else { "" };
    let name = &report.scripts[statement.file].name;
    let mut out = format!("{name}:{}: {}: {}{alone}\n", statement.line, statement.kind, time(statement.took));
    let mut line = |what: &str, text: String| {
        if !text.is_empty() {
            out += &format!("  {what} {text}\n");
        }
    };
    let taken = statement.locks.iter().filter(|lock| !lock.before);
    let taken = taken.map(|lock| format!("{} on {}: blocks {}", lock.mode, lock.relation.plain(), lock.mode.blocks()));
    for lock in taken {
        line(if statement.alone { "locked (seen)" } else { "locked" }, lock);
    }
    line("wrote a new file for", names(&statement.rewritten));
    for scan in statement.scans.iter().flatten() {
        let (what, of) = if scan.index { ("read by index", "entries") } else { ("read", "rows") };
        let times = if scan.scans == 1 { String::new() } else { format!(", {} times", scan.scans) };
        line(what, format!("{}: {} {of}{times}", scan.relation.plain(), scan.rows));
    }
    if statement.scans.is_none() {
        line("read", "what is not known: before PostgreSQL 15 the server does not tell".to_owned());
    }
    line("blocked", blocked(&statement.blocked));
    if !statement.claimed {
        line("lint", "does not know its locks".to_owned());
    }
    for difference in &statement.differences {
        line("DIFFERS:", difference.to_string());
    }
    out
}

/// Milliseconds to a thousandth.
fn milliseconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1_000_000.0).round() / 1_000.0
}

fn blocked_json(all: &[Blocked]) -> Vec<Value> {
    let each = all.iter().map(|one| {
        json!({
            "relation": one.relation.plain(),
            "reads_milliseconds": one.reads.map(milliseconds),
            "writes_milliseconds": one.writes.map(milliseconds),
        })
    });
    each.collect()
}

fn document(report: &Report, found: &Trace, major: u32, unfilled: &[String]) -> Value {
    let plain = |relations: &[QualifiedName]| relations.iter().map(QualifiedName::plain).collect::<Vec<_>>();
    let statements = found.statements.iter().map(|statement| {
        let locks = statement.locks.iter().map(|lock| {
            json!({
                "relation": lock.relation.plain(),
                "mode": lock.mode.to_string(),
                "blocks": lock.mode.blocks(),
                "held_before": lock.before,
            })
        });
        let scans = statement.scans.as_ref().map(|scans| {
            let each = scans.iter().map(
                |scan| json!({"relation": scan.relation.plain(), "index": scan.index, "scans": scan.scans, "rows": scan.rows}),
            );
            each.collect::<Vec<_>>()
        });
        json!({
            "file": report.scripts[statement.file].name,
            "line": statement.line,
            "kind": statement.kind,
            "transaction": statement.transaction,
            "in_transaction": !statement.alone,
            "milliseconds": milliseconds(statement.took),
            "locks": locks.collect::<Vec<_>>(),
            "rewritten": plain(&statement.rewritten),
            "scans": scans,
            "blocked": blocked_json(&statement.blocked),
            "lint_knows": statement.claimed,
            "differences": statement.differences,
        })
    });
    let transactions = found.transactions.iter().map(|transaction| {
        json!({
            "file": report.scripts[transaction.file].name,
            "milliseconds": milliseconds(transaction.took),
            "blocked": blocked_json(&transaction.blocked),
        })
    });
    json!({
        "server": major,
        "statements": statements.collect::<Vec<_>>(),
        "transactions": transactions.collect::<Vec<_>>(),
        "without_rows": unfilled,
        "failure": found.failure.as_ref().map(|failure| json!({
            "file": report.scripts[failure.file].name,
            "line": failure.line,
            "sqlstate": failure.code,
            "message": failure.why,
        })),
        "differing": found.differing(),
    })
}
