//! One request to a side: through the gate, with the head it must have there, and its answer.

use std::sync::Arc;
use std::time::Instant;

use hyper::body::Incoming;
use hyper::header::{HOST, HeaderMap, HeaderValue, UPGRADE};
use hyper::http::uri::{Authority, PathAndQuery, Scheme};
use hyper::{Method, Request, Response, StatusCode, Uri, Version};
use tokio::sync::OwnedSemaphorePermit;

use crate::router::body::{Outgoing, Ride, Verdict};
use crate::router::core::{Core, Settings};
use crate::router::gate::{Away, Pass};
use crate::router::headers::{Sender, forwarded, strip_hop_by_hop};
use crate::router::metrics::Event;
use crate::router::oauth::Operation;
use crate::router::pool::{Failure, Lease, Pool};
use crate::terms::Side;

/// Where a request came in.
#[derive(Clone)]
pub struct Place {
    /// What all threads share.
    pub core: Arc<Core>,
    /// The thread.
    pub thread: usize,
    /// The listener.
    pub listener: usize,
    /// Who sent it.
    pub sender: Sender,
}

/// The head of a request as it came in. It goes from hand to hand in a box: a parked request has a copy of it in no frame.
pub struct Head {
    /// Method.
    pub method: Method,
    /// Path and query.
    pub path: PathAndQuery,
    /// Headers, without those between two hops.
    pub headers: HeaderMap,
    /// What it asks to be upgraded to.
    pub upgrade: Option<HeaderValue>,
    /// What it is.
    pub operation: Operation,
    /// When it came.
    pub came: Instant,
}

/// Why a request got no answer from a side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoAnswer {
    /// A hold sent it away; no side was asked.
    Away(Away),
    /// Its revocation could not be recorded; no side was asked.
    NotTapped,
    /// This side gave none.
    Side(Side, Failure),
}

impl NoAnswer {
    /// Whether a side may have done what was asked.
    pub fn may_have_happened(self) -> bool {
        matches!(self, NoAnswer::Side(_, Failure::Broken | Failure::Late))
    }

    /// The status that the client gets.
    pub fn status(self) -> StatusCode {
        match self {
            NoAnswer::Away(_) | NoAnswer::NotTapped => StatusCode::SERVICE_UNAVAILABLE,
            NoAnswer::Side(_, Failure::Late) => StatusCode::GATEWAY_TIMEOUT,
            NoAnswer::Side(..) => StatusCode::BAD_GATEWAY,
        }
    }
}

/// The answer of a side, and what it occupies until it has ended.
pub struct Answered {
    /// The side.
    pub side: Side,
    /// The answer, without what is between two hops.
    pub response: Response<Incoming>,
    /// What it asks to upgrade to, with status 101.
    pub upgrade: Option<HeaderValue>,
    /// What it occupies.
    pub ride: Ride,
}

/// A request that may go to a side now.
pub struct Admitted {
    settings: Arc<Settings>,
    pool: Arc<Pool>,
    pass: Pass,
    permit: OwnedSemaphorePermit,
}

impl Admitted {
    /// The side it goes to.
    pub fn side(&self) -> Side {
        self.pass.side()
    }
}

/// Lets a request in: waits while there is a hold, and for a place among the requests to its target.
///
/// # Errors
/// When a hold sends it away, or the target has no place for it in time.
pub async fn admit(place: &Place, settings: &Arc<Settings>, head: &Head) -> Result<Admitted, NoAnswer> {
    let core = &place.core;
    let canary = &settings.config.canary;
    let goes_ahead = head.operation.reads()
        && (canary.percent > 0 && fastrand::u8(..100) < canary.percent
            || canary.header.as_ref().is_some_and(|(name, value)| head.headers.get(name) == Some(value)));
    let to = |serving: Side| if goes_ahead { Side::Green } else { serving };
    let gate = core.keeper.gate();
    let (pass, parked) = match gate.try_enter(to) {
        Some(pass) => (pass, false),
        None => {
            core.metrics.happened(Event::Parked);
            gate.enter(settings.config.hold, to).await.map_err(|away| {
                core.metrics.happened(Event::SentAway);
                NoAnswer::Away(away)
            })?
        }
    };
    if goes_ahead && gate.position().side() == Some(Side::Blue) {
        core.metrics.happened(Event::Canary);
    }
    tracing::trace!(parked, side = %pass.side(), "let through");
    let pool = Arc::clone(settings.pool(place.thread, place.listener, pass.side()));
    let side = pass.side();
    let permit = match Arc::clone(&pool.places).try_acquire_owned() {
        Ok(permit) => permit,
        Err(_) => {
            let place = tokio::time::timeout(settings.config.upstream.answer, Arc::clone(&pool.places).acquire_owned()).await;
            place.ok().and_then(Result::ok).ok_or(NoAnswer::Side(side, Failure::Unreachable))?
        }
    };
    Ok(Admitted { settings: Arc::clone(settings), pool, pass, permit })
}

