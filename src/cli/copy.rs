//! `crossfade copy`: a clone of a whole database, as a plan of one step that the engine runs like any other.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Args;

use super::databases::DatabaseArgs;
use super::run::{RunArgs, run};
use super::{Format, PlanArgs};
use crate::engine;
use crate::journal::{Journal, State};
use crate::limits::{Size, Span};
use crate::sql::{Ident, QualifiedName};
use crate::step::Stop;
use crate::terms::{Exit, StepId};

#[derive(Debug, Args)]
pub(super) struct CopyArgs {
    #[command(flatten)]
    databases: DatabaseArgs,
    /// These tables alone, as `table` or `schema.table` (may be given several times, or with commas)
    #[arg(long, value_name = "TABLE", value_delimiter = ',')]
    tables: Vec<String>,
    /// Not these tables, likewise
    #[arg(long, value_name = "TABLE", value_delimiter = ',')]
    exclude: Vec<String>,
    /// These schemas alone, likewise
    #[arg(long, value_name = "SCHEMA", value_delimiter = ',')]
    schema: Vec<String>,
    /// Everything on green belongs to the role that copies
    #[arg(long)]
    no_owner: bool,
    /// Leave out GRANT and REVOKE
    #[arg(long)]
    no_privileges: bool,
    /// Sessions per side (default: the cores of this machine, at least 2 and at most 8)
    #[arg(long, value_name = "N")]
    jobs: Option<usize>,
    /// Bytes per second at most, on all machines together, as in `50MB`
    #[arg(long, value_name = "SIZE")]
    max_rate: Option<String>,
    /// Pause while more sessions of others than this run statements on blue
    #[arg(long, value_name = "N")]
    max_active_sessions: Option<u32>,
    /// Pause while a standby of either side is further behind than this (default: 10s)
    #[arg(long, value_name = "TIME")]
    max_replication_lag: Option<String>,
    /// How long the snapshot is held when this command is killed, for a resume; 0s: not at all (default: 30m)
    #[arg(long, value_name = "TIME")]
    hold_snapshot: Option<String>,
    /// Name of the run's plan, when several copies are kept apart
    #[arg(long, default_value = "copy")]
    name: String,
    /// Say what would be copied, its size, and what is not carried; the default
    #[arg(long, conflicts_with = "execute")]
    dry_run: bool,
    /// Really do it; without this nothing is changed
    #[arg(long)]
    execute: bool,
    /// Begin a new run even if the latest one is not finished
    #[arg(long)]
    new: bool,
    /// Directory of all runs (journals); the plan is written there
    #[arg(long, env = "CROSSFADE_STATE", default_value = ".crossfade")]
    state: PathBuf,
}

pub(super) async fn copy(args: &CopyArgs, format: Format, quiet: bool) -> Result<Exit> {
    let text = plan(args).map_err(Stop::Usage)?;
    let path = args.state.join(format!("{}.toml", args.name));
    let other = keep(&path, &text, args)?;
    let plan = PlanArgs { plan: path, state: args.state.clone() };
    run(&RunArgs::of(plan, args.databases.clone(), args.execute, args.new || other), format, quiet).await
}

/// Writes the plan, unless one with other words belongs to a run that is not finished. Says whether there was one.
fn keep(path: &Path, text: &str, args: &CopyArgs) -> Result<bool> {
    let there = std::fs::read_to_string(path).ok();
    if there.as_deref() == Some(text) {
        return Ok(false);
    }
    let other = there.is_some_and(|there| !same_but_for_limits(&there, text));
    if other && !args.new && is_under_way(&args.state, &args.name)? {
        let path = path.display();
        return Err(Stop::Usage(format!(
            "a copy with other options is not finished; its plan is {path}: go on with `crossfade run {path} --execute`, take it back \
             with `crossfade rollback {path} --execute`, or begin another with --new or another --name"
        ))
        .into());
    }
    std::fs::create_dir_all(&args.state).with_context(|| format!("cannot make {}", args.state.display()))?;
    // Whole or not at all: a plan that is half there would belong to nobody.
    let beside = path.with_extension("new");
    std::fs::write(&beside, text).with_context(|| format!("cannot write {}", beside.display()))?;
    std::fs::rename(&beside, path).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(other)
}

fn is_under_way(state: &Path, name: &str) -> Result<bool> {
    let Some(latest) = engine::latest_run(state, name)? else { return Ok(false) };
    let lines = Journal::read(&state.join(name).join(latest.as_str()))?;
    let state = State::of(&lines).map_err(|why| anyhow::anyhow!(why))?;
    Ok(!state.finished)
}

