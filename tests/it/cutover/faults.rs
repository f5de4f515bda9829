//! Somebody dies at each beat of a switch, under live clients: whatever it was, traffic ends on one side, no acknowledged write is
//! missing there, the epoch only grows, and the next command finishes or takes back what was begun.
//!
//! By default at a few beats; with `CROSSFADE_FAULTS=all` at each.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crossfade::pg::{Database, Session};
use crossfade::router::{AdminConfig, Control, Position};
use crossfade::shadow::Binaries;
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::sync::Mutex;

use super::stage::Stage;
use crate::support::{Process, Ran, TestDb, crossfade, eventually, start};
use crate::told::told;

/// Who dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Victim {
    Crossfade,
    Router,
    Command,
    Blue,
    Green,
}

/// Where, of the switch's places: each is passed once on the way to green.
const PLACES: [&str; 13] = [
    "prepare-noted",
    "hold-noted",
    "drain-noted",
    "fence-noted",
    "closed-blue",
    "last-batch-noted",
    "sequences-noted",
    "readiness-noted",
    "guard-noted",
    "commit-router",
    "smoke-noted",
    "release-noted",
    "tidy-noted",
];

/// Those that are always tried.
const FEW: [&str; 3] = ["closed-blue", "commit-router", "release-noted"];

fn places() -> Vec<&'static str> {
    if std::env::var("CROSSFADE_FAULTS").is_ok_and(|which| which == "all") { PLACES.to_vec() } else { FEW.to_vec() }
}

/// A service in front of one database: each POST is a row. It connects again when its database comes back.
async fn service(db: &TestDb) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, database) = (listener.local_addr().unwrap(), db.database());
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let (session, database) = (Arc::new(Mutex::new(None)), database.clone());
            let service = service_fn(move |request: Request<Incoming>| {
                let (session, database) = (Arc::clone(&session), database.clone());
                async move {
                    let tag = request.uri().path().trim_start_matches('/').to_owned();
                    let status = match write(&session, &database, &tag).await {
                        Ok(()) => StatusCode::OK,
                        Err(_) => StatusCode::INTERNAL_SERVER_ERROR,
                    };
                    Ok::<_, std::convert::Infallible>(Response::builder().status(status).body(Full::new(Bytes::new())).unwrap())
                }
            });
            tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(socket), service));
        }
    });
    address
}

async fn write(session: &Mutex<Option<Session>>, database: &Database, tag: &str) -> anyhow::Result<()> {
    let mut session = session.lock().await;
    if session.as_ref().is_none_or(|session| session.is_closed()) {
        *session = Some(database.connect("service").await?);
    }
    let connected = session.as_ref().unwrap();
    connected.execute("INSERT INTO entry (account, tag) VALUES (1 + length($1) % 100, $1)", &[&tag]).await?;
    Ok(())
}

/// `crossfade route` at an address that it keeps when it is started again.
struct Route {
    folder: tempfile::TempDir,
    address: SocketAddr,
    process: Option<Process>,
}

impl Route {
    async fn new(blue: SocketAddr, green: SocketAddr) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let text = format!(
            "format = 1\nstate = \"state\"\n[admin]\nsocket = \"admin.sock\"\n[[listen]]\nname = \"public\"\naddress = \"{address}\"\n\
             blue = \"http://{blue}\"\ngreen = \"http://{green}\"\n[hold]\nwait = \"60s\"\n"
        );
        std::fs::write(folder.path().join("router.toml"), text).unwrap();
        let mut route = Self { folder, address, process: None };
        route.start().await;
        route
    }

    fn control(&self) -> Control {
        Control::new(AdminConfig::Socket(self.folder.path().join("admin.sock")))
    }

    async fn start(&mut self) {
        self.process = Some(Process::spawn(crossfade().arg("route").arg(self.folder.path().join("router.toml"))));
        eventually("the router answers", async || self.control().status().await.is_ok()).await;
    }

    /// The position and the epoch.
    async fn route(&self) -> (Position, u64) {
        let route = self.control().status().await.unwrap().route;
        (route.position, route.epoch)
    }
}

/// What clients saw.
#[derive(Default)]
struct Seen {
    stop: AtomicBool,
    answered: AtomicU64,
    failed: AtomicU64,
}

