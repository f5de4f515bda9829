//! How long a full preflight takes, compared with one sequential scan of the same tables. See `benches/README.md`.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use crossfade::demo::create_1x;
use crossfade::pg::Database;
use crossfade::shadow::{Binaries, Cluster};
use tokio::sync::Mutex;

/// The tables that the projections of the plan read, in the order of their size.
const READ: &str = "SELECT c.oid::regclass::text FROM pg_class c WHERE c.relkind = 'r' AND c.relnamespace = 'public'::regnamespace \
    AND c.relname LIKE 'hydra%' AND c.relname <> 'hydra_oauth2_authentication_consent_migration' ORDER BY pg_table_size(c.oid) DESC";

/// What a scan asks of each table.
const SCANS: [(&str, &str); 2] = [
    ("count(*): finds each row, reads no column", "SELECT count(*) FROM {}"),
    ("every column of each row, TOAST included", "SELECT count(*), sum(octet_length(t::text)) FROM {} AS t"),
];

#[tokio::main]
async fn main() -> Result<()> {
    let number = |name: &str, default: u32| -> Result<u32> {
        std::env::var(name).map_or(Ok(default), |text| text.parse().with_context(|| format!("{name}={text}")))
    };
    let (sessions, rounds) = (number("SESSIONS", 200_000)?, number("ROUNDS", 5)?);
    let cluster =
        Cluster::start(&Binaries::find()?, vec![("shared_buffers", "256MB".to_owned()), ("fsync", "off".to_owned())]).await?;
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = tempfile::tempdir()?;
    let blue = database(&cluster, "blue").await?;
    database(&cluster, "green").await?;
    let urls = [("BLUE_DATABASE_URL", cluster.url("blue")), ("GREEN_DATABASE_URL", cluster.url("green"))];
    eprintln!("generating {sessions} sessions, 20 rows of each violating kind");
    create_1x(&blue.connect("bench").await?, sessions, 20, "bench").await?;
    let crossfade = |words: &[&str], plan: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_crossfade"));
        command.args(words).arg(root.join("plans").join(plan)).envs(urls.iter().cloned());
        command.env("CROSSFADE_STATE", folder.path()).stdout(Stdio::null()).stderr(Stdio::null());
        command
    };
    let upgraded = crossfade(&["run", "--execute"], "hydra-1x-in-place.toml").status()?;
    ensure!(upgraded.success(), "the in-place plan ended with {upgraded}");
    let session = blue.connect("bench").await?;
    session.batch_execute("VACUUM ANALYZE").await?;
    let tables: Vec<String> = session.query(READ, &[]).await?.iter().map(|row| row.get(0)).collect();
    let size: String = session.query_one("SELECT pg_size_pretty(pg_database_size('blue'))", &[]).await?.get(0);
    let jobs = crossfade::limits::Limits::default().jobs;
    println!("{sessions} sessions, {} tables, {size}; {jobs} sessions at a time, at preflight as at the scans", tables.len());

    let (mut preflights, mut scans, mut rss) = (Vec::new(), vec![Vec::new(); SCANS.len()], 0);
    for round in 0..=rounds {
        let began = Instant::now();
        let mut child = crossfade(&["preflight"], "hydra-2x-blue-green.toml").spawn()?;
        let status = PathBuf::from(format!("/proc/{}/status", child.id()));
        let ended = loop {
            rss = rss.max(peak(&status));
            if let Some(ended) = child.try_wait()? {
                break ended;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        };
        ensure!(ended.success(), "preflight ended with {ended}");
        let preflight = began.elapsed();
        let mut times = Vec::new();
        for (_, sql) in SCANS {
            times.push(scan(&blue, &tables, sql, jobs).await?);
        }
        eprintln!("round {round}: preflight {preflight:.2?}, scans {times:.2?}{}", if round == 0 { " (warms up)" } else { "" });
        if round > 0 {
            preflights.push(preflight);
            scans.iter_mut().zip(times).for_each(|(all, time)| all.push(time));
        }
    }
    let preflight = median(preflights);
    println!(
        "preflight: {:.2} s (median of {rounds}), peak RSS of crossfade {:.1} MiB",
        preflight.as_secs_f64(),
        rss as f64 / 1024.0
    );
    for ((name, _), times) in SCANS.iter().zip(scans) {
        let scan = median(times);
        println!("scan, {name}: {:.2} s; ratio {:.2}", scan.as_secs_f64(), preflight.as_secs_f64() / scan.as_secs_f64());
    }
    Ok(())
}

async fn database(cluster: &Cluster, name: &str) -> Result<Database> {
    let admin = cluster.database("admin", "postgres")?.connect("bench").await?;
    admin.batch_execute(&format!("CREATE DATABASE {name}")).await?;
    cluster.database(name, name)
}

/// Scans every table once, several at a time.
async fn scan(blue: &Database, tables: &[String], sql: &str, jobs: usize) -> Result<Duration> {
    let began = Instant::now();
    let left = Arc::new(Mutex::new(tables.iter().cloned().collect::<VecDeque<_>>()));
    let mut workers = tokio::task::JoinSet::new();
    for _ in 0..jobs {
        let (left, blue, sql) = (Arc::clone(&left), blue.clone(), sql.to_owned());
        workers.spawn(async move {
            let session = blue.connect("bench").await?;
            session.batch_execute("SET jit = off").await?;
            loop {
                let Some(table) = left.lock().await.pop_front() else { return anyhow::Ok(()) };
                session.query_one(&sql.replace("{}", &table), &[]).await?;
            }
        });
    }
    while let Some(ended) = workers.join_next().await {
        ended??;
    }
    Ok(began.elapsed())
}

/// The most memory a process had so far, in KiB (proc_pid_status(5), VmHWM); 0 when it is gone.
fn peak(status: &Path) -> u64 {
    let text = std::fs::read_to_string(status).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0)
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}
