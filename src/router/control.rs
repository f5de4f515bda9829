//! The other end of [`crate::router::admin`]: what a cutover, `watch` and the command line ask of a router.

use std::time::Duration;

use anyhow::{Context, bail};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::header::{AUTHORIZATION, HOST};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tokio::net::{TcpStream, UnixStream};
use tokio::time::Instant;

use crate::router::admin::{Forget, Instance, Status};
use crate::router::config::AdminConfig;
use crate::router::route::{Change, Route};
use crate::terms::Side;

/// Longest time a router may take for an answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// How a change ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Changed {
    /// The route is this now.
    Done(Route),
    /// Somebody changed it in between; the router's words.
    Moved(String),
}

/// Why routers did not all go by an epoch in time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not every router goes by epoch {epoch} with nothing in flight on {side}: {}", .behind.iter().map(said).collect::<Vec<_>>().join("; "))]
pub struct Behind {
    /// The epoch that was waited for.
    pub epoch: u64,
    /// The side that was to be drained.
    pub side: String,
    /// The routers that were behind at the end.
    pub behind: Vec<Instance>,
}

fn said(instance: &Instance) -> String {
    let Instance { name, epoch, blue, green, age_ms, .. } = instance;
    format!("{name} said {age_ms} ms ago: epoch {epoch}, {blue} in flight on blue, {green} on green")
}

/// Asks and tells one router. With a shared route it speaks for all of them.
#[derive(Debug, Clone)]
pub struct Control {
    admin: AdminConfig,
}

impl Control {
    /// For the router that listens there.
    pub fn new(admin: AdminConfig) -> Self {
        Self { admin }
    }

    /// The route and who goes by it.
    ///
    /// # Errors
    /// When the router does not answer.
    pub async fn status(&self) -> anyhow::Result<Status> {
        self.document(Method::GET, "/route").await
    }

    /// Changes the route, unless somebody did since the epoch in `change`.
    ///
    /// # Errors
    /// When the router does not answer, or says why it cannot. Whether the change came true is not known then: ask
    /// [`Control::status`].
    pub async fn change(&self, change: &Change) -> anyhow::Result<Changed> {
        let (status, body) = self.ask(Method::POST, "/route", serde_json::to_vec(change)?).await?;
        match status {
            StatusCode::OK => Ok(Changed::Done(serde_json::from_slice(&body).context("the router's answer is no route")?)),
            StatusCode::CONFLICT => Ok(Changed::Moved(words(&body))),
            _ => bail!("the router refuses: {}", words(&body)),
        }
    }

    /// Waits until every router that spoke in the last `live_for` goes by `epoch` or a later one; with `drained`, until none of
    /// them has a request in flight there either.
    ///
    /// # Errors
    /// [`Behind`] when `within` is over, or the router's own error when it does not answer.
    pub async fn wait(
        &self,
        epoch: u64,
        drained: Option<Side>,
        live_for: Duration,
        within: Duration,
    ) -> anyhow::Result<Vec<Instance>> {
        let deadline = Instant::now() + within;
        loop {
            let instances = self.status().await?.instances;
            let live = instances.into_iter().filter(|instance| u128::from(instance.age_ms) <= live_for.as_millis());
            let (there, behind): (Vec<_>, Vec<_>) = live.partition(|instance| {
                let in_flight = match drained {
                    Some(Side::Blue) => instance.blue,
                    Some(Side::Green) => instance.green,
                    None => 0,
                };
                instance.epoch >= epoch && in_flight == 0
            });
            if behind.is_empty() && !there.is_empty() {
                return Ok(there);
            }
            if Instant::now() >= deadline {
                let side = drained.map_or("no side".to_owned(), |side| side.to_string());
                return Err(Behind { epoch, side, behind }.into());
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// The counters in Prometheus' text form.
    ///
    /// # Errors
    /// When the router does not answer.
    pub async fn metrics(&self) -> anyhow::Result<String> {
        let (status, body) = self.ask(Method::GET, "/metrics", Vec::new()).await?;
        if status != StatusCode::OK {
            bail!("the router refuses: {}", words(&body));
        }
        Ok(String::from_utf8_lossy(&body).into_owned())
    }

    /// The recorded revocations, without what is sealed.
    ///
    /// # Errors
    /// When the router does not answer.
    pub async fn taps(&self) -> anyhow::Result<serde_json::Value> {
        self.document(Method::GET, "/taps").await
    }

    /// Ends repeated answers: of a client, or all.
    ///
    /// # Errors
    /// When the router does not answer.
    pub async fn forget(&self, client_id: Option<String>) -> anyhow::Result<()> {
        let (status, body) = self.ask(Method::POST, "/forget", serde_json::to_vec(&Forget { client_id })?).await?;
        if status == StatusCode::OK { Ok(()) } else { bail!("the router refuses: {}", words(&body)) }
    }

    async fn document<T: for<'a> Deserialize<'a>>(&self, method: Method, path: &str) -> anyhow::Result<T> {
        let (status, body) = self.ask(method, path, Vec::new()).await?;
        if status != StatusCode::OK {
            bail!("the router refuses: {}", words(&body));
        }
        serde_json::from_slice(&body).context("the router's answer is of another form; is it of this version?")
    }

    async fn ask(&self, method: Method, path: &str, body: Vec<u8>) -> anyhow::Result<(StatusCode, Bytes)> {
        let mut request = Request::builder().method(method).uri(path).header(HOST, "crossfade");
        if let AdminConfig::Loopback(_, file) = &self.admin {
            let token = std::fs::read_to_string(file).with_context(|| format!("cannot read the token in {}", file.display()))?;
            request = request.header(AUTHORIZATION, format!("Bearer {}", token.trim()));
        }
        let request = request.body(Full::new(Bytes::from(body)))?;
        let exchange = async {
            match &self.admin {
                AdminConfig::Socket(path) => {
                    let socket = UnixStream::connect(path).await.with_context(|| not_there(&path.display().to_string()))?;
                    exchange(TokioIo::new(socket), request).await
                }
                AdminConfig::Loopback(address, _) => {
                    let socket = TcpStream::connect(address).await.with_context(|| not_there(&address.to_string()))?;
                    exchange(TokioIo::new(socket), request).await
                }
            }
        };
        tokio::time::timeout(PATIENCE, exchange).await.context("the router gives no answer in ten seconds")?
    }
}

fn not_there(place: &str) -> String {
    format!("no router answers at {place}; is it running?")
}

async fn exchange<T>(io: T, request: Request<Full<Bytes>>) -> anyhow::Result<(StatusCode, Bytes)>
where
    T: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
{
    let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await?;
    let connection = tokio::spawn(connection);
    let response = sender.send_request(request).await?;
    let status = response.status();
    let body = response.into_body().collect().await?.to_bytes();
    connection.abort();
    Ok((status, body))
}

/// The router's own words of a refusal.
fn words(body: &[u8]) -> String {
    let document: Option<serde_json::Value> = serde_json::from_slice(body).ok();
    let said = document.as_ref().and_then(|document| document["error"].as_str());
    said.map_or_else(|| String::from_utf8_lossy(body).into_owned(), str::to_owned)
}