/// Asks the side.
///
/// # Errors
/// When it gives no answer.
pub async fn send(place: &Place, head: Box<Head>, body: Outgoing, admitted: Admitted) -> Result<Answered, NoAnswer> {
    let Admitted { settings, pool, pass, permit } = admitted;
    let side = pass.side();
    let limit = match body {
        Outgoing::Whole(_) => settings.config.upstream.answer,
        Outgoing::Stream(_) => settings.config.upstream.answer + settings.config.limits.body_time,
    };
    let trusted = settings.config.listen[place.listener].trust_forwarded;
    let request = request_for(head, body, &pool, place.sender, trusted);
    let sent = match tokio::time::timeout(limit, pool.send(request)).await {
        Ok(sent) => sent,
        Err(_) => Err(Failure::Late),
    };
    let (mut response, lease): (_, Lease) = sent.map_err(|failure| {
        place.core.metrics.happened(Event::UpstreamFailed);
        NoAnswer::Side(side, failure)
    })?;
    *response.version_mut() = Version::HTTP_11;
    let upgrade = strip_hop_by_hop(response.headers_mut());
    Ok(Answered { side, response, upgrade, ride: Ride::new(lease, pass, permit) })
}

/// The request as the target gets it.
fn request_for(head: Box<Head>, body: Outgoing, pool: &Pool, sender: Sender, trusted: bool) -> Request<Outgoing> {
    let target = pool.target();
    let Head { method, path, mut headers, upgrade, .. } = *head;
    let host = headers.get(HOST).cloned();
    forwarded(&mut headers, sender, host.as_ref(), trusted);
    let renamed = target.path(path.path()).and_then(|renamed| {
        let query = path.query().map(|query| format!("?{query}")).unwrap_or_default();
        PathAndQuery::try_from(renamed + &query).ok()
    });
    let mut uri = hyper::http::uri::Parts::default();
    uri.path_and_query = Some(renamed.unwrap_or(path));
    let mut request = Request::new(body);
    if target.http2 {
        headers.remove(HOST);
        uri.scheme = Some(if target.tls { Scheme::HTTPS } else { Scheme::HTTP });
        let asked = host.and_then(|host| Authority::try_from(host.as_bytes()).ok());
        uri.authority = asked.or_else(|| Authority::try_from(format!("{}:{}", target.host, target.port)).ok());
        *request.version_mut() = Version::HTTP_2;
    } else if let Some(protocol) = upgrade {
        headers.insert(UPGRADE, protocol);
        headers.insert(hyper::header::CONNECTION, HeaderValue::from_static("upgrade"));
    }
    *request.method_mut() = method;
    *request.uri_mut() = Uri::from_parts(uri).unwrap_or_default();
    *request.headers_mut() = headers;
    request
}

/// What a client gets whose request body broke off, was too long or too slow.
pub fn status_of(verdict: &Verdict) -> Option<StatusCode> {
    use crate::router::body::Broken;
    verdict.get().map(|broken| match broken {
        Broken::TooLong => StatusCode::PAYLOAD_TOO_LARGE,
        Broken::TooSlow => StatusCode::REQUEST_TIMEOUT,
        Broken::Off => StatusCode::BAD_REQUEST,
    })
}
