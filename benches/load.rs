//! `cargo bench --bench load`: what very many tables, parts and steps and one huge value cost, in time and memory, beside the usual
//! tools where they do the same. See `benches/README.md`.
//!
//! Arguments after `--`: names of loads (all when none is given), `--scale PERCENT` of the full count or size (100), `--rounds N` of
//! every clone (1).

#[path = "copy/family.rs"]
mod family;
#[path = "copy/measure.rs"]
mod measure;
#[path = "copy/ways.rs"]
mod ways;

use std::fmt::Write;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use crossfade::pg::Session;
use crossfade::shadow::{Binaries, Cluster};

use measure::{Cost, measure, median};
use ways::{Place, Way};

/// What there is very much of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Load {
    /// 10,000 tables of ten rows with a primary key and an index, cloned.
    Tables,
    /// 100,000 tables of one row, each of which is a part of its own, cloned.
    Parts,
    /// A plan of 1,000 steps: checked, shown, run, told, taken back.
    Steps,
    /// A value of 100 MB: copied, and changed while it is followed.
    Value,
}

impl Load {
    const ALL: [Load; 4] = [Load::Tables, Load::Parts, Load::Steps, Load::Value];

    fn name(self) -> &'static str {
        match self {
            Load::Tables => "tables",
            Load::Parts => "parts",
            Load::Steps => "steps",
            Load::Value => "value",
        }
    }

    fn full(self) -> u32 {
        match self {
            Load::Tables => 10_000,
            Load::Parts => 100_000,
            Load::Steps => 1_000,
            Load::Value => 100_000_000,
        }
    }
}

fn main() -> Result<()> {
    let (mut loads, mut scale, mut rounds) = (Vec::new(), 100u32, 1u32);
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut number =
            || words.next().with_context(|| format!("{word} needs a number"))?.parse::<u32>().context("not a number");
        match word.as_str() {
            "--bench" => {} // cargo's own
            "--scale" => scale = number()?,
            "--rounds" => rounds = number()?.max(1),
            name => match Load::ALL.into_iter().find(|load| load.name() == name) {
                Some(load) => loads.push(load),
                None => bail!("no load {name}; there are {}", Load::ALL.map(Load::name).join(", ")),
            },
        }
    }
    if loads.is_empty() {
        loads.extend(Load::ALL);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let binaries = Binaries::find()?;
        let settings = vec![
            ("fsync", "off".to_owned()),
            ("shared_buffers", "512MB".to_owned()),
            ("max_wal_size", "8GB".to_owned()),
            ("autovacuum", "off".to_owned()),
            ("max_locks_per_transaction", "2048".to_owned()),
            ("wal_level", "logical".to_owned()),
        ];
        let blue = Arc::new(Cluster::start(&binaries, settings.clone()).await?);
        let green = Arc::new(Cluster::start(&binaries, settings).await?);
        let scratch = tempfile::tempdir()?;
        let place = Place { blue, green, scratch: scratch.path().to_owned(), jobs: 2 };
        for load in loads {
            let count = u32::try_from(u64::from(load.full()) * u64::from(scale) / 100)?.max(1);
            println!("\n{}: {count}", load.name());
            println!("  {:<40} {:>9} {:>9} {:>9}", "medians of the rounds", "s", "CPU s", "RSS MB");
            match load {
                Load::Tables | Load::Parts => clones(&place, load, count, rounds).await?,
                Load::Steps => steps(&place, count).await?,
                Load::Value => value(&place, count, rounds).await?,
            }
        }
        Ok(())
    })
}

fn told(what: &str, costs: &[Cost]) {
    let (seconds, cpu) = (median(costs.iter().map(|cost| cost.seconds)), median(costs.iter().map(|cost| cost.cpu_seconds)));
    let memory = costs.iter().map(|cost| cost.peak_rss).max().unwrap_or(0) / 1_000_000;
    println!("  {what:<40} {seconds:>9.1} {cpu:>9.1} {memory:>9}");
}

async fn session(cluster: &Cluster, database: &str) -> Result<Session> {
    cluster.database("bench", database)?.connect("bench").await
}

async fn anew(cluster: &Cluster, database: &str) -> Result<Session> {
    let admin = session(cluster, "postgres").await?;
    admin.batch_execute(&format!("DROP DATABASE IF EXISTS {database} WITH (FORCE)")).await?;
    admin.batch_execute(&format!("CREATE DATABASE {database} TEMPLATE template0")).await?;
    session(cluster, database).await
}

/// Clones that many tables, a thousand to a schema.
async fn clones(place: &Place, load: Load, count: u32, rounds: u32) -> Result<()> {
    let blue = anew(&place.blue, load.name()).await?;
    for from in (0..count).step_by(1000) {
        let schema = format!("s{}", from / 1000);
        let mut sql = format!("BEGIN; CREATE SCHEMA {schema};");
        for table in from..count.min(from + 1000) {
            match load {
                Load::Tables => write!(
                    sql,
                    "CREATE TABLE {schema}.t{table} (id int PRIMARY KEY, v text); CREATE INDEX ON {schema}.t{table} (v); \
                     INSERT INTO {schema}.t{table} SELECT n, md5(n::text) FROM generate_series(1, 10) AS n;"
                )?,
                _ => {
                    write!(sql, "CREATE TABLE {schema}.t{table} (v text); INSERT INTO {schema}.t{table} VALUES ('{table}');")?;
                }
            }
        }
        blue.batch_execute(&format!("{sql} COMMIT")).await?;
    }
    blue.batch_execute("ANALYZE").await?;
    for way in Way::found() {
        let mut costs = Vec::new();
        for round in 0..rounds {
            drop(anew(&place.green, "clone").await?);
            costs.push(way.clone_database(place, load.name())?);
            let green = session(&place.green, "clone").await?;
            let filled = "SELECT count(*) FROM pg_class WHERE relkind = 'r' AND relnamespace::regnamespace::text ~ '^s[0-9]+$' AND reltuples > 0";
            let there: i64 = green.query_one(filled, &[]).await?.get(0);
            ensure!(there == i64::from(count), "{}: {there} tables of {count} have rows", way.name());
            if round == 0 && load == Load::Tables {
                ways::same_schema(place, load.name()).context(way.name())?;
            }
        }
        told(way.name(), &costs);
    }
    Ok(())
}

