//! `crossfade lint PATH...`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};

use super::migrations::{read, runs_without_transaction, walk};
use super::{Format, print_json, text};
use crate::lint::layout::{self, Direction};
use crate::lint::render::{self, page};
use crate::lint::{self, Config, Input, Known, Level, Report, rules};
use crate::pg::{Database, identify};
use crate::step::Stop;
use crate::terms::Exit;

/// The configuration file that is read where it is there.
const CONFIG: &str = "crossfade-lint.toml";

#[derive(Debug, Args)]
pub(super) struct LintArgs {
    /// Migration files and folders; `-` reads SQL from standard input
    paths: Vec<PathBuf>,
    /// Read the names of files from this file, one a line; `-` reads them from standard input (as of `git diff --name-only`)
    #[arg(long, value_name = "FILE")]
    files_from: Option<PathBuf>,
    /// Look at the migrations that take changes back instead
    #[arg(long)]
    down: bool,
    /// Migrations up to this version count as applied: what they create is in use, and they are not reported
    #[arg(long, value_name = "VERSION")]
    applied: Option<String>,
    /// Major version of the server
    #[arg(long, value_name = "VERSION")]
    pg_version: Option<String>,
    /// Whether each file runs as one transaction
    #[arg(long, value_enum, default_value_t = Wrapping::Auto)]
    transaction: Wrapping,
    /// Configuration file (default: crossfade-lint.toml, where it is there)
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Set the level of a rule: ID=off|note|warning|error; may be given several times
    #[arg(long = "rule", value_name = "ID=LEVEL")]
    rules: Vec<String>,
    /// Exit with 10 on findings of this level or above: off, note, warning, error (default: error)
    #[arg(long, value_name = "LEVEL")]
    fail_on: Option<String>,
    /// Connection string of a database: its table sizes decide about levels. Only reads
    #[arg(long, value_name = "URL", env = "CROSSFADE_LINT_DATABASE_URL", hide_env_values = true)]
    connect: Option<String>,
    /// Also say of every statement which locks it takes and what it reads or rewrites in full (JSON always does)
    #[arg(long)]
    statements: bool,
    /// Explain a rule
    #[arg(long, value_name = "RULE")]
    explain: Option<String>,
    /// List all rules
    #[arg(long)]
    list: bool,
}

/// How files run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Wrapping {
    /// As the tool does that the names of the files are made for
    Auto,
    /// Each file in one transaction
    File,
    /// Each statement on its own
    None,
}

pub(super) async fn lint(args: &LintArgs, format: Format) -> anyhow::Result<Exit> {
    if let Some(id) = &args.explain {
        let rule = rules::find(id).ok_or_else(|| Stop::Usage(lint::no_rule(id)))?;
        text::print(&page::page(rule))?;
        return Ok(Exit::Done);
    }
    if args.list {
        let lines = rules::all().map(|rule| format!("{:<34} {:<8} {}\n", rule.id, rule.level.as_str(), rule.title));
        text::print(&lines.collect::<String>())?;
        return Ok(Exit::Done);
    }
    let mut config = config(args)?;
    let inputs = inputs(args)?;
    let known = match &args.connect {
        Some(url) => {
            let session = Database::parse("the database", url)?.connect("crossfade/lint").await?;
            if args.pg_version.is_none() {
                let version = identify(&session).await?.version / 10_000;
                config.set_version(&version.to_string()).map_err(Stop::Usage)?;
            }
            super::known::known(&session).await?
        }
        None => Known::new(),
    };
    let report = lint::lint(inputs, &config, known).map_err(|why| anyhow::anyhow!(why))?;
    if args.statements && format == Format::Text {
        text::print(&format!("{}\n", render::statements(&report)))?;
    }
    print(&report, format)?;
    let fails = |level: Level| config.fail_on != Level::Off && level >= config.fail_on;
    Ok(if report.findings.iter().any(|finding| fails(finding.level)) { Exit::Findings } else { Exit::Done })
}

fn print(report: &Report, format: Format) -> anyhow::Result<()> {
    match format {
        Format::Text => text::print(&render::text(report)),
        Format::Json => print_json(&render::json(report)),
        Format::Sarif => print_json(&render::sarif(report)),
        Format::Github => text::print(&render::github(report)),
    }
}

