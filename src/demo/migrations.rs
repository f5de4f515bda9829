//! Somebody's folder of migrations on the demo's database of Hydra 1.0.0, under its live traffic: as a plan, and as their own tool
//! runs them. Before that both are proved to end the same. Rewriting and proving are this program's own commands.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::door::{Door, Doorway};
use super::drive::Drive;
use super::journey::{HELD, POOL, SETTLE};
use super::reader::Reader;
use super::worker::{CLIENTS, share_out};
use super::{
    App, Census, Demo, Load, MigrationsReport, Mix, Pool, Proved, SESSIONS_1X, STORE_1X, Service, UnderTraffic, World, balance,
    create_1x,
};
use crate::pg::Database;
use crate::plan;
use crate::prove::{History, Original, run_originals};
use crate::report::JourneySummary;
use crate::shadow::{Cluster, Folder, Settings};
use crate::sql::Literal;
use crate::terms::Side;

/// Migrations to run.
pub struct Migrations {
    /// The folder they are in.
    pub directory: PathBuf,
    /// As their own tool runs them.
    pub originals: Vec<Original>,
    /// Where that tool records them.
    pub history: Option<History>,
    /// Columns, as `table.column`, whose values may differ: random ones.
    pub ignored: Vec<String>,
}

/// Sessions on the servers of the proof at most.
const PROVED_WITH: u32 = 1000;
/// No row that breaks constraints: the original would end at the first of them.
const PLANTED: u32 = 0;
/// How often transactions of the original may end in a deadlock and are run anew, as an operator would.
const DEADLOCKS: u32 = 20;
/// The plan, in the demo's folder.
const PLAN: &str = "plans/migrations.toml";

/// Rewrites the migrations, proves the plan, and runs both under the same traffic, each on a database of its own.
///
/// # Errors
/// When servers cannot be started, when the migrations cannot be rewritten, when both do not end the same. That a run ends otherwise
/// than it must is no error: the report says so.
pub async fn run_migrations(demo: &Demo, migrations: &Migrations) -> Result<MigrationsReport> {
    let binaries = demo.binaries()?;
    let folder = Folder::make("crossfade-demo-")?;
    std::fs::create_dir(folder.path().join("plans"))?;
    demo.say(&format!("demo: generating {} sessions in a database of Hydra 1.0.0", demo.sessions));
    let settings: Settings = vec![("shared_buffers", "256MB".to_owned()), ("max_wal_size", "4GB".to_owned())];
    let cluster = Cluster::start(&binaries, settings).await?;
    let maintenance = cluster.database("the throw-away server", "postgres")?.connect("crossfade/demo").await?;
    maintenance.batch_execute("CREATE DATABASE rewritten").await?;
    let [rewritten, original] = [cluster.database("blue", "rewritten")?, cluster.database("blue", "original")?];
    let session = rewritten.connect("crossfade/demo").await?;
    create_1x(&session, demo.sessions, PLANTED, &demo.seed).await?;
    session.batch_execute(&versions(migrations.history.as_ref())).await.context("cannot make the table of versions")?;
    let server_version: String = session.query_one("SHOW server_version", &[]).await?.get(0);

    demo.say("demo: rewriting the migrations, and proving that both end the same");
    let approvals = rewrite(demo, migrations, &folder, &cluster.url("rewritten")).await?;
    let proved = prove(demo, migrations, &folder).await?;
    session.batch_execute("VACUUM ANALYZE").await?;
    drop(session);
    maintenance.batch_execute("CREATE DATABASE original TEMPLATE rewritten").await?;

    demo.say(&format!("demo: the plan, with {CLIENTS} live clients ({} requests a second)", demo.rate));
    let plan = plan::load(&folder.path().join(PLAN))?;
    let approve = plan.steps().iter().map(|step| step.id.as_str().to_owned()).collect();
    let drive = Drive { state: folder.path().join("state"), approve, back: false, quiet: demo.quiet };
    let databases = BTreeMap::from([(Side::Blue, rewritten.clone())]);
    let (rewritten, run) = under_traffic(demo, &folder, &rewritten, "rewritten", async {
        let ran = drive.run(plan, &databases).await?;
        let run = UnderTraffic { outcome: ran.summary.outcome, reason: ran.reason, ..UnderTraffic::default() };
        Ok((run, Some(ran.summary)))
    })
    .await?;
    demo.say("demo: the original, with as many");
    let (original, _) = under_traffic(demo, &folder, &original, "original", async {
        let ran = run_originals(&original, &migrations.originals, migrations.history.as_ref(), DEADLOCKS).await;
        Ok((as_it_ended(ran), None))
    })
    .await?;
    Ok(MigrationsReport {
        directory: migrations.directory.display().to_string(),
        migrations: migrations.originals.len(),
        approvals,
        proved,
        original,
        rewritten,
        run: run.context("the plan was not run")?,
        sessions: demo.sessions,
        seed: demo.seed.clone(),
        server_version,
    })
}

fn as_it_ended(ran: Result<u32>) -> UnderTraffic {
    match ran {
        Ok(deadlocks) => UnderTraffic { outcome: "done", deadlocks, ..UnderTraffic::default() },
        Err(error) => UnderTraffic { outcome: "failed", reason: Some(crate::pg::explain(&error)), ..UnderTraffic::default() },
    }
}

