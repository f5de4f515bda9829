//! Connections to one target, kept alive and used again, by one thread.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper::{Method, Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio_rustls::TlsConnector;

use crate::router::body::Outgoing;
use crate::router::config::{Target, UpstreamConfig};

/// Why a target gave no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// No connection: it was not asked.
    #[error("cannot be reached")]
    Unreachable,
    /// The connection ended before the answer: whether it did what was asked is not known.
    #[error("broke off")]
    Broken,
    /// No answer in time: whether it did what was asked is not known.
    #[error("gave no answer in time")]
    Late,
}

/// Connections to one target.
pub struct Pool {
    target: Target,
    config: UpstreamConfig,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    idle: Mutex<VecDeque<(http1::SendRequest<Outgoing>, Instant)>>,
    shared: tokio::sync::Mutex<Option<http2::SendRequest<Outgoing>>>,
    /// Places for requests; who waits for one waits in order.
    pub places: Arc<Semaphore>,
}

/// The connection that an answer comes from.
pub struct Lease(Option<(Arc<Pool>, http1::SendRequest<Outgoing>)>);

impl Lease {
    /// The answer has ended: the connection may be used again.
    pub fn done(self) {
        let Some((pool, mut sender)) = self.0 else { return };
        if sender.is_ready() {
            pool.put(sender);
        } else if !sender.is_closed() {
            tokio::spawn(async move {
                if sender.ready().await.is_ok() {
                    pool.put(sender);
                }
            });
        }
    }
}

impl Pool {
    /// No connections yet. `tls` is for targets that speak it.
    ///
    /// # Errors
    /// When the target's host is no name that a certificate can have.
    pub fn new(target: &Target, config: &UpstreamConfig, tls: &TlsConnector) -> anyhow::Result<Arc<Self>> {
        let tls = match target.tls {
            true => Some((tls.clone(), ServerName::try_from(target.host.clone())?)),
            false => None,
        };
        Ok(Arc::new(Self {
            target: target.clone(),
            config: config.clone(),
            tls,
            idle: Mutex::default(),
            shared: tokio::sync::Mutex::default(),
            places: Arc::new(Semaphore::new(config.requests)),
        }))
    }

    /// The target.
    pub fn target(&self) -> &Target {
        &self.target
    }

