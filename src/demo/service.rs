//! A small OAuth service over HTTP/1.1 on the loopback interface. Which database it speaks to, and whether it writes, can be
//! changed while it runs.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, RwLock};

use anyhow::{Context, Result};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER};
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::grant::perform;
use super::{Call, Pool, Refusal, Store};

/// The running service. Dropping it closes it.
pub struct Service {
    address: SocketAddr,
    state: Arc<State>,
    _open: DropGuard,
}

struct State {
    target: RwLock<Arc<Target>>,
    read_only: AtomicBool,
    families_revoked: AtomicU64,
}

struct Target {
    pool: Pool,
    store: &'static Store,
}

impl Service {
    /// Starts it on a free port.
    ///
    /// # Errors
    /// When the loopback interface has no port for us.
    pub async fn start(pool: Pool, store: &'static Store) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.context("the OAuth service finds no port")?;
        let address = listener.local_addr()?;
        let target = RwLock::new(Arc::new(Target { pool, store }));
        let state = Arc::new(State { target, read_only: AtomicBool::new(false), families_revoked: AtomicU64::new(0) });
        let closed = CancellationToken::new();
        tokio::spawn(accept(listener, Arc::clone(&state), closed.clone()));
        Ok(Self { address, state, _open: closed.drop_guard() })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many token families it has ended because a refresh token came a second time.
    pub fn families_revoked_by_reuse(&self) -> u64 {
        self.state.families_revoked.load(Ordering::Acquire)
    }

    /// From now on calls that would write answer 503, or are done again.
    pub fn set_read_only(&self, read_only: bool) {
        self.state.read_only.store(read_only, Ordering::Release);
    }

    /// Requests that come from now on go to another database; those that are being answered end where they began.
    pub fn switch(&self, pool: Pool, store: &'static Store) {
        let target = Arc::new(Target { pool, store });
        match self.state.target.write() {
            Ok(mut current) => *current = target,
            Err(poisoned) => *poisoned.into_inner() = target,
        }
    }
}

async fn accept(listener: TcpListener, state: Arc<State>, closed: CancellationToken) {
    loop {
        let socket = tokio::select! {
            () = closed.cancelled() => return,
            socket = listener.accept() => socket,
        };
        let Ok((socket, _)) = socket else { continue };
        let _ = socket.set_nodelay(true);
        let (state, closed) = (Arc::clone(&state), closed.clone());
        tokio::spawn(async move {
            let service = service_fn(|request| answer(&state, request));
            let connection = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .serve_connection(TokioIo::new(socket), service);
            tokio::select! {
                () = closed.cancelled() => {}
                _ = connection => {}
            }
        });
    }
}

async fn answer(state: &State, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let (status, body) = match respond(state, request).await {
        Ok(body) => (200, body),
        Err(error) => match error.downcast_ref::<Refusal>() {
            Some(refusal) => {
                if *refusal == Refusal::FamilyRevoked {
                    state.families_revoked.fetch_add(1, Ordering::AcqRel);
                }
                (refusal.status(), json!({"error": refusal.to_string()}))
            }
            None => {
                tracing::warn!(error = crate::pg::explain(&error), "the OAuth service could not answer");
                (500, json!({"error": "server_error"}))
            }
        },
    };
    let mut response =
        Response::builder().status(status).header(CONTENT_TYPE, "application/json").header(CACHE_CONTROL, "no-store");
    if status == 503 {
        response = response.header(RETRY_AFTER, "1");
    }
    Ok(response.body(Full::new(Bytes::from(body.to_string()))).unwrap_or_default())
}

async fn respond(state: &State, request: Request<Incoming>) -> Result<Value> {
    if request.method() != Method::POST {
        return Err(Refusal::NotFound.into());
    }
    let path = request.uri().path().to_owned();
    let authorization = request.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let body = Limited::new(request.into_body(), 64 * 1024).collect().await.map_err(|_| Refusal::InvalidRequest)?.to_bytes();
    let call = Call::parse(&path, authorization.as_deref(), &String::from_utf8_lossy(&body))?;
    if call.writes() && state.read_only.load(Ordering::Acquire) {
        return Err(Refusal::ReadOnly.into());
    }
    let target = match state.target.read() {
        Ok(current) => Arc::clone(&current),
        Err(poisoned) => Arc::clone(&poisoned.into_inner()),
    };
    let mut lease = target.pool.lease().await?;
    match perform(&mut lease, target.store, &call).await {
        // 0A000, "cached plan must not change result type": nothing was done, and a new plan will do.
        Err(error) if error.downcast_ref::<tokio_postgres::Error>().is_some_and(|e| crate::pg::sqlstate(e) == "0A000") => {
            lease.forget();
            perform(&mut lease, target.store, &call).await
        }
        other => other,
    }
}
