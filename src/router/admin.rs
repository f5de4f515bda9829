//! Where a router is asked and told: HTTP/1.1 on a Unix socket of mode 0600, or on the loopback interface with a token.
//!
//! `GET /health`, `GET /ready`, `GET /route`, `POST /route` (compare and set), `GET /metrics`, `GET /taps`, `POST /forget`.

use std::convert::Infallible;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE};
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use ring::rand::{SecureRandom, SystemRandom};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use zeroize::Zeroizing;

use crate::router::config::AdminConfig;
use crate::router::core::Core;
use crate::router::durable::private;
use crate::router::route::{Change, Position, Refused, Route};
use crate::router::shared::Shared;
use crate::terms::Side;

/// How one router stands to the route.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instance {
    /// Its name.
    pub name: String,
    /// The epoch it goes by.
    pub epoch: u64,
    /// Requests on blue that have not ended.
    pub blue: u64,
    /// Requests on green that have not ended.
    pub green: u64,
    /// Requests parked.
    pub parked: u64,
    /// How long ago it said so, in milliseconds.
    pub age_ms: u64,
}

/// The route and who goes by it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The route.
    pub route: Route,
    /// Where the asked router lets requests go at the moment.
    pub position: Position,
    /// Every router that follows the route and has not said good-bye.
    pub instances: Vec<Instance>,
}

/// Which repeated answers end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Forget {
    /// Those of this client; all of them without one.
    pub client_id: Option<String>,
}

/// What answers the questions.
pub struct Admin {
    core: Arc<Core>,
    shared: Option<Arc<Shared>>,
    token: Option<Zeroizing<String>>,
    taps: Option<PathBuf>,
}

impl Admin {
    /// Opens the socket and answers until the router stops.
    ///
    /// # Errors
    /// When the socket or the token file cannot be had.
    pub async fn start(core: Arc<Core>, shared: Option<Arc<Shared>>) -> anyhow::Result<AdminConfig> {
        let config = core.settings().config.clone();
        let taps = config.tap.map(|tap| tap.folder);
        let stopped = core.stopped.clone();
        match config.admin {
            AdminConfig::Socket(path) => {
                let listener = listen(&path)?;
                let admin = Arc::new(Self { core, shared, token: None, taps });
                let at = AdminConfig::Socket(path.clone());
                tokio::spawn(async move {
                    while let Some(Ok((socket, _))) = stopped.run_until_cancelled(listener.accept()).await {
                        tokio::spawn(Arc::clone(&admin).speak(socket));
                    }
                    let _ = std::fs::remove_file(path);
                });
                Ok(at)
            }
            AdminConfig::Loopback(address, token_file) => {
                let token = Some(token(&token_file)?);
                let listener = TcpListener::bind(address).await.with_context(|| format!("cannot have {address}"))?;
                let at = AdminConfig::Loopback(listener.local_addr()?, token_file);
                let admin = Arc::new(Self { core, shared, token, taps });
                tokio::spawn(async move {
                    while let Some(accepted) = stopped.run_until_cancelled(listener.accept()).await {
                        if let Ok((socket, _)) = accepted {
                            tokio::spawn(Arc::clone(&admin).speak(socket));
                        }
                    }
                });
                Ok(at)
            }
        }
    }

