//! `cargo bench --bench convert`: Hydra 1.11.10 to 2.3.0 by projection, against `pg_dump | pg_restore` and migrations on the
//! copy (`migrations/hydra-2x-upstream-like`, what the upstream ones do), in turns in one run.
//!
//! `SESSIONS=50000,200000 ROUNDS=3,1`: sizes, and how many rounds for each. All ways must end with as many rows in every
//! table of Hydra's but hydra_oauth2_flow, of which the migrations keep fewer.

#[path = "../copy/family.rs"]
mod family;
#[path = "../copy/measure.rs"]
mod measure;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use crossfade::demo::create_1x;
use crossfade::pg::Session;
use crossfade::shadow::{Binaries, Cluster};

use measure::{Cost, measure, median};

/// The steps of the shipped plan that make green, without those that keep it close to a blue that is written to.
const MAKES_GREEN: [&str; 3] = ["require", "migrate", "copy"];

/// The one table where the ways differ.
const FLOWS: &str = "hydra_oauth2_flow";

/// A way from 1.11.10 to 2.3.0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Way {
    /// `crossfade run`, with the steps that make green.
    Projection,
    /// `crossfade run`, the whole shipped plan: capture, follow, verification of every row, proof of revocations.
    WholePlan,
    /// A copy of the rows as they are, then the migrations, each version one SERIALIZABLE transaction as the upstream's tool has it.
    RestoreMigrate,
}

impl Way {
    const ALL: [Way; 3] = [Way::Projection, Way::WholePlan, Way::RestoreMigrate];

