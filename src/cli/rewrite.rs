//! `crossfade rewrite DIR -o PLAN`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::Args;

use super::migrations::{read, runs_without_transaction, walk};
use super::{Format, print_json};
use crate::lint::layout::{self, Direction, Placed};
use crate::lint::rewrite::emit::{self, History};
use crate::lint::rewrite::{Version, rewrite};
use crate::lint::{Input, Known};
use crate::pg::Database;
use crate::sql::{Ident, QualifiedName};
use crate::step::Stop;
use crate::terms::Exit;

/// The migrations and where their versions are recorded.
#[derive(Debug, Args)]
pub(super) struct SourceArgs {
    /// Folder of the existing migrations
    pub directory: PathBuf,
    /// The application's table of applied versions and its column, TABLE.COLUMN, or `none` (default: that of the tool the files are named for)
    #[arg(long, value_name = "TABLE.COLUMN")]
    history: Option<String>,
    /// What a row of that table has in other columns, as in a plan: "version_self = 0"
    #[arg(long, value_name = "TOML", default_value = "")]
    history_constants: String,
    /// Migrations up to this version are applied already
    #[arg(long, value_name = "VERSION")]
    pub applied: Option<String>,
}

impl From<PathBuf> for SourceArgs {
    /// A folder of migrations none of which is applied, recorded where its tool does.
    fn from(directory: PathBuf) -> Self {
        Self { directory, history: None, history_constants: String::new(), applied: None }
    }
}

#[derive(Debug, Args)]
pub(super) struct RewriteArgs {
    #[command(flatten)]
    source: SourceArgs,
    /// The plan to write; its SQL files go into a folder of that name beside it
    #[arg(long, short, value_name = "PLAN")]
    output: PathBuf,
    /// Name of the plan (default: the file's)
    #[arg(long)]
    name: Option<String>,
    /// Connection string of the database: types, NULLs and names that the migrations do not tell. Only reads
    #[arg(long, value_name = "URL", env = "CROSSFADE_LINT_DATABASE_URL", hide_env_values = true)]
    connect: Option<String>,
    /// Rows that a DELETE may take before the plan stops and asks
    #[arg(long, value_name = "ROWS", default_value_t = 1_000_000)]
    max_rows: u64,
    /// Write over a plan that is there
    #[arg(long)]
    overwrite: bool,
}

/// A migration of the folder.
pub(super) struct Found {
    pub placed: Placed,
    pub text: String,
    pub applied: bool,
}

impl Found {
    /// Its file's name.
    pub fn file(&self) -> String {
        self.placed.path.display().to_string()
    }

    /// Whether its tool runs it as one transaction.
    pub fn wrapped(&self) -> bool {
        self.placed.wrapped && !runs_without_transaction(&self.placed.path)
    }
}

impl SourceArgs {
    /// The migrations in their tool's order.
    ///
    /// # Errors
    /// Everything that cannot be read, at once.
    pub fn migrations(&self, direction: Direction) -> anyhow::Result<Vec<Found>> {
        let (mut all, mut wrong) = (Vec::new(), Vec::new());
        walk(&self.directory, &mut all, &mut wrong);
        let mut found = Vec::new();
        for placed in layout::order(&all, &all, direction) {
            let version = (&placed.version, self.applied.as_ref());
            let applied = matches!(version, (own, Some(last)) if !own.is_empty() && layout::compare(own, last).is_le());
            match read(&placed.path) {
                Ok(text) => found.push(Found { placed, text, applied }),
                Err(e) => wrong.push(format!("{}: {e}", placed.path.display())),
            }
        }
        if found.is_empty() && wrong.is_empty() && direction == Direction::Up {
            wrong.push(format!("{} holds no .sql migration", self.directory.display()));
        }
        if wrong.is_empty() { Ok(found) } else { Err(Stop::Usage(wrong.join("; ")).into()) }
    }

    /// Where versions are recorded.
    ///
    /// # Errors
    /// When it is not written as TABLE.COLUMN, or the constants are no TOML.
    pub fn history(&self) -> anyhow::Result<Option<History>> {
        let given = match self.history.as_deref() {
            Some("none") => return Ok(None),
            Some(given) => given.to_owned(),
            None => {
                let (mut all, mut wrong) = (Vec::new(), Vec::new());
                walk(&self.directory, &mut all, &mut wrong);
                match layout::history(&all) {
                    Some(known) => known.to_owned(),
                    None => return Ok(None),
                }
            }
        };
        let usage = |what: String| anyhow::Error::from(Stop::Usage(what));
        let (table, column) =
            given.rsplit_once('.').ok_or_else(|| usage(format!("--history {given}: expected TABLE.COLUMN, or none")))?;
        let table = QualifiedName::try_from(table.to_owned()).map_err(|e| usage(format!("--history {given}: {e}")))?;
        let constants = self.history_constants.trim().to_owned();
        format!("x = {{ {constants} }}")
            .parse::<toml::Table>()
            .map_err(|e| usage(format!("--history-constants {constants}: {}", e.message())))?;
        Ok(Some(History { table, column: Ident::new(column), constants }))
    }
}

