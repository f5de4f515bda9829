//! Requests to the service, in the terms of RFC 6749 (grants), RFC 7636 (PKCE), RFC 7662 (introspection) and RFC 7009
//! (revocation). Pure.

use std::collections::HashMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::percent_decode_str;

use super::Refusal;

/// What an application asks of the service.
#[derive(Clone, PartialEq, Eq)]
pub enum Call {
    /// `POST /oauth2/auth`, a shortcut of ours: the user logs in, consents to everything asked for, and the answer holds the
    /// code that a browser would carry back, beside the consent challenge.
    Authorize {
        /// The application.
        client: String,
        /// The user who logs in.
        subject: String,
        /// The scope, joined by `|` as the database has it.
        scope: String,
        /// The S256 challenge of RFC 7636, for applications without a secret.
        code_challenge: Option<String>,
    },
    /// `POST /oauth2/token` with `grant_type=authorization_code`.
    Exchange(Credentials, String, Option<String>),
    /// `POST /oauth2/token` with `grant_type=refresh_token`.
    Refresh(Credentials, String),
    /// `POST /oauth2/token` with `grant_type=client_credentials` and this scope, joined by `|`.
    Machine(Credentials, String),
    /// `POST /oauth2/introspect`.
    Introspect(Credentials, String),
    /// `POST /oauth2/revoke`.
    Revoke(Credentials, String),
}

/// Who an application says it is: by `client_secret_basic`, `client_secret_post`, or its id alone when it is public.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The client's id.
    pub id: String,
    /// Its secret.
    pub secret: Option<String>,
}

impl Call {
    /// Reads a request: its path, its `Authorization` header and its form.
    ///
    /// # Errors
    /// The refusal that RFC 6749 section 5.2 names.
    pub fn parse(path: &str, authorization: Option<&str>, body: &str) -> Result<Self, Refusal> {
        let mut form = read_form(body);
        let mut take = |name: &'static str| form.remove(name).filter(|value| !value.is_empty()).ok_or(Refusal::InvalidRequest);
        if path == "/oauth2/auth" {
            return Ok(Call::Authorize {
                client: take("client_id")?,
                subject: take("subject")?,
                scope: take("scope")?.replace(' ', "|"),
                code_challenge: take("code_challenge").ok(),
            });
        }
        let credentials = match authorization.and_then(basic) {
            Some(credentials) => credentials,
            None if authorization.is_some() => return Err(Refusal::InvalidClient),
            None => {
                Credentials { id: take("client_id").map_err(|_| Refusal::InvalidClient)?, secret: take("client_secret").ok() }
            }
        };
        match path {
            "/oauth2/token" => match take("grant_type")?.as_str() {
                "authorization_code" => Ok(Call::Exchange(credentials, take("code")?, take("code_verifier").ok())),
                "refresh_token" => Ok(Call::Refresh(credentials, take("refresh_token")?)),
                "client_credentials" => Ok(Call::Machine(credentials, take("scope").unwrap_or_default().replace(' ', "|"))),
                _ => Err(Refusal::UnsupportedGrantType),
            },
            "/oauth2/introspect" => Ok(Call::Introspect(credentials, take("token")?)),
            "/oauth2/revoke" => Ok(Call::Revoke(credentials, take("token")?)),
            _ => Err(Refusal::NotFound),
        }
    }

    /// Whether it changes rows.
    pub fn writes(&self) -> bool {
        !matches!(self, Call::Introspect(..))
    }
}

/// RFC 6749 section 2.3.1: id and secret are form-encoded before they become user and password.
fn basic(header: &str) -> Option<Credentials> {
    let (scheme, encoded) = header.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let text = String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()?;
    let (id, secret) = text.split_once(':')?;
    Some(Credentials { id: decode(id), secret: Some(decode(secret)) })
}

fn read_form(body: &str) -> HashMap<String, String> {
    body.split('&').filter_map(|pair| pair.split_once('=')).map(|(name, value)| (decode(name), decode(value))).collect()
}

fn decode(text: &str) -> String {
    percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_come_by_header_or_form() {
        let header = format!("Basic {}", STANDARD.encode("my%20app:p%3Aw"));
        let both = Call::parse("/oauth2/revoke", Some(&header), "token=a.b").ok();
        let wanted = Credentials { id: "my app".to_owned(), secret: Some("p:w".to_owned()) };
        assert!(both == Some(Call::Revoke(wanted, "a.b".to_owned())));
        let posted = Call::parse("/oauth2/introspect", None, "token=a.b&client_id=x&client_secret=y").ok();
        let wanted = Credentials { id: "x".to_owned(), secret: Some("y".to_owned()) };
        assert!(posted == Some(Call::Introspect(wanted, "a.b".to_owned())));
    }

    #[test]
    fn what_is_missing_is_refused() {
        let parse = |path, body| Call::parse(path, None, body).err();
        assert_eq!(parse("/oauth2/token", "grant_type=refresh_token&client_id=x"), Some(Refusal::InvalidRequest));
        assert_eq!(parse("/oauth2/token", "grant_type=password&client_id=x"), Some(Refusal::UnsupportedGrantType));
        assert_eq!(parse("/oauth2/token", "grant_type=refresh_token"), Some(Refusal::InvalidClient));
        assert_eq!(parse("/elsewhere", "client_id=x"), Some(Refusal::NotFound));
        assert_eq!(Call::parse("/oauth2/revoke", Some("Bearer x"), "token=a").err(), Some(Refusal::InvalidClient));
    }

    #[test]
    fn scope_becomes_a_list() {
        let call = Call::parse("/oauth2/auth", None, "client_id=x&subject=u&scope=openid+offline").ok();
        assert!(matches!(call, Some(Call::Authorize { scope, code_challenge: None, .. }) if scope == "openid|offline"));
    }
}
