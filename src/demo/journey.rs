//! Both journeys, one after the other: servers, data, service, clients, plans, and what came of it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use sha2::{Digest, Sha256};

use super::last_batch::last_batch;
use super::{
    App, Balance, Census, DemoReport, Held, JourneyReport, Load, Mix, OAuthClient, Pool, SESSIONS_1X, SESSIONS_2X, STORE_1_11,
    STORE_1X, STORE_2X, Service, Worker, World, balance, create_1x, unpack,
};
use crate::engine::{self, Options, Outcome, RunChoice};
use crate::pg::Database;
use crate::plan::{self, Plan};
use crate::report::{JourneySummary, Screen, summarize};
use crate::shadow::{Binaries, Cluster, Folder, Settings, install};
use crate::step::{Cx, Interrupt};
use crate::terms::{RunId, Severity, Side, StepId};

/// What to show.
#[derive(Debug, Clone)]
pub struct Demo {
    /// Sessions to generate.
    pub sessions: u32,
    /// Decides the generated data and what the clients do; ASCII letters, digits and `-`.
    pub seed: String,
    /// Things the clients do in a second, together.
    pub rate: u32,
    /// Leave servers, plans and journals as they are.
    pub keep: bool,
    /// Install PostgreSQL's server programs when there are none.
    pub install: bool,
    /// Say less.
    pub quiet: bool,
}

/// Live clients, and sessions of the service on each database.
const CLIENTS: usize = 16;
const POOL: usize = 8;
/// Generated sessions the clients hold at most.
const HELD: i64 = 20_000;
/// Rows of each kind that breaks naive migrations.
const PLANTED: u32 = 3;
/// Traffic before and after each run, to have something to compare with.
const SETTLE: Duration = Duration::from_secs(1);
/// Traffic on green at the end.
const PROOF: Duration = Duration::from_secs(4);

/// Everything that stands while the journeys run.
struct Stage<'a> {
    demo: &'a Demo,
    folder: &'a Path,
    databases: BTreeMap<Side, Database>,
    service: Service,
    apps: Arc<Vec<App>>,
}

/// A plan's run.
struct Ran {
    run: RunId,
    summary: JourneySummary,
    reason: Option<String>,
}

/// Runs both journeys for real.
///
/// # Errors
/// When servers cannot be started or something breaks that is not the journeys' own. That a journey ends otherwise than it
/// must is no error: the report says so.
pub async fn run(demo: &Demo) -> Result<DemoReport> {
    let binaries = match Binaries::find() {
        Err(_) if demo.install => install().and_then(|()| Binaries::find())?,
        found => found?,
    };
    let mut folder = Folder::make("crossfade-demo-")?;
    unpack(folder.path())?;
    demo.say(&format!("demo: starting two throw-away PostgreSQL {} servers", binaries.major()));
    let mut settings: Settings = vec![("shared_buffers", "256MB".to_owned()), ("jit", "off".to_owned())];
    let mut blue = Cluster::start(&binaries, settings.clone()).await?;
    settings.extend([("maintenance_work_mem", "256MB".to_owned()), ("max_wal_size", "4GB".to_owned())]);
    let mut green = Cluster::start(&binaries, settings).await?;
    if demo.keep {
        folder.keep()?;
        blue.keep()?;
        green.keep()?;
        eprintln!("{}", how_to_go_on(folder.path(), [("BLUE", &blue), ("GREEN", &green)]));
    }
    let mut databases = BTreeMap::new();
    for (side, cluster) in [(Side::Blue, &blue), (Side::Green, &green)] {
        let maintenance = cluster.database(&side.to_string(), "postgres")?.connect("crossfade/demo").await?;
        maintenance.batch_execute("CREATE DATABASE oauth").await?;
        databases.insert(side, cluster.database(&side.to_string(), "oauth")?);
    }

    demo.say(&format!("demo: generating {} sessions in a database of Hydra 1.0.0", demo.sessions));
    let session = databases[&Side::Blue].connect("crossfade/demo").await?;
    create_1x(&session, demo.sessions, PLANTED, &demo.seed).await?;
    let server_version: String = session.query_one("SHOW server_version", &[]).await?.get(0);
    let world = World::of(&session, &demo.seed, HELD).await?;
    drop(session);
    let service = Service::start(Pool::open(&databases[&Side::Blue], POOL).await?, &STORE_1X).await?;
    let stage = Stage { demo, folder: folder.path(), databases, service, apps: Arc::new(world.apps) };
    let workers = stage.share_out(world.sessions);

    let (in_place, workers) = stage.in_place(workers).await?;
    let mut journeys = vec![in_place];
    if journeys[0].outcome == "done" {
        journeys.push(stage.blue_green(workers).await?);
    }
    Ok(DemoReport { journeys, sessions: demo.sessions, seed: demo.seed.clone(), server_version })
}

