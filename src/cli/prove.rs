//! `crossfade prove DIR PLAN`.

use std::path::PathBuf;

use clap::Args;

use super::rewrite::{Found, SourceArgs};
use super::{Format, print_json, text};
use crate::lint::layout::Direction;
use crate::plan;
use crate::prove::{History, Original, Proof, Setup, prove};
use crate::terms::Exit;

#[derive(Debug, Args)]
pub(super) struct ProveArgs {
    #[command(flatten)]
    source: SourceArgs,
    /// The plan that does the same
    plan: PathBuf,
    /// What both begin with: SQL files as pg_dump writes them, schema or rows; may be given several times
    #[arg(long, value_name = "FILE")]
    start: Vec<PathBuf>,
    /// A column whose values may differ, TABLE.COLUMN: random ones, times of the run; may be given several times
    #[arg(long, value_name = "TABLE.COLUMN")]
    ignore_values: Vec<String>,
}

impl SourceArgs {
    /// The migrations that are not applied yet, as their tool runs them.
    ///
    /// # Errors
    /// Everything that cannot be read, at once.
    pub(super) fn originals(&self) -> anyhow::Result<Vec<Original>> {
        let found = self.migrations(Direction::Up)?;
        let original = |found: &Found| Original {
            file: found.file(),
            version: found.placed.version.clone(),
            text: found.text.clone(),
            wrapped: found.wrapped(),
        };
        Ok(found.iter().filter(|found| !found.applied).map(original).collect())
    }

    /// Where their versions are recorded.
    ///
    /// # Errors
    /// When that is written in another form than it must be.
    pub(super) fn recorded(&self) -> anyhow::Result<Option<History>> {
        Ok(self.history()?.map(|history| History { table: history.table, column: history.column, constants: history.constants }))
    }
}

pub(super) async fn prove_command(args: &ProveArgs, format: Format, quiet: bool) -> anyhow::Result<Exit> {
    let setup = Setup {
        originals: args.source.originals()?,
        plan: plan::load(&args.plan)?,
        start: args.start.clone(),
        history: args.source.recorded()?,
        ignored: args.ignore_values.clone(),
        quiet,
    };
    let proof = prove(setup).await?;
    match format {
        Format::Json => print_json(&serde_json::json!(proof))?,
        _ => text::print(&render(&proof))?,
    }
    Ok(if proof.differences.is_empty() { Exit::Done } else { Exit::Divergence })
}

fn render(proof: &Proof) -> String {
    let mut out = String::new();
    for difference in &proof.differences {
        out += &format!("{difference}\n");
    }
    for order in &proof.orders {
        out += &format!("note: {order} (columns were compared by name)\n");
    }
    let Proof { migrations, properties, tables, rows, differences, .. } = proof;
    out + &match differences.len() {
        0 => format!(
            "the same: {migrations} migrations; {properties} properties of the catalog and {rows} rows of {tables} tables compared\n"
        ),
        n => format!(
            "{n} differences after {migrations} migrations; {properties} properties of the catalog and {rows} rows of {tables} tables compared\n"
        ),
    }
}
