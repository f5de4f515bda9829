//! `crossfade demo`.

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;
use comfy_table::{CellAlignment, Table, presets};
use tokio::signal::unix::{SignalKind, signal};

use super::rewrite::SourceArgs;
use super::{Format, demo_migrations, print_json, text};
use crate::demo::{self, Demo, DemoReport, Followed, JourneyReport, Migrations, MigrationsReport, Revocations, Switched};
use crate::report::{bytes, thousands, time};
use crate::terms::Exit;

#[derive(Debug, Args)]
pub(super) struct DemoArgs {
    /// How many sessions to generate
    #[arg(long, default_value_t = 5000, value_parser = clap::value_parser!(u32).range(20..=10_000_000))]
    sessions: u32,
    /// Decides the generated data and what the clients do
    #[arg(long, default_value = "demo", value_parser = seed)]
    seed: String,
    /// Things the live clients do in a second, together
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    rate: u32,
    /// Leave servers, plans and journals as they are at the end
    #[arg(long)]
    keep: bool,
    /// After the switch go back to blue again, with what green took meanwhile
    #[arg(long)]
    and_back: bool,
    /// Instead of both upgrades: run this folder of migrations on the same data under the same traffic, rewritten and as it is
    #[arg(long, value_name = "DIR", conflicts_with_all = ["keep", "and_back"])]
    migrations: Option<PathBuf>,
    /// With --migrations: a column whose values may differ between both, TABLE.COLUMN; may be given several times
    #[arg(long, value_name = "TABLE.COLUMN", requires = "migrations")]
    ignore_values: Vec<String>,
    /// Install PostgreSQL's server programs by the package manager when there are none
    #[arg(long)]
    install: bool,
}