/// The plan's text. Pure.
fn plan(args: &CopyArgs) -> Result<String, String> {
    StepId::new(&args.name).map_err(|_| format!("--name {:?}: 1 to 30 lower-case letters, digits and `-`", args.name))?;
    let names = |option: &str, texts: &[String]| -> Result<Option<toml::Value>, String> {
        let read = |text: &String| {
            QualifiedName::try_from(text.clone())
                .map(|_| toml::Value::String(text.clone()))
                .map_err(|e| format!("--{option} {text}: {e}"))
        };
        let all = texts.iter().map(read).collect::<Result<Vec<_>, _>>()?;
        Ok((!all.is_empty()).then_some(toml::Value::Array(all)))
    };
    let mut step = toml::Table::new();
    for (key, value) in [("id", "everything"), ("phase", "copy"), ("kind", "clone")] {
        step.insert(key.to_owned(), toml::Value::String(value.to_owned()));
    }
    let mut give = |key: &str, value: Option<toml::Value>| value.map(|value| step.insert(key.to_owned(), value));
    give("tables", names("tables", &args.tables)?);
    give("exclude", names("exclude", &args.exclude)?);
    let schemas: Vec<toml::Value> =
        args.schema.iter().map(|name| toml::Value::String(Ident::new(name).as_str().to_owned())).collect();
    give("schemas", (!schemas.is_empty()).then_some(toml::Value::Array(schemas)));
    give("no_owner", args.no_owner.then_some(toml::Value::Boolean(true)));
    give("no_privileges", args.no_privileges.then_some(toml::Value::Boolean(true)));
    let side = |variable: &str| {
        toml::Value::Table([("url_env".to_owned(), toml::Value::String(variable.to_owned()))].into_iter().collect())
    };
    let mut plan = toml::Table::new();
    plan.insert("format".to_owned(), toml::Value::Integer(1));
    plan.insert("name".to_owned(), toml::Value::String(args.name.clone()));
    plan.insert("description".to_owned(), toml::Value::String("a clone, as `crossfade copy` was asked for it".to_owned()));
    plan.insert("blue".to_owned(), side("BLUE_DATABASE_URL"));
    plan.insert("green".to_owned(), side("GREEN_DATABASE_URL"));
    let limits = limits(args)?;
    if !limits.is_empty() {
        plan.insert("limits".to_owned(), toml::Value::Table(limits));
    }
    plan.insert("step".to_owned(), toml::Value::Array(vec![toml::Value::Table(step)]));
    toml::to_string(&plan).map_err(|e| e.to_string())
}

/// The plan's limits. Pure.
fn limits(args: &CopyArgs) -> Result<toml::Table, String> {
    let mut limits = toml::Table::new();
    let mut give = |key: &str, value: Option<toml::Value>| value.map(|value| limits.insert(key.to_owned(), value));
    let number = |number: u64| toml::Value::Integer(i64::try_from(number).unwrap_or(i64::MAX));
    let span = |option: &str, text: &String| match Span::try_from(text.clone()) {
        Ok(_) => Ok(toml::Value::String(text.clone())),
        Err(why) => Err(format!("--{option}: {why}")),
    };
    if let Some(rate) = &args.max_rate {
        Size::try_from(rate.clone()).map_err(|why| format!("--max-rate: {why}"))?;
    }
    give("jobs", args.jobs.map(|jobs| number(jobs.max(1) as u64)));
    give("max_copy_rate", args.max_rate.clone().map(toml::Value::String));
    give("max_active_sessions", args.max_active_sessions.map(|most| number(most.into())));
    let lag = args.max_replication_lag.as_ref().map(|text| span("max-replication-lag", text)).transpose()?;
    give("max_replication_lag", lag);
    give("hold_snapshot", args.hold_snapshot.as_ref().map(|text| span("hold-snapshot", text)).transpose()?);
    Ok(limits)
}

/// Whether two plans differ in nothing but their limits, which a run that goes on may change. Pure.
fn same_but_for_limits(one: &str, other: &str) -> bool {
    let without = |text: &str| {
        let mut plan: Option<toml::Table> = text.parse().ok();
        plan.iter_mut().for_each(|plan| drop(plan.remove("limits")));
        plan
    };
    without(one).is_some_and(|plan| without(other) == Some(plan))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Words {
        #[command(flatten)]
        args: CopyArgs,
    }

    fn plan_of(words: &[&str]) -> Result<String, String> {
        plan(&Words::parse_from([&["copy"], words].concat()).args)
    }

    #[test]
    fn options_become_a_plan_of_one_step() {
        let text = plan_of(&["--tables", "a,\"Odd.S\".t", "--exclude", "b", "--jobs", "3", "--no-owner"]).unwrap();
        let plan: toml::Table = text.parse().unwrap();
        let step = plan["step"][0].as_table().unwrap();
        assert_eq!(step["tables"], toml::Value::from(vec!["a", "\"Odd.S\".t"]));
        assert_eq!((step["no_owner"].as_bool(), plan["limits"]["jobs"].as_integer()), (Some(true), Some(3)));
        assert!(!step.contains_key("schemas"));
        let slower = plan_of(&[
            "--tables",
            "a,\"Odd.S\".t",
            "--exclude",
            "b",
            "--no-owner",
            "--max-rate",
            "5 MB",
            "--hold-snapshot",
            "0s",
        ]);
        assert!(same_but_for_limits(&slower.unwrap(), &text) && !same_but_for_limits(&text, &plan_of(&[]).unwrap()));
        assert!(plan_of(&["--max-rate", "5"]).unwrap_err().starts_with("--max-rate: `5` is not a size"));
        assert!(plan_of(&["--name", "No Name"]).unwrap_err().contains("--name"));
        assert!(plan_of(&["--tables", "a.b.c.d"]).unwrap_err().starts_with("--tables a.b.c.d"));
    }
}
