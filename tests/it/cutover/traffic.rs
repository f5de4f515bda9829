//! Clients through a real router, there and back: no request fails, no write is lost.

use std::net::SocketAddr;
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;

use super::stage::Stage;
use crate::support::{TestDb, crossfade, eventually};

/// A service in front of one database: each POST is a row, `POST /<tag>`.
async fn service(db: &TestDb) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, database) = (listener.local_addr().unwrap(), db.database());
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let session = Arc::new(database.connect("service").await.unwrap());
            let service = service_fn(move |request: Request<Incoming>| {
                let session = Arc::clone(&session);
                async move {
                    let tag = request.uri().path().trim_start_matches('/').to_owned();
                    let sql = "INSERT INTO entry (account, tag) VALUES (1 + length($1) % 100, $1)";
                    let status = match session.execute(sql, &[&tag]).await {
                        Ok(_) => StatusCode::OK,
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

/// `crossfade route` as a process.
struct Route {
    folder: tempfile::TempDir,
    child: Child,
    address: SocketAddr,
}

impl Route {
    async fn start(blue: SocketAddr, green: SocketAddr) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let text = format!(
            "format = 1\nstate = \"state\"\n[admin]\nsocket = \"admin.sock\"\n[[listen]]\nname = \"public\"\naddress = \"127.0.0.1:0\"\n\
             blue = \"http://{blue}\"\ngreen = \"http://{green}\"\n[hold]\nwait = \"60s\"\n"
        );
        std::fs::write(folder.path().join("router.toml"), text).unwrap();
        let log = folder.path().join("log");
        let file = std::fs::File::create(&log).unwrap();
        let mut command = crossfade();
        command.arg("route").arg(folder.path().join("router.toml"));
        command.stdin(Stdio::null()).stdout(file.try_clone().unwrap()).stderr(file);
        let child = command.spawn().unwrap();
        eventually("the router listens", async || std::fs::read_to_string(&log).unwrap().contains("the route is ")).await;
        let said = std::fs::read_to_string(&log).unwrap();
        let listening = said.lines().find_map(|line| line.strip_prefix("listening on ")).unwrap_or_else(|| panic!("{said}"));
        let address = listening.split(' ').next().unwrap().parse().unwrap();
        Self { folder, child, address }
    }

    fn participant(&self) -> String {
        let at = self.folder.path().display();
        format!("[[step.participant]]\nkind = \"router\"\nname = \"router\"\nsocket = \"{at}/admin.sock\"\n")
    }
}

impl Drop for Route {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What clients saw.
#[derive(Default)]
struct Seen {
    stop: AtomicBool,
    answered: AtomicU64,
    failed: AtomicU64,
    longest_ms: AtomicU64,
}

/// A client that keeps its connection and posts one row after another.
async fn client(number: u64, router: SocketAddr, seen: Arc<Seen>) -> Vec<String> {
    let socket = tokio::net::TcpStream::connect(router).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(socket)).await.unwrap();
    tokio::spawn(connection);
    let mut acknowledged = Vec::new();
    for turn in 0_u64.. {
        if seen.stop.load(Ordering::Relaxed) {
            break;
        }
        let tag = format!("c{number}-{turn}");
        let request = Request::post(format!("/{tag}")).header("host", "app").body(Full::new(Bytes::new())).unwrap();
        let began = Instant::now();
        let status = match sender.send_request(request).await {
            Ok(answer) => {
                let status = answer.status();
                let _ = answer.into_body().collect().await;
                status
            }
            Err(error) => panic!("client {number}: {error:?}"),
        };
        seen.longest_ms.fetch_max(began.elapsed().as_millis() as u64, Ordering::Relaxed);
        match status {
            StatusCode::OK => {
                seen.answered.fetch_add(1, Ordering::Relaxed);
                acknowledged.push(tag);
            }
            other => {
                eprintln!("client {number}: {other}");
                seen.failed.fetch_add(1, Ordering::Relaxed);
            }
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await; // about 300 requests/s of all clients
    }
    acknowledged
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_of_the_router_see_no_error_there_and_back_and_nothing_is_lost() {
    let (blue, green) = Stage::databases().await;
    let route = Route::start(service(&blue).await, service(&green).await).await;
    let stage = Stage::over(
        blue,
        green,
        &format!(
            "hold_for = \"60s\"\n{}[[step.smoke]]\nname = \"rows\"\nsql = \"SELECT count(*) > 0 FROM entry\"\n",
            route.participant()
        ),
    );
    let seen = Arc::new(Seen::default());
    let clients: Vec<_> = (0..8).map(|number| tokio::spawn(client(number, route.address, Arc::clone(&seen)))).collect();
    let more = async || {
        let now = seen.answered.load(Ordering::Relaxed);
        eventually("clients are answered", async || seen.answered.load(Ordering::Relaxed) > now + 50).await;
    };
    more().await;
    stage.ready().await;
    let file = stage.workspace.folder.path().join("cutover.prom");
    let metrics = ["--metrics-file", file.to_str().unwrap(), "--metrics-addr", "127.0.0.1:0"];
    stage.run(&[&["cutover", "--execute", "--approve", "to-green"], &metrics[..]].concat()).await.exits(0);
    let written = std::fs::read_to_string(&file).unwrap();
    assert!(written.contains("standing=\"done\"") && written.contains("crossfade_run_steps{"), "{written}");
    more().await;
    assert_eq!(stage.figure("writes_after_fence"), Some(0));
    let (held, stalled) = (stage.figure("hold_ms").unwrap(), seen.longest_ms.swap(0, Ordering::Relaxed));
    eprintln!("there: held for {held} ms, longest stall {stalled} ms, epoch {:?}", stage.figure("epoch"));
    assert_eq!(seen.failed.load(Ordering::Relaxed), 0);
    assert!(!Stage::writable(&stage.blue).await);
    // A smoke check that does not hold, a client that holds a transaction: nothing of it here; now back.
    stage.run(&["rollback", "--execute"]).await.exits(0);
    more().await;
    eprintln!("back: longest stall {} ms", seen.longest_ms.load(Ordering::Relaxed));
    seen.stop.store(true, Ordering::Relaxed);
    let mut acknowledged = Vec::new();
    for client in clients {
        acknowledged.extend(client.await.unwrap());
    }
    assert_eq!(seen.failed.load(Ordering::Relaxed), 0, "requests failed");
    let session = stage.blue.session().await;
    let lost: i64 = session
        .query_one(
            "SELECT count(*) FROM unnest($1::text[]) AS tag WHERE NOT EXISTS (SELECT FROM entry e WHERE e.tag = tag.tag)",
            &[&acknowledged],
        )
        .await
        .unwrap()
        .get(0);
    assert_eq!(lost, 0, "of {} acknowledged writes", acknowledged.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_no_go_takes_everything_back_and_clients_go_on_at_blue() {
    let (blue, green) = Stage::databases().await;
    let route = Route::start(service(&blue).await, service(&green).await).await;
    let failing = "[[step.smoke]]\nname = \"never\"\nsql = \"SELECT false\"\n";
    let stage = Stage::over(blue, green, &format!("hold_for = \"60s\"\n{}{failing}", route.participant()));
    let seen = Arc::new(Seen::default());
    let clients: Vec<_> = (0..4).map(|number| tokio::spawn(client(number, route.address, Arc::clone(&seen)))).collect();
    stage.ready().await;
    let ran = stage.run(&["cutover", "--execute", "--approve", "cutover"]).await.exits(10);
    assert!(ran.stderr.contains("smoke check never"), "{}", ran.stderr);
    // A prepared transaction is named before anybody is held.
    stage
        .blue
        .session()
        .await
        .batch_execute("BEGIN; DELETE FROM entry WHERE id = 1; PREPARE TRANSACTION 'left behind'")
        .await
        .unwrap();
    let ran = stage.run(&["cutover", "--execute"]).await.exits(10);
    assert!(ran.stderr.contains("'left behind'"), "{}", ran.stderr);
    stage.blue.session().await.batch_execute("ROLLBACK PREPARED 'left behind'").await.unwrap();
    // A transaction that stays: the fence gives up in time and names it.
    let nightly = stage.blue.database().connect("nightly-job").await.unwrap();
    nightly.batch_execute("BEGIN; UPDATE account SET n = 1 WHERE id = 1").await.unwrap();
    let ran = stage.run(&["cutover", "--execute"]).await.exits(11);
    assert!(ran.stderr.contains("nightly-job"), "{}", ran.stderr);
    nightly.batch_execute("ROLLBACK").await.unwrap();
    let now = seen.answered.load(Ordering::Relaxed);
    eventually("clients are answered", async || seen.answered.load(Ordering::Relaxed) > now + 50).await;
    seen.stop.store(true, Ordering::Relaxed);
    for client in clients {
        client.await.unwrap();
    }
    assert_eq!(seen.failed.load(Ordering::Relaxed), 0, "requests failed");
    assert!(Stage::writable(&stage.blue).await);
    assert_eq!(stage.blue.value("SELECT count(*) FROM pg_trigger WHERE tgname = 'crossfade_fence'").await, "0");
    Stage::assert_no_triggers(&stage.green).await;
}
