//! The listeners and the threads that serve them: one runtime per thread, so that a request never changes its core.

use std::net::{SocketAddr, TcpListener as StdListener};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::router::config::Limits;
use crate::router::core::Core;
use crate::router::forward::Place;
use crate::router::headers::Sender;
use crate::router::metrics::Event;
use crate::router::proxy::serve;
use crate::router::socket::Socket;

/// The listening sockets of a router, open from the start so that no address is missing later.
pub struct Listeners(Vec<StdListener>);

impl Listeners {
    /// Opens all of them.
    ///
    /// # Errors
    /// Names every address that cannot be had.
    pub fn open(addresses: &[(String, SocketAddr)]) -> anyhow::Result<Self> {
        let mut open = Vec::new();
        let mut wrong = Vec::new();
        for (name, address) in addresses {
            match StdListener::bind(address).and_then(|listener| listener.set_nonblocking(true).map(|()| listener)) {
                Ok(listener) => open.push(listener),
                Err(error) => wrong.push(format!("listener {name} cannot have {address}: {error}")),
            }
        }
        if wrong.is_empty() { Ok(Self(open)) } else { anyhow::bail!(wrong.join("; ")) }
    }

    /// The addresses, with the ports that the system chose.
    ///
    /// # Errors
    /// When the system does not say.
    pub fn addresses(&self) -> anyhow::Result<Vec<SocketAddr>> {
        self.0.iter().map(|listener| Ok(listener.local_addr()?)).collect()
    }

    /// Starts the threads. They end when the core stops and their connections have ended, or the time for that is over.
    ///
    /// # Errors
    /// When the system gives no threads.
    pub fn serve(self, core: &Arc<Core>) -> anyhow::Result<Vec<JoinHandle<()>>> {
        let settings = core.settings();
        let room = Arc::new(Semaphore::new(settings.config.limits.connections));
        let mut threads = Vec::new();
        for thread in 0..settings.config.threads {
            let own: Vec<StdListener> = self.0.iter().map(StdListener::try_clone).collect::<Result<_, _>>()?;
            let (core, room) = (Arc::clone(core), Arc::clone(&room));
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let run = move || {
                runtime.block_on(work(&core, thread, own, room));
                runtime.shutdown_background();
            };
            threads.push(std::thread::Builder::new().name(format!("route-{thread}")).spawn(run).context("no thread to serve")?);
        }
        Ok(threads)
    }
}

/// A timer that ends before every other one wakes the thread when it begins, as the time limit of each request would: a system call
/// and a wake-up for nothing. So there is always one that ends sooner.
const NEAR: Duration = Duration::from_millis(100);

/// One thread: takes connections until the router stops, then waits for them.
async fn work(core: &Arc<Core>, thread: usize, listeners: Vec<StdListener>, room: Arc<Semaphore>) {
    tokio::spawn(async {
        let mut near = tokio::time::interval(NEAR);
        loop {
            near.tick().await;
        }
    });
    let open = tokio_util::task::TaskTracker::new();
    for (listener, socket) in listeners.into_iter().enumerate() {
        let Ok(socket) = TcpListener::from_std(socket) else { continue };
        let (core, room, connections) = (Arc::clone(core), Arc::clone(&room), open.clone());
        open.spawn(async move {
            tokio::select! {
                () = core.stopping.cancelled() => {}
                () = accept(&core, thread, listener, socket, room, connections) => {}
            }
        });
    }
    core.stopping.cancelled().await;
    open.close();
    tokio::select! {
        () = async { open.wait().await; core.tasks.wait().await } => {}
        () = core.stopped.cancelled() => {}
    }
}

async fn accept(
    core: &Arc<Core>,
    thread: usize,
    listener: usize,
    socket: TcpListener,
    room: Arc<Semaphore>,
    connections: tokio_util::task::TaskTracker,
) {
    let port = socket.local_addr().map(|address| address.port()).unwrap_or_default();
    loop {
        let Ok(seat) = Arc::clone(&room).acquire_owned().await else { return };
        let (stream, peer) = match socket.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of file descriptors, most likely: those in use will come back.
                tracing::warn!("no connection can be accepted: {error}");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        core.metrics.happened(Event::Connection);
        let _ = stream.set_nodelay(true);
        let tls = core.settings().config.listen[listener].tls.is_some();
        let sender = Sender { peer: peer.ip(), tls, port };
        connections.spawn(connection(Place { core: Arc::clone(core), thread, listener, sender }, stream, seat));
    }
}

async fn connection(place: Place, stream: TcpStream, _seat: OwnedSemaphorePermit) {
    let settings = place.core.settings();
    let limits = settings.config.limits;
    let acceptor = settings.acceptors[place.listener].clone();
    drop(settings);
    let failed = Arc::clone(&place.core);
    let greeted = async {
        match acceptor {
            None => speaks_h2(&stream).await.map(|h2| (h2, Greeted::Plain(stream))),
            Some(acceptor) => {
                let stream = Box::pin(acceptor.accept(stream)).await.ok()?;
                let h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
                Some((h2, Greeted::Tls(Box::new(stream))))
            }
        }
    };
    match tokio::time::timeout(limits.head_time, greeted).await.ok().flatten() {
        Some((false, Greeted::Plain(stream))) => speak_h1(place, stream, limits).await,
        Some((false, Greeted::Tls(stream))) => Box::pin(speak_h1(place, *stream, limits)).await,
        Some((true, Greeted::Plain(stream))) => Box::pin(speak_h2(place, stream, limits)).await,
        Some((true, Greeted::Tls(stream))) => Box::pin(speak_h2(place, *stream, limits)).await,
        None => failed.metrics.happened(Event::ClientFailed),
    }
}

enum Greeted {
    Plain(TcpStream),
    Tls(Box<tokio_rustls::server::TlsStream<TcpStream>>),
}

/// Whether a client begins with the preface of HTTP/2 (RFC 9113 section 3.4), as soon as that can be told; `None` when it goes.
async fn speaks_h2(stream: &TcpStream) -> Option<bool> {
    const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    let mut begin = [0; PREFACE.len()];
    loop {
        let length = stream.peek(&mut begin).await.ok().filter(|length| *length > 0)?;
        if begin[..length] != PREFACE[..length] {
            return Some(false);
        }
        if length == PREFACE.len() {
            return Some(true);
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn speak_h1<T>(place: Place, stream: T, limits: Limits)
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(limits.head_time).max_buf_size(limits.head);
    let core = Arc::clone(&place.core);
    let service = service_fn(move |request| serve(place.clone(), request));
    let io = TokioIo::new(Socket::new(stream, limits.write_pause));
    let mut connection = std::pin::pin!(builder.serve_connection(io, service).with_upgrades());
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = core.stopping.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if ended.is_err() {
        core.metrics.happened(Event::ClientFailed);
    }
}

async fn speak_h2<T>(place: Place, stream: T, limits: Limits)
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .keep_alive_interval(limits.head_time)
        .max_concurrent_streams(256)
        .max_header_list_size(u32::try_from(limits.head).unwrap_or(u32::MAX));
    let core = Arc::clone(&place.core);
    let service = service_fn(move |request| serve(place.clone(), request));
    let io = TokioIo::new(Socket::new(stream, limits.write_pause));
    let mut connection = std::pin::pin!(builder.serve_connection(io, service));
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = core.stopping.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if ended.is_err() {
        core.metrics.happened(Event::ClientFailed);
    }
}