/// The configuration from file and flags.
fn config(args: &LintArgs) -> anyhow::Result<Config> {
    let path = args.config.clone().or_else(|| Some(PathBuf::from(CONFIG)).filter(|path| path.exists()));
    let mut wrong = Vec::new();
    let mut config = Config::default();
    if let Some(path) = path {
        match std::fs::read_to_string(&path)
            .map_err(|e| vec![format!("cannot be read: {e}")])
            .and_then(|text| Config::read(&text))
        {
            Ok(read) => config = read,
            Err(problems) => wrong.extend(problems.into_iter().map(|problem| format!("{}: {problem}", path.display()))),
        }
    }
    for rule in &args.rules {
        let set = rule.split_once('=').ok_or_else(|| format!("--rule {rule}: expected ID=LEVEL"));
        wrong.extend(set.and_then(|(id, level)| config.set(id, level)).err());
    }
    wrong.extend(args.pg_version.as_ref().and_then(|version| config.set_version(version).err()));
    wrong.extend(args.fail_on.as_ref().and_then(|level| config.set_fail_on(level).err()));
    if wrong.is_empty() { Ok(config) } else { Err(Stop::Usage(wrong.join("; ")).into()) }
}

/// The files to look at, in order, with their texts.
fn inputs(args: &LintArgs) -> anyhow::Result<Vec<Input>> {
    let usage = |what: String| anyhow::Error::from(Stop::Usage(what));
    let listed = match &args.files_from {
        Some(from) => read(from).map_err(|e| usage(format!("--files-from {}: {e}", from.display())))?,
        None => String::new(),
    };
    if args.paths.is_empty() && args.files_from.is_none() {
        return Err(usage("nothing to look at: name files or folders, or - for standard input".to_owned()));
    }
    let direction = if args.down { Direction::Down } else { Direction::Up };
    let (mut inputs, mut wrong) = (Vec::new(), Vec::new());
    let (mut chosen, mut all) = (Vec::new(), Vec::new());
    for path in &args.paths {
        if path.as_os_str() == "-" {
            let text = read(path).map_err(|e| usage(format!("standard input: {e}")))?;
            let wrapped = args.transaction == Wrapping::File;
            inputs.push(Input { name: "-".to_owned(), text, wrapped, down: args.down, ..Input::default() });
        } else if path.is_dir() {
            walk(path, &mut all, &mut wrong);
            let inside = all.iter().filter(|file| file.starts_with(path));
            chosen.extend(inside.cloned());
        } else if path.exists() {
            chosen.push(path.clone());
        } else {
            wrong.push(format!("{} does not exist", path.display()));
        }
    }
    // A list of changed files also names files that are gone or are no SQL.
    for line in listed.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let path = PathBuf::from(line);
        if layout::is_sql(&path) && path.exists() {
            chosen.push(path);
        }
    }
    for folder in chosen.iter().filter_map(|path| path.parent()).map(Path::to_path_buf).collect::<BTreeSet<_>>() {
        let entries = std::fs::read_dir(if folder.as_os_str().is_empty() { Path::new(".") } else { &folder });
        all.extend(entries.into_iter().flatten().flatten().map(|entry| folder.join(entry.file_name())));
    }
    let mut seen = BTreeSet::new();
    chosen.retain(|path| seen.insert(path.clone()));
    let ordered = layout::order(&chosen, &all, direction);
    // A file that was named itself is looked at, whatever its direction.
    let asked = |path: &&PathBuf| args.paths.contains(path) && !ordered.iter().any(|placed| placed.path == **path);
    let beside: Vec<layout::Placed> = chosen
        .iter()
        .filter(asked)
        .map(|path| layout::Placed { path: path.clone(), version: String::new(), wrapped: true })
        .collect();
    for placed in ordered.iter().chain(&beside) {
        let wrapped = match args.transaction {
            Wrapping::Auto => placed.wrapped && !runs_without_transaction(&placed.path),
            Wrapping::File => true,
            Wrapping::None => false,
        };
        let applied = args
            .applied
            .as_ref()
            .is_some_and(|version| !placed.version.is_empty() && layout::compare(&placed.version, version).is_le());
        match read(&placed.path) {
            Ok(text) => inputs.push(Input { name: placed.path.display().to_string(), text, wrapped, applied, down: args.down }),
            Err(e) => wrong.push(format!("{}: {e}", placed.path.display())),
        }
    }
    if !wrong.is_empty() {
        return Err(usage(wrong.join("; ")));
    }
    if inputs.is_empty() && args.files_from.is_none() {
        return Err(usage("no .sql file of that direction in what was named".to_owned()));
    }
    Ok(inputs)
}