fn seed(text: &str) -> Result<String, String> {
    let fits = (1..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    if fits { Ok(text.to_owned()) } else { Err("1 to 64 ASCII letters, digits and `-`".to_owned()) }
}

pub(super) async fn demo(args: &DemoArgs, format: Format, quiet: bool) -> Result<Exit> {
    let DemoArgs { sessions, seed, rate, keep, and_back, migrations, ignore_values, install } = args;
    let program = std::env::current_exe().context("cannot tell where this program is, which is the router too")?;
    let demo = Demo {
        sessions: *sessions,
        seed: seed.clone(),
        rate: *rate,
        keep: *keep,
        install: *install,
        and_back: *and_back,
        program,
        quiet,
    };
    let migrations = match migrations {
        Some(directory) => {
            let source = SourceArgs::from(directory.clone());
            let (originals, history) = (source.originals()?, source.recorded()?);
            Some(Migrations { directory: directory.clone(), originals, history, ignored: ignore_values.clone() })
        }
        None => None,
    };
    let run = async {
        match &migrations {
            Some(migrations) => demo::run_migrations(&demo, migrations).await.map(|report| Shown::Migrations(Box::new(report))),
            None => demo::run(&demo).await.map(Shown::Journeys),
        }
    };
    let (mut int, mut term) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    // Dropping the demo ends its servers and removes their folders.
    let shown = tokio::select! {
        shown = run => shown?,
        _ = int.recv() => return Ok(Exit::Interrupted),
        _ = term.recv() => return Ok(Exit::Interrupted),
    };
    let (document, table, problems, exit) = match &shown {
        Shown::Journeys(report) => (serde_json::json!(report), render(report), report.problems(), report.exit()),
        Shown::Migrations(report) => {
            (serde_json::json!(report), demo_migrations::render(report), report.problems(), report.exit())
        }
    };
    match format {
        Format::Json => print_json(&document)?,
        _ => text::print(&table)?,
    }
    for problem in problems {
        eprintln!("not as it must be: {problem}");
    }
    Ok(exit)
}

/// What came of a demo.
enum Shown {
    Journeys(DemoReport),
    Migrations(Box<MigrationsReport>),
}

fn render(report: &DemoReport) -> String {
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED);
    let header = std::iter::once(String::new()).chain(report.journeys.iter().map(|journey| journey.plan.clone()));
    table.set_header(header);
    type Cell = fn(&JourneyReport) -> String;
    let lines: [(&str, Cell); 26] = [
        ("outcome", |j| j.outcome.to_owned()),
        ("rows updated", |j| thousands(j.counters.rows_updated)),
        ("rows inserted", |j| thousands(j.counters.rows_inserted)),
        ("rows deleted", |j| thousands(j.counters.rows_deleted)),
        ("temp", |j| bytes(j.counters.temp_bytes)),
        ("transaction commits", |j| thousands(j.counters.transaction_commits)),
        ("WAL", |j| bytes(j.counters.wal_bytes)),
        ("net runtime", |j| time(j.seconds)),
        ("requests of live clients", |j| thousands(j.requests as i64)),
        ("requests failed", |j| thousands(j.requests_failed as i64)),
        ("longest stall of a request", |j| format!("{:.0} ms", j.longest_stall_ms)),
        ("half / 99 % of the requests within", |j| format!("{:.1} / {:.1} ms", j.latency_p50_ms, j.latency_p99_ms)),
        ("sessions valid before", |j| thousands(j.sessions_valid_before as i64)),
        ("of these valid after", |j| thousands(j.sessions_valid_after as i64)),
        ("begun / revoked by live clients", |j| format!("{} / {}", j.sessions_created, j.sessions_revoked)),
        ("divergences", |j| thousands(j.divergences as i64)),
        ("changes captured", |j| followed(j, |f| f.changes_captured)),
        ("rows changed on green for them", |j| followed(j, |f| f.changes_applied)),
        ("99 % of the batches within", |j| j.followed.map_or(String::new(), |f| format!("{} ms", f.follow_lag_ms_p99))),
        ("lost writes", |j| followed(j, |f| f.lost_writes)),
        ("revocations captured / proved / restored", |j| {
            let of = |r: Revocations| format!("{} / {} / {}", r.captured, r.proved, r.restored_access);
            j.followed.map_or(String::new(), |f| of(f.revocations))
        }),
        ("requests held by the switch for", |j| switched(j, |s| format!("{} ms", s.hold_ms))),
        ("writes after the fence", |j| switched(j, |s| s.writes_after_fence.to_string())),
        ("token families revoked by reuse", |j| switched(j, |s| s.token_families_revoked_by_reuse.to_string())),
        ("the same without coalescing (side run)", |j| {
            switched(j, |s| s.token_families_revoked_by_reuse_without_coalescing.to_string())
        }),
        ("way back: requests / failed / lost writes", |j| {
            let back = j.switched.as_ref().and_then(|switched| switched.rollback.as_ref());
            back.map_or(String::new(), |b| format!("{} / {} / {}", b.requests, b.requests_failed, b.lost_writes))
        }),
    ];
    for (name, cell) in lines {
        table.add_row(std::iter::once(name.to_owned()).chain(report.journeys.iter().map(cell)));
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    let mut out = format!(
        "Hydra 1.0.0 to 1.11.10 in place, then to 2.3.0 by blue-green: {} generated sessions, PostgreSQL {}\n\n{table}\n",
        thousands(report.sessions.into()),
        report.server_version
    );
    out += "Counters are the changed database's own (blue in place, green by blue-green), live traffic included.\n\n";
    for journey in &report.journeys {
        out += &crate::report::outline(&journey.run);
        out += "\n";
    }
    out += match report.problems().is_empty() {
        true => "Every request got the right answer, and every session is where it must be.\n",
        false => "NOT everything is as it must be; see the lines on stderr.\n",
    };
    out
}

/// A number of a journey that has a green side to follow with.
fn followed(journey: &JourneyReport, of: fn(&Followed) -> u64) -> String {
    journey.followed.as_ref().map_or(String::new(), |followed| thousands(of(followed) as i64))
}

/// Something of a journey that has a switch.
fn switched(journey: &JourneyReport, of: fn(&Switched) -> String) -> String {
    journey.switched.as_ref().map_or(String::new(), of)
}

#[cfg(test)]
mod tests {
    #[test]
    fn seeds_are_plain() {
        assert!(super::seed("demo-2").is_ok());
        assert!(super::seed("it's").is_err() && super::seed("").is_err());
    }
}
