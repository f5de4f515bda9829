//! From the stream to a file.

use std::time::Duration;

use anyhow::Context;
use async_nats::jetstream::AckKind;
use async_nats::jetstream::consumer::pull::Config;
use async_nats::jetstream::consumer::{AckPolicy, Consumer as OfStream};
use async_nats::jetstream::context::Context as Stream;
use futures_util::StreamExt;
use futures_util::future::join_all;

use super::{Inbox, Notice};

/// Messages at a time.
const PAGE: usize = 500;
/// How long a fetch waits for the first of them.
const WAIT: Duration = Duration::from_secs(1);
/// After so long without an acknowledgement a message comes again.
const AGAIN: Duration = Duration::from_secs(10);

/// A durable consumer of a stream.
pub struct Consumer {
    messages: OfStream<Config>,
    stream: String,
}

impl Consumer {
    /// Makes the consumer of this name, or finds it where it stood.
    ///
    /// # Errors
    /// When the server is away, or has no such stream.
    pub async fn open(server: &Stream, stream: &str, name: &str) -> anyhow::Result<Self> {
        let of_stream = server.get_stream(stream).await.with_context(|| format!("stream {stream}"))?;
        let config = Config {
            durable_name: Some(name.to_owned()),
            ack_policy: AckPolicy::Explicit,
            ack_wait: AGAIN,
            max_ack_pending: 10 * i64::try_from(PAGE)?,
            ..Config::default()
        };
        let messages = of_stream.get_or_create_consumer(name, config).await.with_context(|| format!("consumer {name}"))?;
        Ok(Self { messages, stream: stream.to_owned() })
    }

    /// Takes what is there, at most a page: written and on disk first, acknowledged then. Gives the messages taken and the events
    /// that were new. A message whose acknowledgement is lost comes again and changes nothing.
    ///
    /// # Errors
    /// When the server is away; when a message is no notice (it stays in the stream); when the file cannot be written.
    pub async fn take(&self, inbox: &mut Inbox) -> anyhow::Result<(u64, u64)> {
        let mut fetched = self.messages.fetch().max_messages(PAGE).expires(WAIT).messages().await.context("fetching")?;
        let mut taken = Vec::new();
        while let Some(message) = fetched.next().await {
            taken.push(message.map_err(|error| anyhow::anyhow!("fetching: {error}"))?);
        }
        let mut notices = Vec::with_capacity(taken.len());
        for message in &taken {
            let notice: Notice = serde_json::from_slice(&message.payload).map_err(|_| {
                let place = message.info().map_or(0, |info| info.stream_sequence);
                let stream = &self.stream;
                NotOurs(format!(
                    "message {place} of stream {stream} is no notice of a revocation; next: nats stream rmm {stream} {place}"
                ))
            })?;
            notices.push(notice);
        }
        let new = inbox.add(&notices)?;
        if !taken.is_empty() {
            crate::crash::point("nats:written");
        }
        let acknowledged = join_all(taken.iter().map(|message| message.double_ack_with(AckKind::Ack))).await;
        let lost = acknowledged.iter().filter(|answer| answer.is_err()).count();
        anyhow::ensure!(lost == 0, "{lost} acknowledgements were lost: these messages come again");
        Ok((taken.len() as u64, new))
    }

    /// Whether nothing waits: no message left, none unacknowledged.
    ///
    /// # Errors
    /// When the server is away.
    pub async fn at_rest(&mut self) -> anyhow::Result<bool> {
        let info = self.messages.info().await.context("asking the consumer")?;
        Ok(info.num_pending == 0 && info.num_ack_pending == 0)
    }
}

/// A message that somebody else put into the stream.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct NotOurs(String);
