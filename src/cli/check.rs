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
