//! `crossfade report PLAN`.

use clap::Args;
use comfy_table::{CellAlignment, Table, presets};

use super::{Format, PlanArgs, print_json, text};
use crate::engine::{self, Stop};
use crate::journal::Journal;
use crate::plan;
use crate::report::{JourneySummary, summarize};
use crate::terms::Exit;

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
    match format {
        Format::Json => print_json(&serde_json::json!({"run": run, "summary": summary}))?,
        Format::Text => text::print(&render(&summary))?,
    }
    Ok(Exit::Done)
}

/// The summary as a table, one line per step and one for all.
pub(super) fn render(summary: &JourneySummary) -> String {
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED).set_header([
        "step",
        "status",
        "seconds",
        "rows updated",
        "rows inserted",
        "rows deleted",
        "temp bytes",
        "commits",
        "WAL bytes",
        "longest lock wait",
    ]);
    let cells = |counters: &crate::pg::Counters| {
        [
            counters.rows_updated,
            counters.rows_inserted,
            counters.rows_deleted,
            counters.temp_bytes,
            counters.transaction_commits,
            counters.wal_bytes,
        ]
        .map(|n| n.to_string())
    };
    for step in &summary.steps {
        let sum = step.counters.values().fold(crate::pg::Counters::default(), |sum, counters| sum.plus(counters));
        let mut row = vec![step.step.to_string(), format!("{:?}", step.status).to_lowercase(), format!("{:.1}", step.seconds)];
        row.extend(cells(&sum));
        row.push(format!("{:.0} ms", step.longest_lock_wait_ms));
        table.add_row(row);
    }
    let mut total = vec!["all (net runtime)".to_owned(), summary.outcome.to_owned(), format!("{:.1}", summary.seconds)];
    total.extend(cells(&summary.total()));
    total.push(format!("{:.0} ms", summary.longest_lock_wait_ms));
    table.add_row(total);
    for column in table.column_iter_mut().skip(2) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    let mut out = format!("Plan {}: {}\n{table}\n", summary.plan, summary.outcome);
    for step in &summary.steps {
        for finding in &step.findings {
            out += &format!("{}: {finding}\n", step.step);
        }
    }
    out
}