    fn put(&self, sender: http1::SendRequest<Outgoing>) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.front().is_some_and(|(sender, since)| sender.is_closed() || since.elapsed() > self.config.idle) {
            idle.pop_front();
        }
        if idle.len() < self.config.requests {
            idle.push_back((sender, Instant::now()));
        }
    }

    fn take(&self) -> Option<http1::SendRequest<Outgoing>> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some((sender, since)) = idle.pop_back() {
            if sender.is_ready() && since.elapsed() <= self.config.idle {
                return Some(sender);
            }
        }
        None
    }

    /// Sends a request. One that was not written because its connection had just been closed is written to another; one that
    /// was written is only sent again if it asks for nothing but a look and a kept-alive connection broke under it.
    ///
    /// # Errors
    /// Why there is no answer.
    pub async fn send(self: &Arc<Self>, mut request: Request<Outgoing>) -> Result<(Response<Incoming>, Lease), Failure> {
        if self.target.http2 {
            return Box::pin(self.send_h2(request)).await;
        }
        let mut used = true;
        loop {
            let mut sender = match self.take().filter(|_| used) {
                Some(sender) => sender,
                None => {
                    used = false;
                    Box::pin(self.connect_h1()).await?
                }
            };
            let again = match (used, request.method(), request.body().is_empty()) {
                (true, &Method::GET | &Method::HEAD | &Method::OPTIONS, true) => Some(copy(&request)),
                _ => None,
            };
            let mut error = match sender.try_send_request(request).await {
                Ok(response) => return Ok((response, Lease(Some((Arc::clone(self), sender))))),
                Err(error) => error,
            };
            request = match error.take_message().or(again) {
                Some(request) if used => request,
                _ => return Err(Failure::Broken),
            };
            // A closed connection is often not alone: the next try has its own.
            used = false;
        }
    }

    async fn send_h2(self: &Arc<Self>, request: Request<Outgoing>) -> Result<(Response<Incoming>, Lease), Failure> {
        let mut sender = {
            let mut shared = self.shared.lock().await;
            match &*shared {
                Some(sender) if !sender.is_closed() => sender.clone(),
                _ => {
                    let sender = self.connect_h2().await?;
                    shared.insert(sender).clone()
                }
            }
        };
        match sender.try_send_request(request).await {
            Ok(response) => Ok((response, Lease(None))),
            Err(mut error) => match error.take_message() {
                Some(request) => {
                    let mut sender = self.connect_h2().await?;
                    *self.shared.lock().await = Some(sender.clone());
                    let sent = sender.send_request(request).await.map_err(|_| Failure::Broken)?;
                    Ok((sent, Lease(None)))
                }
                None => Err(Failure::Broken),
            },
        }
    }

    async fn connect_h1(&self) -> Result<http1::SendRequest<Outgoing>, Failure> {
        let connect = async {
            match self.dial().await? {
                Dialed::Plain(io) => self.greet_h1(io).await,
                Dialed::Tls(io) => self.greet_h1(*io).await,
            }
        };
        tokio::time::timeout(self.config.connect, connect).await.unwrap_or(Err(Failure::Unreachable))
    }

    async fn greet_h1<T>(&self, io: T) -> Result<http1::SendRequest<Outgoing>, Failure>
    where
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (sender, connection) = http1::Builder::new().handshake(TokioIo::new(io)).await.map_err(|_| Failure::Unreachable)?;
        tokio::spawn(connection.with_upgrades());
        Ok(sender)
    }

    async fn connect_h2(&self) -> Result<http2::SendRequest<Outgoing>, Failure> {
        let connect = async {
            match self.dial().await? {
                Dialed::Plain(io) => greet_h2(io).await,
                Dialed::Tls(io) => greet_h2(*io).await,
            }
        };
        tokio::time::timeout(self.config.connect, connect).await.unwrap_or(Err(Failure::Unreachable))
    }

    async fn dial(&self) -> Result<Dialed, Failure> {
        let address = (self.target.host.as_str(), self.target.port);
        let socket = TcpStream::connect(address).await.map_err(|_| Failure::Unreachable)?;
        let _ = socket.set_nodelay(true); // slower without it, not wrong
        match &self.tls {
            None => Ok(Dialed::Plain(socket)),
            Some((connector, name)) => match connector.connect(name.clone(), socket).await {
                Ok(stream) => Ok(Dialed::Tls(Box::new(stream))),
                Err(error) => {
                    tracing::warn!(host = self.target.host, port = self.target.port, "no TLS with the upstream: {error}");
                    Err(Failure::Unreachable)
                }
            },
        }
    }
}

enum Dialed {
    Plain(TcpStream),
    Tls(Box<tokio_rustls::client::TlsStream<TcpStream>>),
}

async fn greet_h2<T>(io: T) -> Result<http2::SendRequest<Outgoing>, Failure>
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder.timer(TokioTimer::new()).keep_alive_interval(std::time::Duration::from_secs(20));
    let (sender, connection) = builder.handshake(TokioIo::new(io)).await.map_err(|_| Failure::Unreachable)?;
    tokio::spawn(connection);
    Ok(sender)
}

/// The same request without a body.
fn copy(request: &Request<Outgoing>) -> Request<Outgoing> {
    let mut again = Request::new(Outgoing::Whole(None));
    *again.method_mut() = request.method().clone();
    *again.uri_mut() = request.uri().clone();
    *again.headers_mut() = request.headers().clone();
    *again.version_mut() = request.version();
    again
}
