//! A system that is switched by an HTTP request, and another request that asks where it stands.

use anyhow::{Context, bail};
use async_trait::async_trait;
use serde::Deserialize;

use super::{Participant, Read, Scene, Standing};
use crate::cutover::request::Request;
use crate::terms::Side;

/// As a plan has it.
#[derive(Debug, Clone, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Written {
    name: String,
    to_blue: Request,
    to_green: Request,
    probe: Probe,
}

/// What is asked, and what the answer is on each side.
#[derive(Debug, Clone, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct Probe {
    #[serde(flatten)]
    request: ProbeRequest,
    /// Where in a JSON answer the value is (RFC 6901); the whole body, trimmed, when there is none.
    #[serde(default)]
    json: Option<String>,
    blue: String,
    green: String,
}

/// [`Request`] without its refusal of further keys, which those of [`Probe`] are.
#[derive(Debug, Clone, Deserialize, schemars::JsonSchema)]
struct ProbeRequest {
    url: String,
    #[serde(default)]
    token_env: Option<String>,
}

/// The requests.
pub(super) struct Http {
    name: String,
    to: [Request; 2],
    ask: Request,
    probe: Probe,
}

impl Http {
    pub(super) fn read(written: Written) -> Read {
        let Written { name, to_blue, to_green, probe } = written;
        let ask = Request::get(probe.request.url.clone()).with_token(probe.request.token_env.clone());
        let mut wrong = Vec::new();
        for (key, request) in [("to_blue", &to_blue), ("to_green", &to_green), ("probe", &ask)] {
            wrong.extend(request.check().err().map(|what| format!("`{key}`: {what}")));
        }
        if probe.blue == probe.green {
            wrong.push("`probe`: `blue` and `green` are the same answer".to_owned());
        }
        if wrong.is_empty() { Ok((Box::new(Self { name, to: [to_blue, to_green], ask, probe }), Vec::new())) } else { Err(wrong) }
    }
}

#[async_trait]
impl Participant for Http {
    fn name(&self) -> &str {
        &self.name
    }

    fn describe(&self) -> String {
        self.to[Side::Green as usize].shown()
    }

    async fn standing(&self, scene: &Scene) -> anyhow::Result<Standing> {
        let body = self.ask.must(scene.patience).await?.body;
        let value = match &self.probe.json {
            None => body.trim().to_owned(),
            Some(place) => {
                let document: serde_json::Value = serde_json::from_str(&body).context("the answer to the probe is no JSON")?;
                match document.pointer(place) {
                    Some(serde_json::Value::String(text)) => text.clone(),
                    Some(other) => other.to_string(),
                    None => bail!("the answer to the probe has nothing at {place}"),
                }
            }
        };
        let side = [(Side::Blue, &self.probe.blue), (Side::Green, &self.probe.green)];
        let side = side.into_iter().find(|(_, answer)| **answer == value).map(|(side, _)| side);
        // The answer itself may hold anything.
        Ok(Standing {
            side,
            held: false,
            says: side.map_or_else(|| "an answer of neither side".to_owned(), |side| side.to_string()),
        })
    }

    async fn prepare(&self, _: &Scene, _: Side) -> anyhow::Result<()> {
        Ok(()) // the probe was asked: it answers
    }

    async fn commit(&self, scene: &Scene, to: Side) -> anyhow::Result<()> {
        self.to[to as usize].must(scene.patience).await.map(drop)
    }
}
