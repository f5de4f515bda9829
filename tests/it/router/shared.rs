//! Several routers follow one route in PostgreSQL.

use std::time::Duration;

use crossfade::router::{Change, Changed, Position};
use crossfade::terms::Side as Of;

use super::side::Side;
use super::{Proxy, raw, status};
use crate::support::{TestDb, eventually};

const SHARED: &str = "[shared]\nurl_env = \"ROUTE_URL\"\npoll = \"50ms\"\nconfirm_within = \"600ms\"\nhold_for = \"1500ms\"\n[hold]\nwait = \"5s\"\n";

async fn follower(name: &str, url: &str, blue: &Side, green: &Side) -> Proxy {
    let listener = format!("blue = \"http://{}\"\ngreen = \"http://{}\"", blue.address, green.address);
    Proxy::start_with(&listener, &format!("name = \"{name}\"\n{SHARED}"), &[("ROUTE_URL", url)]).await
}

async fn get(proxy: &Proxy) -> String {
    raw(proxy.address(), b"GET /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_is_everybodys() {
    let db = TestDb::empty().await;
    let (blue, green) = (Side::start("blue").await, Side::start("green").await);
    let url = db.url();
    let (mut one, two, mut three) = tokio::join!(
        follower("one", &url, &blue, &green),
        follower("two", &url, &blue, &green),
        follower("three", &url, &blue, &green)
    );
    let live = Duration::from_secs(2);
    let within = Duration::from_secs(10);
    let control = two.control();
    eventually("all three follow", async || control.status().await.is_ok_and(|status| status.instances.len() == 3)).await;
    for proxy in [&one, &two, &three] {
        assert!(get(proxy).await.contains("blue: GET /x"));
    }
    let slow = tokio::spawn({
        let address = one.address();
        async move { raw(address, b"GET /slow HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await }
    });
    eventually("it is in flight on the first", async || {
        control.status().await.unwrap().instances.iter().any(|one| one.blue == 1)
    })
    .await;

    let Changed::Done(held) = control.change(&Change { epoch: 1, to: Position::Hold, hold_ms: 20_000 }).await.unwrap() else {
        panic!()
    };
    let all = control.wait(held.epoch, Some(Of::Blue), live, within).await.unwrap();
    assert_eq!(all.len(), 3);
    drop(slow.await);
    assert_eq!(blue.paths().iter().filter(|path| *path == "/slow").count(), 1);
    let other = one.control().change(&Change { epoch: 1, to: Position::Green, hold_ms: 0 }).await.unwrap();
    assert!(matches!(other, Changed::Moved(_)), "the first saw the same epoch");
    let Changed::Done(green_now) = one.control().change(&Change { epoch: 2, to: Position::Green, hold_ms: 0 }).await.unwrap()
    else {
        panic!()
    };
    control.wait(green_now.epoch, None, live, within).await.unwrap();
    for proxy in [&one, &two, &three] {
        assert!(get(proxy).await.contains("green: GET /x"));
    }

    // A killed one is waited for while it may be alive, and named; one that stops says good-bye.
    three.kill_9().await;
    let Changed::Done(back) = control.change(&Change { epoch: 3, to: Position::Blue, hold_ms: 0 }).await.unwrap() else {
        panic!()
    };
    let behind =
        control.wait(back.epoch, None, Duration::from_secs(60), Duration::from_millis(300)).await.unwrap_err().to_string();
    assert!(behind.contains("not every router goes by epoch 4") && behind.contains("three-"), "{behind}");
    assert_eq!(control.wait(back.epoch, None, Duration::from_secs(1), within).await.unwrap().len(), 2);
    three.restart().await;
    eventually("it follows again, as itself", async || {
        let status = control.status().await.unwrap();
        status.instances.len() == 3 && status.instances.iter().all(|instance| instance.epoch == 4)
    })
    .await;
    one.signal(nix::sys::signal::Signal::SIGTERM);
    assert_eq!(one.ended().await, Some(0));
    assert_eq!(control.status().await.unwrap().instances.len(), 2);
}

/// A router that cannot read the route parks requests, and then goes where the route last pointed; so does one that starts then.
#[tokio::test(flavor = "multi_thread")]
async fn who_cannot_read_the_route_does_not_guess() {
    let db = TestDb::empty().await;
    let (blue, green) = (Side::start("blue").await, Side::start("green").await);
    let mut proxy = follower("alone", &db.url(), &blue, &green).await;
    eventually("it serves", async || status(&get(&proxy).await) == 200).await;
    let control = proxy.control();
    assert!(matches!(control.change(&Change { epoch: 1, to: Position::Green, hold_ms: 0 }).await.unwrap(), Changed::Done(_)));
    eventually("it goes to green", async || get(&proxy).await.contains("green: ")).await;

    let admin = TestDb::empty().await;
    let closed = async |closed: bool| {
        admin.sql(&format!("ALTER DATABASE {} ALLOW_CONNECTIONS {}", db.name(), !closed)).await;
        if closed {
            admin.sql(&format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{}'", db.name())).await;
        }
    };
    closed(true).await;
    eventually("it parks", async || proxy.count("crossfade_route_position").await == 2).await;
    let refused = control.change(&Change { epoch: 2, to: Position::Blue, hold_ms: 0 }).await.unwrap_err().to_string();
    assert!(refused.contains("could not be kept") || refused.contains("cannot"), "{refused}");
    let parked = get(&proxy).await;
    assert!(parked.is_empty() || parked.contains("green: "), "{parked}");
    eventually("it goes where it last pointed", async || proxy.count("crossfade_route_position").await == 1).await;

    proxy.kill_9().await;
    proxy.restart().await;
    assert_eq!(proxy.count("crossfade_route_position").await, 2, "it starts closed");
    eventually("it goes where it last pointed", async || proxy.count("crossfade_route_position").await == 1).await;
    assert!(get(&proxy).await.contains("green: "));

    closed(false).await;
    eventually("it follows again", async || {
        let changed = proxy.control().change(&Change { epoch: 2, to: Position::Blue, hold_ms: 0 }).await;
        matches!(changed, Ok(Changed::Done(_)))
    })
    .await;
    eventually("it goes to blue", async || get(&proxy).await.contains("blue: ")).await;
    // A hold in the database ends by its deadline too.
    let control = proxy.control();
    assert!(matches!(control.change(&Change { epoch: 3, to: Position::Hold, hold_ms: 300 }).await.unwrap(), Changed::Done(_)));
    eventually("the hold ends", async || control.status().await.unwrap().route.epoch == 5).await;
    assert!(get(&proxy).await.contains("blue: "));
}
