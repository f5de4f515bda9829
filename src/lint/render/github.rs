//! Workflow commands of GitHub Actions, which show findings beside the changed lines.

use super::{message, summary};
use crate::lint::{Level, Report};

/// The report as annotations, and the summary as a last line.
pub fn github(report: &Report) -> String {
    let mut out = String::new();
    for finding in &report.findings {
        let script = &report.scripts[finding.file];
        let (line, column) = script.lines.place(&script.text, finding.at.start);
        let (end, _) = script.lines.place(&script.text, finding.at.end);
        let command = match finding.level {
            Level::Error => "error",
            Level::Warning => "warning",
            Level::Note | Level::Off => "notice",
        };
        let text = format!("{}\nInstead: {}", message(finding), finding.safe_form);
        out += &format!(
            "::{command} file={},line={line},endLine={end},col={column},title={}::{}\n",
            property(&script.name),
            property(finding.rule),
            escaped(&text)
        );
    }
    out + &format!("{}\n", summary(report))
}

fn escaped(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

fn property(text: &str) -> String {
    escaped(text).replace(':', "%3A").replace(',', "%2C")
}
