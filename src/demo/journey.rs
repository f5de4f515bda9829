//! Both journeys, one after the other: servers, data, service, clients, plans, and what came of it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

use super::door::{Door, Doorway};
use super::drive::{Drive, Ran};
use super::reuse::revoked_by_reuse_of;
use super::worker::{CLIENTS, share_out};
use super::{
    App, Balance, Census, DemoReport, JourneyReport, Load, Measured, Mix, OAuthClient, Pool, RolledBack, SESSIONS_1X,
    SESSIONS_2X, STORE_1_11, STORE_1X, STORE_2X, Service, Switched, Worker, World, balance, create_1x, unpack,
};
use crate::journal::StepStatus;
use crate::pg::Database;
use crate::plan;
use crate::report::StepSummary;
use crate::shadow::{Binaries, Cluster, Folder, Settings, install};
use crate::terms::Side;

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
    /// Go back to blue again after the switch.
    pub and_back: bool,
    /// This program: it is the router too.
    pub program: PathBuf,
    /// Say less.
    pub quiet: bool,
}

/// Sessions of the service on each database.
pub(super) const POOL: usize = 8;
/// Generated sessions the clients hold at most.
pub(super) const HELD: i64 = 20_000;
/// Rows of each kind that breaks naive migrations.
const PLANTED: u32 = 3;
/// Traffic before and after each run, to have something to compare with.
pub(super) const SETTLE: Duration = Duration::from_secs(1);
/// Traffic on green at the end.
const PROOF: Duration = Duration::from_secs(4);

/// The plan of the second journey.
const CUTOVER: &str = "hydra-2x-cutover.toml";

/// Everything that stands while the journeys run.
struct Stage<'a> {
    demo: &'a Demo,
    folder: &'a Folder,
    databases: BTreeMap<Side, Database>,
    /// Of blue and of green.
    services: [Service; 2],
    apps: Arc<Vec<App>>,
}

/// Runs both journeys for real.
///
/// # Errors
/// When servers cannot be started or something breaks that is not the journeys' own. That a journey ends otherwise than it
/// must is no error: the report says so.
pub async fn run(demo: &Demo) -> Result<DemoReport> {
    let binaries = demo.binaries()?;
    let mut folder = Folder::make("crossfade-demo-")?;
    unpack(folder.path())?;
    demo.say(&format!("demo: starting two throw-away PostgreSQL {} servers", binaries.major()));
    let mut settings: Settings = vec![("shared_buffers", "256MB".to_owned())];
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
    // The switch warms green with it, where the server's packages bring it.
    let green_session = databases[&Side::Green].connect("crossfade/demo").await?;
    let sql = "SELECT FROM pg_available_extensions WHERE name = 'pg_prewarm'";
    if green_session.query_opt(sql, &[]).await?.is_some() {
        green_session.batch_execute("CREATE EXTENSION pg_prewarm").await?;
    }
    drop(green_session);
    let session = databases[&Side::Blue].connect("crossfade/demo").await?;
    create_1x(&session, demo.sessions, PLANTED, &demo.seed).await?;
    let server_version: String = session.query_one("SHOW server_version", &[]).await?.get(0);
    let world = World::of(&session, &demo.seed, HELD).await?;
    drop(session);
    let services = [
        Service::start(Pool::open(&databases[&Side::Blue], POOL).await?, &STORE_1X).await?,
        Service::start(Pool::open(&databases[&Side::Green], POOL).await?, &STORE_2X).await?,
    ];
    let stage = Stage { demo, folder: &folder, databases, services, apps: Arc::new(world.apps) };
    let door = Door::open(&folder, &demo.program, &stage.doorway()).await?;
    let workers = share_out(&stage.apps, world.sessions, door.address(), stage.seed());

    let (in_place, workers) = stage.in_place(workers).await?;
    let mut journeys = vec![in_place];
    if journeys[0].outcome == "done" {
        journeys.push(stage.blue_green(workers).await?);
    }
    Ok(DemoReport { journeys, sessions: demo.sessions, seed: demo.seed.clone(), server_version })
}

impl Demo {
    pub(super) fn say(&self, line: &str) {
        if !self.quiet {
            eprintln!("{line}");
        }
    }