/// A client that posts one row after another, whatever happens to its connection; the rows it was told are there.
async fn client(number: u64, router: SocketAddr, seen: Arc<Seen>) -> Vec<String> {
    let (mut acknowledged, mut sender) = (Vec::new(), None);
    for turn in 0_u64.. {
        if seen.stop.load(Ordering::Relaxed) {
            break;
        }
        if sender.is_none()
            && let Ok(socket) = tokio::net::TcpStream::connect(router).await
            && let Ok((connected, connection)) = hyper::client::conn::http1::handshake(TokioIo::new(socket)).await
        {
            tokio::spawn(connection);
            sender = Some(connected);
        }
        let tag = format!("c{number}-{turn}");
        let request = Request::post(format!("/{tag}")).header("host", "app").body(Empty::<Bytes>::new()).unwrap();
        let answer = match &mut sender {
            Some(sender) => sender.send_request(request).await.ok(),
            None => None,
        };
        match answer {
            Some(answer) if answer.status() == StatusCode::OK => {
                let _ = answer.into_body().collect().await;
                seen.answered.fetch_add(1, Ordering::Relaxed);
                acknowledged.push(tag);
            }
            _ => {
                seen.failed.fetch_add(1, Ordering::Relaxed);
                sender = None;
            }
        }
        tokio::time::sleep(Duration::from_millis(40)).await;
    }
    acknowledged
}

/// A system that programs switch. While the file `slow` is there they wait, and say who they are in `pid`.
fn link(at: &Path) -> String {
    std::os::unix::fs::symlink("blue", at.join("now")).unwrap();
    let at = at.display();
    let slow = format!("echo $$ > {at}/pid; while test -e {at}/slow; do sleep 0.02; done");
    format!(
        "[[step.participant]]\nkind = \"command\"\nname = \"link\"\n\
         to_blue = [\"sh\", \"-c\", \"{slow}; ln -sfn blue {at}/now\"]\n\
         to_green = [\"sh\", \"-c\", \"{slow}; test ! -e {at}/broken && ln -sfn green {at}/now\"]\n\
         probe = [\"sh\", \"-c\", \"test $(readlink {at}/now) = green\"]\n"
    )
}

/// Two databases, a router, a linked system and live clients.
struct Theatre {
    stage: Stage,
    route: Route,
    link: tempfile::TempDir,
    seen: Arc<Seen>,
    clients: Vec<tokio::task::JoinHandle<Vec<String>>>,
    epoch: u64,
}

const GO: &[&str] = &["cutover", "--execute", "--approve", "cutover", "--allow-hooks"];

impl Theatre {
    async fn open(victim: Victim) -> Self {
        let (blue, green) = match victim {
            // A server that dies takes its other databases with it: these have one of their own.
            Victim::Blue => (TestDb::empty_on(&start(&Binaries::find().unwrap()).await).await, TestDb::empty().await),
            Victim::Green => (TestDb::empty().await, TestDb::empty_on(&start(&Binaries::find().unwrap()).await).await),
            _ => (TestDb::empty().await, TestDb::empty().await),
        };
        Stage::fill(&blue, &green).await;
        let route = Route::new(service(&blue).await, service(&green).await).await;
        let link_folder = tempfile::tempdir().unwrap();
        let router = format!(
            "[[step.participant]]\nkind = \"router\"\nname = \"router\"\nsocket = \"{}/admin.sock\"\n",
            route.folder.path().display()
        );
        let stage = Stage::over(blue, green, &format!("hold_for = \"20s\"\n{router}{}", link(link_folder.path())));
        stage.ready().await;
        let seen = Arc::new(Seen::default());
        let clients = (0..3).map(|number| tokio::spawn(client(number, route.address, Arc::clone(&seen)))).collect();
        Self { stage, route, link: link_folder, seen, clients, epoch: 0 }
    }

    fn linked(&self) -> String {
        std::fs::read_link(self.link.path().join("now")).unwrap().display().to_string()
    }

