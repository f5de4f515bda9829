//! What the service does for each call, on one leased connection.

use anyhow::Result;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio_postgres::Row;

use super::call::Credentials;
use super::pool::{Lease, Work};
use super::{Call, Store};

/// Why a call is refused, by the codes of RFC 6749 section 5.2.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// A parameter is missing.
    #[error("invalid_request")]
    InvalidRequest,
    /// Unknown client or wrong secret.
    #[error("invalid_client")]
    InvalidClient,
    /// The code or refresh token is not good, or another client's.
    #[error("invalid_grant")]
    InvalidGrant,
    /// The refresh token was used before, and what came of it is ended now. For clients the same as [`Refusal::InvalidGrant`].
    #[error("invalid_grant")]
    FamilyRevoked,
    /// The client may not use this grant type.
    #[error("unauthorized_client")]
    UnauthorizedClient,
    /// There is no such grant type here.
    #[error("unsupported_grant_type")]
    UnsupportedGrantType,
    /// There is no such endpoint.
    #[error("not_found")]
    NotFound,
    /// The service is read-only for the moment.
    #[error("temporarily_unavailable")]
    ReadOnly,
}

impl Refusal {
    /// The HTTP status that goes with it.
    pub fn status(self) -> u16 {
        match self {
            Refusal::InvalidClient => 401,
            Refusal::NotFound => 404,
            Refusal::ReadOnly => 503,
            _ => 400,
        }
    }
}

/// Answers a call.
///
/// # Errors
/// A [`Refusal`], or the server's error.
pub(super) async fn perform(lease: &mut Lease<'_>, store: &Store, call: &Call) -> Result<Value> {
    match call {
        Call::Authorize { client, subject, scope, code_challenge } => {
            authorize(lease, store, client, subject, scope, code_challenge.as_deref()).await
        }
        Call::Exchange(who, code, verifier) => exchange(lease, store, who, code, verifier.as_deref()).await,
        Call::Refresh(who, token) => refresh(lease, store, who, token).await,
        Call::Machine(who, scope) => machine(lease, store, who, scope).await,
        Call::Introspect(who, token) => introspect(lease, store, who, token).await,
        Call::Revoke(who, token) => revoke(lease, store, who, token).await,
    }
}

/// What a token row repeats of its request.
struct Request {
    id: String,
    scope: String,
    granted: String,
    form: String,
    session: String,
    subject: String,
    challenge: Option<String>,
}

impl Request {
    fn of(row: &Row) -> Self {
        Self {
            id: row.get(0),
            scope: row.get(1),
            granted: row.get(2),
            form: row.get(3),
            session: row.get(4),
            subject: row.get(5),
            challenge: row.get(6),
        }
    }
}

/// Checks who calls; the grant types the client may use.
async fn authenticate(lease: &mut Lease<'_>, store: &Store, who: &Credentials, may_be_public: bool) -> Result<Vec<String>> {
    let row = lease.row(store.client, &[&who.id]).await?.ok_or(Refusal::InvalidClient)?;
    let hash: String = row.get(0);
    let right = match &who.secret {
        Some(secret) => !hash.is_empty() && hex(&Sha256::digest(secret.as_bytes())) == hash,
        None => may_be_public && hash.is_empty(),
    };
    if right { Ok(row.get(1)) } else { Err(Refusal::InvalidClient.into()) }
}

async fn authorize(
    lease: &mut Lease<'_>,
    store: &Store,
    client: &str,
    subject: &str,
    scope: &str,
    code_challenge: Option<&str>,
) -> Result<Value> {
    let row = lease.row(store.client, &[&client]).await?.ok_or(Refusal::InvalidClient)?;
    let public = row.get::<_, String>(0).is_empty();
    if public && code_challenge.is_none() {
        return Err(Refusal::InvalidRequest.into());
    }
    let [login_session, login, consent] = [random_hex(32), random_hex(32), random_hex(32)];
    let verifiers: [String; 4] = std::array::from_fn(|_| random_hex(32));
    let url = format!(
        "https://login.example/oauth2/auth?client_id={client}&response_type=code&scope={}&state={}",
        scope.replace('|', "+"),
        random_hex(24)
    );
    let code = random_hex(64);
    let form = format!("client_id={client}&grant_type=authorization_code");
    let pkce = code_challenge.map(|challenge| format!("code_challenge={challenge}&code_challenge_method=S256"));
    let session = session_data();
    let [login_verifier, login_csrf, consent_verifier, consent_csrf] = &verifiers;
    let mut work = lease.begin().await?;
    work.execute(
        store.authorize,
        &[
            &login_session,
            &login,
            &consent,
            &client,
            &subject,
            &scope,
            &url,
            login_verifier,
            login_csrf,
            consent_verifier,
            consent_csrf,
            &code,
            &form,
            &session,
            &pkce,
        ],
    )
    .await?;
    work.commit().await?;
    Ok(json!({"code": with_secret_part(&code), "consent_challenge": consent}))
}

