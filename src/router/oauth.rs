//! Which OAuth operation a request is, and what it says. Pure. RFC 6749 (grants, client authentication), RFC 7523 (assertions),
//! RFC 7009 (revocation), RFC 7662 (introspection); the administrative revocations are Ory Hydra's, 1.x and 2.x.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use hyper::Method;
use percent_encoding::percent_decode_str;
use zeroize::Zeroizing;

/// What a request is, as metrics and the canary see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Operation {
    /// `grant_type=refresh_token` at the token endpoint.
    Refresh,
    /// Another grant at the token endpoint.
    Grant,
    /// Introspection of a token.
    Introspect,
    /// Revocation of a token.
    Revoke,
    /// A revocation by an administrator: consents, login sessions, clients, tokens of a client.
    AdminRevoke,
    /// A read that the configuration names as one.
    Read,
    /// Anything else.
    Other,
}

impl Operation {
    /// All of them.
    pub const ALL: [Operation; 7] = [
        Operation::Refresh,
        Operation::Grant,
        Operation::Introspect,
        Operation::Revoke,
        Operation::AdminRevoke,
        Operation::Read,
        Operation::Other,
    ];

    /// Its name in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Operation::Refresh => "refresh",
            Operation::Grant => "grant",
            Operation::Introspect => "introspect",
            Operation::Revoke => "revoke",
            Operation::AdminRevoke => "admin_revoke",
            Operation::Read => "read",
            Operation::Other => "other",
        }
    }

    /// Whether it changes nothing: what a canary may send to green.
    pub fn reads(self) -> bool {
        matches!(self, Operation::Introspect | Operation::Read)
    }
}

/// Where the endpoints are. A path may end in `/*`, which stands for one more segment.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Endpoints {
    /// Token endpoint.
    pub token: Vec<String>,
    /// RFC 7009.
    pub revoke: Vec<String>,
    /// RFC 7662.
    pub introspect: Vec<String>,
    /// `DELETE` on these takes tokens away from somebody.
    pub admin_revoke: Vec<String>,
    /// `GET` and `HEAD` on these change nothing.
    pub read_only: Vec<String>,
}

impl Default for Endpoints {
    fn default() -> Self {
        let own = |paths: &[&str]| paths.iter().map(|path| (*path).to_owned()).collect();
        Self {
            token: own(&["/oauth2/token"]),
            revoke: own(&["/oauth2/revoke"]),
            introspect: own(&["/oauth2/introspect", "/admin/oauth2/introspect"]),
            admin_revoke: own(&[
                "/oauth2/auth/sessions/consent",
                "/oauth2/auth/sessions/login",
                "/oauth2/tokens",
                "/clients/*",
                "/admin/oauth2/auth/sessions/consent",
                "/admin/oauth2/auth/sessions/login",
                "/admin/oauth2/tokens",
                "/admin/clients/*",
            ]),
            read_only: own(&["/.well-known/openid-configuration", "/.well-known/jwks.json", "/userinfo"]),
        }
    }
}

impl Endpoints {
    /// What a request is by its method and path; a grant may turn out to be a refresh.
    pub fn operation(&self, method: &Method, path: &str) -> Operation {
        let path = plain(path);
        let among = |paths: &[String]| paths.iter().any(|known| matches(known, &path));
        match *method {
            Method::POST if among(&self.token) => Operation::Grant,
            Method::POST if among(&self.revoke) => Operation::Revoke,
            Method::POST if among(&self.introspect) => Operation::Introspect,
            Method::DELETE if among(&self.admin_revoke) => Operation::AdminRevoke,
            Method::GET | Method::HEAD if among(&self.read_only) => Operation::Read,
            _ => Operation::Other,
        }
    }
}

/// The path as servers understand it: decoded, without doubled or trailing slashes. Only for finding out what it is.
fn plain(path: &str) -> Cow<'_, str> {
    if !path.contains('%') && !path.contains("//") && !path.ends_with('/') {
        return Cow::Borrowed(path);
    }
    let decoded = percent_decode_str(path).decode_utf8_lossy();
    let segments = decoded.split('/').filter(|segment| !segment.is_empty());
    Cow::Owned(segments.fold(String::new(), |path, segment| path + "/" + segment))
}

fn matches(known: &str, path: &str) -> bool {
    match known.strip_suffix("/*") {
        Some(folder) => path
            .strip_prefix(folder)
            .and_then(|rest| rest.strip_prefix('/'))
            .is_some_and(|rest| !rest.is_empty() && !rest.contains('/')),
        None => known == path,
    }
}

/// Whose tokens an administrator's revocation reaches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reach {
    /// One client's.
    Client(String),
    /// Those of somebody the router cannot tell from others.
    Anybody,
}

/// Whose tokens an administrator's revocation reaches, by its path and query.
pub fn reach(path: &str, query: Option<&str>) -> Reach {
    let path = plain(path);
    if let Some((folder, id)) = path.rsplit_once('/')
        && folder.ends_with("/clients")
    {
        return Reach::Client(id.to_owned());
    }
    let form = Form::read(query.unwrap_or_default().as_bytes());
    match (form.one("client_id"), form.one("subject")) {
        (Some(client), None) => Reach::Client(client.to_owned()),
        _ => Reach::Anybody,
    }
}

/// The parameters of a form, wiped from memory when dropped.
pub struct Form(Vec<(Zeroizing<String>, Zeroizing<String>)>);