    /// Begins a cutover and kills the victim at this place; how the command ended.
    async fn killed_at(&mut self, victim: Victim, place: &str) -> Ran {
        let place_of = format!("to-green/to-green/{place}"); // the step, its way, the place
        let mut command = self.stage.workspace.command(GO);
        let (waiting, slow) = (self.link.path().join("waiting"), self.link.path().join("slow"));
        match victim {
            Victim::Crossfade => drop(command.env("CROSSFADE_CRASH_AT", &place_of)),
            Victim::Command => std::fs::write(&slow, "").unwrap(),
            _ => drop(command.env("CROSSFADE_WAIT_AT", &place_of).env("CROSSFADE_WAIT_FILE", &waiting)),
        }
        let process = Process::spawn(&mut command);
        match victim {
            Victim::Crossfade => {}
            Victim::Command => {
                let pid = self.link.path().join("pid");
                eventually("the participant's program runs", async || {
                    std::fs::read_to_string(&pid).is_ok_and(|text| text.ends_with('\n'))
                })
                .await;
                end(std::fs::read_to_string(&pid).unwrap().trim().parse().unwrap());
                std::fs::remove_file(&pid).unwrap();
                std::fs::remove_file(&slow).unwrap();
            }
            _ => {
                eventually(place, async || waiting.exists()).await;
                match victim {
                    Victim::Router => {
                        end(self.route.process.as_ref().unwrap().id().try_into().unwrap());
                        self.route.process = None;
                        self.route.start().await;
                    }
                    Victim::Blue => crash(&self.stage.blue).await,
                    _ => crash(&self.stage.green).await,
                }
                std::fs::remove_file(&waiting).unwrap();
            }
        }
        tokio::task::spawn_blocking(move || process.finish()).await.unwrap()
    }

    /// Clients are answered, on this side, and the other one takes no write of theirs.
    async fn on(&mut self, side: &str, after: &str) {
        let (position, epoch) = self.route.route().await;
        assert_eq!(position.to_string(), side, "{after}");
        assert!(epoch >= self.epoch, "{after}: epoch {epoch} after {}", self.epoch);
        self.epoch = epoch;
        assert_eq!(self.linked(), side, "{after}");
        let now = self.seen.answered.load(Ordering::Relaxed);
        eventually("clients are answered", async || self.seen.answered.load(Ordering::Relaxed) > now + 5).await;
        let (db, other) = match side {
            "blue" => (&self.stage.blue, &self.stage.green),
            _ => (&self.stage.green, &self.stage.blue),
        };
        assert!(Stage::writable(db).await, "{after}: {side} takes no writes");
        let first = other.value("SELECT count(*) FROM entry").await;
        assert!(side == "blue" || !Stage::writable(other).await, "{after}: both sides take writes");
        assert!(side == "blue" || other.value("SELECT count(*) FROM entry").await == first, "{after}: writes on both sides");
    }

    /// The next command finishes to green or takes everything back, and says which.
    async fn settle(&mut self, after: &str) {
        std::fs::write(self.link.path().join("broken"), "").unwrap();
        let mut ran = self.stage.run(GO).await;
        for _ in 0..3 {
            // A server that only just comes back may be missed once more.
            if ran.code != Some(13) && !ran.stderr.contains("cannot connect") {
                break;
            }
            ran = self.stage.run(GO).await;
        }
        std::fs::remove_file(self.link.path().join("broken")).unwrap();
        match ran.code {
            Some(0) => {
                self.on("green", after).await;
                self.stage.run(&["rollback", "--execute", "--allow-hooks"]).await.exits(0);
                self.on("blue", &format!("{after}, rolled back")).await;
                self.stage.run(&["run", "--execute", "--allow-hooks", "--new"]).await.exits(12);
            }
            _ => {
                assert!(ran.stderr.contains("participant link"), "{after}: {}{}", ran.stdout, ran.stderr);
                self.on("blue", after).await;
            }
        }
    }

    /// At last to green; every acknowledged write is there.
    async fn close(mut self) -> u64 {
        let mut ran = self.stage.run(GO).await;
        for _ in 0..3 {
            if ran.code == Some(0) {
                break;
            }
            ran = self.stage.run(GO).await;
        }
        ran.exits(0);
        self.on("green", "at the end").await;
        self.seen.stop.store(true, Ordering::Relaxed);
        let mut acknowledged = Vec::new();
        for client in self.clients {
            acknowledged.extend(client.await.unwrap());
        }
        let missing = "SELECT count(*) FROM unnest($1::text[]) AS told WHERE NOT EXISTS (SELECT FROM entry WHERE tag = told)";
        let missing: i64 = self.stage.green.session().await.query_one(missing, &[&acknowledged]).await.unwrap().get(0);
        assert_eq!(missing, 0, "of {} acknowledged writes", acknowledged.len());
        self.seen.failed.load(Ordering::Relaxed)
    }
}