    async fn speak<T: AsyncRead + AsyncWrite + Unpin + Send + 'static>(self: Arc<Self>, socket: T) {
        let service = service_fn(|request| self.answer(request));
        let mut builder = hyper::server::conn::http1::Builder::new();
        builder.timer(TokioTimer::new()).header_read_timeout(std::time::Duration::from_secs(30));
        let stopped = self.core.stopped.clone();
        let connection = builder.serve_connection(TokioIo::new(socket), service);
        let _ = stopped.run_until_cancelled(connection).await;
    }

    async fn answer(&self, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
        let (status, kind, body) = match self.allowed(&request) {
            false => (401, JSON, json!({"error": "the token is missing or wrong"}).to_string()),
            true => self.respond(request).await,
        };
        let response = Response::builder().status(status).header(CONTENT_TYPE, kind).body(Full::new(Bytes::from(body)));
        Ok(response.unwrap_or_default())
    }

    fn allowed(&self, request: &Request<Incoming>) -> bool {
        let Some(token) = &self.token else { return true };
        let shown = request.headers().get(AUTHORIZATION).and_then(|value| value.as_bytes().strip_prefix(b"Bearer "));
        let digest = |text: &[u8]| self.core.digester.of("admin", &[text]);
        shown.is_some_and(|shown| digest(shown) == digest(token.as_bytes())) // compared as digests: says nothing by its time
    }

    async fn respond(&self, request: Request<Incoming>) -> (u16, &'static str, String) {
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let result = match (&method, path.as_str()) {
            (&Method::GET, "/health") => Ok(json!({"health": "ok"})),
            (&Method::GET, "/ready") => return self.ready(),
            (&Method::GET, "/metrics") => return (200, "text/plain; version=0.0.4", self.core.metrics.text(&self.core.gauges())),
            (&Method::GET, "/route") => self.status().await.and_then(|status| Ok(serde_json::to_value(status)?)),
            (&Method::GET, "/taps") => self.taps(),
            (&Method::POST, "/route") => match document::<Change>(request).await {
                Ok(change) => return self.change(&change).await,
                Err(error) => return refusal(400, &error),
            },
            (&Method::POST, "/forget") => document::<Forget>(request).await.map(|forget| self.forget(&forget)),
            _ => return refusal(404, &anyhow::anyhow!("there is no {method} {path} here")),
        };
        match result {
            Ok(body) => (200, JSON, body.to_string()),
            Err(error) => refusal(500, &error),
        }
    }

    fn ready(&self) -> (u16, &'static str, String) {
        let position = self.core.keeper.gate().position();
        let ready = !self.core.stopping.is_cancelled();
        (if ready { 200 } else { 503 }, JSON, json!({"ready": ready, "position": position}).to_string())
    }

    async fn status(&self) -> anyhow::Result<Status> {
        let gauges = self.core.gauges();
        let own = || Instance {
            name: self.core.settings().config.name.clone(),
            epoch: gauges.epoch,
            blue: gauges.in_flight[Side::Blue as usize],
            green: gauges.in_flight[Side::Green as usize],
            parked: gauges.parked as u64,
            age_ms: 0,
        };
        let position = self.core.keeper.gate().position();
        match &self.shared {
            None => Ok(Status { route: self.core.keeper.route(), position, instances: vec![own()] }),
            Some(shared) => {
                let (route, instances) = shared.read().await?;
                Ok(Status { route, position, instances })
            }
        }
    }

    async fn change(&self, change: &Change) -> (u16, &'static str, String) {
        let changed = match &self.shared {
            None => self.core.keeper.change(change),
            Some(shared) => shared.change(change).await,
        };
        match changed {
            Ok(route) => {
                tracing::info!(epoch = route.epoch, "the route is {}", route.position);
                (200, JSON, json!(route).to_string())
            }
            Err(refused) => {
                let status = match refused {
                    Refused::Moved { .. } => 409,
                    Refused::NoDeadline => 400,
                    Refused::NotKept(_) => 500,
                };
                refusal(status, &refused.into())
            }
        }
    }

    fn taps(&self) -> anyhow::Result<serde_json::Value> {
        let Some(folder) = &self.taps else { return Ok(json!({"taps": []})) };
        let taps = crate::router::tap::read(folder)?;
        let list = taps.values().map(|(tap, status)| {
            json!({"tap": tap.tap, "at_ms": tap.at_ms, "side": tap.side, "listener": tap.listener, "kind": tap.kind, "digest": tap.digest, "status": status})
        });
        Ok(json!({"taps": list.collect::<Vec<_>>()}))
    }

    fn forget(&self, forget: &Forget) -> serde_json::Value {
        let client = forget.client_id.as_ref().map(|id| self.core.digester.of("client", &[id.as_bytes()]));
        self.core.with_ledger(|ledger| match &client {
            Some(client) => ledger.forget_client(client),
            None => ledger.forget_all(),
        });
        json!({"forgotten": true})
    }
}

const JSON: &str = "application/json";

fn refusal(status: u16, error: &anyhow::Error) -> (u16, &'static str, String) {
    (status, JSON, json!({"error": format!("{error:#}")}).to_string())
}

async fn document<T: serde::de::DeserializeOwned>(request: Request<Incoming>) -> anyhow::Result<T> {
    let body = Limited::new(request.into_body(), 64 * 1024).collect().await;
    let body = body.map_err(|_| anyhow::anyhow!("the body is too long, or broke off"))?.to_bytes();
    serde_json::from_slice(&body).context("the body is not what this address takes")
}

/// A Unix socket that only its owner may open. One that a killed router left is replaced.
fn listen(path: &Path) -> anyhow::Result<UnixListener> {
    let cannot = || format!("cannot have the admin socket {}", path.display());
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).with_context(cannot)?;
    }
    if std::os::unix::net::UnixStream::connect(path).is_ok() {
        bail!("{}: somebody answers there already", cannot());
    }
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error).with_context(cannot),
        _ => {}
    }
    // Made under a name of its own and given its mode before it gets its name: nobody comes in between.
    let fresh = path.with_extension(format!("{}.new", std::process::id()));
    let _ = std::fs::remove_file(&fresh);
    let listener = UnixListener::bind(&fresh).with_context(cannot)?;
    std::fs::set_permissions(&fresh, std::fs::Permissions::from_mode(0o600)).with_context(cannot)?;
    std::fs::rename(&fresh, path).with_context(cannot)?;
    Ok(listener)
}

/// The token that callers must show; drawn when there is none yet.
///
/// # Errors
/// When others may read the file.
fn token(path: &Path) -> anyhow::Result<Zeroizing<String>> {
    if !path.exists() {
        let mut bytes = Zeroizing::new([0u8; 32]);
        SystemRandom::new().fill(&mut *bytes).map_err(|_| anyhow::anyhow!("the system gives no random numbers"))?;
        let text: Zeroizing<String> = Zeroizing::new(bytes.iter().map(|byte| format!("{byte:02x}")).collect());
        let mut file = private(path, true).with_context(|| format!("cannot write {}", path.display()))?;
        std::io::Write::write_all(&mut file, text.as_bytes())?;
        file.sync_all()?;
    }
    let read = || -> std::io::Result<_> { Ok((std::fs::metadata(path)?.mode(), std::fs::read_to_string(path)?)) };
    let (mode, text) = read().with_context(|| format!("cannot read {}", path.display()))?;
    let text = Zeroizing::new(text);
    if mode & 0o077 != 0 {
        bail!("others may read {}: chmod 600 it, and draw a new token (remove the file)", path.display());
    }
    if text.trim().len() < 16 {
        bail!("{} holds no token of at least 16 characters; remove it and a new one is drawn", path.display());
    }
    Ok(Zeroizing::new(text.trim().to_owned()))
}