pub(super) async fn rewrite_command(args: &RewriteArgs, format: Format, quiet: bool) -> anyhow::Result<Exit> {
    let usage = |what: String| anyhow::Error::from(Stop::Usage(what));
    let stem = args.output.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default().to_owned();
    if args.output.extension().is_none_or(|extension| extension != "toml") || stem.is_empty() {
        return Err(usage(format!("--output {}: a plan is a .toml file", args.output.display())));
    }
    let folder = args.output.with_extension("");
    for path in [&args.output, &folder] {
        if path.exists() && !args.overwrite {
            return Err(usage(format!("{} is there already; --overwrite writes over it", path.display())));
        }
    }
    let history = args.source.history()?;
    let found = args.source.migrations(Direction::Up)?;
    let downs = args.source.migrations(Direction::Down)?;
    let known = match &args.connect {
        Some(url) => super::known::known(&Database::parse("the database", url)?.connect("crossfade/rewrite").await?).await?,
        None => Known::new(),
    };
    let versions = found.iter().map(version).collect();
    let rewritten = match rewrite(versions, known) {
        Ok(rewritten) => rewritten,
        Err(wrong) => {
            wrong.iter().for_each(|line| eprintln!("{line}"));
            eprintln!("nothing was written: these have no place in a plan; mend them, or take them out and run them yourself");
            return Ok(Exit::Findings);
        }
    };
    let settings = emit::Settings {
        name: args.name.clone().unwrap_or_else(|| plan_name(&stem)),
        folder: stem,
        downs: downs
            .into_iter()
            .filter(|down| fits(&down.text))
            .map(|down| (down.placed.version, down.text))
            .collect::<BTreeMap<_, _>>(),
        max_rows: args.max_rows,
        history,
    };
    let emitted = emit::emit(&rewritten, &settings);
    if folder.exists() {
        std::fs::remove_dir_all(&folder)?;
    }
    let base = args.output.parent().map(Path::to_path_buf).unwrap_or_default();
    for (path, text) in &emitted.files {
        let path = base.join(path);
        std::fs::create_dir_all(path.parent().unwrap_or(&base))?;
        std::fs::write(path, text)?;
    }
    std::fs::write(&args.output, &emitted.plan)?;
    let plan = args.output.display();
    match format {
        Format::Json => print_json(&serde_json::json!({
            "plan": args.output, "migrations": rewritten.len(), "files": emitted.files.len(), "approvals": emitted.approvals,
            "recorded": settings.history.is_some(),
        }))?,
        _ => {
            super::text::print(&format!("{plan}: {} migrations in {} files\n", rewritten.len(), emitted.files.len()))?;
            for approval in &emitted.approvals {
                super::text::print(&format!("waits for an approval: {approval}\n"))?;
            }
        }
    }
    if !quiet {
        if settings.history.is_none() {
            eprintln!("versions are not recorded where the application's own tool looks: --history TABLE.COLUMN says where");
        }
        eprintln!("next: crossfade check {plan}; crossfade prove {} {plan}", args.source.directory.display());
    }
    Ok(Exit::Done)
}

fn version(found: &Found) -> Version {
    let stem = found.placed.path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let own_folder = matches!(stem.as_str(), "up.sql" | "migration.sql");
    let name = match found.placed.path.parent().and_then(Path::file_name) {
        Some(folder) if own_folder => folder.to_string_lossy().into_owned(),
        _ => stem,
    };
    let name = name.split('.').next().unwrap_or_default();
    let name =
        name.trim_start_matches(['V', 'v']).trim_start_matches(found.placed.version.as_str()).trim_start_matches(['_', '-']);
    let (version, name) = (found.placed.version.clone(), name.to_owned());
    let input =
        Input { name: found.file(), text: found.text.clone(), wrapped: found.wrapped(), applied: found.applied, down: false };
    Version { version, name, input }
}

/// Whether a plan's migration may hold this text: no transaction control, nothing that runs outside one.
fn fits(text: &str) -> bool {
    crate::sql::split(text).is_ok_and(|all| {
        all.iter().all(|one| one.block() == crate::sql::Block::Inside && *one.effect() == crate::sql::Effect::Other)
    })
}

/// A name that a plan may have.
fn plan_name(stem: &str) -> String {
    let name: String = stem.to_lowercase().chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).take(30).collect();
    name.trim_matches('-').to_owned()
}
