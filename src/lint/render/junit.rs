//! Test cases for CI: one for each finding, and one for each file in which nothing fails.

use super::message;
use crate::junit::{Case, Failure};
use crate::lint::{Finding, Level, Report};

/// The report as test cases. Findings below `fail_on` pass and are told in what their file says.
pub fn junit(report: &Report, fail_on: Level) -> Vec<Case> {
    let fails = |finding: &&Finding| fail_on != Level::Off && finding.level >= fail_on;
    let mut cases = Vec::new();
    for (index, script) in report.scripts.iter().enumerate().filter(|(_, script)| !script.applied) {
        let found: Vec<&Finding> = report.findings.iter().filter(|finding| finding.file == index).collect();
        let (failed, passed): (Vec<&Finding>, Vec<&Finding>) = found.into_iter().partition(fails);
        let line = |finding: &Finding| script.lines.place(&script.text, finding.at.start).0;
        let case = Case { class: script.name.clone(), file: Some(script.name.clone()), ..Case::default() };
        cases.extend(failed.iter().map(|finding| Case {
            name: format!("{}:{} {}", script.name, line(finding), finding.rule),
            line: Some(line(finding)),
            failure: Some(Failure {
                kind: finding.rule.to_owned(),
                message: message(finding).into_owned(),
                text: format!("{}:{}: {}\nInstead: {}", script.name, line(finding), message(finding), finding.safe_form),
            }),
            ..case.clone()
        }));
        let told = |finding: &&Finding| format!("{}: line {}: {}\n", finding.level.as_str(), line(finding), message(finding));
        let said: String = passed.iter().map(told).collect();
        if failed.is_empty() || !said.is_empty() {
            cases.push(Case { name: script.name.clone(), said, ..case });
        }
    }
    cases
}
