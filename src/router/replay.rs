//! Recorded revocations, done again over HTTP against green.

use anyhow::Context;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue};
use hyper::{Method, Request, StatusCode, Uri};
use tokio_rustls::TlsConnector;

use crate::router::body::{Outgoing, collect, wiped};
use crate::router::config::{RouterConfig, TapConfig};
use crate::router::pool::Pool;
use crate::router::tap::{Replayed, Revocation, Tap, TapKey, read};
use crate::router::tls;
use crate::terms::Side;

/// What a replay did, or would do.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct Replay {
    /// Revocations that blue did, or may have done.
    pub recorded: usize,
    /// Of these, done on green by an earlier replay.
    pub earlier: usize,
    /// Of these, done on green by this one; without `execute`: still to do.
    pub replayed: usize,
    /// Those that green did not take: number, digest, why.
    pub failed: Vec<(u64, String, String)>,
}

/// Does the revocations again that blue did, or may have done, on green. Doing one twice does no harm.
///
/// # Errors
/// When the records cannot be read, or the key is another one.
pub async fn replay(config: &RouterConfig, tap: &TapConfig, execute: bool) -> anyhow::Result<Replay> {
    let key = TapKey::from_env(&tap.key_env)?;
    let mut done = Replayed::open(&tap.folder)?;
    let mut replay = Replay::default();
    for (tap, status) in read(&tap.folder)?.into_values() {
        // Blue refused it: there is nothing to do again.
        if tap.side != Side::Blue || status.is_some_and(|status| !(200..300).contains(&status)) {
            continue;
        }
        replay.recorded += 1;
        if done.has(tap.tap) {
            replay.earlier += 1;
            continue;
        }
        let revocation = key.open(&tap)?;
        if !execute {
            replay.replayed += 1;
            continue;
        }
        match again(config, &tap, &revocation).await {
            Ok(status) if status.is_success() || (status == StatusCode::NOT_FOUND && revocation.method == "DELETE") => {
                done.add(tap.tap)?;
                replay.replayed += 1;
            }
            Ok(status) => replay.failed.push((tap.tap, tap.digest, format!("green answers {status}"))),
            Err(error) => replay.failed.push((tap.tap, tap.digest, format!("{error:#}"))),
        }
    }
    Ok(replay)
}

async fn again(config: &RouterConfig, tap: &Tap, revocation: &Revocation) -> anyhow::Result<StatusCode> {
    let listen = config.listen.iter().find(|listen| listen.name == tap.listener);
    let listen = listen.with_context(|| format!("no listener is called {} any more", tap.listener))?;
    let target = &listen.green;
    let connector = TlsConnector::from(tls::client(config.upstream.ca_file.as_deref(), target.http2)?);
    let pool = Pool::new(target, &config.upstream, &connector)?;
    let uri: Uri = revocation.path.parse()?;
    let path = target.path(uri.path()).unwrap_or_else(|| uri.path().to_owned());
    let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    let host = format!("{}:{}", target.host, target.port);
    let whole = match target.http2 {
        true => format!("{}://{host}{path}{query}", if target.tls { "https" } else { "http" }),
        false => format!("{path}{query}"),
    };
    let body = Outgoing::whole(wiped(revocation.body.clone()));
    let mut request = Request::builder().method(revocation.method.parse::<Method>()?).uri(whole).body(body)?;
    if !target.http2 {
        request.headers_mut().insert(HOST, HeaderValue::try_from(host)?);
    }
    if let Some(authorization) = &revocation.authorization {
        let mut value = HeaderValue::try_from(authorization.as_str())?;
        value.set_sensitive(true);
        request.headers_mut().insert(AUTHORIZATION, value);
    }
    if let Some(content_type) = &revocation.content_type {
        request.headers_mut().insert(CONTENT_TYPE, HeaderValue::try_from(content_type)?);
    }
    let sent = tokio::time::timeout(config.upstream.answer, pool.send(request)).await.context("green gives no answer in time")?;
    let (response, _) = sent.context("green")?;
    let status = response.status();
    let _ = collect(response.into_body(), 1024 * 1024, config.upstream.answer).await;
    Ok(status)
}
