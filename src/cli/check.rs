//! `crossfade check PLAN`.

use std::path::PathBuf;

use clap::Args;

use super::{Format, print_json, text};
use crate::plan;
use crate::terms::Exit;

#[derive(Debug, Args)]
pub(super) struct CheckArgs {
    /// The plan file
    plan: PathBuf,
}

pub(super) async fn check(args: &CheckArgs, format: Format) -> anyhow::Result<Exit> {
    match (plan::load(&args.plan), format) {
        (Ok(plan), Format::Text) => {
            let steps = plan.steps().len();
            text::print(&format!(
                "{}: plan {} is right: {steps} steps, fingerprint {}\n",
                args.plan.display(),
                plan.name(),
                &plan.fingerprint().as_str()[..12]
            ))?;
            Ok(Exit::Done)
        }
        (Ok(plan), Format::Json) => {
            print_json(&serde_json::json!({"plan": plan.name(), "fingerprint": plan.fingerprint(), "problems": []}))?;
            Ok(Exit::Done)
        }
        (Err(problems), Format::Text) => Err(problems.into()),
        (Err(problems), Format::Json) => {
            print_json(&serde_json::json!({"problems": problems}))?;
            Ok(Exit::Usage)
        }
    }
}
