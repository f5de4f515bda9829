//! `crossfade report PLAN`.

use clap::Args;
use comfy_table::{CellAlignment, Table, presets};

use super::{Format, PlanArgs, print_json, text};
use crate::engine::{self, Stop};
use crate::journal::{Journal, State};
use crate::pg::Counters;
use crate::plan;
use crate::report::{JourneySummary, Restore, bytes, summarize, thousands, time};
use crate::terms::{Account, Exit};

#[derive(Debug, Args)]
pub(super) struct ReportArgs {
    #[command(flatten)]
    plan: PlanArgs,
}

pub(super) fn report(args: &ReportArgs, format: Format) -> anyhow::Result<Exit> {
    let plan = plan::load(&args.plan.plan)?;
    let Some(run) = engine::latest_run(&args.plan.state, plan.name())? else {
        return Err(Stop::Usage(format!(
            "plan {} has no run in {}; `crossfade run` begins one",
            plan.name(),
            args.plan.state.display()
        ))
        .into());
    };
    let lines = Journal::read(&args.plan.state.join(plan.name()).join(run.as_str()))?;
    let summary = summarize(&lines).map_err(|why| anyhow::anyhow!(why))?;
    let state = State::of(&lines).map_err(|why| anyhow::anyhow!(why))?;
    match format {
        Format::Json => {
            let kept: Vec<_> = engine::kept(&plan, &state, &run)
                .into_iter()
                .map(|(step, what)| serde_json::json!({"step": step, "what": what}))
                .collect();
            print_json(&serde_json::json!({"run": run, "summary": summary, "goes_on": kept}))?;
        }
        Format::Text | Format::Sarif | Format::Github => {
            text::print(&(render(&summary) + &super::finish::goes_on(&plan, &args.plan.plan, &run, &state)))?;
        }
    }
    Ok(Exit::Done)
}

/// A column of counters: its header and the cell of a step.
type Column = (&'static str, fn(&Counters) -> i64, fn(i64) -> String);

const COLUMNS: [Column; 6] = [
    ("rows\nupdated", |c| c.rows_updated, thousands),
    ("rows\ninserted", |c| c.rows_inserted, thousands),
    ("rows\ndeleted", |c| c.rows_deleted, thousands),
    ("temp", |c| c.temp_bytes, bytes),
    ("commits", |c| c.transaction_commits, thousands),
    ("WAL", |c| c.wal_bytes, bytes),
];

/// The summary as a table, one line per step and one for all. A column that is 0 in every line is said below instead.
pub(super) fn render(summary: &JourneySummary) -> String {
    let total = summary.total();
    let (columns, zero): (Vec<&Column>, Vec<&Column>) = COLUMNS.iter().partition(|(_, of, _)| of(&total) != 0);
    let mut table = Table::new();
    let headers = columns.iter().map(|(name, ..)| *name);
    table
        .load_style(presets::UTF8_BORDERS_ONLY)
        .set_header(["step", "status", "time"].into_iter().chain(headers).chain(["others\nwaited"]));
    let mut line = |name: &str, status: String, seconds: f64, counters: &Counters, waited: f64| {
        let mut row = vec![name.to_owned(), status, time(seconds)];
        row.extend(columns.iter().map(|(_, of, show)| show(of(counters))));
        row.push(format!("{waited:.0} ms"));
        table.add_row(row);
    };
    for step in &summary.steps {
        let sum = step.counters.values().fold(Counters::default(), |sum, counters| sum.plus(counters));
        let status = format!("{:?}", step.status).to_lowercase();
        line(step.step.as_str(), status, step.seconds, &sum, step.longest_lock_wait_ms);
    }
    line("all (net time)", summary.outcome.replace('_', " "), summary.seconds, &total, summary.longest_lock_wait_ms);
    for column in table.column_iter_mut().skip(2) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    let mut out = format!("Plan {}: {}\n{table}\n", summary.plan, summary.outcome.replace('_', " "));
    out += "others waited: the longest that another session waited for a lock because of the step";
    if !zero.is_empty() {
        let names: Vec<String> = zero.iter().map(|(name, ..)| name.replace('\n', " ")).collect();
        out += &format!("; 0 in every step: {}", names.join(", "));
    }
    out.push('\n');
    for step in summary.steps.iter().filter(|step| !step.figures.is_empty()) {
        let figures: Vec<String> = step.figures.iter().map(|(name, value)| format!("{name} {}", value)).collect();
        out += &format!("{}: {}\n", step.step, figures.join(", "));
    }
    for step in &summary.steps {
        let figures = step.figures.iter().map(|(name, count)| format!("{} {count}", name.replace('_', " ")));
        let figures: Vec<String> = figures.collect();
        if !figures.is_empty() {
            out += &format!("{}: {}\n", step.step, figures.join(", "));
        }
        for finding in &step.findings {
            out += &format!("{}: {finding}\n", step.step);
        }
        if !step.accounts.is_empty() {
            out += &format!("\nWhere every row is, counted by {}:\n{}\n", step.step, accounts(&step.accounts));
        }
    }
    for Restore { at, step, side, table, waiting, outcome } in &summary.restores {
        let what = match outcome {
            Some((rows, left)) => format!("{rows} put back, {left} left"),
            None => "cut short: `crossfade quarantine list` says how many went back".to_owned(),
        };
        out += &format!("restore of {step} at {at:.0}, {table} on {side}: of {waiting} rows set aside {what}\n");
    }
    out
}

/// One line per green table, with what is on green, and one per blue table it comes from, with what is left out.
fn accounts(accounts: &[Account]) -> Table {
    let count = |number: u64| thousands(i64::try_from(number).unwrap_or(i64::MAX));
    let mut table = Table::new();
    table.load_style(presets::UTF8_BORDERS_ONLY).set_header([
        "table",
        "rows",
        "brought\nto green",
        "left out of\nprojection",
        "set aside",
        "mended",
        "",
    ]);
    for account in accounts {
        for from in &account.from {
            let right = if from.rows == from.brought + from.left_out { "adds up" } else { "DOES NOT ADD UP" };
            let numbers = [from.rows, from.brought, from.left_out, from.set_aside, from.mended].map(count);
            let row = [format!("{} on blue", from.table)].into_iter().chain(numbers).chain([right.to_owned()]);
            table.add_row(row);
        }
        let right = if account.projected == account.held + account.set_aside { "adds up" } else { "DOES NOT ADD UP" };
        table.add_row([
            format!("→ {} on green", account.table),
            count(account.projected),
            count(account.held),
            "-".to_owned(),
            count(account.set_aside),
            count(account.mended),
            right.to_owned(),
        ]);
    }
    for column in table.column_iter_mut().skip(1).take(5) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}
