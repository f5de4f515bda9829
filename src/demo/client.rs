//! The side of an application: calls the service over HTTP and reads its answers.

use std::net::SocketAddr;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
use sha2::{Digest, Sha256};

/// Longest time an application waits for an answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// Calls the service.
#[derive(Clone)]
pub struct OAuthClient {
    http: Client<HttpConnector, Full<Bytes>>,
    address: SocketAddr,
}

/// What the service answered: the status, 0 when no answer came, and the document.
#[derive(Debug)]
pub struct Answer {
    /// HTTP status; 0 when the connection failed or no answer came in 30 seconds.
    pub status: u16,
    /// The JSON document; null when there is none.
    pub body: Value,
}

impl Answer {
    /// A text of the document, `""` when it is not there.
    pub fn text(&self, name: &str) -> &str {
        self.body[name].as_str().unwrap_or_default()
    }
}

impl OAuthClient {
    /// For the service at this address.
    pub fn new(address: SocketAddr) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        Self { http: Client::builder(TokioExecutor::new()).build(connector), address }
    }

    /// A login with consent; the answer holds `code` and `consent_challenge`. `verifier` is the PKCE verifier to come.
    pub async fn authorize(&self, client: &str, subject: &str, scope: &str, verifier: Option<&str>) -> Answer {
        let challenge = verifier.map(|verifier| URL_SAFE_NO_PAD.encode(Sha256::digest(verifier.as_bytes())));
        let mut form = vec![("client_id", client), ("subject", subject), ("scope", scope)];
        form.extend(challenge.as_deref().map(|challenge| ("code_challenge", challenge)));
        self.post("/oauth2/auth", client, None, &form).await
    }

    /// `POST /oauth2/token`: `grant` is the grant type and its parameters.
    pub async fn token(&self, client: &str, secret: Option<&str>, grant: &[(&str, &str)]) -> Answer {
        self.post("/oauth2/token", client, secret, grant).await
    }

    /// `POST /oauth2/introspect`.
    pub async fn introspect(&self, client: &str, secret: Option<&str>, token: &str) -> Answer {
        self.post("/oauth2/introspect", client, secret, &[("token", token)]).await
    }

    /// `POST /oauth2/revoke`.
    pub async fn revoke(&self, client: &str, secret: Option<&str>, token: &str) -> Answer {
        self.post("/oauth2/revoke", client, secret, &[("token", token)]).await
    }

    async fn post(&self, path: &str, client: &str, secret: Option<&str>, form: &[(&str, &str)]) -> Answer {
        let mut pairs = form.to_vec();
        let mut request =
            Request::post(format!("http://{}{path}", self.address)).header(CONTENT_TYPE, "application/x-www-form-urlencoded");
        match secret {
            Some(secret) => {
                let login = STANDARD.encode(format!("{}:{}", encode(client), encode(secret)));
                request = request.header(AUTHORIZATION, format!("Basic {login}"));
            }
            None if path != "/oauth2/auth" => pairs.push(("client_id", client)),
            None => {}
        }
        let body = pairs.iter().map(|(name, value)| format!("{name}={}", encode(value))).collect::<Vec<_>>().join("&");
        let nothing = Answer { status: 0, body: Value::Null };
        let Ok(request) = request.body(Full::new(Bytes::from(body))) else { return nothing };
        let exchange = async {
            let response = self.http.request(request).await.ok()?;
            let status = response.status().as_u16();
            let bytes = response.into_body().collect().await.ok()?.to_bytes();
            Some(Answer { status, body: serde_json::from_slice(&bytes).unwrap_or(Value::Null) })
        };
        tokio::time::timeout(PATIENCE, exchange).await.ok().flatten().unwrap_or(nothing)
    }
}

fn encode(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}