impl Form {
    /// Reads `application/x-www-form-urlencoded`.
    pub fn read(body: &[u8]) -> Self {
        let pairs = body.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty()).map(|pair| {
            let at = pair.iter().position(|byte| *byte == b'=').unwrap_or(pair.len());
            (decode(&pair[..at]), decode(pair.get(at + 1..).unwrap_or_default()))
        });
        Self(pairs.collect())
    }

    /// A parameter that is there once and not empty.
    pub fn one<'a>(&'a self, name: &'a str) -> Option<&'a str> {
        let mut found = self.all(name);
        found.next().filter(|value| found.next().is_none() && !value.is_empty())
    }

    /// All values of a parameter.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(key, _)| key.as_str() == name).map(|(_, value)| value.as_str())
    }
}

fn decode(bytes: &[u8]) -> Zeroizing<String> {
    let spaced: Zeroizing<Vec<u8>> = Zeroizing::new(bytes.iter().map(|byte| if *byte == b'+' { b' ' } else { *byte }).collect());
    let decoded: Zeroizing<Vec<u8>> = Zeroizing::new(percent_encoding::percent_decode(&spaced).collect());
    Zeroizing::new(String::from_utf8_lossy(&decoded).into_owned())
}

/// How a client says who it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Authentication {
    /// `client_secret_basic`.
    Basic(String),
    /// `client_secret_post`.
    Post(String),
    /// `private_key_jwt` or `client_secret_jwt`: the subject of the assertion, which the server has yet to check.
    Assertion(String),
    /// By its id alone.
    Public(String),
}

impl Authentication {
    /// How a request authenticates its client; `None` when it does not, or in two ways at once.
    pub fn read(authorization: Option<&str>, form: &Form) -> Option<Self> {
        let id = form.one("client_id");
        let assertion = form.one("client_assertion");
        match (authorization, assertion, form.one("client_secret")) {
            (Some(header), None, None) => {
                let (scheme, login) = header.split_once(' ')?;
                if !scheme.eq_ignore_ascii_case("basic") {
                    return None;
                }
                let login = Zeroizing::new(STANDARD.decode(login.trim()).ok()?);
                let end = login.iter().position(|byte| *byte == b':')?;
                Some(Self::Basic(decode(&login[..end]).to_string()))
            }
            (None, Some(assertion), None) => {
                let claims = Zeroizing::new(URL_SAFE_NO_PAD.decode(assertion.split('.').nth(1)?).ok()?);
                let claims: serde_json::Value = serde_json::from_slice(&claims).ok()?;
                Some(Self::Assertion(claims["sub"].as_str()?.to_owned()))
            }
            (None, None, Some(_)) => Some(Self::Post(id?.to_owned())),
            (None, None, None) => Some(Self::Public(id?.to_owned())),
            _ => None,
        }
    }

    /// The client's id, as it says.
    pub fn client(&self) -> &str {
        match self {
            Self::Basic(id) | Self::Post(id) | Self::Assertion(id) | Self::Public(id) => id,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_by_method_and_path() {
        let endpoints = Endpoints::default();
        for (method, path, operation) in [
            (Method::POST, "/oauth2/token", Operation::Grant),
            (Method::GET, "/oauth2/token", Operation::Other),
            (Method::POST, "/oauth2/%74oken", Operation::Grant),
            (Method::POST, "//oauth2//revoke/", Operation::Revoke),
            (Method::POST, "/admin/oauth2/introspect", Operation::Introspect),
            (Method::DELETE, "/clients/app-1", Operation::AdminRevoke),
            (Method::DELETE, "/clients/app-1/keys", Operation::Other),
            (Method::DELETE, "/clients", Operation::Other),
            (Method::PUT, "/clients/app-1", Operation::Other),
            (Method::DELETE, "/admin/oauth2/auth/sessions/consent", Operation::AdminRevoke),
            (Method::GET, "/.well-known/jwks.json", Operation::Read),
            (Method::GET, "/oauth2/auth", Operation::Other),
        ] {
            assert_eq!(endpoints.operation(&method, path), operation, "{method} {path}");
        }
    }

    #[test]
    fn how_clients_authenticate() {
        let read = |header: Option<&str>, body: &str| Authentication::read(header, &Form::read(body.as_bytes()));
        let basic = format!("Basic {}", STANDARD.encode("app%3A1:secret"));
        assert_eq!(read(Some(&basic), "grant_type=x"), Some(Authentication::Basic("app:1".to_owned())));
        assert_eq!(read(None, "client_id=a&client_secret=b"), Some(Authentication::Post("a".to_owned())));
        assert_eq!(read(None, "client_id=a"), Some(Authentication::Public("a".to_owned())));
        let jwt = format!("h.{}.s", URL_SAFE_NO_PAD.encode(r#"{"sub":"app"}"#));
        assert_eq!(read(None, &format!("client_assertion={jwt}")), Some(Authentication::Assertion("app".to_owned())));
        for (header, body) in [
            (None, ""),
            (None, "client_id=a&client_id=b"),
            (Some(basic.as_str()), "client_id=a&client_secret=b"),
            (Some("Bearer x"), "client_id=a"),
            (Some("Basic !"), ""),
            (None, "client_assertion=x"),
        ] {
            assert_eq!(read(header, body), None, "{header:?} {body}");
        }
    }

    #[test]
    fn whom_a_revocation_reaches() {
        let client = |id: &str| Reach::Client(id.to_owned());
        assert_eq!(reach("/admin/clients/app%201", None), client("app 1"));
        assert_eq!(reach("/oauth2/tokens", Some("client_id=app")), client("app"));
        assert_eq!(reach("/oauth2/auth/sessions/consent", Some("subject=u&client=app")), Reach::Anybody);
        assert_eq!(reach("/oauth2/auth/sessions/consent", Some("subject=u&client_id=app")), Reach::Anybody);
    }
}
