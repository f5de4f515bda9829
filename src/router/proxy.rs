//! What becomes of a client's request.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderMap, HeaderValue, RETRY_AFTER, UPGRADE};
use hyper::http::uri::PathAndQuery;
use hyper::upgrade::OnUpgrade;
use hyper::{Method, Request, Response, StatusCode, Version};
use hyper_util::rt::TokioIo;

use crate::router::body::{Answering, Broken, Outgoing, collect};
use crate::router::core::Settings;
use crate::router::forward::{Answered, Head, NoAnswer, Place, admit, send, status_of};
use crate::router::headers::strip_hop_by_hop;
use crate::router::metrics::Event;
use crate::router::oauth::Operation;
use crate::router::{refresh, revoke};

/// Longest body of a request to an OAuth endpoint.
const LONGEST_FORM: usize = 64 * 1024;

/// What a client gets.
type Answer = Response<Answering>;

/// What came with a request: its head, its body, and what its connection becomes when it is upgraded.
type Came = (Box<Head>, Incoming, Option<OnUpgrade>);

/// Answers a request. Its head is read before the future is there, which thousands of parked requests are made of.
///
/// # Errors
/// Never: what goes wrong is an answer too.
pub fn serve(place: Place, request: Request<Incoming>) -> impl Future<Output = Result<Answer, Infallible>> {
    let settings = place.core.settings();
    let came = read(&place, &settings, request);
    async move {
        let (mut head, incoming, client) = match came {
            Ok(came) => came,
            Err(status) => return Ok(own(status)),
        };
        if settings.config.listen[place.listener].health_path.as_deref() == Some(head.path.path()) {
            return Ok(own(if place.core.stopping.is_cancelled() { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK }));
        }
        head.operation = settings.config.oauth.operation(&head.method, head.path.path());
        let answer = match head.operation {
            Operation::Grant | Operation::Revoke | Operation::AdminRevoke => {
                let body = match collect(incoming, LONGEST_FORM, settings.config.limits.body_pause).await {
                    Ok(body) => body,
                    Err(broken) => {
                        place.core.metrics.happened(Event::ClientFailed);
                        return Ok(own(match broken {
                            Broken::TooLong => StatusCode::PAYLOAD_TOO_LARGE,
                            Broken::TooSlow => StatusCode::REQUEST_TIMEOUT,
                            Broken::Off => StatusCode::BAD_REQUEST,
                        }));
                    }
                };
                // It is whole here: its length is known, whatever the client said.
                head.headers.remove(CONTENT_LENGTH);
                let whole = match head.operation {
                    Operation::Grant => Box::pin(refresh::token(&place, &settings, head, body)).await,
                    _ => Box::pin(revoke::revoke(&place, &settings, head, body)).await,
                };
                whole.map(|answer| answer.response())
            }
            _ => stream(&place, &settings, head, incoming, client).await,
        };
        Ok(answer.unwrap_or_else(|none| {
            if let NoAnswer::Side(side, failure) = none {
                tracing::warn!(listener = settings.config.listen[place.listener].name, "{side} {failure}");
            }
            own(none.status())
        }))
    }
}

