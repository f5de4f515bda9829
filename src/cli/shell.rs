//! `crossfade completions SHELL`, `crossfade man DIR` and `crossfade schema`: what shells, man and editors read.

use std::path::PathBuf;

use anyhow::Context;
use clap::{Args, Command, CommandFactory, FromArgMatches};
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

/// `docs/commands.md`: the long help of every command, as Markdown. The same wherever it is made: no width of a terminal, no values of
/// environment variables.
pub fn commands_page() -> String {
    let mut out =
        "# Commands\n\nWhat `crossfade COMMAND --help` prints. This page is made from the program (`tests/it/docs.rs`).\n"
            .to_owned();
    let mut root = Cli::command().disable_help_subcommand(true).term_width(110);
    root.build();
    section(&mut out, &root);
    out
}

fn section(out: &mut String, command: &Command) {
    let name = command.get_bin_name().unwrap_or_else(|| command.get_name());
    let help = command.clone().mut_args(|arg| arg.hide_env_values(true)).render_long_help().to_string();
    let lines: Vec<&str> = help.lines().map(str::trim_end).collect();
    *out += &format!("\n## {name}\n\n```text\n{}\n```\n", lines.join("\n").trim_end());
    command.get_subcommands().filter(|one| !one.is_hide_set()).for_each(|one| section(out, one));
}

/// Whether the program takes this command line, its own name first; asks no system and runs nothing.
///
/// # Errors
/// What `crossfade` would say.
pub fn understands(words: &[String]) -> Result<(), String> {
    let matches = match Cli::command().try_get_matches_from(words) {
        Err(error) if !error.use_stderr() => return Ok(()), // --help, --version
        matches => matches.map_err(|error| error.to_string())?,
    };
    Cli::from_arg_matches(&matches).map(drop).map_err(|error| error.to_string())
}
