//! Token requests: a refresh goes through the ledger, and goes on when its client goes away.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use hyper::header::{
    ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HOST, HeaderMap, HeaderName, ORIGIN,
};
use hyper::{Response, StatusCode};
use tokio::sync::watch;
use zeroize::Zeroizing;

use crate::router::body::{Answering, Outgoing, collect, wiped};
use crate::router::coalesce::{Asked, Begin, Given, Outcome, Ticket};
use crate::router::core::{Core, Settings};
use crate::router::digest::Digester;
use crate::router::forward::{Admitted, Head, NoAnswer, Place, admit, send};
use crate::router::metrics::Event;
use crate::router::oauth::{Authentication, Form, Operation};
use crate::router::pool::Failure;

/// Longest answer of an OAuth endpoint that is kept in memory whole.
const LONGEST_ANSWER: usize = 1024 * 1024;

const DPOP: HeaderName = HeaderName::from_static("dpop");

/// A whole answer, given once or several times. Its body is wiped when nobody needs it any more.
pub struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

impl Answer {
    /// An answer of the router's own.
    pub fn own(status: StatusCode) -> Self {
        let (headers, body) = crate::router::proxy::words(status);
        Self { status, headers, body }
    }

    /// The status.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// As a response.
    pub fn response(&self) -> Response<Answering> {
        let mut response = Response::new(Answering::Whole(Some(self.body.clone()).filter(|body| !body.is_empty())));
        *response.status_mut() = self.status;
        *response.headers_mut() = self.headers.clone();
        response
    }
}

/// Asks a side and waits for its whole answer.
///
/// # Errors
/// When it gives none.
pub async fn ask(
    place: &Place,
    head: Box<Head>,
    body: Bytes,
    admitted: Admitted,
    settings: &Settings,
) -> Result<Answer, NoAnswer> {
    let (operation, came) = (head.operation, head.came);
    let answered = send(place, head, Outgoing::whole(body), admitted).await?;
    let (parts, incoming) = answered.response.into_parts();
    let side = answered.side;
    place.core.metrics.answered(side, operation, parts.status.as_u16(), came.elapsed());
    let body = collect(incoming, LONGEST_ANSWER, settings.config.upstream.answer).await;
    let body = body.map_err(|_| {
        place.core.metrics.happened(Event::UpstreamFailed);
        NoAnswer::Side(side, Failure::Broken)
    })?;
    answered.ride.lease.done();
    Ok(Answer { status: parts.status, headers: parts.headers, body: wiped(body) })
}

/// What makes a refresh identical to another one; `None` for what is no refresh or cannot be told apart. `path` is that with its query,
/// `listener` says where the request came in.
pub fn identity(
    digester: &Digester,
    listener: &[u8],
    path: &str,
    headers: &HeaderMap,
    body: &[u8],
    form: &Form,
) -> Option<Asked> {
    let of = |name: &HeaderName| headers.get(name).map_or(&b""[..], |value| value.as_bytes());
    if form.one("grant_type") != Some("refresh_token") || !of(&CONTENT_ENCODING).is_empty() {
        return None;
    }
    let token = form.one("refresh_token")?;
    let mut logins = headers.get_all(AUTHORIZATION).iter();
    let authorization = match (logins.next(), logins.next()) {
        (Some(header), None) => Some(header.to_str().ok()?),
        (None, _) => None,
        (Some(_), Some(_)) => return None, // nobody knows which of them the server takes
    };
    let client = Authentication::read(authorization, form)?;
    let digest = |role, parts: &[&[u8]]| digester.of(role, parts);
    let whole: [&[u8]; 10] = [
        listener,
        path.as_bytes(),
        of(&HOST),
        of(&AUTHORIZATION),
        of(&CONTENT_TYPE),
        of(&ACCEPT),
        of(&ORIGIN),
        of(&DPOP),
        token.as_bytes(),
        body,
    ];
    Some(Asked {
        request: digest("request", &whole),
        token: digest("token", &[token.as_bytes()]),
        client: digest("client", &[client.client().as_bytes()]),
    })
}