    /// The seed as a number.
    pub(super) fn number(&self) -> u64 {
        let seeds = Sha256::digest(self.seed.as_bytes());
        seeds.iter().take(8).fold(0u64, |seed, byte| seed << 8 | u64::from(*byte))
    }

    /// PostgreSQL's server programs.
    pub(super) fn binaries(&self) -> Result<Binaries> {
        match Binaries::find() {
            Err(_) if self.install => install().and_then(|()| Binaries::find()),
            found => found,
        }
    }
}

impl Stage<'_> {
    /// 1.0.0 to 1.11.10, with every kind of request going on.
    async fn in_place(&self, workers: Vec<Worker>) -> Result<(JourneyReport, Vec<Worker>)> {
        let rate = self.demo.rate;
        self.demo.say(&format!("demo: journey 1, in place, with {CLIENTS} live clients ({rate} requests a second)"));
        let before = self.census(Side::Blue, SESSIONS_1X).await?;
        let load = Load::start(workers, Mix::UNRULY, rate);
        tokio::time::sleep(SETTLE).await;
        let ran = self.run_plan("hydra-1x-in-place.toml", &[], false).await?;
        tokio::time::sleep(SETTLE).await;
        let (mut workers, measured) = load.finish().await?;
        let after = self.census(Side::Blue, SESSIONS_1X).await?;
        let sessions = self.balance(&before, &workers, &after);
        close_books(&mut workers);
        Ok((JourneyReport::new(ran.summary, ran.reason, Side::Blue, &measured, &[sessions]), workers))
    }

    /// 1.11.10 to 2.3.0 on green and the switch, while every client goes on; and back again where that is wanted.
    async fn blue_green(&self, workers: Vec<Worker>) -> Result<JourneyReport> {
        let rate = self.demo.rate;
        self.demo.say("demo: journey 2, blue-green; the clients go on all the while, through the router");
        self.services[0].switch(Pool::open(&self.databases[&Side::Blue], POOL).await?, &STORE_1_11);
        self.shorten_watches()?;
        let before = self.census(Side::Blue, SESSIONS_1X).await?;
        let load = Load::start(workers, Mix::UNRULY, rate);
        tokio::time::sleep(SETTLE).await;
        let mut ran = self.run_plan(CUTOVER, &["switch"], false).await?;
        // What is left then is the end of the way back, which a person approves.
        let watched = |step: &StepSummary| step.step.as_str() == "watch-after" && step.status == StepStatus::Done;
        if !ran.summary.steps.iter().any(watched) {
            let (workers, measured) = load.finish().await?;
            // Without the schema there is no session to be found: then all of them are missing.
            let reached = self.census(Side::Green, SESSIONS_2X).await.unwrap_or_default();
            let sessions = self.balance(&before, &workers, &reached);
            return Ok(JourneyReport::new(ran.summary, ran.reason, Side::Green, &measured, &[sessions]));
        }
        self.demo.say("demo: green serves; the clients go on writing there");
        tokio::time::sleep(PROOF).await;
        let (workers, mut measured) = load.finish().await?;
        let (mut workers, wrong) = ask_for_all(workers, &mut measured).await?;
        let after = self.census(Side::Green, SESSIONS_2X).await?;
        let journey = self.balance(&before, &workers, &after);
        let revoked_by_reuse = || self.services.iter().map(Service::families_revoked_by_reuse).sum();
        let mut switched = Switched { token_families_revoked_by_reuse: revoked_by_reuse(), ..Switched::default() };
        let mut serves = Side::Green;
        if self.demo.and_back {
            close_books(&mut workers);
            let back = self.and_back(workers, &after).await?;
            if back.reason.is_none() {
                (serves, ran.summary.outcome, ran.reason) = (Side::Blue, "rolled_back", None);
            }
            switched.rollback = Some(back);
            switched.token_families_revoked_by_reuse = revoked_by_reuse();
        }
        if !self.demo.and_back {
            ran = self.run_plan(CUTOVER, &["end-way-back"], false).await?;
        }
        self.demo.say("demo: the same unruly clients for a moment through a router that does not coalesce");
        let bare = Doorway { name: "router-without-coalescing", first: serves, coalesce: false, ..self.doorway() };
        let door = Door::open(self.folder, &self.demo.program, &bare).await?;
        let (http, seed) = (OAuthClient::new(door.address()), self.seed());
        switched.token_families_revoked_by_reuse_without_coalescing =
            revoked_by_reuse_of(&self.services[serves as usize], http, Arc::clone(&self.apps), seed).await;
        let lost = journey.differing as u64 + wrong;
        Ok(JourneyReport::new(ran.summary, ran.reason, Side::Green, &measured, &[journey]).switched(lost, switched))
    }

    /// Back to blue, with what green was told, while every client goes on.
    async fn and_back(&self, workers: Vec<Worker>, before: &Census) -> Result<RolledBack> {
        self.demo.say("demo: and back to blue, with what green was told meanwhile");
        let load = Load::start(workers, Mix::UNRULY, self.demo.rate);
        tokio::time::sleep(PROOF).await;
        let ran = self.run_plan(CUTOVER, &[], true).await?;
        tokio::time::sleep(SETTLE).await;
        let (workers, mut measured) = load.finish().await?;
        let (workers, wrong) = ask_for_all(workers, &mut measured).await?;
        let sessions = self.balance(before, &workers, &self.census(Side::Blue, SESSIONS_1X).await?);
        Ok(RolledBack {
            reason: ran.reason,
            lost_writes: sessions.differing as u64 + wrong,
            requests: measured.requests(),
            requests_failed: measured.requests_failed(),
            failures: measured.failures().clone(),
            longest_stall_ms: measured.quantile_ms(1.0),
            sessions_created: sessions.created,
            sessions_revoked: sessions.revoked,
        })
    }

    /// The plan watches for minutes, as on your servers; the demo for seconds.
    fn shorten_watches(&self) -> Result<()> {
        let path = self.folder.path().join("plans").join(CUTOVER);
        let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let shorter = text.replace("for = \"2m\"", "for = \"4s\"").replace("for = \"5m\"", "for = \"4s\"");
        std::fs::write(&path, shorter).with_context(|| format!("cannot write {}", path.display()))
    }

    /// Runs a plan of this repository, or takes its run back.
    async fn run_plan(&self, file: &str, approve: &[&str], back: bool) -> Result<Ran> {
        let plan = plan::load(&self.folder.path().join("plans").join(file))?;
        let approve = approve.iter().map(|step| (*step).to_owned()).collect();
        Drive { state: self.folder.path().join("state"), approve, back, quiet: self.demo.quiet }.run(plan, &self.databases).await
    }

    /// The router that the clients go through.
    fn doorway(&self) -> Doorway<'static> {
        let sides = [self.services[0].address(), self.services[1].address()];
        Doorway { name: "router", sides, first: Side::Blue, coalesce: true }
    }

    fn seed(&self) -> u64 {
        self.demo.number()
    }

    async fn census(&self, side: Side, sql: &str) -> Result<Census> {
        Census::take(&self.databases[&side].connect("crossfade/demo").await?, sql).await
    }

    fn balance(&self, before: &Census, workers: &[Worker], after: &Census) -> Balance {
        balance(before, workers.iter().flat_map(|worker| &worker.sessions), &self.apps, after)
    }
}

/// Every client asks for all of its tokens; how many answers are not what it was told.
async fn ask_for_all(workers: Vec<Worker>, measured: &mut Measured) -> Result<(Vec<Worker>, u64)> {
    let ask = |mut worker: Worker| async move {
        let wrong = worker.ask_for_all().await;
        (worker, wrong)
    };
    let tasks: Vec<_> = workers.into_iter().map(|worker| tokio::spawn(ask(worker))).collect();
    let (mut workers, mut all_wrong) = (Vec::with_capacity(tasks.len()), 0);
    for task in tasks {
        let (mut worker, wrong) = task.await?;
        measured.add(std::mem::take(&mut worker.measured));
        all_wrong += wrong;
        workers.push(worker);
    }
    Ok((workers, all_wrong))
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
    text += &format!("  go on:  cd {} && crossfade status plans/hydra-2x-cutover.toml --state state\n", folder.display());
    for (_, server) in servers {
        let path = server.folder().display();
        text += &format!(
            "  remove: pid=$(head -1 {path}/data/postmaster.pid); kill -QUIT $pid; while kill -0 $pid 2>/dev/null; do sleep 0.1; done; \
             rm -rf {path}\n"
        );
    }
    text + &format!("  remove: rm -rf {}", folder.display())
}