async fn exchange(lease: &mut Lease<'_>, store: &Store, who: &Credentials, code: &str, verifier: Option<&str>) -> Result<Value> {
    authenticate(lease, store, who, true).await?;
    let signature = signature(code);
    let mut work = lease.begin().await?;
    let row = work.row(store.use_code, &[&signature, &who.id]).await?.ok_or(Refusal::InvalidGrant)?;
    let request = Request::of(&row);
    if let Some(row) = work.row(store.use_pkce, &[&signature]).await? {
        let form: String = row.get(0);
        let wanted = form.split('&').find_map(|pair| pair.strip_prefix("code_challenge="));
        let shown = verifier.map(|verifier| URL_SAFE_NO_PAD.encode(Sha256::digest(verifier.as_bytes())));
        if wanted != shown.as_deref() {
            return Err(Refusal::InvalidGrant.into());
        }
    }
    let answer = issue(&mut work, store, &who.id, &request).await?;
    work.commit().await?;
    Ok(answer)
}

async fn refresh(lease: &mut Lease<'_>, store: &Store, who: &Credentials, token: &str) -> Result<Value> {
    authenticate(lease, store, who, true).await?;
    let signature = signature(token);
    let mut work = lease.begin().await?;
    let Some(row) = work.row(store.use_refresh, &[&signature, &who.id]).await? else {
        if let Some(refuse_reuse) = store.refuse_reuse {
            let ended = work.row(refuse_reuse, &[&signature, &who.id]).await?.map_or(0, |row| row.get::<_, i64>(0));
            work.commit().await?;
            if ended > 0 {
                return Err(Refusal::FamilyRevoked.into());
            }
        }
        return Err(Refusal::InvalidGrant.into());
    };
    let request = Request::of(&row);
    work.execute(store.drop_access, &[&request.id]).await?;
    let answer = issue(&mut work, store, &who.id, &request).await?;
    work.commit().await?;
    Ok(answer)
}

async fn machine(lease: &mut Lease<'_>, store: &Store, who: &Credentials, scope: &str) -> Result<Value> {
    let grants = authenticate(lease, store, who, false).await?;
    if !grants.iter().any(|grant| grant == "client_credentials") {
        return Err(Refusal::UnauthorizedClient.into());
    }
    let request = Request {
        id: random_hex(32),
        scope: scope.to_owned(),
        // A client acts for itself here: there is nobody whose access a refresh token could keep up.
        granted: scope.split('|').filter(|part| *part != "offline").collect::<Vec<_>>().join("|"),
        form: "grant_type=client_credentials".to_owned(),
        session: session_data(),
        subject: who.id.clone(),
        challenge: None,
    };
    let mut work = lease.begin().await?;
    let answer = issue(&mut work, store, &who.id, &request).await?;
    work.commit().await?;
    Ok(answer)
}

/// Writes an access token, and a refresh token where `offline` was granted.
async fn issue(work: &mut Work<'_>, store: &Store, client: &str, request: &Request) -> Result<Value> {
    let access = random_hex(64);
    let refresh = request.granted.split('|').any(|scope| scope == "offline").then(|| random_hex(64));
    work.execute(
        store.issue,
        &[
            &access,
            &refresh,
            &request.id,
            &client,
            &request.scope,
            &request.granted,
            &request.form,
            &request.session,
            &request.subject,
            &request.challenge,
        ],
    )
    .await?;
    let mut answer = json!({
        "access_token": with_secret_part(&access), "token_type": "bearer", "expires_in": 3600,
        "scope": request.granted.replace('|', " "),
    });
    if let Some(refresh) = refresh {
        answer["refresh_token"] = with_secret_part(&refresh).into();
    }
    Ok(answer)
}

async fn introspect(lease: &mut Lease<'_>, store: &Store, who: &Credentials, token: &str) -> Result<Value> {
    authenticate(lease, store, who, false).await?;
    let signature = signature(token);
    match lease.row(store.introspect, &[&signature]).await? {
        Some(row) if row.get(4) => Ok(json!({
            "active": true,
            "token_type": row.get::<_, &str>(0),
            "client_id": row.get::<_, &str>(1),
            "sub": row.get::<_, &str>(2),
            "scope": row.get::<_, &str>(3).replace('|', " "),
            "iat": row.get::<_, i64>(5),
        })),
        _ => Ok(json!({"active": false})),
    }
}

/// RFC 7009 section 2.2: an unknown token is no error.
async fn revoke(lease: &mut Lease<'_>, store: &Store, who: &Credentials, token: &str) -> Result<Value> {
    authenticate(lease, store, who, true).await?;
    let signature = signature(token);
    let mut work = lease.begin().await?;
    work.execute(store.revoke, &[&signature, &who.id]).await?;
    work.commit().await?;
    Ok(json!({}))
}

/// A token is `<secret part>.<signature>`; rows hold the signature only.
fn signature(token: &str) -> &str {
    token.rsplit_once('.').map_or("", |(_, signature)| signature)
}

fn with_secret_part(signature: &str) -> String {
    format!("{}.{signature}", random_hex(32))
}

/// 1 to 2 KB that do not compress: what an encrypted session takes.
fn session_data() -> String {
    let bytes: Vec<u8> = std::iter::repeat_with(|| fastrand::u8(..)).take(750 + fastrand::usize(..750)).collect();
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Digits of throw-away tokens: even, but not for keeping secrets.
fn random_hex(digits: usize) -> String {
    std::iter::repeat_with(|| fastrand::digit(16)).take(digits).collect()
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