/// Answers a request to the token endpoint.
///
/// # Errors
/// When no side answers it.
pub async fn token(
    place: &Place,
    settings: &Arc<Settings>,
    mut head: Box<Head>,
    body: Zeroizing<Vec<u8>>,
) -> Result<Arc<Answer>, NoAnswer> {
    let core = &place.core;
    let form = Form::read(&body);
    if form.one("grant_type") == Some("refresh_token") {
        head.operation = Operation::Refresh;
        head.headers.remove(ACCEPT_ENCODING); // its tokens must be readable to tell what comes after it
    }
    let asked = core
        .ledger
        .as_ref()
        .and_then(|_| identity(&core.digester, &place.listener.to_le_bytes(), head.path.as_str(), &head.headers, &body, &form));
    drop(form);
    let body = wiped(body);
    let Some(asked) = asked else {
        let admitted = admit(place, settings, &head).await?;
        return ask(place, head, body, admitted, settings).await.map(Arc::new);
    };
    let (give, flight) = watch::channel(None);
    let begin = core.with_ledger(|ledger| ledger.begin(asked, Instant::now(), || flight.clone()));
    let mut flight = match begin {
        Some(Begin::Repeat(answer)) => {
            core.metrics.happened(Event::Repeated);
            return Ok(answer);
        }
        Some(Begin::Join(flight)) => {
            core.metrics.happened(Event::Joined);
            flight
        }
        Some(Begin::Lead(ticket)) => {
            let settling = Settling { core: Arc::clone(core), ticket: Some(ticket) };
            let (place, settings) = (place.clone(), Arc::clone(settings));
            // Its client may go away and ask again; the server must not see that as a second use.
            core.tasks.spawn(async move {
                let answer = lead(&place, &settings, head, body, settling).await;
                give.send_replace(Some(answer));
            });
            flight
        }
        Some(Begin::Alone) | None => {
            let admitted = admit(place, settings, &head).await?;
            return ask(place, head, body, admitted, settings).await.map(Arc::new);
        }
    };
    let answer = flight.wait_for(Option::is_some).await.ok().and_then(|answer| answer.clone());
    Ok(answer.unwrap_or_else(|| Arc::new(Answer::own(StatusCode::BAD_GATEWAY))))
}

/// The right to settle, used up even when the work is given up.
struct Settling {
    core: Arc<Core>,
    ticket: Option<Ticket>,
}

impl Settling {
    fn settle(&mut self, outcome: Outcome<Arc<Answer>>) {
        if let Some(ticket) = self.ticket.take() {
            self.core.with_ledger(|ledger| ledger.settle(ticket, outcome, Instant::now()));
        }
    }
}

impl Drop for Settling {
    fn drop(&mut self) {
        self.settle(Outcome::Unknown);
    }
}

async fn lead(place: &Place, settings: &Arc<Settings>, head: Box<Head>, body: Bytes, mut settling: Settling) -> Arc<Answer> {
    let asked = async {
        let admitted = admit(place, settings, &head).await?;
        ask(place, head, body, admitted, settings).await
    };
    match asked.await {
        Ok(answer) => {
            let answer = Arc::new(answer);
            let outcome = match answer.status.as_u16() {
                200..=299 => match given(&place.core, &answer.body) {
                    Some(given) => Outcome::Rotated(Arc::clone(&answer), given, answer.body.len() + 512),
                    None => Outcome::Unknown,
                },
                400..=499 => Outcome::Refused,
                _ => Outcome::Unknown,
            };
            settling.settle(outcome);
            answer
        }
        Err(none) => {
            settling.settle(if none.may_have_happened() { Outcome::Unknown } else { Outcome::Refused });
            Arc::new(Answer::own(none.status()))
        }
    }
}

/// The tokens in a token answer (RFC 6749 section 5.1), as digests.
fn given(core: &Core, body: &[u8]) -> Option<Given> {
    #[derive(serde::Deserialize)]
    struct Tokens {
        access_token: Zeroizing<String>,
        refresh_token: Option<Zeroizing<String>>,
    }
    let tokens: Tokens = serde_json::from_slice(body).ok()?;
    let digest = |token: &str| core.digester.of("token", &[token.as_bytes()]);
    Some(Given { refresh: tokens.refresh_token.as_ref().map(|token| digest(token)), access: Some(digest(&tokens.access_token)) })
}
