//! Holds, epochs, the admin socket, and what a kill leaves behind.

use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crossfade::router::{AdminConfig, Change, Changed, Control, Position};

use super::side::Side;
use super::{Proxy, raw, read_all, status};
use crate::support::eventually;

fn hold(epoch: u64, ms: u64) -> Change {
    Change { epoch, to: Position::Hold, hold_ms: ms }
}

fn to(epoch: u64, to: Position) -> Change {
    Change { epoch, to, hold_ms: 0 }
}

async fn changed(control: &Control, change: Change) -> crossfade::router::Route {
    match control.change(&change).await.unwrap() {
        Changed::Done(route) => route,
        Changed::Moved(said) => panic!("{said}"),
    }
}

async fn get(address: std::net::SocketAddr, path: String) -> String {
    let mut socket = TcpStream::connect(address).await.unwrap();
    socket.write_all(format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").as_bytes()).await.unwrap();
    let mut answer = String::new();
    let _ = tokio::io::AsyncReadExt::read_to_string(&mut socket, &mut answer).await;
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_parks_in_order_and_releases_to_the_new_side() {
    let (blue, green) = (Side::start("blue").await, Side::start("green").await);
    let proxy = Proxy::start(blue.address, green.address, "threads = 1\n[upstream]\nrequests = 1\n[hold]\nrequests = 30\n").await;
    let control = proxy.control();
    let under_way = tokio::spawn(get(proxy.address(), "/slow".to_owned()));
    eventually("it is in flight", async || control.status().await.unwrap().instances[0].blue == 1).await;
    let held = changed(&control, hold(1, 20_000)).await;
    assert_eq!((held.epoch, held.position), (2, Position::Hold));
    let mut parked = Vec::new();
    for number in 0..30 {
        parked.push(tokio::spawn(get(proxy.address(), format!("/{number}"))));
        eventually("it is parked", async || control.status().await.unwrap().instances[0].parked == number + 1).await;
    }
    let away = get(proxy.address(), "/one-too-many".to_owned()).await;
    assert!(status(&away) == 503 && away.contains("retry-after: 1"), "{away}");

    // Drained: what was under way has ended, on blue.
    let there =
        control.wait(2, Some(crossfade::terms::Side::Blue), Duration::from_secs(5), Duration::from_secs(10)).await.unwrap();
    assert_eq!((there.len(), there[0].blue, there[0].parked), (1, 0, 30));
    assert!(under_way.await.unwrap().contains("blue: GET /slow"));
    let green_again = changed(&control, to(2, Position::Green)).await;
    assert_eq!(green_again.epoch, 3);
    for (number, parked) in parked.into_iter().enumerate() {
        let answer = parked.await.unwrap();
        assert!(answer.contains(&format!("green: GET /{number} ")), "{answer}");
    }
    assert_eq!(green.paths(), (0..30).map(|number| format!("/{number}")).collect::<Vec<_>>());
    assert_eq!(blue.paths(), ["/slow"]);
    assert_eq!(proxy.count("crossfade_parked_total").await, 31);
    assert_eq!(proxy.count("crossfade_sent_away_total").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_that_nobody_ends_goes_back() {
    let (blue, green) = (Side::start("blue").await, Side::start("green").await);
    let proxy = Proxy::start(blue.address, green.address, "[hold]\nwait = \"300ms\"\n").await;
    let control = proxy.control();
    let began = Instant::now();
    changed(&control, hold(1, 900)).await;
    assert_eq!(status(&get(proxy.address(), "/parked-for-too-long".to_owned()).await), 503);
    assert!(began.elapsed() >= Duration::from_millis(300));
    eventually("the hold ends", async || control.status().await.unwrap().route.position == Position::Blue).await;
    assert!(get(proxy.address(), "/after".to_owned()).await.contains("blue: GET /after"));
    // Who wanted to release it to green comes too late, and hears so.
    let late = control.change(&to(2, Position::Green)).await.unwrap();
    assert!(matches!(&late, Changed::Moved(said) if said.contains("epoch 3 (blue), not at epoch 2")), "{late:?}");
    let ran = proxy.command(&["set", "green", "--epoch", "2"]).await.exits(10);
    assert!(ran.stderr.contains("read it again and decide anew"), "{}", ran.stderr);
    assert!(control.change(&hold(3, 0)).await.unwrap_err().to_string().contains("a hold needs hold_ms"));
    assert!(green.seen().is_empty());
}

/// `kill -9` at every beat of a cutover: the next start stands where the last one stood, and no epoch is given twice.
#[tokio::test(flavor = "multi_thread")]
async fn a_killed_router_comes_back_where_it_was() {
    let (blue, green) = (Side::start("blue").await, Side::start("green").await);
    let mut proxy = Proxy::start(blue.address, green.address, "").await;
    for (change, position, epoch) in [
        (None, Position::Blue, 1),
        (Some(hold(1, 60_000)), Position::Hold, 2),
        (Some(to(2, Position::Green)), Position::Green, 3),
        (Some(hold(3, 60_000)), Position::Hold, 4),
        (Some(to(4, Position::Blue)), Position::Blue, 5),
    ] {
        if let Some(change) = change {
            changed(&proxy.control(), change).await;
        }
        proxy.kill_9().await;
        proxy.restart().await;
        let status = proxy.control().status().await.unwrap();
        assert_eq!((status.route.position, status.route.epoch, status.position), (position, epoch, position));
        if let Some(side) = position.side() {
            let answer = get(proxy.address(), "/x".to_owned()).await;
            assert!(answer.contains(&format!("{side}: GET /x")), "{answer}");
        }
    }
    // A hold whose deadline passes while nobody runs ends at the next start.
    changed(&proxy.control(), hold(5, 100)).await;
    proxy.kill_9().await;
    proxy.restart().await;
    eventually("the hold has ended", async || proxy.control().status().await.unwrap().route.epoch == 7).await;
    assert!(get(proxy.address(), "/end".to_owned()).await.contains("blue: GET /end"));

    // Only one router per folder.
    let second = proxy.command(&["check"]).await.exits(0);
    assert!(second.stdout.contains("no problem"));
    let config = proxy.config();
    let ran = tokio::task::spawn_blocking(move || {
        crate::support::Ran::of(crate::support::crossfade().arg("route").arg(config).output().unwrap())
    });
    assert!(ran.await.unwrap().exits(1).stderr.contains("belongs to a router that is running"));
}

/// Who changes it at the same time: one gets through.
#[tokio::test(flavor = "multi_thread")]
async fn of_many_who_saw_one_epoch_one_changes_it() {
    let side = Side::start("blue").await;
    let proxy = Proxy::start(side.address, side.address, "").await;
    for epoch in 1..6 {
        let tries = (0..8).map(|number| {
            let control = proxy.control();
            let position = if number % 2 == 0 { Position::Green } else { Position::Blue };
            tokio::spawn(async move { matches!(control.change(&to(epoch, position)).await.unwrap(), Changed::Done(_)) })
        });
        let mut done = 0;
        for changed in tries.collect::<Vec<_>>() {
            done += usize::from(changed.await.unwrap());
        }
        assert_eq!((done, proxy.control().status().await.unwrap().route.epoch), (1, epoch + 1));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_admin_side_is_for_its_owner() {
    let side = Side::start("blue").await;
    let proxy = Proxy::start(side.address, side.address, "").await;
    let mode = std::fs::metadata(proxy.folder().join("admin.sock")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    for path in ["/route", "/metrics", "/forget"] {
        let answer = get(proxy.address(), path.to_owned()).await;
        assert!(answer.contains(&format!("blue: GET {path}")), "not on the public side: {answer}");
    }

    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let by_token = format!("[admin]\naddress = \"{port}\"\ntoken_file = \"token\"\n");
    let proxy = Proxy::start(side.address, side.address, &by_token).await;
    let file = proxy.folder().join("token");
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let token = std::fs::read_to_string(&file).unwrap();
    let set = "{\"epoch\":1,\"to\":\"green\"}";
    for header in
        ["", "Authorization: Bearer \r\n", "Authorization: Bearer wrong\r\n", &format!("Authorization: Basic {token}\r\n")]
    {
        for (line, body) in [
            ("GET /route", ""),
            ("GET /metrics", ""),
            ("GET /taps", ""),
            ("GET /ready", ""),
            ("POST /route", set),
            ("POST /forget", "{}"),
        ] {
            let request = format!("{line} HTTP/1.1\r\nHost: a\r\n{header}Content-Length: {}\r\n\r\n{body}", body.len());
            let answer = raw(port, request.as_bytes()).await;
            assert!(status(&answer) == 401 && !answer.contains(&token), "{line} {header}: {answer}");
        }
    }
    let control = Control::new(AdminConfig::Loopback(port, file.clone()));
    assert_eq!(control.status().await.unwrap().route.epoch, 1);
    changed(&control, to(1, Position::Green)).await;
    let ran = proxy.command(&["get", "--format", "json"]).await.exits(0);
    assert!(ran.stdout.contains("\"epoch\": 2") && ran.stdout.contains("\"position\": \"green\""), "{}", ran.stdout);
    for (path, bytes) in proxy.everything_written() {
        assert!(path == file || !String::from_utf8_lossy(&bytes).contains(&token), "the token is in {}", path.display());
    }
}

/// Reads go ahead to green while blue serves; nothing else does, and nothing at all during a hold.
#[tokio::test(flavor = "multi_thread")]
async fn a_canary_reads_from_green() {
    let (blue, green) = (Side::start("blue").await, Side::start("green").await);
    let canary = "[canary]\npercent = 30\nheader = { name = \"x-canary\", value = \"1\" }\n";
    let proxy = Proxy::start(blue.address, green.address, canary).await;
    let ask = async |line: &str, header: &str| {
        let request = format!("{line} HTTP/1.1\r\nHost: a\r\n{header}Content-Length: 0\r\nConnection: close\r\n\r\n");
        raw(proxy.address(), request.as_bytes()).await
    };
    for line in ["POST /oauth2/introspect", "GET /.well-known/jwks.json", "GET /userinfo"] {
        assert!(ask(line, "X-Canary: 1\r\n").await.contains("green: "), "{line}");
    }
    for line in ["POST /oauth2/token", "POST /oauth2/revoke", "GET /oauth2/auth", "POST /userinfo", "DELETE /clients/a"] {
        assert!(ask(line, "X-Canary: 1\r\n").await.contains("blue: "), "{line}");
    }
    for _ in 0..200 {
        ask("GET /userinfo", "").await;
    }
    let ahead = green.seen().len() - 3;
    assert!((30..100).contains(&ahead), "{ahead} of 200");
    assert_eq!(proxy.count("crossfade_canary_total").await, ahead as u64 + 3);
    changed(&proxy.control(), hold(1, 5_000)).await;
    let parked = tokio::spawn(get(proxy.address(), "/userinfo".to_owned()));
    eventually("a read is parked too", async || proxy.control().status().await.unwrap().instances[0].parked == 1).await;
    changed(&proxy.control(), to(2, Position::Blue)).await;
    parked.await.unwrap();
}

/// A client that goes away while it is parked leaves nothing behind, and its request reaches nobody.
#[tokio::test(flavor = "multi_thread")]
async fn clients_that_give_up_while_parked() {
    let side = Side::start("blue").await;
    let proxy = Proxy::start(side.address, side.address, "").await;
    changed(&proxy.control(), hold(1, 20_000)).await;
    let mut sockets = Vec::new();
    for number in 0..10 {
        let mut socket = TcpStream::connect(proxy.address()).await.unwrap();
        socket.write_all(format!("GET /{number} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes()).await.unwrap();
        sockets.push(socket);
    }
    let parked = async || proxy.control().status().await.unwrap().instances[0].parked;
    eventually("all are parked", async || parked().await == 10).await;
    let mut last = sockets.pop().unwrap();
    drop(sockets);
    eventually("one is left", async || parked().await == 1).await;
    changed(&proxy.control(), to(2, Position::Blue)).await;
    assert!(read_all(&mut last).await.contains("blue: GET /9"));
    assert_eq!(side.paths(), ["/9"]);
}
