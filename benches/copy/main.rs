//! `cargo bench --bench copy`: the same databases cloned by crossfade and by its competitors, in turns in one run.
//!
//! Arguments after `--`: names of data sets (all when none is given), `--rounds N` (5), `--scale N` (percent of the full
//! size, 100), `--jobs N` (2). Every clone is checked: the same rows in every table, and for the first round the same
//! schema by `pg_dump`. Ratios are medians: above 1 crossfade took less time.

mod data;
mod family;
mod measure;
mod ways;

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use crossfade::pg::Session;
use crossfade::shadow::{Binaries, Cluster};

use data::DataSet;
use measure::{Cost, median};
use ways::{Place, Way};

/// Clones of databases that are smaller than so many bytes are dropped when the last one is made.
const KEPT: i64 = 200_000_000;

struct Asked {
    sets: Vec<DataSet>,
    rounds: usize,
    scale: u32,
    jobs: usize,
}

fn main() -> Result<()> {
    let asked = asked()?;
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(run(asked))
}

fn asked() -> Result<Asked> {
    let mut asked = Asked { sets: Vec::new(), rounds: 5, scale: 100, jobs: 2 };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut number =
            || words.next().with_context(|| format!("{word} needs a number"))?.parse::<usize>().context("not a number");
        match word.as_str() {
            "--bench" => {} // cargo's own
            "--rounds" => asked.rounds = number()?.max(1),
            "--scale" => asked.scale = u32::try_from(number()?)?,
            "--jobs" => asked.jobs = number()?.max(1),
            name => match DataSet::ALL.into_iter().find(|set| set.name() == name) {
                Some(set) => asked.sets.push(set),
                None => bail!("no data set {name}; there are {}", DataSet::ALL.map(DataSet::name).join(", ")),
            },
        }
    }
    if asked.sets.is_empty() {
        asked.sets.extend(DataSet::ALL);
    }
    Ok(asked)
}

async fn run(asked: Asked) -> Result<()> {
    let binaries = Binaries::find()?;
    let settings = vec![
        ("shared_buffers", "512MB".to_owned()),
        ("max_wal_size", "8GB".to_owned()),
        ("maintenance_work_mem", "256MB".to_owned()),
        ("autovacuum", "off".to_owned()),
        ("max_locks_per_transaction", "512".to_owned()),
    ];
    let blue = Arc::new(Cluster::start(&binaries, settings.clone()).await?);
    let green = Arc::new(Cluster::start(&binaries, settings).await?);
    let scratch = tempfile::tempdir()?;
    let place = Place { blue, green, scratch: scratch.path().to_owned(), jobs: asked.jobs };
    let ways = Way::found();
    println!("PostgreSQL {}, {} jobs, {} rounds, scale {} %", binaries.major(), asked.jobs, asked.rounds, asked.scale);
    for set in asked.sets {
        let admin = session(&place.blue, "postgres").await?;
        admin.batch_execute(&format!("CREATE DATABASE {}", set.name())).await?;
        set.build(&place.blue.database("blue", set.name())?, asked.scale).await?;
        let bytes: i64 = admin.query_one("SELECT pg_database_size($1::text::name)", &[&set.name()]).await?.get(0);
        println!("\n{} ({}): {} MB", set.name(), set.about(), bytes / 1_000_000);
        let mut costs: BTreeMap<Way, Vec<Cost>> = BTreeMap::new();
        let mut kept = Vec::new();
        for round in 0..asked.rounds {
            // In turns, and each round begins with another one: none always meets the warmest cache.
            for turn in 0..ways.len() {
                let way = ways[(round + turn) % ways.len()];
                let cost = one(&place, set, way, round == 0).await?;
                // ext4 passes over every file deleted in the last minutes before it makes another: what one clone left behind would be
                // a part of the next one's time.
                let done = match bytes < KEPT {
                    true => format!("ALTER DATABASE clone RENAME TO clone_{}", kept.len()),
                    false => "DROP DATABASE clone".to_owned(),
                };
                session(&place.green, "postgres").await?.batch_execute(&done).await?;
                kept.extend((bytes < KEPT).then(|| format!("DROP DATABASE clone_{}", kept.len())));
                eprintln!("  round {}: {} in {:.1} s", round + 1, way.name(), cost.seconds);
                costs.entry(way).or_default().push(cost);
            }
        }
        report(&ways, &costs);
        for drop in kept {
            session(&place.green, "postgres").await?.batch_execute(&drop).await?;
        }
        admin.batch_execute(&format!("DROP DATABASE {}", set.name())).await?;
    }
    Ok(())
}

/// One clone into a new database, checked.
async fn one(place: &Place, set: DataSet, way: Way, schema_too: bool) -> Result<Cost> {
    let admin = session(&place.green, "postgres").await?;
    admin.batch_execute("DROP DATABASE IF EXISTS clone").await?;
    admin.batch_execute("CREATE DATABASE clone TEMPLATE template0").await?;
    for cluster in [&place.blue, &place.green] {
        session(cluster, "postgres").await?.batch_execute("CHECKPOINT").await?;
    }
    let cost = way.clone_database(place, set.name()).with_context(|| format!("{} of {}", way.name(), set.name()))?;
    let (there, here) = (rows(&place.blue, set.name()).await?, rows(&place.green, "clone").await?);
    if there != here {
        bail!("{} of {}: the clone has other rows than blue", way.name(), set.name());
    }
    if schema_too {
        ways::same_schema(place, set.name()).with_context(|| format!("{} of {}", way.name(), set.name()))?;
    }
    Ok(cost)
}

/// Rows of every table, and the sum of their hashes.
async fn rows(cluster: &Cluster, database: &str) -> Result<BTreeMap<String, String>> {
    let session = session(cluster, database).await?;
    let tables = "SELECT format('%I.%I', schemaname, tablename) FROM pg_tables \
                  WHERE schemaname NOT IN ('pg_catalog', 'information_schema', 'crossfade')";
    let mut rows = BTreeMap::new();
    for table in session.query(tables, &[]).await? {
        let name: String = table.get(0);
        let sum = format!("SELECT count(*) || ' ' || coalesce(sum(hashtextextended(t::text, 0)::numeric), 0) FROM {name} t");
        rows.insert(name, session.query_one(&sum, &[]).await?.get(0));
    }
    Ok(rows)
}

async fn session(cluster: &Cluster, database: &str) -> Result<Session> {
    cluster.database("bench", database)?.connect("bench").await
}

fn report(ways: &[Way], costs: &BTreeMap<Way, Vec<Cost>>) {
    let ours = median(costs[&Way::Crossfade].iter().map(|cost| cost.seconds));
    println!("  {:<34} {:>9} {:>16} {:>7} {:>9} {:>9}", "", "median s", "min .. max", "ratio", "CPU s", "RSS MB");
    for way in ways {
        let of = &costs[way];
        let seconds: Vec<f64> = of.iter().map(|cost| cost.seconds).collect();
        let middle = median(seconds.iter().copied());
        let (low, high) = seconds.iter().fold((f64::MAX, 0.0f64), |(low, high), s| (low.min(*s), high.max(*s)));
        let cpu = median(of.iter().map(|cost| cost.cpu_seconds));
        let memory = of.iter().map(|cost| cost.peak_rss).max().unwrap_or(0) / 1_000_000;
        let span = format!("{low:.2} .. {high:.2}");
        println!("  {:<34} {middle:>9.2} {span:>16} {:>7.2} {cpu:>9.2} {memory:>9}", way.name(), middle / ours);
    }
}
