//! Reports: for people, as JSON, as SARIF, as annotations, as test cases; and the page of each rule.

mod github;
mod json;
mod junit;
pub mod page;
mod sarif;
mod text;

pub use github::github;
pub use json::json;
pub use junit::junit;
pub use sarif::sarif;
pub use text::{statements, text};

use std::borrow::Cow;

use super::{Finding, Level, Report};

/// Milliseconds in words.
fn duration(milliseconds: u64) -> String {
    match milliseconds {
        0..1_000 => format!("{milliseconds} ms"),
        1_000..120_000 => format!("{:.1} s", milliseconds as f64 / 1_000.0),
        _ => format!("{} min", milliseconds / 60_000),
    }
}

/// A finding's own message with what the database's sizes tell.
fn message(finding: &Finding) -> Cow<'_, str> {
    match &finding.estimate {
        Some(estimate) => format!(
            "{} ({} has about {} rows, {} MB: about {})",
            finding.message,
            estimate.table.plain(),
            estimate.rows,
            estimate.bytes.div_ceil(1 << 20),
            duration(estimate.milliseconds)
        )
        .into(),
        None => finding.message.as_str().into(),
    }
}

/// The counts in words.
fn summary(report: &Report) -> String {
    let files = report.scripts.iter().filter(|script| !script.applied).count();
    let plural = |count: usize, noun: &str| format!("{count} {noun}{}", if count == 1 { "" } else { "s" });
    format!(
        "{}, {}, {} in {} of {}{}",
        plural(report.count(Level::Error), "error"),
        plural(report.count(Level::Warning), "warning"),
        plural(report.count(Level::Note), "note"),
        plural(report.statements(), "statement"),
        plural(files, "file"),
        if report.ignored > 0 { format!("; {} silenced by comments", report.ignored) } else { String::new() }
    )
}
