//! `crossfade check PLAN`.

use std::path::{Path, PathBuf};

use clap::Args;

use super::{Format, print_json, print_junit, text};
use crate::junit::{Case, Failure};
use crate::plan::{self, Plan, Problems};
use crate::terms::Exit;

#[derive(Debug, Args)]
pub(super) struct CheckArgs {
    /// The plan file
    plan: PathBuf,
}

pub(super) async fn check(args: &CheckArgs, format: Format) -> anyhow::Result<Exit> {
    let checked = plan::load(&args.plan);
    if format == Format::Junit {
        print_junit("crossfade check", &cases(&args.plan, &checked))?;
        return Ok(if checked.is_ok() { Exit::Done } else { Exit::Usage });
    }
    match (checked, format) {
        (Ok(plan), format) if format != Format::Json => {
            let steps = plan.steps().len();
            text::print(&format!(
                "{0}: plan {1} is right: {steps} step{2}, fingerprint {3}\nnext: crossfade run {0}\n",
                args.plan.display(),
                plan.name(),
                if steps == 1 { "" } else { "s" },
                &plan.fingerprint().as_str()[..12]
            ))?;
            Ok(Exit::Done)
        }
        (Ok(plan), _) => {
            print_json(&serde_json::json!({"plan": plan.name(), "fingerprint": plan.fingerprint(), "problems": []}))?;
            Ok(Exit::Done)
        }
        (Err(problems), format) if format != Format::Json => Err(problems.into()),
        (Err(problems), _) => {
            print_json(&serde_json::json!({"problems": problems}))?;
            Ok(Exit::Usage)
        }
    }
}

/// One test case per step of a plan that is right; of one that is not, one per problem: which steps it has is not known then.
fn cases(file: &Path, checked: &Result<Plan, Problems>) -> Vec<Case> {
    let class = file.display().to_string();
    let case = Case { class: class.clone(), file: Some(class.clone()), ..Case::default() };
    match checked {
        Ok(plan) => plan.steps().iter().map(|step| Case { name: step.id.to_string(), ..case.clone() }).collect(),
        Err(problems) => problems
            .0
            .iter()
            .map(|problem| Case {
                name: problem.step.clone().unwrap_or_else(|| "plan".to_owned()),
                file: Some(problem.file.display().to_string()),
                line: problem.line,
                failure: Some(Failure { kind: "problem".to_owned(), message: problem.what.clone(), text: problem.to_string() }),
                ..case.clone()
            })
            .collect(),
    }
}