fn end(pid: i32) {
    kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
}

/// Kills a process of the server: every session breaks off, and it recovers.
async fn crash(db: &TestDb) {
    let session = db.session().await;
    let checkpointer = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'checkpointer'";
    let pid: i32 = session.query_one(checkpointer, &[]).await.unwrap().get(0);
    end(pid);
    eventually("the server has gone down", async || session.is_closed()).await;
    eventually("the server is back", async || db.database().connect("test").await.is_ok()).await;
}

/// The victim dies at one place after another; how many requests failed.
async fn play(victim: Victim, places: &[&str]) -> u64 {
    let mut theatre = Theatre::open(victim).await;
    for place in places {
        let ran = theatre.killed_at(victim, place).await;
        assert!(victim != Victim::Crossfade || ran.code.is_none(), "{place} was not passed: {}", ran.stderr);
        theatre.settle(&format!("{victim:?} died at {place}")).await;
    }
    let failed = theatre.close().await;
    let what = format!("{victim:?} dies during a switch");
    told(
        &what,
        "SIGKILL at a beat of the switch, clients writing",
        places.len() as u64,
        "traffic on one side, no acknowledged write lost",
    );
    failed
}

#[tokio::test(flavor = "multi_thread")]
async fn crossfade_dies_and_no_client_sees_an_error() {
    assert_eq!(play(Victim::Crossfade, &places()).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_router_dies() {
    play(Victim::Router, &places()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_program_of_a_participant_dies_and_no_client_sees_an_error() {
    assert_eq!(play(Victim::Command, &["commit-link"]).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn blue_dies() {
    play(Victim::Blue, &places()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn green_dies() {
    play(Victim::Green, &places()).await;
}

/// Nobody runs anything after the crash: the hold ends by its deadline, the fence has lifted itself by then, and blue serves as before.
#[tokio::test(flavor = "multi_thread")]
async fn a_crash_that_nobody_looks_after_ends_with_blue_serving() {
    let (blue, green) = (TestDb::empty().await, TestDb::empty().await);
    Stage::fill(&blue, &green).await;
    let route = Route::new(service(&blue).await, service(&green).await).await;
    let router = format!(
        "hold_for = \"10s\"\n[[step.participant]]\nkind = \"router\"\nname = \"router\"\nsocket = \"{}/admin.sock\"\n",
        route.folder.path().display()
    );
    let stage = Stage::over(blue, green, &router);
    stage.ready().await;
    let seen = Arc::new(Seen::default());
    let clients: Vec<_> = (0..3).map(|number| tokio::spawn(client(number, route.address, Arc::clone(&seen)))).collect();
    let mut command = stage.workspace.command(&["cutover", "--execute", "--approve", "cutover"]);
    command.env("CROSSFADE_CRASH_AT", "to-green/to-green/closed-blue");
    let ran = tokio::task::spawn_blocking(move || Process::spawn(&mut command).finish()).await.unwrap();
    assert_eq!(ran.code, None, "{}", ran.stderr);
    assert_eq!(route.route().await.0, Position::Hold);
    eventually("the hold ends by its deadline", async || route.route().await.0 == Position::Blue).await;
    let now = seen.answered.load(Ordering::Relaxed);
    eventually("clients are answered", async || seen.answered.load(Ordering::Relaxed) > now + 10).await;
    seen.stop.store(true, Ordering::Relaxed);
    for client in clients {
        client.await.unwrap();
    }
    assert_eq!(seen.failed.load(Ordering::Relaxed), 0, "requests failed");
    stage.run(&["cutover", "--execute"]).await.exits(0);
    assert_eq!(route.route().await.0, Position::Green);
    assert!(!Stage::writable(&stage.blue).await && Stage::writable(&stage.green).await);
}