    fn name(self) -> &'static str {
        match self {
            Way::Projection => "crossfade, by projection",
            Way::WholePlan => "crossfade, the whole plan",
            Way::RestoreMigrate => "pg_dump | pg_restore, migrations",
        }
    }

    fn script(self) -> &'static str {
        match self {
            Way::Projection | Way::WholePlan => r#""$CROSSFADE" run "$PLAN" --execute --quiet --state "$DIR/state" >&2"#,
            Way::RestoreMigrate => {
                r#"pg_dump -Fd -j 2 --no-owner -f "$DIR/dump" "$BLUE_DATABASE_URL"
                   pg_restore -j 2 --no-owner -d "$GREEN_DATABASE_URL" "$DIR/dump"
                   for file in "$MIGRATIONS"/*.sql; do
                       case $file in *.down.sql) continue;; esac
                       PGOPTIONS='-c default_transaction_isolation=serializable' psql -qX1 -v ON_ERROR_STOP=1 -d "$GREEN_DATABASE_URL" -f "$file"
                   done
                   psql -qXc ANALYZE "$GREEN_DATABASE_URL""#
            }
        }
    }
}

/// What one way cost the servers and its client programs.
struct Round {
    cost: Cost,
    /// Temporary files of both servers, in bytes (`pg_stat_database.temp_bytes`).
    temp: i64,
    /// WAL that green wrote, in bytes.
    wal: i64,
    /// Rows that green changed in place.
    updated: i64,
}

struct Bench {
    blue: Cluster,
    green: Cluster,
    scratch: tempfile::TempDir,
    /// The plan with the steps that make green alone.
    plan: PathBuf,
}

fn main() -> Result<()> {
    let list = |name: &str, default: &str| -> Result<Vec<u32>> {
        let text = std::env::var(name).unwrap_or_else(|_| default.to_owned());
        text.split(',').map(|number| number.trim().parse().with_context(|| format!("{name}={text}"))).collect()
    };
    let (sizes, rounds) = (list("SESSIONS", "50000,200000")?, list("ROUNDS", "3,1")?);
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(run(&sizes, &rounds))
}

async fn run(sizes: &[u32], rounds: &[u32]) -> Result<()> {
    let binaries = Binaries::find()?;
    let settings = vec![
        ("shared_buffers", "512MB".to_owned()),
        ("max_wal_size", "8GB".to_owned()),
        ("maintenance_work_mem", "256MB".to_owned()),
        ("autovacuum", "off".to_owned()),
    ];
    let scratch = tempfile::tempdir()?;
    let plan = scratch.path().join("plan.toml");
    std::fs::write(&plan, plan_that_makes_green()?)?;
    let (blue, green) = (Cluster::start(&binaries, settings.clone()).await?, Cluster::start(&binaries, settings).await?);
    let bench = Bench { blue, green, scratch, plan };
    println!("PostgreSQL {}", binaries.major());
    let mut per_session = Vec::new();
    for (place, &sessions) in sizes.iter().enumerate() {
        let turns = rounds.get(place).or(rounds.last()).copied().unwrap_or(1).max(1);
        let bytes = bench.make_blue(sessions).await?;
        println!("\n{sessions} sessions, {} MB; {turns} rounds", bytes / 1_000_000);
        let mut all: BTreeMap<Way, Vec<Round>> = BTreeMap::new();
        let mut counted = None;
        for round in 0..turns as usize {
            for turn in 0..Way::ALL.len() {
                let way = Way::ALL[(round + turn) % Way::ALL.len()];
                let (one, mut rows) = bench.one(way).await?;
                // The migrations keep no flow whose login request is gone; the projections do, for its tokens are valid.
                let flows = rows.remove(FLOWS).unwrap_or_default();
                if round == 0 {
                    println!("  {}: {flows} rows in {FLOWS}", way.name());
                }
                let expected = counted.get_or_insert_with(|| rows.clone());
                ensure!(*expected == rows, "{}: {rows:?} instead of {expected:?}", way.name());
                eprintln!("  round {round}: {} {:.1} s", way.name(), one.cost.seconds);
                all.entry(way).or_default().push(one);
            }
        }
        per_session.push((sessions, report(&all)));
    }
    for (sessions, seconds) in per_session {
        println!("{sessions} sessions by projection: {:.1} us per session", seconds * 1e6 / f64::from(sessions));
    }
    Ok(())
}

/// The shipped plan, its files named by their whole path, with the steps that make green.
fn plan_that_makes_green() -> Result<String> {
    let mut plan: toml::Table = shipped()?.parse()?;
    let steps = plan.get_mut("step").and_then(toml::Value::as_array_mut).context("the plan has no steps")?;
    steps.retain(|step| step.get("kind").and_then(toml::Value::as_str).is_some_and(|kind| MAKES_GREEN.contains(&kind)));
    Ok(toml::to_string(&plan)?)
}

fn shipped() -> Result<String> {
    let root = env!("CARGO_MANIFEST_DIR");
    let text = std::fs::read_to_string(Path::new(root).join("plans/hydra-2x-blue-green.toml"))?;
    Ok(["projections/", "revocations/"]
        .iter()
        .fold(text.replace("\"../migrations/", &format!("\"{root}/migrations/")), |text, folder| {
            text.replace(&format!("\"{folder}"), &format!("\"{root}/plans/{folder}"))
        }))
}

impl Bench {
    /// A blue of 1.11.10 with no row that would make a migration fail.
    async fn make_blue(&self, sessions: u32) -> Result<i64> {
        let admin = session(&self.blue, "postgres").await?;
        admin.batch_execute("DROP DATABASE IF EXISTS blue").await?;
        admin.batch_execute("CREATE DATABASE blue").await?;
        create_1x(&session(&self.blue, "blue").await?, sessions, 0, "bench").await?;
        let upgraded = Command::new(env!("CARGO_BIN_EXE_crossfade"))
            .args(["run", "--execute", "--quiet"])
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("plans/hydra-1x-in-place.toml"))
            .arg("--state")
            .arg(self.scratch.path().join(format!("in-place-{sessions}")))
            .env("BLUE_DATABASE_URL", self.blue.url("blue"))
            .status()?;
        ensure!(upgraded.success(), "the in-place plan ended with {upgraded}");
        let blue = session(&self.blue, "blue").await?;
        blue.batch_execute("VACUUM ANALYZE").await?;
        Ok(blue.query_one("SELECT pg_database_size('blue')", &[]).await?.get(0))
    }

    /// One way to a new green; with the rows of green's tables.
    async fn one(&self, way: Way) -> Result<(Round, BTreeMap<String, i64>)> {
        let admin = session(&self.green, "postgres").await?;
        admin.batch_execute("DROP DATABASE IF EXISTS green").await?;
        admin.batch_execute("CREATE DATABASE green TEMPLATE template0").await?;
        for cluster in [&self.blue, &self.green] {
            session(cluster, "postgres").await?.batch_execute("CHECKPOINT").await?;
        }
        let folder = tempfile::tempdir_in(&self.scratch)?;
        let plan = match way {
            Way::WholePlan => {
                let whole = folder.path().join("plan.toml");
                std::fs::write(&whole, shipped()?)?;
                whole
            }
            Way::Projection | Way::RestoreMigrate => self.plan.clone(),
        };
        let environment = [
            ("BLUE_DATABASE_URL", self.blue.url("blue")),
            ("GREEN_DATABASE_URL", self.green.url("green")),
            ("DIR", folder.path().display().to_string()),
            ("PLAN", plan.display().to_string()),
            ("MIGRATIONS", format!("{}/migrations/hydra-2x-upstream-like", env!("CARGO_MANIFEST_DIR"))),
            ("CROSSFADE", env!("CARGO_BIN_EXE_crossfade").to_owned()),
        ];
        let (blue_temp, before) = (temp_bytes(&self.blue, "blue").await?, wal(&self.green).await?);
        let cost = measure(way.script(), &environment).with_context(|| way.name())?;
        let round = Round {
            cost,
            temp: temp_bytes(&self.blue, "blue").await? - blue_temp + temp_bytes(&self.green, "green").await?,
            wal: wal(&self.green).await? - before,
            updated: number(&self.green, "green", "SELECT tup_updated FROM pg_stat_database WHERE datname = current_database()")
                .await?,
        };
        let rows = rows(&self.green).await?;
        if way != Way::RestoreMigrate {
            // Blue is for the next one as it was for this.
            let undone = Command::new("bash")
                .args(["-ec", r#""$CROSSFADE" rollback "$PLAN" --execute --quiet --state "$DIR/state""#])
                .envs(environment.iter().map(|(name, value)| (*name, value)))
                .status()?;
            ensure!(undone.success(), "the rollback ended with {undone}");
        }
        Ok((round, rows))
    }
}

/// Rows of each of Hydra's tables.
async fn rows(green: &Cluster) -> Result<BTreeMap<String, i64>> {
    let session = session(green, "green").await?;
    let mut rows = BTreeMap::new();
    for table in
        session.query("SELECT tablename::text FROM pg_tables WHERE schemaname = 'public' AND tablename ~ '^hydra'", &[]).await?
    {
        let name: String = table.get(0);
        rows.insert(name.clone(), session.query_one(&format!("SELECT count(*) FROM {name}"), &[]).await?.get(0));
    }
    if rows.is_empty() {
        bail!("green has no table of Hydra's");
    }
    Ok(rows)
}

/// Bytes of temporary files so far; what ended sessions have reported.
async fn temp_bytes(cluster: &Cluster, database: &str) -> Result<i64> {
    number(cluster, database, "SELECT temp_bytes FROM pg_stat_database WHERE datname = current_database()").await
}

/// Bytes of WAL since the cluster was made.
async fn wal(cluster: &Cluster) -> Result<i64> {
    number(cluster, "postgres", "SELECT (pg_current_wal_insert_lsn() - '0/0')::bigint").await
}

async fn number(cluster: &Cluster, database: &str, sql: &str) -> Result<i64> {
    Ok(session(cluster, database).await?.query_one(sql, &[]).await?.get(0))
}

async fn session(cluster: &Cluster, database: &str) -> Result<Session> {
    cluster.database("bench", database)?.connect("bench").await
}

/// Prints a table; the median time by projection, in seconds.
fn report(all: &BTreeMap<Way, Vec<Round>>) -> f64 {
    let middle = |way: Way, of: fn(&Round) -> f64| median(all[&way].iter().map(of));
    let ours = middle(Way::Projection, |round| round.cost.seconds);
    println!(
        "  {:<34} {:>9} {:>7} {:>9} {:>9} {:>9} {:>9} {:>12} {:>9}",
        "", "median s", "ratio", "CPU s", "temp MB", "WAL MB", "WAL %", "rows updated", "RSS MB"
    );
    #[expect(clippy::cast_precision_loss, reason = "for people")]
    for way in Way::ALL {
        let (seconds, temp) = (middle(way, |round| round.cost.seconds), middle(way, |round| round.temp as f64 / 1e6));
        let cpu = middle(way, |round| round.cost.cpu_seconds);
        let wal = middle(way, |round| round.wal as f64 / 1e6);
        let share = wal / middle(Way::RestoreMigrate, |round| round.wal as f64 / 1e6) * 100.0;
        let updated = middle(way, |round| round.updated as f64);
        let memory = all[&way].iter().map(|round| round.cost.peak_rss).max().unwrap_or(0) / 1_000_000;
        println!(
            "  {:<34} {seconds:>9.1} {:>7.2} {cpu:>9.2} {temp:>9.1} {wal:>9.0} {share:>9.0} {updated:>12.0} {memory:>9}",
            way.name(),
            seconds / ours
        );
    }
    ours
}
