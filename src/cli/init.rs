//! `crossfade init`: a first plan for two databases.

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use serde_json::json;

use super::databases::DatabaseArgs;
use super::{Format, print_json, text};
use crate::draft::{decide, read};
use crate::step::Stop;
use crate::terms::{Exit, Side, StepId};

#[derive(Debug, Args)]
pub(super) struct InitArgs {
    #[command(flatten)]
    databases: DatabaseArgs,
    /// The plan file to write; projections go to a folder beside it. Nothing that is there is overwritten
    #[arg(long, short, value_name = "FILE")]
    out: PathBuf,
    /// The plan's name (default: from the file's name)
    #[arg(long)]
    name: Option<String>,
}

pub(super) async fn init(args: &InitArgs, format: Format) -> anyhow::Result<Exit> {
    let usage = |what: String| Stop::Usage(what);
    let stem = args.out.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_suffix(".toml"));
    let stem = stem
        .filter(|stem| !stem.is_empty())
        .ok_or_else(|| usage(format!("{}: a name that ends in .toml is expected", args.out.display())))?;
    let name = args.name.clone().unwrap_or_else(|| plan_name(stem));
    StepId::new(&name).map_err(|why| usage(format!("--name: {why}")))?;
    let databases = args.databases.given()?;
    let (Some(blue), Some(green)) = (databases.get(&Side::Blue), databases.get(&Side::Green)) else {
        return Err(usage("give --blue and --green: both catalogs are read".to_owned()).into());
    };
    let blue = read(&blue.connect("crossfade/init").await?).await.context("blue")?;
    let green = read(&green.connect("crossfade/init").await?).await.context("green")?;
    if green.tables.is_empty() {
        let next = "make its schema first, by the application's own tool or by migrations";
        return Err(usage(format!("green has no tables: {next}; for the same schema on both sides: `crossfade copy`")).into());
    }
    let draft = decide(&blue, &green);
    let (files, decisions) = draft.files(stem, &name);
    write(args.out.parent().unwrap_or(Path::new("")), &files)?;
    let plan = args.out.display();
    let next = match decisions.is_empty() {
        true => format!("crossfade check {plan}; crossfade run {plan}"),
        false => format!("put an SQL expression for each \"?\", then crossfade check {plan}"),
    };
    if format == Format::Json {
        let names: Vec<&String> = files.iter().map(|(name, _)| name).collect();
        print_json(&json!({"plan": args.out, "files": names, "decisions": decisions, "notes": draft.notes}))?;
        return Ok(Exit::Done);
    }
    let mut out = format!("{plan}: a plan with {} files\n", files.len());
    if !decisions.is_empty() {
        out += &format!("TODO, {} decisions:\n", decisions.len());
        decisions.iter().for_each(|decision| out += &format!("  {}:{}: {}\n", decision.file, decision.line, decision.what));
    }
    draft.notes.iter().for_each(|note| out += &format!("note: {note}\n"));
    text::print(&format!("{out}next: {next}\n"))?;
    Ok(Exit::Done)
}

/// A plan's name from its file's.
fn plan_name(stem: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    stem.chars().map(plain).take(30).collect()
}

/// Writes all files, or none where one is there already.
fn write(folder: &Path, files: &[(String, String)]) -> anyhow::Result<()> {
    if let Some((name, _)) = files.iter().find(|(name, _)| folder.join(name).exists()) {
        let what =
            format!("{} is there already: nothing was written; give another --out or move it away", folder.join(name).display());
        return Err(Stop::Usage(what).into());
    }
    for (name, content) in files {
        let path = folder.join(name);
        let cannot = || format!("cannot write {}", path.display());
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).with_context(cannot)?;
        }
        std::fs::write(&path, content).with_context(cannot)?;
    }
    Ok(())
}