/// Checks a request's head and makes it ready to go on.
fn read(place: &Place, settings: &Settings, request: Request<Incoming>) -> Result<Came, StatusCode> {
    let (mut parts, incoming) = request.into_parts();
    if parts.method == Method::CONNECT {
        return Err(StatusCode::METHOD_NOT_ALLOWED);
    }
    let path = match parts.uri.path_and_query() {
        Some(path) if path.as_str().starts_with('/') => path.clone(),
        Some(path) if path.as_str() == "*" && parts.method == Method::OPTIONS => PathAndQuery::from_static("*"),
        _ => return Err(StatusCode::BAD_REQUEST),
    };
    let mut hosts = parts.headers.get_all(HOST).iter();
    let told = hosts.next().cloned();
    if hosts.next().is_some() || (parts.version == Version::HTTP_11 && told.is_none()) {
        return Err(StatusCode::BAD_REQUEST);
    }
    // RFC 9112 section 3.2.2: the authority of the target goes before `Host`.
    if let Some(authority) = parts.uri.authority() {
        let host = authority.as_str().rsplit_once('@').map_or(authority.as_str(), |(_, host)| host);
        let host = HeaderValue::from_str(host).map_err(|_| StatusCode::BAD_REQUEST)?;
        parts.headers.insert(HOST, host);
    }
    let length = parts.headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    if length.is_some_and(|length| length > settings.config.limits.body) {
        place.core.metrics.happened(Event::ClientFailed);
        return Err(StatusCode::PAYLOAD_TOO_LARGE);
    }
    let upgrade = strip_hop_by_hop(&mut parts.headers);
    let client = upgrade.as_ref().and_then(|_| parts.extensions.remove::<OnUpgrade>());
    let (method, headers) = (parts.method, parts.headers);
    let head = Head { method, path, headers, upgrade, operation: Operation::Other, came: Instant::now() };
    Ok((Box::new(head), incoming, client))
}

/// A request whose body and answer pass through piece by piece.
async fn stream(
    place: &Place,
    settings: &Arc<Settings>,
    head: Box<Head>,
    incoming: Incoming,
    client: Option<OnUpgrade>,
) -> Result<Answer, NoAnswer> {
    let limits = &settings.config.limits;
    let (operation, came) = (head.operation, head.came);
    let admitted = admit(place, settings, &head).await?;
    let (body, verdict) = Outgoing::stream(incoming, limits.body, limits.body_pause, limits.body_time);
    // Apart from the rest: what is parked does not need room for it.
    let answered = match Box::pin(send(place, head, body, admitted)).await {
        Ok(answered) => answered,
        Err(none) => {
            return match status_of(&verdict) {
                Some(status) => {
                    place.core.metrics.happened(Event::ClientFailed);
                    Ok(own(status))
                }
                None => Err(none),
            };
        }
    };
    place.core.metrics.answered(answered.side, operation, answered.response.status().as_u16(), came.elapsed());
    if answered.response.status() == StatusCode::SWITCHING_PROTOCOLS {
        return Ok(match client {
            Some(client) => upgrade(place, answered, client),
            None => own(StatusCode::BAD_GATEWAY),
        });
    }
    let (parts, incoming) = answered.response.into_parts();
    Ok(Response::from_parts(parts, Answering::stream(incoming, answered.ride, limits.body_time)))
}

/// Joins both ends of an upgraded connection. It stays with its side whatever the route does, and is not counted in flight.
fn upgrade(place: &Place, answered: Answered, client: OnUpgrade) -> Answer {
    let Answered { mut response, upgrade, .. } = answered;
    let side = hyper::upgrade::on(&mut response);
    let (mut parts, _) = response.into_parts();
    parts.headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    if let Some(protocol) = upgrade {
        parts.headers.insert(UPGRADE, protocol);
    }
    let stopping = place.core.stopping.clone();
    tokio::spawn(async move {
        let joined = async {
            let (client, side) = tokio::try_join!(client, side).ok()?;
            tokio::io::copy_bidirectional(&mut TokioIo::new(client), &mut TokioIo::new(side)).await.ok()
        };
        tokio::select! {
            _ = joined => {}
            () = stopping.cancelled() => {}
        }
    });
    Response::from_parts(parts, Answering::Whole(None))
}

/// An answer of the router's own.
fn own(status: StatusCode) -> Answer {
    let (headers, body) = words(status);
    let mut response = Response::new(Answering::Whole(Some(body)));
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}

/// Headers and text of an answer of the router's own.
pub(super) fn words(status: StatusCode) -> (HeaderMap, Bytes) {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    if status == StatusCode::SERVICE_UNAVAILABLE {
        headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
    }
    (headers, Bytes::from(format!("{status}\n")))
}
