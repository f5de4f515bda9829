//! What passes through and how; what does not.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Full};
use hyper::Request;
use hyper_util::rt::{TokioExecutor, TokioIo};
use nix::sys::signal::Signal;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::side::{Side, Strict};
use super::{Proxy, raw, read_all, status};
use crate::support::{Ran, crossfade, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn heads_and_bodies_pass_through() {
    let (blue, green) = (Side::start("blue").await, Side::start("green").await);
    let proxy = Proxy::start(blue.address, green.address, "").await;
    let answer = raw(
        proxy.address(),
        b"POST /a/b?c=d HTTP/1.1\r\nHost: login.example\r\nConnection: close, x-hop\r\nX-Hop: 1\r\nX-End: 2\r\nX-Forwarded-For: 9.9.9.9\r\n\
          Transfer-Encoding: chunked\r\nTE: gzip\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n",
    )
    .await;
    assert_eq!(status(&answer), 200, "{answer}");
    assert!(answer.contains("blue: POST /a/b?c=d HTTP/1.1") && answer.contains("abcde"), "{answer}");
    assert!(answer.contains("x-side: blue") && !answer.contains("x-between"), "{answer}");
    let seen = &blue.seen()[0];
    assert_eq!(
        [seen.header("host"), seen.header("x-end"), seen.header("x-hop"), seen.header("te")],
        [Some("login.example"), Some("2"), None, None]
    );
    assert_eq!(seen.header("x-forwarded-for"), Some("127.0.0.1"), "what a stranger says is not passed on");
    assert_eq!(seen.header("forwarded"), Some("for=127.0.0.1;proto=http;host=\"login.example\""));
    assert_eq!([seen.header("x-forwarded-proto"), seen.header("x-forwarded-host")], [Some("http"), Some("login.example")]);
    assert_eq!(seen.header("x-forwarded-port"), Some(proxy.address().port().to_string().as_str()));
    assert_eq!(seen.body, b"abcde");

    // Answers without a body; a kept-alive connection on both sides.
    let before = blue.connections();
    let two = "HEAD /head HTTP/1.1\r\nHost: a\r\n\r\nGET /empty HTTP/1.1\r\nHost: a\r\n\r\n";
    let answers = raw(proxy.address(), two.as_bytes()).await;
    assert!(answers.starts_with("HTTP/1.1 200 OK") && answers.contains("HTTP/1.1 204 No Content"), "{answers}");
    assert!(!answers.contains("blue: HEAD"), "{answers}");
    for number in 0..20 {
        raw_get(&proxy, &format!("/{number}")).await;
    }
    assert!(blue.connections() - before <= 4, "{} connections for 22 requests", blue.connections() - before);
    assert!(green.seen().is_empty());
}

async fn raw_get(proxy: &Proxy, path: &str) -> String {
    raw(proxy.address(), format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").as_bytes()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn pieces_pass_as_they_come() {
    let side = Side::start("blue").await;
    let proxy = Proxy::start(side.address, side.address, "").await;
    let mut socket = TcpStream::connect(proxy.address()).await.unwrap();
    socket.write_all(b"GET /stream HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await.unwrap();
    let began = Instant::now();
    let mut first = Vec::new();
    while !String::from_utf8_lossy(&first).contains("piece 0") {
        assert!(socket.read_buf(&mut first).await.unwrap() > 0);
    }
    assert!(!String::from_utf8_lossy(&first).contains("piece 2"), "nothing was held back until the end");
    let rest = read_all(&mut socket).await;
    assert!(rest.contains("piece 2") && began.elapsed() > Duration::from_millis(350), "{rest}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upgraded_connection_is_a_pipe() {
    let side = Side::start("blue").await;
    let proxy = Proxy::start(side.address, side.address, "").await;
    let mut socket = TcpStream::connect(proxy.address()).await.unwrap();
    socket.write_all(b"GET /upgrade HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n").await.unwrap();
    let answer = read_all(&mut socket).await;
    assert!(answer.starts_with("HTTP/1.1 101") && answer.contains("upgrade: echo"), "{answer}");
    for word in ["first", "second"] {
        socket.write_all(word.as_bytes()).await.unwrap();
        assert_eq!(read_all(&mut socket).await, word.to_uppercase());
    }
    assert_eq!(proxy.count("crossfade_in_flight{side=\"blue\"}").await, 0);
}

/// What one server takes for one request another one must not take for two.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_smuggled() {
    const ATTACK: &str = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";
    let in_chunk = format!("{:x}\r\n{ATTACK}\r\n0\r\n\r\n", ATTACK.len());
    let cases = [
        (
            "both lengths",
            format!("POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{ATTACK}"),
        ),
        (
            "both lengths, the other order",
            format!("POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n{in_chunk}"),
        ),
        (
            "two lengths",
            format!("POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nContent-Length: {}\r\n\r\n{ATTACK}", ATTACK.len()),
        ),
        ("a list of lengths", format!("POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 0, {}\r\n\r\n{ATTACK}", ATTACK.len())),
        ("a signed length", format!("POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: +{}\r\n\r\n{ATTACK}", ATTACK.len())),
        (
            "a folded header",
            format!("POST /x HTTP/1.1\r\nHost: a\r\nX-A: b\r\n Content-Length: {}\r\n\r\n{ATTACK}", ATTACK.len()),
        ),
        ("a space before the colon", format!("POST /x HTTP/1.1\r\nHost: a\r\nContent-Length : {}\r\n\r\n{ATTACK}", ATTACK.len())),
        ("chunked is not last", format!("POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, identity\r\n\r\n{in_chunk}")),
        ("an unknown coding", format!("POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n{in_chunk}")),
        ("a coding in HTTP/1.0", format!("POST /x HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{in_chunk}")),
        ("a bad chunk size", format!("POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{ATTACK}")),
        (
            "a chunk longer than it says",
            format!("POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n0\r\n\r\n{ATTACK}"),
        ),
        (
            "a chunk size that overflows",
            format!("POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n10000000000000001\r\n{ATTACK}"),
        ),
        (
            "a bare line feed in a header",
            format!("POST /x HTTP/1.1\r\nHost: a\r\nX-A: b\nContent-Length: {}\r\n\r\n{ATTACK}", ATTACK.len()),
        ),
        ("a zero byte in a header", format!("POST /x HTTP/1.1\r\nHost: a\r\nX-A: b\0Content-Length: 1\r\n\r\n{ATTACK}")),
        ("two hosts", "POST /x HTTP/1.1\r\nHost: a\r\nHost: b\r\nContent-Length: 0\r\n\r\n".to_owned()),
        ("no host", format!("POST /x HTTP/1.1\r\nContent-Length: {}\r\n\r\n{ATTACK}", ATTACK.len())),
        (
            "a length that Connection names",
            format!(
                "POST /x HTTP/1.1\r\nHost: a\r\nConnection: content-length\r\nContent-Length: {}\r\n\r\n{ATTACK}",
                ATTACK.len()
            ),
        ),
        (
            "a request in the target",
            "GET /x%20HTTP/1.1%0d%0aHost:%20a%0d%0a%0d%0aGET%20/smuggled HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(),
        ),
    ];
    let mut refused = Vec::new();
    for (name, request) in &cases {
        let side = Strict::start().await;
        let proxy = Proxy::start(side.address, side.address, "").await;
        let answer = raw(proxy.address(), request.as_bytes()).await;
        let got = side.got();
        if status(&answer) == 400 && got.iter().all(|path| path.as_deref() != Ok("/x")) {
            refused.push(*name);
        }
        // What the side takes for a request the client has got an answer to: nobody else's answer is left over.
        let answered = answer.matches("HTTP/1.1 200").count();
        assert!(
            got.iter().all(Result::is_ok) && got.len() == answered,
            "{name}: the client got\n{answer}\nthe side got\n{got:?}"
        );
    }
    // These go on in the one form that everybody reads alike: with one length, on a head that we wrote.
    let passed: Vec<_> = cases.iter().map(|(name, _)| *name).filter(|name| !refused.contains(name)).collect();
    assert_eq!(
        passed,
        [
            "both lengths",
            "both lengths, the other order",
            "a bare line feed in a header",
            "a length that Connection names",
            "a request in the target"
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_large_or_too_slow() {
    let side = Side::start("blue").await;
    let limits = "threads = 1\n[limits]\nhead_bytes = 8192\nbody_bytes = 1000\nhead_time = \"400ms\"\nbody_pause = \"300ms\"\nbody_time = \"900ms\"\nwrite_pause = \"2s\"\n";
    let proxy = Proxy::start(side.address, side.address, limits).await;
    let address = proxy.address();
    let long = "x".repeat(20_000);
    assert_eq!(status(&raw(address, format!("GET / HTTP/1.1\r\nHost: a\r\nX-Long: {long}\r\n\r\n").as_bytes()).await), 431);
    let path = format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "y".repeat(70_000));
    assert!([414, 431].contains(&status(&raw(address, path.as_bytes()).await)));
    let many: String = (0..200).map(|number| format!("X-{number}: 1\r\n")).collect();
    assert_eq!(status(&raw(address, format!("GET / HTTP/1.1\r\nHost: a\r\n{many}\r\n").as_bytes()).await), 431);
    assert_eq!(status(&raw(address, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1001\r\n\r\n").await), 413);
    let chunked =
        format!("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3e9\r\n{}\r\n0\r\n\r\n", "z".repeat(1001));
    assert_eq!(status(&raw(address, chunked.as_bytes()).await), 413);
    let form = format!(
        "POST /oauth2/token HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n11000\r\n{}\r\n0\r\n\r\n",
        "z".repeat(0x11000)
    );
    assert_eq!(status(&raw(address, form.as_bytes()).await), 413, "the token endpoint has a limit of its own");
    assert!(side.seen().is_empty());

    // A head that does not end, a body that stops, a body that trickles.
    let cut = async |request: &str, trickle: bool| {
        let mut socket = TcpStream::connect(address).await.unwrap();
        socket.write_all(request.as_bytes()).await.unwrap();
        let began = Instant::now();
        let mut answer = Vec::new();
        let mut buffer = [0; 1024];
        while began.elapsed() < Duration::from_secs(10) {
            if trickle {
                let _ = socket.write_all(b"1\r\nx\r\n").await;
            }
            match tokio::time::timeout(Duration::from_millis(100), socket.read(&mut buffer)).await {
                Ok(Ok(0) | Err(_)) => return (String::from_utf8_lossy(&answer).into_owned(), began.elapsed()),
                Ok(Ok(length)) => answer.extend_from_slice(&buffer[..length]),
                Err(_) => {}
            }
        }
        panic!("not cut in ten seconds: {request}");
    };
    for nothing in ["", "P", "PRI * HTTP/2.0\r\n"] {
        let (answer, took) = cut(nothing, false).await;
        assert!(answer.is_empty() && took < Duration::from_secs(5), "{nothing}: {answer}");
    }
    let (answer, took) = cut("GET / HTTP/1.1\r\nHost: a\r\nX-", false).await;
    assert!([0, 408].contains(&status(&answer)) && took < Duration::from_secs(5), "{answer}");
    let (answer, took) = cut("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc", false).await;
    assert!(status(&answer) == 408 && took < Duration::from_secs(5), "{answer}");
    let (answer, took) = cut("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", true).await;
    assert!(status(&answer) == 408 && took < Duration::from_secs(5), "{answer}");
    let (answer, _) = cut("POST /oauth2/token HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc", false).await;
    assert_eq!(status(&answer), 408);

    // Who takes nothing of an endless answer is cut too.
    let mut socket = TcpStream::connect(address).await.unwrap();
    socket.write_all(b"GET /endless HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    eventually("it is in flight", async || proxy.count("crossfade_in_flight{side=\"blue\"}").await == 1).await;
    eventually("it is cut", async || proxy.count("crossfade_in_flight{side=\"blue\"}").await == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_and_http2_on_both_ends() {
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap().self_signed(&key).unwrap();
    let files = tempfile::tempdir().unwrap();
    let path = |name: &str| files.path().join(name);
    std::fs::write(path("c.pem"), certificate.pem()).unwrap();
    std::fs::write(path("k.pem"), key.serialize_pem()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let server = |alpn: &[u8]| {
        let chain = vec![CertificateDer::from_pem_file(path("c.pem")).unwrap()];
        let key = PrivateKeyDer::from_pem_file(path("k.pem")).unwrap();
        let builder =
            rustls::ServerConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions().unwrap();
        let mut config = builder.with_no_client_auth().with_single_cert(chain, key).unwrap();
        config.alpn_protocols = vec![alpn.to_vec()];
        tokio_rustls::TlsAcceptor::from(Arc::new(config))
    };
    let blue = Side::start_tls("blue", Some(server(b"http/1.1"))).await;
    let green = Side::start_tls("green", Some(server(b"h2"))).await;
    let listener = format!(
        "tls = {{ certificate = \"{0}/c.pem\", key = \"{0}/k.pem\" }}\nblue = \"https://localhost:{1}\"\ngreen = \"https://localhost:{2}\"\ngreen_http2 = true",
        files.path().display(),
        blue.address.port(),
        green.address.port()
    );
    let upstream = format!("[upstream]\nca_file = \"{}/c.pem\"\n", files.path().display());
    let proxy = Proxy::start_with(&listener, &upstream, &[]).await;

    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(path("c.pem")).unwrap()).unwrap();
    let connect = async |address: std::net::SocketAddr, alpn: &[u8]| {
        let builder =
            rustls::ClientConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions().unwrap();
        let mut config = builder.with_root_certificates(roots.clone()).with_no_client_auth();
        config.alpn_protocols = vec![alpn.to_vec()];
        let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
        let socket = TcpStream::connect(address).await.unwrap();
        connector.connect(ServerName::try_from("localhost").unwrap(), socket).await.unwrap()
    };
    let (mut h2, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(connect(proxy.address(), b"h2").await))
            .await
            .unwrap();
    tokio::spawn(connection);
    let mut ask = async |path: &str, body: &'static str| {
        let request = Request::post(format!("https://localhost{path}")).body(Full::new(Bytes::from(body))).unwrap();
        let response = h2.send_request(request).await.unwrap();
        (
            response.status().as_u16(),
            String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap(),
        )
    };
    let (code, text) = ask("/over-h2", "to blue").await;
    assert!(code == 200 && text.contains("blue: POST /over-h2 HTTP/1.1") && text.contains("to blue"), "{text}");
    let seen = blue.seen()[0].clone();
    assert_eq!([seen.header("host"), seen.header("x-forwarded-proto")], [Some("localhost"), Some("https")]);
    proxy.command(&["set", "green"]).await.exits(0);
    let (code, text) = ask("/over-h2", "to green").await;
    assert!(
        code == 200 && text.contains("green: POST https://localhost/over-h2 HTTP/2.0") && text.contains("to green"),
        "{text}"
    );

    let (mut h1, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(connect(proxy.address(), b"http/1.1").await)).await.unwrap();
    tokio::spawn(connection);
    let request = Request::get("/over-h1").header("host", "localhost").body(Empty::<Bytes>::new()).unwrap();
    let response = h1.send_request(request).await.unwrap();
    assert_eq!((response.status().as_u16(), response.version()), (200, hyper::Version::HTTP_11));

    // A side whose certificate comes from nobody we know is not spoken to.
    let other = Proxy::start_with(&listener, "", &[]).await;
    let before = blue.seen().len();
    let (mut h1, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(connect(other.address(), b"http/1.1").await)).await.unwrap();
    tokio::spawn(connection);
    let request = Request::get("/").header("host", "localhost").body(Empty::<Bytes>::new()).unwrap();
    assert_eq!((h1.send_request(request).await.unwrap().status().as_u16(), blue.seen().len()), (502, before));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_side_that_is_not_there() {
    let nowhere = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap()
    };
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = Proxy::start(nowhere, silent.local_addr().unwrap(), "[upstream]\nanswer = \"300ms\"\n").await;
    for path in ["/", "/oauth2/introspect"] {
        assert_eq!(status(&raw_get(&proxy, path).await), 502);
    }
    proxy.command(&["set", "green"]).await.exits(0);
    assert_eq!(status(&raw_get(&proxy, "/").await), 504);
    assert_eq!(proxy.count("crossfade_upstream_failures_total").await, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_and_a_shutdown_break_nothing() {
    let (one, two) = (Side::start("one").await, Side::start("two").await);
    let mut proxy = Proxy::start_with(
        &format!("health_path = \"/health\"\nblue = \"http://{}\"\ngreen = \"http://{}\"", one.address, one.address),
        "",
        &[],
    )
    .await;
    assert!(raw_get(&proxy, "/a").await.contains("one: GET /a"));
    assert_eq!(status(&raw_get(&proxy, "/health").await), 200);
    let slow = tokio::spawn({
        let address = proxy.address();
        async move {
            let mut socket = TcpStream::connect(address).await.unwrap();
            socket.write_all(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
            let mut answer = Vec::new();
            while !String::from_utf8_lossy(&answer).contains("GET /slow") {
                assert!(socket.read_buf(&mut answer).await.unwrap() > 0, "cut: {}", String::from_utf8_lossy(&answer));
            }
        }
    });
    eventually("it is under way", async || one.paths().contains(&"/slow".to_owned())).await;
    let text = std::fs::read_to_string(proxy.config()).unwrap();
    let changed = text.replace(&one.address.to_string(), &two.address.to_string());
    std::fs::write(proxy.config(), &changed).unwrap();
    proxy.signal(Signal::SIGHUP);
    eventually("the reload is in effect", async || raw_get(&proxy, "/b").await.contains("two: GET /b")).await;
    slow.await.unwrap();

    // What cannot be read, or needs a restart, changes nothing.
    for wrong in [format!("{changed}\nodd = 1\n"), changed.replace("state = \"state\"", "state = \"other\"")] {
        std::fs::write(proxy.config(), wrong).unwrap();
        proxy.signal(Signal::SIGHUP);
    }
    eventually("both were refused", async || {
        let log = std::fs::read_to_string(proxy.folder().join("log-1")).unwrap();
        log.contains("there is no such key") || log.contains("these need a restart: state")
    })
    .await;
    assert!(raw_get(&proxy, "/c").await.contains("two: GET /c"));

    let last = tokio::spawn({
        let address = proxy.address();
        async move { raw(address, b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n").await }
    });
    eventually("it is under way", async || two.paths().contains(&"/slow".to_owned())).await;
    let mut socket = TcpStream::connect(proxy.address()).await.unwrap();
    socket.write_all(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    eventually("so is this", async || two.paths().iter().filter(|path| *path == "/slow").count() == 2).await;
    proxy.signal(Signal::SIGTERM);
    let mut answer = Vec::new();
    let _ = socket.read_to_end(&mut answer).await;
    assert!(String::from_utf8_lossy(&answer).contains("two: GET /slow"), "{}", String::from_utf8_lossy(&answer));
    assert_eq!(proxy.ended().await, Some(0));
    drop(last);
    assert!(TcpStream::connect(proxy.address()).await.is_err());
}

#[test]
fn a_configuration_with_many_faults() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("router.toml");
    std::fs::write(&path, "format = 2\n[admin]\nadress = \"x\"\n[[listen]]\nname = \"a\"\n[limits]\nbody_bytes = \"1\"\n")
        .unwrap();
    for words in [vec!["route", "check"], vec!["route"], vec!["route", "get"]] {
        let ran = Ran::of(crossfade().args(words).arg(&path).output().unwrap()).exits(2);
        for said in [
            ":1: format: expected",
            ":1: state: is missing",
            "did you mean `address`?",
            ":4: listen.address: is missing",
            ":4: listen.blue: is missing",
            ":4: listen.green: is missing",
            ":7: limits.body_bytes: expected a whole number",
            "problems in the configuration; nothing was started",
        ] {
            assert!(ran.stderr.contains(said), "{said} is missing in\n{}", ran.stderr);
        }
    }
    let shipped = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("plans/router.toml");
    Ran::of(crossfade().args(["route", "check"]).arg(shipped).output().unwrap()).exits(0);
}
