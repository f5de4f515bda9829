//! Sides for protocol tests: real HTTP servers that say what they got.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// What a side saw of one request.
#[derive(Debug, Clone)]
pub struct Seen {
    pub line: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Seen {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }
}

/// A running side.
pub struct Side {
    pub address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    connections: Arc<Mutex<usize>>,
    task: tokio::task::JoinHandle<()>,
}

impl Side {
    /// Answers every request with its name, the request line and the body it got. `/slow` answers after a while, `/stream` in
    /// pieces, `/upgrade` becomes an echo, `/empty` with 204.
    pub async fn start(name: &'static str) -> Self {
        Self::start_tls(name, None).await
    }

    pub async fn start_tls(name: &'static str, tls: Option<tokio_rustls::TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (seen, connections) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(0)));
        let (notes, count) = (Arc::clone(&seen), Arc::clone(&connections));
        let task = tokio::spawn(async move {
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                socket.set_nodelay(true).unwrap();
                *count.lock().unwrap() += 1;
                let (notes, tls) = (Arc::clone(&notes), tls.clone());
                tokio::spawn(async move {
                    let service = service_fn(move |request| answer(name, Arc::clone(&notes), request));
                    let builder = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
                    match tls {
                        None => drop(builder.serve_connection_with_upgrades(TokioIo::new(socket), service).await),
                        Some(tls) => {
                            let Ok(socket) = tls.accept(socket).await else { return };
                            let _ = builder.serve_connection_with_upgrades(TokioIo::new(socket), service).await;
                        }
                    }
                });
            }
        });
        Self { address, seen, connections, task }
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    pub fn paths(&self) -> Vec<String> {
        self.seen().iter().map(|seen| seen.line.split(' ').nth(1).unwrap().to_owned()).collect()
    }

    pub fn connections(&self) -> usize {
        *self.connections.lock().unwrap()
    }
}

impl Drop for Side {
    fn drop(&mut self) {
        self.task.abort();
    }
}

type Body = BoxBody<Bytes, Infallible>;

async fn answer(
    name: &str,
    notes: Arc<Mutex<Vec<Seen>>>,
    mut request: Request<Incoming>,
) -> Result<Response<Body>, hyper::Error> {
    let line = format!("{} {} {:?}", request.method(), request.uri(), request.version());
    let headers =
        request.headers().iter().map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()));
    let headers: Vec<_> = headers.collect();
    let path = request.uri().path().to_owned();
    if path == "/upgrade" {
        notes.lock().unwrap().push(Seen { line, headers, body: Vec::new() });
        let upgraded = hyper::upgrade::on(&mut request);
        tokio::spawn(async move {
            let mut socket = TokioIo::new(upgraded.await.unwrap());
            let mut buffer = [0; 64];
            while let Ok(length @ 1..) = socket.read(&mut buffer).await {
                socket.write_all(&buffer[..length].to_ascii_uppercase()).await.unwrap();
            }
        });
        let response = Response::builder().status(101).header("connection", "upgrade").header("upgrade", "echo");
        return Ok(response.body(Full::default().boxed()).unwrap());
    }
    let body = request.into_body().collect().await?.to_bytes().to_vec();
    notes.lock().unwrap().push(Seen { line: line.clone(), headers, body: body.clone() });
    let text = format!("{name}: {line}\n{}", String::from_utf8_lossy(&body));
    let response = Response::builder().header("x-side", name).header("connection", "x-between").header("x-between", "1");
    Ok(match path.as_str() {
        "/slow" => {
            tokio::time::sleep(Duration::from_millis(700)).await;
            response.body(Full::from(text).boxed()).unwrap()
        }
        "/stream" => {
            let pieces = futures_util::stream::unfold(0, |number| async move {
                if number > 0 {
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
                (number < 3).then(|| (Ok(Frame::data(Bytes::from(format!("piece {number}\n")))), number + 1))
            });
            response.body(StreamBody::new(pieces).boxed()).unwrap()
        }
        "/endless" => {
            let zeros = futures_util::stream::repeat_with(|| Ok(Frame::data(Bytes::from_static(&[b'0'; 65_536]))));
            response.body(StreamBody::new(zeros).boxed()).unwrap()
        }
        "/empty" => response.status(204).body(Full::default().boxed()).unwrap(),
        _ => response.body(Full::from(text).boxed()).unwrap(),
    })
}

/// A side with a reader of its own, which takes one way of saying a length and no other. Answers each request with its path.
pub struct Strict {
    pub address: SocketAddr,
    got: Arc<Mutex<Vec<Result<String, String>>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Strict {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let got = Arc::new(Mutex::new(Vec::new()));
        let notes = Arc::clone(&got);
        let task = tokio::spawn(async move {
            loop {
                let (mut socket, _) = listener.accept().await.unwrap();
                let notes = Arc::clone(&notes);
                tokio::spawn(async move {
                    let mut bytes = Vec::new();
                    while let Ok(1..) = socket.read_buf(&mut bytes).await {
                        while let Some((read, length)) = one_request(&bytes) {
                            bytes.drain(..length);
                            let path = read.clone().unwrap_or_default();
                            notes.lock().unwrap().push(read);
                            let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{path}", path.len());
                            let _ = socket.write_all(answer.as_bytes()).await;
                        }
                    }
                });
            }
        });
        Self { address, got, task }
    }

    /// The paths of the requests, or what was wrong with one.
    pub fn got(&self) -> Vec<Result<String, String>> {
        self.got.lock().unwrap().clone()
    }
}

impl Drop for Strict {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The first request of these bytes and how long it is; `None` while it is not all here.
fn one_request(bytes: &[u8]) -> Option<(Result<String, String>, usize)> {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let wrong = |what: &str| Some((Err(format!("{what} in {head}")), bytes.len()));
    let mut lines = head.trim_end().split("\r\n");
    let first: Vec<&str> = lines.next()?.split(' ').collect();
    if first.len() != 3 || first[2] != "HTTP/1.1" {
        return wrong("no request line");
    }
    let mut lengths = Vec::new();
    for line in lines {
        let Some((name, value)) = line.split_once(": ") else { return wrong("no header") };
        if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') || value.contains(['\n', '\0']) {
            return wrong("an odd header");
        }
        if ["content-length", "transfer-encoding"].contains(&name.to_lowercase().as_str()) {
            lengths.push(value.to_owned());
        }
    }
    let path = first[1].to_owned();
    match lengths.as_slice() {
        [] => Some((Ok(path), end)),
        [coding] if coding == "chunked" => {
            let mut at = end;
            loop {
                let line = bytes[at..].windows(2).position(|two| two == b"\r\n")?;
                let size = usize::from_str_radix(&String::from_utf8_lossy(&bytes[at..at + line]), 16);
                let Ok(size) = size else { return wrong("no chunk size") };
                at += line + 2 + size + 2;
                if bytes.len() < at {
                    return None;
                }
                if &bytes[at - 2..at] != b"\r\n" {
                    return wrong("no end of a chunk");
                }
                if size == 0 {
                    return Some((Ok(path), at));
                }
            }
        }
        [length] if length.bytes().all(|byte| byte.is_ascii_digit()) => {
            let all = end + length.parse::<usize>().unwrap();
            (bytes.len() >= all).then_some((Ok(path), all))
        }
        _ => wrong("more than one length"),
    }
}
