//! What `crossfade demo --migrations` prints.

use comfy_table::{CellAlignment, Table, presets};

use crate::demo::{MigrationsReport, UnderTraffic};
use crate::report::{thousands, time};

/// Both runs side by side.
pub(super) fn render(report: &MigrationsReport) -> String {
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED);
    table.set_header(["", "as it is", "rewritten"]);
    type Cell = fn(&UnderTraffic) -> String;
    let lines: [(&str, Cell); 10] = [
        ("outcome", |run| run.outcome.to_owned()),
        ("net runtime", |run| time(run.seconds)),
        ("requests of live clients", |run| thousands(run.requests as i64)),
        ("requests failed", |run| thousands(run.requests_failed as i64)),
        ("longest stall of a request", |run| format!("{:.0} ms", run.longest_stall_ms)),
        ("half / 99 % of the requests within", |run| format!("{:.1} / {:.1} ms", run.latency_p50_ms, run.latency_p99_ms)),
        ("transactions ended by a deadlock, run anew", |run| run.deadlocks.to_string()),
        ("slow reports meanwhile", |run| run.reports.to_string()),
        ("sessions valid before / of these after", |run| {
            format!("{} / {}", thousands(run.sessions.before as i64), thousands(run.sessions.after as i64))
        }),
        ("begun / revoked by live clients", |run| format!("{} / {}", run.sessions.created, run.sessions.revoked)),
    ];
    for (name, cell) in lines {
        table.add_row([name.to_owned(), cell(&report.original), cell(&report.rewritten)]);
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    let MigrationsReport { directory, migrations, sessions, proved, server_version, .. } = report;
    let mut out = format!(
        "{directory}: {migrations} migrations on Hydra 1.0.0's tables, {} generated sessions, PostgreSQL {server_version}\n\n{table}\n",
        thousands((*sessions).into())
    );
    out += "In both runs somebody else reads clients, access tokens and consents, 2 s at a time with pauses of 3 s.\n";
    out += &format!(
        "Both end the same: {} properties of the catalog and {} rows of {} tables were compared on other servers.\n",
        thousands(proved.properties as i64),
        thousands(proved.rows as i64),
        proved.tables
    );
    if !report.approvals.is_empty() {
        out += "\nNothing makes these safe; the demo approved them, and what goes at the end of the plan:\n";
        report.approvals.iter().for_each(|approval| out += &format!("  {approval}\n"));
    }
    out += "\n";
    out += &crate::report::outline(&report.run);
    out += match report.problems().is_empty() {
        true => "\nBeside the plan every request got the right answer.\n",
        false => "\nNOT everything is as it must be; see the lines on stderr.\n",
    };
    out
}