/// Live clients and the report before, during and after a change.
async fn under_traffic(
    demo: &Demo,
    folder: &Folder,
    database: &Database,
    name: &str,
    change: impl Future<Output = Result<(UnderTraffic, Option<JourneySummary>)>>,
) -> Result<(UnderTraffic, Option<JourneySummary>)> {
    let session = database.connect("crossfade/demo").await?;
    let World { apps, sessions } = World::of(&session, &demo.seed, HELD).await?;
    let apps: Arc<Vec<App>> = Arc::new(apps);
    let service = Service::start(Pool::open(database, POOL).await?, &STORE_1X).await?;
    let doorway = Doorway { name, sides: [service.address(); 2], first: Side::Blue, coalesce: true };
    let door = Door::open(folder, &demo.program, &doorway).await?;
    let before = Census::take(&session, SESSIONS_1X).await?;
    let workers = share_out(&apps, sessions, door.address(), demo.number());
    let reader = Reader::start(database).await?;
    let load = Load::start(workers, Mix::UNRULY, demo.rate);
    tokio::time::sleep(SETTLE).await;
    let began = Instant::now();
    let (mut run, summary) = change.await?;
    run.seconds = began.elapsed().as_secs_f64();
    tokio::time::sleep(SETTLE).await;
    let (workers, measured) = load.finish().await?;
    run.reports = reader.reports();
    let after = Census::take(&session, SESSIONS_1X).await?;
    let books = balance(&before, workers.iter().flat_map(|worker| &worker.sessions), &apps, &after);
    Ok((run.seen(&measured, books), summary))
}

/// The table of versions, as the tool makes it when it comes to a database for the first time.
fn versions(history: Option<&History>) -> String {
    history.map_or(String::new(), |History { table, column, .. }| {
        format!("CREATE TABLE IF NOT EXISTS {table} ({column} varchar(48) PRIMARY KEY);\n")
    })
}

/// `crossfade rewrite`; what waits for an approval.
async fn rewrite(demo: &Demo, migrations: &Migrations, folder: &Folder, database: &str) -> Result<Vec<String>> {
    let plan = folder.path().join(PLAN);
    let words = [OsStr::new("rewrite"), migrations.directory.as_os_str(), OsStr::new("-o"), plan.as_os_str()];
    let said = ours(demo, &words, Some(database)).await?;
    let approvals = said["approvals"].as_array().into_iter().flatten();
    let place = |text: &str| text.strip_prefix(&format!("{}/", migrations.directory.display())).unwrap_or(text).to_owned();
    Ok(approvals.filter_map(Value::as_str).map(place).collect())
}

/// `crossfade prove` from the demo's own schema and data, fewer of them.
async fn prove(demo: &Demo, migrations: &Migrations, folder: &Folder) -> Result<Proved> {
    let start = folder.path().join("start.sql");
    std::fs::write(&start, start_of_proof(demo, migrations)).with_context(|| format!("cannot write {}", start.display()))?;
    let plan = folder.path().join(PLAN);
    let mut words = vec![OsStr::new("prove"), migrations.directory.as_os_str(), plan.as_os_str()];
    words.extend([OsStr::new("--start"), start.as_os_str()]);
    words.extend(migrations.ignored.iter().flat_map(|column| [OsStr::new("--ignore-values"), OsStr::new(column)]));
    serde_json::from_value(ours(demo, &words, None).await?).context("the proof is of another form")
}

/// Both servers of the proof have to begin with the same values: no clock, no draw.
fn start_of_proof(demo: &Demo, migrations: &Migrations) -> String {
    let schema = include_str!("hydra-1.0.0.sql").replace(", now() FROM", ", '2024-01-01' FROM");
    let settings = [
        ("sessions", demo.sessions.min(PROVED_WITH).to_string()),
        ("planted", PLANTED.to_string()),
        ("seed", demo.seed.clone()),
        ("now", "2024-01-01 00:00:00".to_owned()),
    ];
    let settings: String =
        settings.iter().map(|(name, value)| format!("SET crossfade.{name} = {};\n", Literal::new(value))).collect();
    let mut text = format!("{schema}\n{settings}{}\n", versions(migrations.history.as_ref()));
    text += include_str!("data.sql");
    text
}

/// Runs a command of this program and reads the document that it prints.
async fn ours(demo: &Demo, words: &[&OsStr], database: Option<&str>) -> Result<Value> {
    let mut command = tokio::process::Command::new(&demo.program);
    command.args(["-q", "--format", "json"]).args(words).stdin(Stdio::null()).kill_on_drop(true);
    command.envs(database.map(|url| ("CROSSFADE_LINT_DATABASE_URL", url)));
    let output = command.output().await.with_context(|| format!("cannot start {}", Path::new(&demo.program).display()))?;
    let printed = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        let words: Vec<_> = words.iter().map(|word| word.to_string_lossy()).collect();
        let said = String::from_utf8_lossy(&output.stderr);
        let document: Value = serde_json::from_str(&printed).unwrap_or_default();
        let differences = document["differences"].as_array().into_iter().flatten().map(|one| {
            let of = |name: &str| one[name].as_str().unwrap_or_default();
            format!("\n{} {}, {}", of("kind"), of("object"), of("property"))
        });
        bail!("crossfade {}: {}\n{}{}", words.join(" "), output.status, said.trim_end(), differences.collect::<String>());
    }
    serde_json::from_str(&printed).context("it printed something else than JSON")
}
