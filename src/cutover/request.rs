//! One HTTP request to a system of yours, and its answer.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::{Method, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto};

/// The longest answer that is read, in bytes.
const LONGEST: usize = 4 << 20;

/// Where a value goes in a request that sets one.
const VALUE: &str = "{value}";

/// A request as a plan has it.
#[derive(Debug, Clone, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// Where: `http://` or `https://`.
    pub url: String,
    /// `GET` when there is none.
    #[serde(default)]
    method: Option<String>,
    /// What is sent.
    #[serde(default)]
    body: Option<String>,
    /// Its `Content-Type`; `application/json` when there is none.
    #[serde(default)]
    content_type: Option<String>,
    /// The environment variable that holds the token for `Authorization: Bearer`.
    #[serde(default)]
    token_env: Option<String>,
    /// Headers that a plan cannot give.
    #[serde(skip)]
    headers: Vec<(&'static str, String)>,
}

/// What came back.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its body, as text.
    pub body: String,
}

impl Request {
    /// A plain GET.
    pub fn get(url: impl Into<String>) -> Self {
        Self { url: url.into(), method: None, body: None, content_type: None, token_env: None, headers: Vec::new() }
    }

    /// A POST of a JSON document.
    pub fn post(url: impl Into<String>, body: String) -> Self {
        Self { method: Some("POST".to_owned()), body: Some(body), ..Self::get(url) }
    }

    /// The same with a header.
    #[must_use]
    pub fn with_header(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }

    /// The same with a bearer token from this environment variable.
    pub fn with_token(self, token_env: Option<String>) -> Self {
        Self { token_env, ..self }
    }

    /// The same with this text for every `{value}` in its URL and body.
    #[must_use]
    pub fn with_value(&self, value: &str) -> Self {
        let put = |text: &String| text.replace(VALUE, value);
        Self { url: put(&self.url), body: self.body.as_ref().map(put), ..self.clone() }
    }

    /// Whether it has a place for a value.
    pub fn takes_value(&self) -> bool {
        self.url.contains(VALUE) || self.body.as_ref().is_some_and(|body| body.contains(VALUE))
    }

    /// What is wrong with it as written.
    ///
    /// # Errors
    /// Names what was expected.
    pub fn check(&self) -> Result<(), String> {
        let uri: Uri = self.url.parse().map_err(|e| format!("`{}` is not a URL: {e}", self.url))?;
        if !matches!(uri.scheme_str(), Some("http" | "https")) || uri.host().is_none() {
            return Err(format!("`{}` is not a URL of the form http://host:port/path or https://...", self.url));
        }
        if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
            return Err("a URL holds no user or password here: name a variable with `token_env`".to_owned());
        }
        match &self.method {
            Some(method) => {
                Method::from_bytes(method.as_bytes()).map(drop).map_err(|_| format!("`{method}` is not an HTTP method"))
            }
            None => Ok(()),
        }
    }

    /// What messages call it.
    pub fn shown(&self) -> String {
        format!("{} {}", self.method.as_deref().unwrap_or("GET"), self.url)
    }

    /// Sends it and reads the whole answer.
    ///
    /// # Errors
    /// When there is no answer within `timeout`.
    pub async fn send(&self, timeout: Duration) -> anyhow::Result<Answer> {
        match tokio::time::timeout(timeout, self.exchange()).await {
            Ok(answer) => answer.with_context(|| self.shown()),
            Err(_) => bail!("{}: no answer within {}", self.shown(), humantime::format_duration(timeout)),
        }
    }

    /// The same, and its status must be one of success.
    ///
    /// # Errors
    /// When it is not, or there is no answer.
    pub async fn must(&self, timeout: Duration) -> anyhow::Result<Answer> {
        let answer = self.send(timeout).await?;
        if !answer.status.is_success() {
            bail!("{}: status {}", self.shown(), answer.status.as_u16());
        }
        Ok(answer)
    }

    async fn exchange(&self) -> anyhow::Result<Answer> {
        let uri: Uri = self.url.parse()?;
        let host = uri.host().context("no host")?.trim_start_matches('[').trim_end_matches(']').to_owned();
        let encrypted = uri.scheme_str() == Some("https");
        let port = uri.port_u16().unwrap_or(if encrypted { 443 } else { 80 });
        let stream = TcpStream::connect((host.as_str(), port)).await.context("cannot connect")?;
        stream.set_nodelay(true)?;
        match encrypted {
            false => self.over(stream, &uri).await,
            true => {
                let name = ServerName::try_from(host).context("the host cannot be in a certificate")?;
                self.over(TlsConnector::from(Arc::new(tls()?)).connect(name, stream).await.context("TLS")?, &uri).await
            }
        }
    }

    async fn over(&self, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, uri: &Uri) -> anyhow::Result<Answer> {
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let connection = tokio::spawn(connection);
        let mut request = hyper::Request::builder()
            .method(self.method.as_deref().unwrap_or("GET"))
            .uri(uri.path_and_query().map_or("/", |path| path.as_str()))
            .header("host", uri.authority().map_or("", |authority| authority.as_str()))
            .header("connection", "close");
        if self.body.is_some() {
            request = request.header("content-type", self.content_type.as_deref().unwrap_or("application/json"));
        }
        if let Some(variable) = &self.token_env {
            let token = std::env::var(variable).with_context(|| format!("environment variable {variable} is not set"))?;
            request = request.header("authorization", format!("Bearer {token}"));
        }
        for (name, value) in &self.headers {
            request = request.header(*name, value.as_str());
        }
        let body = Full::new(Bytes::from(self.body.clone().unwrap_or_default()));
        let answer = sender.send_request(request.body(body)?).await?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), LONGEST).collect().await.map_err(|e| anyhow::anyhow!("{e}"))?.to_bytes();
        connection.abort();
        Ok(Answer { status, body: String::from_utf8_lossy(&body).into_owned() })
    }
}

fn tls() -> anyhow::Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    for certificate in rustls_native_certs::load_native_certs().certs {
        let _ = roots.add(certificate); // one that cannot be read certifies nothing
    }
    let provider = Arc::new(crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_whole_and_hold_no_password() {
        let check = |url: &str| Request::get(url).check();
        assert!(check("http://127.0.0.1:4445/health/ready").is_ok() && check("https://example.org").is_ok());
        for wrong in ["127.0.0.1:80", "ftp://host/", "/path", "http://user:secret@host/"] {
            assert!(check(wrong).is_err(), "{wrong}");
        }
        assert!(!check("http://user:secret@host/").unwrap_err().contains("secret"));
    }
}
