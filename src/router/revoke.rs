//! Revocations: recorded before a side is asked, and the end of every repeated answer they reach.

use std::sync::Arc;

use hyper::StatusCode;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE};
use zeroize::Zeroizing;

use crate::router::body::wiped;
use crate::router::coalesce::Digest;
use crate::router::core::{Core, Settings};
use crate::router::forward::{Head, NoAnswer, Place, admit};
use crate::router::metrics::Event;
use crate::router::oauth::{Form, Operation, Reach, reach};
use crate::router::refresh::{Answer, ask};
use crate::router::tap::Revocation;

/// Which repeated answers a revocation ends.
enum Ends {
    Tokens(Vec<Digest>),
    Client(Digest),
    All,
    Nothing,
}

impl Ends {
    fn of(core: &Core, head: &Head, body: &[u8]) -> Self {
        match head.operation {
            Operation::AdminRevoke => match reach(head.path.path(), head.path.query()) {
                Reach::Client(id) => Ends::Client(core.digester.of("client", &[id.as_bytes()])),
                Reach::Anybody => Ends::All,
            },
            Operation::Revoke => {
                let content_type = head.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
                if content_type.to_ascii_lowercase().starts_with("multipart/") {
                    return Ends::All; // servers read tokens from there too; we do not
                }
                let form = Form::read(body);
                Ends::Tokens(form.all("token").map(|token| core.digester.of("token", &[token.as_bytes()])).collect())
            }
            _ => Ends::Nothing,
        }
    }

    fn now(&self, core: &Core) {
        core.with_ledger(|ledger| match self {
            Ends::Tokens(tokens) => {
                for token in tokens {
                    ledger.revoked(token);
                }
            }
            Ends::Client(client) => ledger.forget_client(client),
            Ends::All => ledger.forget_all(),
            Ends::Nothing => {}
        });
    }
}

/// Answers a revocation. Goes on when its client goes away.
///
/// # Errors
/// When no side answers it, or it cannot be recorded.
pub async fn revoke(
    place: &Place,
    settings: &Arc<Settings>,
    head: Box<Head>,
    body: Zeroizing<Vec<u8>>,
) -> Result<Arc<Answer>, NoAnswer> {
    let (place, settings) = (place.clone(), Arc::clone(settings));
    let tasks = place.core.tasks.clone();
    let done = tasks.spawn(async move { recorded(&place, &settings, head, body).await }).await;
    done.unwrap_or_else(|_| Ok(Arc::new(Answer::own(StatusCode::BAD_GATEWAY))))
}

async fn recorded(
    place: &Place,
    settings: &Arc<Settings>,
    head: Box<Head>,
    body: Zeroizing<Vec<u8>>,
) -> Result<Arc<Answer>, NoAnswer> {
    let core = &place.core;
    let ends = Ends::of(core, &head, &body);
    // What anybody may send ends nothing but answers to tokens that the sender has; the rest waits until the side has agreed.
    if matches!(ends, Ends::Tokens(_)) {
        ends.now(core);
    }
    let admitted = admit(place, settings, &head).await?;
    let mut tapped = None;
    if let Some(tap) = &core.tap {
        let text = |name| head.headers.get(name).and_then(|value: &hyper::header::HeaderValue| value.to_str().ok());
        let revocation = Revocation {
            method: head.method.to_string(),
            path: head.path.to_string(),
            authorization: text(AUTHORIZATION).map(|text| Zeroizing::new(text.to_owned())),
            content_type: text(CONTENT_TYPE).map(str::to_owned),
            body: body.clone(),
        };
        let listener = &settings.config.listen[place.listener].name;
        match tap.record(admitted.side(), listener, head.operation.name(), &revocation).await {
            Ok(number) => {
                core.metrics.happened(Event::Tapped);
                tapped = Some((tap, number));
            }
            Err(error) => {
                core.metrics.happened(Event::NotTapped);
                tracing::error!("a revocation was not done because it could not be recorded: {error:#}");
                return Err(NoAnswer::NotTapped);
            }
        }
    }
    let answer = ask(place, head, wiped(body), admitted, settings).await?;
    if let Some((tap, number)) = tapped {
        tap.answered(number, answer.status().as_u16());
    }
    // Again: a refresh may have been answered between the first time and the revocation.
    if answer.status().is_success() {
        ends.now(core);
    }
    Ok(Arc::new(answer))
}
