//! `crossfade grants PLAN`.

use std::path::PathBuf;

use clap::Args;

use super::{Format, print_json, text};
use crate::plan;
use crate::preflight::grants;
use crate::sql::Ident;
use crate::terms::{Exit, Side};

#[derive(Debug, Args)]
pub(super) struct GrantsArgs {
    /// The plan file
    plan: PathBuf,
    /// The role that runs it
    #[arg(long, default_value = "crossfade")]
    role: String,
    /// One side alone
    #[arg(long, value_enum)]
    side: Option<SideArg>,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum SideArg {
    Blue,
    Green,
}

pub(super) fn run(args: &GrantsArgs, format: Format) -> anyhow::Result<Exit> {
    let plan = plan::load(&args.plan)?;
    let role = Ident::new(args.role.as_str());
    let asked = |side: Side| {
        args.side.is_none_or(|only| matches!((only, side), (SideArg::Blue, Side::Blue) | (SideArg::Green, Side::Green)))
    };
    let scripts: Vec<(Side, String)> =
        plan.sides().filter(|side| asked(*side)).map(|side| (side, grants(&plan, side, &role))).collect();
    match format {
        Format::Json => {
            let by_side: serde_json::Map<_, _> =
                scripts.into_iter().map(|(side, sql)| (side.to_string(), serde_json::Value::from(sql))).collect();
            print_json(&by_side)?;
        }
        _ => {
            let all: Vec<String> = scripts.into_iter().map(|(_, sql)| sql).collect();
            text::print(&all.join("\n"))?;
        }
    }
    Ok(Exit::Done)
}
