//! `crossfade completions SHELL`, `crossfade man DIR` and `crossfade schema`: what shells, man and editors read.

use std::path::PathBuf;

use anyhow::Context;
use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::{Cli, Format, print_json, text};
use crate::terms::Exit;

#[derive(Debug, Args)]
pub(super) struct CompletionsArgs {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

pub(super) fn completions(args: &CompletionsArgs) -> anyhow::Result<Exit> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "crossfade", &mut script);
    text::print(&String::from_utf8(script)?)?;
    Ok(Exit::Done)
}

#[derive(Debug, Args)]
pub(super) struct ManArgs {
    /// The folder for the pages; made where it is not there
    directory: PathBuf,
}

pub(super) fn man(args: &ManArgs, format: Format) -> anyhow::Result<Exit> {
    let directory = &args.directory;
    std::fs::create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))?;
    let cannot = || format!("cannot write to {}", directory.display());
    clap_mangen::generate_to(Cli::command().disable_help_subcommand(true), directory).with_context(cannot)?;
    let pages = std::fs::read_dir(directory).with_context(cannot)?.filter_map(|entry| Some(entry.ok()?.path()));
    let mut pages: Vec<PathBuf> = pages.filter(|path| path.extension().is_some_and(|extension| extension == "1")).collect();
    pages.sort();
    match format {
        Format::Json => print_json(&serde_json::json!({ "pages": pages }))?,
        _ => text::print(&format!("{} pages in {}\n", pages.len(), directory.display()))?,
    }
    Ok(Exit::Done)
}

pub(super) fn schema() -> anyhow::Result<Exit> {
    print_json(&crate::plan::schema())?;
    Ok(Exit::Done)
}
