//! `crossfade explain CODE...`.

use clap::Args;

use super::{Format, print_json, text};
use crate::explain::{self, SECTIONS};
use crate::step::Stop;
use crate::terms::Exit;

#[derive(Debug, Args)]
pub(super) struct ExplainArgs {
    /// Exit codes, SQLSTATEs, preflight checks, rules of `lint`, step kinds
    #[arg(required_unless_present = "list")]
    codes: Vec<String>,
    /// List everything that is explained
    #[arg(long, conflicts_with = "codes")]
    list: bool,
}

pub(super) fn explain(args: &ExplainArgs, format: Format) -> anyhow::Result<Exit> {
    let json = format == Format::Json;
    if args.list && json {
        let sections = SECTIONS.iter().map(|(sort, entries)| {
            let codes = entries.iter().map(|e| serde_json::json!({"code": e.code, "means": e.means, "next": e.next}));
            serde_json::json!({"sort": sort, "codes": codes.collect::<Vec<_>>()})
        });
        print_json(&sections.collect::<Vec<_>>())?;
        return Ok(Exit::Done);
    }
    if args.list {
        text::print(&explain::list())?;
        return Ok(Exit::Done);
    }
    let pages: Result<Vec<(&String, String)>, String> =
        args.codes.iter().map(|code| explain::explain(code).map(|page| (code, page))).collect();
    let pages = pages.map_err(Stop::Usage)?;
    match json {
        true => {
            print_json(&pages.iter().map(|(code, page)| serde_json::json!({"code": code, "text": page})).collect::<Vec<_>>())?
        }
        false => text::print(&pages.iter().map(|(_, page)| page.as_str()).collect::<Vec<_>>().join("\n"))?,
    }
    Ok(Exit::Done)
}
