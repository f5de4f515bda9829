//! `crossfade lint PATH...`.

use std::path::PathBuf;

use clap::Args;

use super::migrations::{FilesArgs, Found};
use super::{Format, print_json, print_junit, text};
use crate::lint::layout::Direction;
use crate::lint::render::{self, page};
use crate::lint::{self, Config, Known, Level, Report, rules};
use crate::pg::{Database, identify};
use crate::step::Stop;
use crate::terms::Exit;

/// The configuration file that is read where it is there.
const CONFIG: &str = "crossfade-lint.toml";

#[derive(Debug, Args)]
pub(super) struct LintArgs {
    #[command(flatten)]
    files: FilesArgs,
    /// Look at the migrations that take changes back instead
    #[arg(long)]
    down: bool,
    /// Major version of the server
    #[arg(long, value_name = "VERSION")]
    pg_version: Option<String>,
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
    let direction = if args.down { Direction::Down } else { Direction::Up };
    let inputs = args.files.migrations(direction)?.into_iter().map(Found::into_input).collect();
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
    let report = lint::report(inputs, &config, known).map_err(|why| anyhow::anyhow!(why))?;
    if args.statements && format == Format::Text {
        text::print(&format!("{}\n", render::statements(&report)))?;
    }
    print(&report, format, config.fail_on)?;
    let fails = |level: Level| config.fail_on != Level::Off && level >= config.fail_on;
    let exit = if report.findings.iter().any(|finding| fails(finding.level)) { Exit::Findings } else { Exit::Done };
    std::mem::forget(report); // the process ends: to give every piece back takes as long as to look at it
    Ok(exit)
}

fn print(report: &Report, format: Format, fail_on: Level) -> anyhow::Result<()> {
    match format {
        Format::Json => text::stream(|out| render::json(report, out)),
        Format::Sarif => print_json(&render::sarif(report)),
        Format::Junit => print_junit("crossfade lint", &render::junit(report, fail_on)),
        Format::Github => text::print(&render::github(report)),
        _ => text::print(&render::text(report)),
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