impl Demo {
    fn say(&self, line: &str) {
        if !self.quiet {
            eprintln!("{line}");
        }
    }
}

impl Stage<'_> {
    /// 1.0.0 to 1.11.10, with every kind of request going on.
    async fn in_place(&self, workers: Vec<Worker>) -> Result<(JourneyReport, Vec<Worker>)> {
        let rate = self.demo.rate;
        self.demo.say(&format!("demo: journey 1, in place, with {CLIENTS} live clients ({rate} requests a second)"));
        let before = self.census(Side::Blue, SESSIONS_1X).await?;
        let load = Load::start(workers, Mix::READ_WRITE, rate);
        tokio::time::sleep(SETTLE).await;
        let ran = self.run_plan("hydra-1x-in-place.toml").await?;
        tokio::time::sleep(SETTLE).await;
        let (mut workers, measured) = load.finish().await?;
        let after = self.census(Side::Blue, SESSIONS_1X).await?;
        let sessions = self.balance(&before, &workers, &after);
        close_books(&mut workers);
        Ok((JourneyReport::new(ran.summary, ran.reason, Side::Blue, &measured, &[sessions]), workers))
    }

    /// 1.11.10 to 2.3.0 on green. The service goes on writing on blue until green has everything but the last moments; then nobody
    /// writes for as long as the last batch takes, and the service moves.
    async fn blue_green(&self, workers: Vec<Worker>) -> Result<JourneyReport> {
        let rate = self.demo.rate;
        self.demo.say("demo: journey 2, blue-green; the service writes on blue all the while");
        self.service.switch(Pool::open(&self.databases[&Side::Blue], POOL).await?, &STORE_1_11);
        let before = self.census(Side::Blue, SESSIONS_1X).await?;
        let load = Load::start(workers, Mix::READ_WRITE, rate);
        tokio::time::sleep(SETTLE).await;
        let ran = self.run_plan("hydra-2x-blue-green.toml").await?;
        if ran.summary.outcome != "done" {
            let (workers, measured) = load.finish().await?;
            // Without the schema there is no session to be found: then all of them are missing.
            let reached = self.census(Side::Green, SESSIONS_2X).await.unwrap_or_default();
            let sessions = self.balance(&before, &workers, &reached);
            return Ok(JourneyReport::new(ran.summary, ran.reason, Side::Green, &measured, &[sessions]));
        }
        tokio::time::sleep(SETTLE).await;
        self.demo.say("demo: nobody writes for a moment: the last batch, and every row compared");
        let (workers, mut measured) = load.finish().await?;
        self.service.set_read_only(true);
        let load = Load::start(workers, Mix::READ_ONLY, rate);
        let plan = plan::load(&self.folder.join("plans").join("hydra-2x-blue-green.toml"))?;
        let last = last_batch(&self.beside(&ran.run, &plan)?, &plan).await?;
        let copied = self.census(Side::Green, SESSIONS_2X).await?;
        self.demo.say("demo: the service moves to green; then everything is allowed again");
        self.service.switch(Pool::open(&self.databases[&Side::Green], POOL).await?, &STORE_2X);
        tokio::time::sleep(SETTLE).await;
        let (mut workers, reading) = load.finish().await?;
        measured.add(reading);
        let journey = self.balance(&before, &workers, &copied);

        self.service.set_read_only(false);
        close_books(&mut workers);
        let load = Load::start(workers, Mix::READ_WRITE, rate);
        tokio::time::sleep(PROOF).await;
        let (workers, on_green) = load.finish().await?;
        measured.add(on_green);
        let after = self.census(Side::Green, SESSIONS_2X).await?;
        let proof = self.balance(&copied, &workers, &after);
        Ok(JourneyReport::new(ran.summary, ran.reason, Side::Green, &measured, &[journey, proof]).followed(&last))
    }

    /// What is done for a run while no driver is at work.
    fn beside(&self, run: &RunId, plan: &Plan) -> Result<Cx> {
        let (notices, _) = tokio::sync::mpsc::unbounded_channel();
        let databases = [Side::Blue, Side::Green].map(|side| self.databases.get(&side).cloned());
        let step = StepId::new("last-batch").map_err(anyhow::Error::msg)?;
        Ok(Cx::new(run.clone(), step, plan.limits().clone(), databases, notices).beside())
    }

    /// Runs a plan by the engine, as `crossfade run --execute` does.
    async fn run_plan(&self, file: &str) -> Result<Ran> {
        let plan = plan::load(&self.folder.join("plans").join(file))?;
        let databases = plan.sides().map(|side| (side, self.databases[&side].clone())).collect();
        let (screen, notices) = Screen::start(self.demo.quiet);
        let options = Options {
            state_dir: self.folder.join("state"),
            choice: RunChoice::Latest,
            approve: BTreeSet::new(),
            allow_hooks: false,
            databases,
            interrupt: Interrupt::default(),
            notices,
        };
        let mut driver = engine::prepare(plan, options).await?;
        let outcome = engine::drive(&mut driver).await?;
        let summary = summarize(driver.journal().lines()).map_err(|why| anyhow::anyhow!(why))?;
        let run = driver.run().clone();
        drop(driver);
        screen.finish().await;
        let reason = match outcome {
            Outcome::Left { reason, findings, .. } => {
                let blocking = findings.iter().filter(|finding| finding.severity == Severity::Blocks);
                Some(blocking.fold(reason, |text, finding| format!("{text}\n{finding}")))
            }
            _ => None,
        };
        Ok(Ran { run, summary, reason })
    }

    async fn census(&self, side: Side, sql: &str) -> Result<Census> {
        Census::take(&self.databases[&side].connect("crossfade/demo").await?, sql).await
    }

    fn balance(&self, before: &Census, workers: &[Worker], after: &Census) -> Balance {
        balance(before, workers.iter().flat_map(|worker| &worker.sessions), &self.apps, after)
    }

    /// Each session to one client.
    fn share_out(&self, sessions: Vec<Held>) -> Vec<Worker> {
        let mut shares: Vec<Vec<Held>> = (0..CLIENTS).map(|_| Vec::new()).collect();
        for (index, held) in sessions.into_iter().enumerate() {
            shares[index % CLIENTS].push(held);
        }
        let http = OAuthClient::new(self.service.address());
        let seeds = Sha256::digest(self.demo.seed.as_bytes());
        let seed = seeds.iter().take(8).fold(0u64, |seed, byte| seed << 8 | u64::from(*byte));
        let worker = |(number, share)| Worker::new(http.clone(), Arc::clone(&self.apps), seed.wrapping_add(number), share);
        (0u64..).zip(shares).map(worker).collect()
    }
}

/// What was done until now is the state of things: the next balance begins here.
fn close_books(workers: &mut [Worker]) {
    for held in workers.iter_mut().flat_map(|worker| &mut worker.sessions) {
        (held.created, held.changed, held.revoked) = (false, false, false);
    }
}

/// What a person needs to look at what was kept, and to remove it: lines for a shell.
fn how_to_go_on(folder: &Path, servers: [(&str, &Cluster); 2]) -> String {
    let mut text = format!("demo: kept: plans, migrations and journals in {}, and both servers\n", folder.display());
    for (name, server) in servers {
        text += &format!("  go on:  export {name}_DATABASE_URL='{}'\n", server.url("oauth"));
    }
    text += &format!("  go on:  cd {} && crossfade status plans/hydra-2x-blue-green.toml --state state\n", folder.display());
    for (_, server) in servers {
        let path = server.folder().display();
        text += &format!(
            "  remove: pid=$(head -1 {path}/data/postmaster.pid); kill -QUIT $pid; while kill -0 $pid 2>/dev/null; do sleep 0.1; done; \
             rm -rf {path}\n"
        );
    }
    text + &format!("  remove: rm -rf {}", folder.display())
}
