//! From green's table of revocations to the stream.

use std::time::Duration;

use anyhow::Context;
use async_nats::jetstream::context::Context as Stream;
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::stream::{Config, StorageType};
use futures_util::future::try_join_all;

use super::{Notice, Wording};
use crate::pg::{Session, sqlstate};
use crate::revocation::{Filter, list};
use crate::terms::RunId;

/// Revocations at a time.
const PAGE: i64 = 500;
/// How long the stream remembers ids: a publisher that comes back within it makes no second message.
const WINDOW: Duration = Duration::from_secs(3600);
/// How long writers may be asked to wait while the last place is read.
const SHORT: &str = "200ms";

/// Publishes the revocations of one run.
pub struct Publisher<'a> {
    /// The stream's server.
    pub stream: &'a Stream,
    /// The stream's name.
    pub name: String,
    /// What subjects begin with.
    pub prefix: String,
    /// How ids stand in notices.
    pub wording: Wording,
    /// The run.
    pub run: RunId,
}

/// How far a run is published to a stream: everything up to a place is there.
pub struct Mark<'a> {
    /// Where it is kept, beside the revocations.
    pub green: &'a mut Session,
    /// The run.
    pub run: RunId,
    /// The stream's name.
    pub stream: String,
}

impl Mark<'_> {
    /// Step ids hold no `/`: no step has this name.
    fn place(&self) -> String {
        format!("nats/{}", self.stream)
    }

    /// Reads it; 0 when nothing is published.
    ///
    /// # Errors
    /// When the session is gone.
    pub async fn read(&self) -> anyhow::Result<i64> {
        let sql = "SELECT (last_key ->> 0)::bigint FROM crossfade.batch_progress WHERE run = $1 AND step = $2";
        let row = self.green.query_opt(sql, &[&self.run.as_str(), &self.place()]).await?;
        Ok(row.and_then(|row| row.get::<_, Option<i64>>(0)).unwrap_or(0))
    }

    /// Moves it; never back, but to the beginning.
    ///
    /// # Errors
    /// When green cannot be written.
    pub async fn to(&self, seq: i64) -> anyhow::Result<()> {
        let sql = "INSERT INTO crossfade.batch_progress AS p (run, step, last_key) VALUES ($1, $2, jsonb_build_array($3::bigint)) \
                   ON CONFLICT (run, step) DO UPDATE SET last_key = excluded.last_key, moved_at = clock_timestamp() \
                   WHERE $3 = 0 OR (p.last_key ->> 0)::bigint < $3";
        self.green.execute(sql, &[&self.run.as_str(), &self.place(), &seq]).await?;
        Ok(())
    }

    /// The last place before which nothing can appear any more: numbers are given before they are committed, so writers are waited
    /// for, an instant at a time. `None` while one is at work for longer, or when there is nothing after `seq`.
    async fn settled(&mut self, seq: i64) -> anyhow::Result<Option<i64>> {
        let any = "SELECT EXISTS (SELECT FROM crossfade.revocation WHERE run = $1 AND seq > $2)";
        if !self.green.query_one(any, &[&self.run.as_str(), &seq]).await?.get::<_, bool>(0) {
            return Ok(None);
        }
        let work = self.green.transaction().await?;
        work.batch_execute(&format!("SET LOCAL lock_timeout = '{SHORT}'")).await?;
        match work.batch_execute("LOCK TABLE crossfade.revocation IN SHARE MODE").await {
            Err(error) if sqlstate(&error) == "55P03" => return Ok(None),
            locked => locked?,
        }
        let row = work.query_one("SELECT max(seq) FROM crossfade.revocation WHERE run = $1", &[&self.run.as_str()]).await?;
        let last = row.get(0);
        work.commit().await?;
        Ok(last)
    }
}

impl Publisher<'_> {
    /// Makes the stream, or finds it.
    ///
    /// # Errors
    /// When the server is away, refuses it, or gives the subjects to another stream.
    pub async fn prepare(&self) -> anyhow::Result<()> {
        let config = Config {
            name: self.name.clone(),
            subjects: vec![format!("{}.>", self.prefix)],
            storage: StorageType::File,
            duplicate_window: WINDOW,
            ..Config::default()
        };
        self.stream.get_or_create_stream(config).await.with_context(|| format!("stream {}", self.name)).map(drop)
    }

    /// Publishes what is after the mark, page by page; the mark moves when the stream has acknowledged a page. `moved` hears the
    /// number of each page. Returns how many, and whether writers kept some back.
    ///
    /// # Errors
    /// When a server is away: what the mark says is published.
    pub async fn publish(&self, mark: &mut Mark<'_>, mut moved: impl FnMut(u64)) -> anyhow::Result<(u64, bool)> {
        let mut seq = mark.read().await?;
        let Some(last) = mark.settled(seq).await? else {
            let any = list(mark.green, &self.run, &Filter::default(), seq, 1).await?;
            return Ok((0, !any.is_empty()));
        };
        let mut done = 0;
        while seq < last {
            let mut page = list(mark.green, &self.run, &Filter::default(), seq, PAGE).await?;
            page.retain(|(place, _)| *place <= last);
            let Some((end, _)) = page.last() else { break };
            let end = *end;
            let mut sent = Vec::with_capacity(page.len());
            for (_, recorded) in &page {
                let notice = Notice::of(&self.run, &recorded.event, self.wording);
                let message = PublishMessage::build().payload(serde_json::to_vec(&notice)?.into()).message_id(&notice.event);
                let message = message.expected_stream(&self.name);
                sent.push(self.stream.send_publish(notice.subject(&self.prefix), message).await?);
            }
            try_join_all(sent.into_iter().map(IntoFuture::into_future)).await.context("the stream did not acknowledge")?;
            crate::crash::point("nats:acknowledged");
            mark.to(end).await?;
            seq = end;
            done += page.len() as u64;
            moved(page.len() as u64);
        }
        Ok((done, false))
    }
}
