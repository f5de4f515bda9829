//! Watching a real metrics page before and after.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use http_body_util::Full;
use hyper::Response;
use hyper::body::Bytes;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;

use crate::support::{TestDb, Workspace, eventually};

const PLAN: &str = r#"
format = 1
name = "watch"
[blue]
url_env = "BLUE_DATABASE_URL"
[[step]]
id = "before"
phase = "follow"
kind = "watch"
for = "1s"
metrics = { url = "PAGE" }
MEASURES
[[step]]
id = "after"
phase = "watch"
kind = "watch"
for = "1s"
baseline = "before"
metrics = { url = "PAGE" }
MEASURES
"#;

const MEASURES: &str = r#"
[[step.measure]]
name = "refused"
count = { name = "requests", labels = { status = "4*" } }
per = { name = "requests" }
LIMITS
[[step.measure]]
name = "orders"
sql = "SELECT count(*) FROM orders"
side = "blue"
"#;

#[tokio::test(flavor = "multi_thread")]
async fn rates_after_are_held_against_those_before() {
    let blue = TestDb::empty().await;
    blue.sql("CREATE TABLE orders (id int); INSERT INTO orders VALUES (1)").await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    // Each reading of the page counts 100 requests more, so many of them refused.
    let (refused, good, bad) = (Arc::new(AtomicU64::new(1)), Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let more = Arc::clone(&refused);
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let (more, good, bad) = (Arc::clone(&more), Arc::clone(&good), Arc::clone(&bad));
            let service = service_fn(move |_| {
                let now = more.load(Ordering::Relaxed);
                let bad = bad.fetch_add(now, Ordering::Relaxed) + now;
                let good = good.fetch_add(100 - now, Ordering::Relaxed) + 100 - now;
                let page = format!("requests{{status=\"200\"}} {good}\nrequests{{status=\"401\"}} {bad}\n");
                async move { Ok::<_, std::convert::Infallible>(Response::new(Full::new(Bytes::from(page)))) }
            });
            tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(socket), service));
        }
    });
    let limits = "degraded = { times = 2, plus = 0.05 }\nroll_back = { max = 0.5 }";
    let first = MEASURES.replace("LIMITS", "");
    let second = MEASURES.replace("LIMITS", limits);
    let plan = PLAN
        .replacen("MEASURES", &first, 1)
        .replacen("MEASURES", &second, 1)
        .replace("PAGE", &format!("http://{address}/metrics"));
    let workspace = Workspace::new(&plan, &blue, None);
    let run = async |words: &'static [&'static str]| {
        let mut command = workspace.command(words);
        crate::support::Ran::of(tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap())
    };
    let healthy = run(&["run", "--execute"]).await.exits(0);
    assert!(
        healthy.stderr.contains("refused") && healthy.stderr.contains("0.0100") && healthy.stderr.contains("+0.0 %"),
        "{}",
        healthy.stderr
    );

    let degrade = |now: u64| refused.store(now, Ordering::Relaxed);
    let seen = blue.value("SELECT measured->>'refused' FROM crossfade.baseline WHERE step = 'before'").await;
    assert_eq!(seen, "0.01");
    // Between the two steps the service gets worse.
    let mut command = workspace.command(&["run", "--execute", "--new"]);
    let child = tokio::task::spawn_blocking(move || command.output().unwrap());
    eventually("the first step is over", async || {
        blue.value("SELECT count(*) FROM crossfade.baseline WHERE step = 'before'").await == "2"
    })
    .await;
    degrade(20);
    let ran = crate::support::Ran::of(child.await.unwrap()).exits(14);
    assert!(ran.stderr.contains("measure refused") && ran.stderr.contains("degraded"), "{}", ran.stderr);
    degrade(60);
    let ran = run(&["run", "--execute"]).await.exits(14);
    assert!(ran.stderr.contains("roll back") && ran.stderr.contains("crossfade rollback"), "{}", ran.stderr);
    degrade(1);
    run(&["run", "--execute"]).await.exits(0);
}
