//! Who is told: a program, or a webhook with a signature.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ring::hmac;
use serde::Deserialize;

use super::{Happened, Message};
use crate::cutover::request::Request;
use crate::hook::{Program, Surroundings};

/// How long one try may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// A `[[notify]]` as written.
#[derive(Debug, Clone, Default, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Keys {
    on: Option<Vec<Happened>>,
    command: Option<Vec<String>>,
    url: Option<String>,
    url_env: Option<String>,
    secret_env: Option<String>,
}

/// Who is told, and of what.
#[derive(Debug, Clone)]
pub struct Target {
    on: Vec<Happened>,
    to: To,
}

#[derive(Debug, Clone)]
enum To {
    Program(Program),
    Webhook { address: Address, secret_env: Option<String> },
}

/// Where a webhook is. Many hold a secret in their path.
#[derive(Debug, Clone)]
enum Address {
    Url(String),
    Variable(String),
}

impl Target {
    /// Reads one `[[notify]]`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(keys: Keys, base: &Path) -> Result<Self, String> {
        let Keys { on, command, url, url_env, secret_env } = keys;
        let signed = secret_env.is_some();
        let to = match (command, url, url_env) {
            (Some(_), None, None) if signed => return Err("`secret_env` signs webhooks; a program gets no signature".to_owned()),
            (Some(words), None, None) => To::Program(Program::find("command", words, base)?.0),
            (None, Some(url), None) => {
                Request::get(&url).check()?;
                To::Webhook { address: Address::Url(url), secret_env }
            }
            (None, None, Some(variable)) => To::Webhook { address: Address::Variable(variable), secret_env },
            _ => return Err("give `command`, `url` or `url_env`, one of them: who is told".to_owned()),
        };
        Ok(Self { on: on.unwrap_or_else(|| Happened::USUAL.to_vec()), to })
    }

    /// The webhook whose address is in an environment variable, for all that is usually told.
    pub fn webhook(url_env: String, secret_env: Option<String>) -> Self {
        Self { on: Happened::USUAL.to_vec(), to: To::Webhook { address: Address::Variable(url_env), secret_env } }
    }

    /// Whether it is told of this.
    pub fn wants(&self, happened: Happened) -> bool {
        self.on.contains(&happened)
    }

    /// What messages call it: never its whole address.
    pub fn shown(&self) -> String {
        match &self.to {
            To::Program(program) => program.shown(),
            To::Webhook { address: Address::Variable(variable), .. } => format!("the webhook in {variable}"),
            To::Webhook { address: Address::Url(url), .. } => {
                let host = url.split("//").nth(1).and_then(|rest| rest.split(['/', '?']).next()).unwrap_or_default();
                format!("the webhook at {host}")
            }
        }
    }

    /// Makes sure that every variable it names is set, before a run begins.
    ///
    /// # Errors
    /// Names the one that is not.
    pub fn ready(&self) -> Result<(), String> {
        let To::Webhook { secret_env, .. } = &self.to else { return Ok(()) };
        self.url().and_then(|url| {
            Request::get(url).check().map_err(|_| format!("{} has no URL of the form https://host/path", self.shown()))
        })?;
        secret_env.as_deref().map_or(Ok(()), |variable| variable_of(variable).map(drop))
    }

    fn url(&self) -> Result<String, String> {
        match &self.to {
            To::Webhook { address: Address::Url(url), .. } => Ok(url.clone()),
            To::Webhook { address: Address::Variable(variable), .. } => variable_of(variable),
            To::Program(_) => Err("a program has no address".to_owned()),
        }
    }

    /// Tells it once.
    ///
    /// # Errors
    /// Why it was not told, without its address.
    pub async fn tell(&self, message: &Message) -> Result<(), String> {
        let body = message.json();
        match &self.to {
            To::Program(program) => {
                let around = Surroundings {
                    variables: vec![("CROSSFADE_EVENT".to_owned(), body), ("CROSSFADE_RUN".to_owned(), message.run.to_string())],
                    listener: Arc::new(|_| ()),
                };
                program.must(&around, PATIENCE).await.map_err(|error| error.to_string())
            }
            To::Webhook { secret_env, .. } => {
                let mut request = Request::post(self.url()?, body.clone())
                    .with_header("crossfade-event", message.happened.name())
                    .with_header("crossfade-delivery", &message.delivery);
                if let Some(variable) = secret_env {
                    let now = jiff::Timestamp::now().as_second();
                    request = request.with_header("crossfade-signature", &signature(&variable_of(variable)?, now, &body));
                }
                // The error's whole chain would show the address.
                match tokio::time::timeout(PATIENCE, request.send(2 * PATIENCE)).await {
                    Err(_) => Err(format!("no answer within {}", humantime::format_duration(PATIENCE))),
                    Ok(Err(error)) => Err(error.root_cause().to_string()),
                    Ok(Ok(answer)) if !answer.status.is_success() => Err(format!("status {}", answer.status.as_u16())),
                    Ok(Ok(_)) => Ok(()),
                }
            }
        }
    }
}

fn variable_of(variable: &str) -> Result<String, String> {
    std::env::var(variable).map_err(|_| format!("environment variable {variable} is not set"))
}

/// `t=SECONDS,v1=HEX`: HMAC-SHA-256 under the secret over `SECONDS.BODY`, so that an old message cannot be sent again as a new one.
fn signature(secret: &str, seconds: i64, body: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    let tag = hmac::sign(&key, format!("{seconds}.{body}").as_bytes());
    let hex: String = tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("t={seconds},v1={hex}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_hmac_sha_256() {
        // echo -n '1700000000.{"a":1}' | openssl dgst -sha256 -hmac key
        let expected = "t=1700000000,v1=a438e398bfafc57e4396bb7fc2304422f0f768e965d073ca313cb52e22e6ad03";
        assert_eq!(signature("key", 1_700_000_000, "{\"a\":1}"), expected);
    }

    #[test]
    fn addresses_are_not_shown_whole() {
        let read = |text: &str| Target::read(toml::from_str(text).unwrap(), Path::new("/"));
        let target = read("url = \"https://hooks.example.org/services/T0/secret\"").unwrap();
        assert_eq!(target.shown(), "the webhook at hooks.example.org");
        assert!(target.wants(Happened::RunDone) && !target.wants(Happened::StepDone));
        for wrong in ["", "url = \"x\"", "url_env = \"A\"\nurl = \"http://h/\"", "command = ['true']\nsecret_env = \"S\""] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
        assert!(Target::webhook("NOT_SET_ANYWHERE".to_owned(), None).ready().unwrap_err().contains("NOT_SET_ANYWHERE"));
    }
}
