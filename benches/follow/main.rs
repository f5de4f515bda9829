//! `cargo bench --bench follow`: a backlog of changes on blue brought to green by crossfade, by `pgcopydb follow` and by native
//! logical replication, in turns in one run. See `benches/README.md`.

#[path = "../copy/family.rs"]
mod family;
mod load;
mod ways;

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use crossfade::shadow::{Binaries, Cluster, Settings};

use load::{Load, SCHEMA};
use ways::{Cost, Pair, Way, session};

#[tokio::main]
async fn main() -> Result<()> {
    let number = |name: &str, default: u32| -> Result<u32> {
        std::env::var(name).map_or(Ok(default), |text| text.parse().with_context(|| format!("{name}={text}")))
    };
    let rounds = number("ROUNDS", 3)?;
    let loads = [Load::Single(number("SINGLE", 200_000)?), Load::Huge(number("HUGE", 1_000_000)?)];
    let binaries = Binaries::find()?;
    let pgbench = binaries.program("postgres").canonicalize()?.with_file_name("pgbench");
    let settings: Settings =
        vec![("shared_buffers", "512MB".to_owned()), ("max_wal_size", "8GB".to_owned()), ("wal_level", "logical".to_owned())];
    // Newer minor releases load no plugin that is not named here; older ones do not know the setting.
    let allowed = [settings.clone(), vec![("output_plugin_libraries", "pgoutput,test_decoding,wal2json".to_owned())]].concat();
    let blue = match Cluster::start(&binaries, allowed).await {
        Ok(blue) => blue,
        Err(_) => Cluster::start(&binaries, settings.clone()).await?,
    };
    let green = Cluster::start(&binaries, settings).await?;
    let words = std::env::var("WAYS").unwrap_or_else(|_| "triggers,slot,pgcopydb,native".to_owned());
    let ways: Vec<Way> = Way::found(&session(&blue, "postgres").await?, &words).await?;
    println!("PostgreSQL {}, {rounds} rounds; commits without fsync", binaries.major());
    for load in loads.into_iter().filter(|load| load.rows() > 0) {
        prepare(&blue, &green, load).await?;
        let mut costs: BTreeMap<Way, Vec<Cost>> = BTreeMap::new();
        for round in 0..rounds as usize {
            // In turns, and each round begins with another one.
            for turn in 0..ways.len() {
                let way = ways[(round + turn) % ways.len()];
                match one(&blue, &green, load, way, &pgbench).await {
                    Ok(cost) => {
                        eprintln!("{}: {}, {:.2} s, {} MB", load.about(), way.name(), cost.seconds, cost.peak_rss / 1_000_000);
                        costs.entry(way).or_default().push(cost);
                    }
                    Err(error) if Way::OURS.contains(&way) => return Err(error),
                    // Another's failure is a result too.
                    Err(error) => {
                        println!("{}: {} FAILED in round {}: {error:#}", load.about(), way.name(), round + 1);
                        way.clear(&Pair { blue: &blue, green: &green, name: "bench", folder: std::path::PathBuf::new() }).await?;
                    }
                }
            }
        }
        report(load, &ways, &costs);
    }
    Ok(())
}

/// Databases that the others are made of: `empty` and `filled` on both sides.
async fn prepare(blue: &Cluster, green: &Cluster, load: Load) -> Result<()> {
    for cluster in [blue, green] {
        let admin = session(cluster, "postgres").await?;
        for name in ["empty", "filled"] {
            admin.batch_execute(&format!("DROP DATABASE IF EXISTS {name}")).await?;
            admin.batch_execute(&format!("CREATE DATABASE {name} TEMPLATE template0")).await?;
            let session = session(cluster, name).await?;
            session.batch_execute(SCHEMA).await?;
            if name == "filled" {
                load.fill(&session).await?;
            }
        }
    }
    Ok(())
}

/// One backlog, written and brought to green by one way. Both sides are the same afterwards.
async fn one(blue: &Cluster, green: &Cluster, load: Load, way: Way, pgbench: &std::path::Path) -> Result<Cost> {
    let folder = tempfile::tempdir()?;
    let pair = Pair { blue, green, name: "bench", folder: folder.path().to_owned() };
    let templates = [(blue, "filled"), (green, if way.begins_filled() { "filled" } else { "empty" })];
    for (cluster, template) in templates {
        let admin = session(cluster, "postgres").await?;
        admin.batch_execute("DROP DATABASE IF EXISTS bench WITH (FORCE)").await?;
        admin.batch_execute(&format!("CREATE DATABASE bench TEMPLATE {template}")).await?;
    }
    way.set_up(&pair).await?;
    load.write(&session(blue, pair.name).await?, &blue.url(pair.name), pgbench, folder.path()).await?;
    for cluster in [blue, green] {
        session(cluster, "postgres").await?.batch_execute("CHECKPOINT").await?;
    }
    let cost = way.follow(&pair).await?;
    let (there, here) = (rows(blue, pair.name).await?, rows(green, pair.name).await?);
    ensure!(there == here, "green has other rows than blue: {there:?}, {here:?}\n{}", ways::end_of(&folder.path().join("log")));
    way.clear(&pair).await?;
    Ok(cost)
}

/// Rows of every table, and the sum of their hashes.
async fn rows(cluster: &Cluster, database: &str) -> Result<Vec<String>> {
    let session = session(cluster, database).await?;
    let mut rows = Vec::new();
    for table in ["access", "refresh", "ended"] {
        let sum = format!("SELECT count(*) || ' ' || coalesce(sum(hashtextextended(t::text, 0)::numeric), 0) FROM {table} t");
        rows.push(session.query_one(&sum, &[]).await?.get(0));
    }
    Ok(rows)
}

fn report(load: Load, ways: &[Way], costs: &BTreeMap<Way, Vec<Cost>>) {
    println!("\n{}", load.about());
    let ours: Vec<Way> = Way::OURS.into_iter().filter(|way| costs.contains_key(way)).collect();
    let heads: String = ours.iter().map(|way| format!(" {:>22}", format!("{} : it", way.word()))).collect();
    println!("  {:<28} {:>12} {:>16} {:>8}{heads}", "", "rows/s", "min .. max", "RSS MB");
    let rate = |cost: &Cost| f64::from(load.rows()) / cost.seconds;
    for way in ways {
        let Some(of) = costs.get(way) else {
            println!("  {:<28} {:>12}", way.name(), "failed");
            continue;
        };
        let rates: Vec<f64> = of.iter().map(rate).collect();
        let memory = of.iter().map(|cost| cost.peak_rss).max().unwrap_or(0) / 1_000_000;
        let span = |values: &[f64], digits: usize| {
            let (low, high) = values.iter().fold((f64::MAX, 0.0f64), |(low, high), value| (low.min(*value), high.max(*value)));
            format!("{low:.digits$} .. {high:.digits$}")
        };
        let memory = if memory == 0 { "server".to_owned() } else { memory.to_string() };
        let ratios = ours.iter().map(|our| {
            // Round by round: ours against theirs (rounds that failed are left out of theirs).
            let ratios: Vec<f64> = costs[our].iter().map(rate).zip(&rates).map(|(ours, theirs)| ours / theirs).collect();
            format!(" {:>22}", format!("{:.2} ({})", median(&ratios), span(&ratios, 2)))
        });
        let ratios: String = ratios.collect();
        println!("  {:<28} {:>12.0} {:>16} {memory:>8}{ratios}", way.name(), median(&rates), span(&rates, 0));
    }
    println!("  (ratio above 1: crossfade, told by triggers or by a slot, brings more rows in the same time)");
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}