const HEAD: &str = "format = 1\nname = \"load\"\n[blue]\nurl_env = \"BLUE_DATABASE_URL\"\n";

/// A plan of that many steps, each a transaction with its undo.
async fn steps(place: &Place, count: u32) -> Result<()> {
    let blue = anew(&place.blue, "steps").await?;
    let mut plan = HEAD.to_owned();
    for step in 0..count {
        write!(
            plan,
            "[[step]]\nid = \"step-{step}\"\nphase = \"expand\"\nkind = \"run_sql\"\nside = \"blue\"\n\
             sql = [\"CREATE TABLE t{step} (id int)\"]\nundo_sql = [\"DROP TABLE t{step}\"]\n"
        )?;
    }
    let folder = tempfile::tempdir_in(&place.scratch)?;
    std::fs::write(folder.path().join("plan.toml"), plan)?;
    let tables = "SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace";
    let commands = [
        ("check", 0),
        ("run", 0),
        ("run --execute", count),
        ("run --execute", count),
        ("status", count),
        ("report", count),
        ("rollback --execute", 0),
    ];
    for (words, wanted) in commands {
        told(&format!("crossfade {words}"), &[crossfade(&place.blue, "steps", None, folder.path(), words)?]);
        let there: i64 = blue.query_one(tables, &[]).await?.get(0);
        ensure!(there == i64::from(wanted), "{words}: {there} tables, not {wanted}");
    }
    Ok(())
}

/// A value of that many bytes, copied and then changed while it is followed, by triggers and from a slot.
async fn value(place: &Place, bytes: u32, rounds: u32) -> Result<()> {
    let blue = anew(&place.blue, "value").await?;
    let made = format!(
        "CREATE TABLE document (id int PRIMARY KEY, body text NOT NULL); ALTER TABLE document ALTER body SET STORAGE EXTERNAL; \
         INSERT INTO document VALUES (1, left(repeat(md5('1'), {bytes} / 32 + 1), {bytes}))"
    );
    blue.batch_execute(&made).await?;
    for way in Way::found() {
        let mut costs = Vec::new();
        for _ in 0..rounds {
            drop(anew(&place.green, "clone").await?);
            costs.push(way.clone_database(place, "value")?);
        }
        told(way.name(), &costs);
    }
    for source in ["trigger", "slot"] {
        let green = anew(&place.green, "value").await?;
        green.batch_execute("CREATE TABLE document (id int PRIMARY KEY, body text NOT NULL)").await?;
        let folder = tempfile::tempdir_in(&place.scratch)?;
        let step = |kind: &str, more: &str| {
            let phase = if kind == "copy" { "copy" } else { "capture" };
            let id = kind.replace('_', "-");
            format!("[[step]]\nid = \"{id}\"\nphase = \"{phase}\"\nkind = \"{kind}\"\ntables = [\"document\"]\n{more}")
        };
        let capture = step("start_capture", &format!("source = \"{source}\"\n"));
        let plan = format!("{HEAD}[green]\nurl_env = \"GREEN_DATABASE_URL\"\n{capture}{}", step("copy", ""));
        std::fs::write(folder.path().join("plan.toml"), plan)?;
        let run = |words: &str| crossfade(&place.blue, "value", Some(&place.green), folder.path(), words);
        told(&format!("crossfade run --execute ({source})"), &[run("run --execute")?]);
        blue.batch_execute(&format!("UPDATE document SET body = left(repeat(md5('{source}'), {bytes} / 32 + 1), {bytes})"))
            .await?;
        told(&format!("crossfade follow ({source})"), &[run("follow --until-caught-up")?]);
        let sum = "SELECT md5(body) FROM document";
        let (there, here): (String, String) = (blue.query_one(sum, &[]).await?.get(0), green.query_one(sum, &[]).await?.get(0));
        ensure!(there == here, "green has another value than blue");
        run("rollback --execute")?;
    }
    Ok(())
}

/// What a command on the plan in that folder cost.
fn crossfade(blue: &Cluster, database: &str, green: Option<&Cluster>, folder: &Path, words: &str) -> Result<Cost> {
    let (command, more) = words.split_once(' ').unwrap_or((words, ""));
    let mut environment = vec![
        ("CROSSFADE", env!("CARGO_BIN_EXE_crossfade").to_owned()),
        ("PLAN", folder.join("plan.toml").display().to_string()),
        ("CROSSFADE_STATE", folder.join("state").display().to_string()),
        ("BLUE_DATABASE_URL", blue.url(database)),
    ];
    environment.extend(green.map(|green| ("GREEN_DATABASE_URL", green.url(database))));
    let script = format!(r#""$CROSSFADE" {command} "$PLAN" {more} --quiet >&2"#);
    measure(&script, &environment)
}
