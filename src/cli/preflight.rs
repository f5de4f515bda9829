//! `crossfade preflight PLAN`.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::databases::DatabaseArgs;
use super::{Format, print_json, print_junit, text};
use crate::junit::{Case, Failure};
use crate::pg::{check_version, identify};
use crate::plan::{self, Plan};
use crate::preflight::{self, Counted, Violation};
use crate::report::Screen;
use crate::step::{Cx, Stop};
use crate::terms::{Exit, RunId, Severity, Side, StepId};

#[derive(Debug, Args)]
pub(super) struct PreflightArgs {
    /// The plan file
    plan: PathBuf,
    #[command(flatten)]
    databases: DatabaseArgs,
    /// Look at this percentage of each table's blocks only, where that tells something, and say how sure it is
    #[arg(long, value_name = "PERCENT")]
    sample: Option<f64>,
    /// Print clean_rows steps and changes of projections for what was found, to be reviewed
    #[arg(long)]
    suggest: bool,
}

pub(super) async fn preflight(args: &PreflightArgs, format: Format, quiet: bool) -> anyhow::Result<Exit> {
    let plan = plan::load(&args.plan)?;
    if args.sample.is_some_and(|percent| !(percent > 0.0 && percent <= 100.0)) {
        return Err(Stop::Usage("--sample takes a percentage above 0 and at most 100".to_owned()).into());
    }
    if args.suggest && format != Format::Text {
        return Err(Stop::Usage("--suggest prints TOML; the suggestions are part of --format json anyway".to_owned()).into());
    }
    let databases = args.databases.resolve(&plan)?;
    for database in databases.values() {
        let session = database.connect("crossfade/preflight").await?;
        let identity = identify(&session).await?;
        check_version(&session, &identity).map_err(|e| Stop::Usage(e.to_string()))?;
    }
    let (screen, notices) = Screen::start(quiet);
    let step = StepId::new("preflight").map_err(|e| anyhow::anyhow!(e))?;
    let by_side = [databases.get(&Side::Blue).cloned(), databases.get(&Side::Green).cloned()];
    let mut cx = Cx::new(RunId::existing("preflight"), step, plan.limits().clone(), by_side, notices).reading();
    cx.sample = args.sample.filter(|percent| *percent < 100.0);
    let found = preflight::run(&plan, &cx).await;
    drop(cx);
    screen.finish().await;
    let found = found?;
    match format {
        Format::Json => {
            print_json(&json!({"plan": plan.name(), "blocks": found.iter().any(Violation::blocks), "findings": found}))?
        }
        Format::Sarif => print_json(&sarif(&plan, &found))?,
        Format::Junit => print_junit("crossfade preflight", &cases(&plan, &found))?,
        Format::Text if args.suggest => text::print(&suggestions(&plan, &found))?,
        _ => text::print(&told(&plan, &found))?,
    }
    Ok(if found.iter().any(Violation::blocks) { Exit::Findings } else { Exit::Done })
}

fn told(plan: &Plan, found: &[Violation]) -> String {
    let mut out = String::new();
    for violation in found {
        out += &format!("{}\n", violation.finding);
        if !violation.keys.is_empty() {
            out += &format!("  keys (digests): {}\n", violation.keys.join(" "));
        }
    }
    let count = |severity| found.iter().filter(|violation| violation.finding.severity == severity).count();
    let (blocks, warnings, notes) = (count(Severity::Blocks), count(Severity::Warning), count(Severity::Note));
    let mut codes: Vec<&str> = found.iter().map(|violation| violation.code.as_str()).filter(|code| !code.is_empty()).collect();
    codes.sort_unstable();
    codes.dedup();
    if !codes.is_empty() {
        out += &format!("What they are about: crossfade explain {}\n", codes.join(" "));
    }
    out + &format!(
        "Plan {}: {blocks} findings that block, {warnings} warnings, {notes} notes. Nothing was changed.\n",
        plan.name()
    )
}

fn suggestions(plan: &Plan, found: &[Violation]) -> String {
    let mut steps: Vec<&str> = found.iter().filter_map(|violation| violation.suggestion.as_deref()).collect();
    steps.dedup();
    match steps.is_empty() {
        true => format!("# Plan {}: no row breaks what the plan asks of it.\n", plan.name()),
        false => format!(
            "# Suggested by preflight for plan {}: review each. Steps go before the step they help, in a phase that fits; sources into\n\
             # the file of their projection.\n\n{}",
            plan.name(),
            steps.join("\n")
        ),
    }
}

/// One test case per finding: what blocks fails, the rest is told. Without any, one that passed.
fn cases(plan: &Plan, found: &[Violation]) -> Vec<Case> {
    let file = plan.path().display().to_string();
    let case = Case { class: plan.name().to_owned(), file: Some(file), ..Case::default() };
    let of = |violation: &Violation| {
        let finding = &violation.finding;
        let name = format!("{} {}", violation.rule, finding.object);
        match finding.severity == Severity::Blocks {
            true => {
                let failure = Failure {
                    kind: violation.rule.to_owned(),
                    message: format!("{}: {}", finding.object, finding.what),
                    text: finding.to_string(),
                };
                Case { name, failure: Some(failure), ..case.clone() }
            }
            false => Case { name, said: finding.to_string(), ..case.clone() },
        }
    };
    match found {
        [] => vec![Case { name: "nothing found".to_owned(), ..case }],
        found => found.iter().map(of).collect(),
    }
}

/// SARIF 2.1.0 (OASIS): one result per finding, located in the plan file.
fn sarif(plan: &Plan, found: &[Violation]) -> serde_json::Value {
    let level = |severity| match severity {
        Severity::Blocks => "error",
        Severity::Warning => "warning",
        Severity::Note => "note",
    };
    let mut rules: Vec<&str> = found.iter().map(|violation| violation.rule).collect();
    rules.sort_unstable();
    rules.dedup();
    let results = found.iter().map(|violation| {
        let finding = &violation.finding;
        json!({
            "ruleId": violation.rule,
            "level": level(finding.severity),
            "message": {"text": format!("{}: {}{}", finding.object, finding.what,
                if finding.next.is_empty() { String::new() } else { format!(". Next: {}", finding.next) })},
            "locations": [{
                "physicalLocation": {"artifactLocation": {"uri": plan.path().display().to_string()}},
                "logicalLocations": [{"name": finding.object, "kind": "table"}],
            }],
            "properties": {"count": violation.count, "exact": violation.counted == Counted::Exactly, "keys": violation.keys},
        })
    });
    json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": {"driver": {"name": "crossfade", "version": env!("CARGO_PKG_VERSION"),
                "rules": rules.iter().map(|rule| json!({"id": rule})).collect::<Vec<_>>()}},
            "results": results.collect::<Vec<_>>(),
        }],
    })
}
