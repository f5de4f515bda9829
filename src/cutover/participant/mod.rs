//! A participant: a system that sends traffic to one side and can be told to send it to the other.
//!
//! Every call names the side it is for, so the same participant goes there and back. Each may be called again after a crash:
//! the outcome is what counts, and [`Participant::standing`] asks the system for it.

mod command;
mod file;
mod http;
mod pgbouncer;
mod router;

pub use router::page_of_router;

use std::fmt;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::bail;
use async_trait::async_trait;
use serde::Deserialize;

use crate::hook;
use crate::terms::Side;

/// Where a participant stands, as the system itself says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// The side its traffic goes to; `None` when that cannot be told or is neither.
    pub side: Option<Side>,
    /// Whether its traffic is held.
    pub held: bool,
    /// The system's answer, for people.
    pub says: String,
}

impl Standing {
    /// Traffic flows to this side.
    pub fn on(side: Side) -> Self {
        Self { side: Some(side), held: false, says: side.to_string() }
    }

    /// Whether traffic flows to this side.
    pub fn flows_to(&self, side: Side) -> bool {
        self.side == Some(side) && !self.held
    }
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.says, if self.held { ", held" } else { "" })
    }
}

/// What a participant has in its hands.
#[derive(Clone)]
pub struct Scene {
    /// For the plan's own programs; `None` when hooks are not allowed.
    pub hook: Option<hook::Surroundings>,
    /// How long one call may take.
    pub patience: Duration,
}

impl Scene {
    /// For a program of the plan.
    ///
    /// # Errors
    /// When hooks are not allowed.
    fn hook(&self) -> anyhow::Result<&hook::Surroundings> {
        match &self.hook {
            Some(around) => Ok(around),
            None => bail!(
                "the plan runs a program for this participant, and hooks are not allowed; next: look at it, then use --allow-hooks"
            ),
        }
    }
}

/// A system that sends traffic to one side.
#[async_trait]
pub trait Participant: Send + Sync {
    /// Its name in the plan.
    fn name(&self) -> &str;

    /// What it does, for the reviewer.
    fn describe(&self) -> String;

    /// Whether it can hold its traffic: then nothing of it reaches a side between [`Participant::hold`] and
    /// [`Participant::release`].
    fn holds(&self) -> bool {
        false
    }

    /// Whether it runs a program of the plan.
    fn runs_programs(&self) -> bool {
        false
    }

    /// Where it stands.
    async fn standing(&self, scene: &Scene) -> anyhow::Result<Standing>;

    /// Makes sure that it could switch. Changes nothing that its traffic notices.
    async fn prepare(&self, scene: &Scene, to: Side) -> anyhow::Result<()>;

    /// Parks its traffic, for `deadline` at most where the system itself can keep one.
    async fn hold(&self, scene: &Scene, deadline: Duration) -> anyhow::Result<()> {
        let _ = (scene, deadline);
        Ok(())
    }

    /// Waits until what it let through before the hold has ended.
    async fn drain(&self, scene: &Scene, limit: Duration) -> anyhow::Result<()> {
        let _ = (scene, limit);
        Ok(())
    }

    /// Switches it to this side; what it holds stays held.
    async fn commit(&self, scene: &Scene, to: Side) -> anyhow::Result<()>;

    /// Lets its traffic flow to this side. Gives the epoch of the route where there is one.
    async fn release(&self, scene: &Scene, to: Side) -> anyhow::Result<Option<u64>> {
        let _ = (scene, to);
        Ok(None)
    }
}

/// A participant as a plan has it.
#[derive(Debug, Clone, Deserialize, schemars::JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Written {
    /// `crossfade route`.
    Router(Box<router::Written>),
    /// PgBouncer.
    Pgbouncer(Box<pgbouncer::Written>),
    /// A file that says where to connect.
    File(Box<file::Written>),
    /// A system with an HTTP API.
    Http(Box<http::Written>),
    /// Programs of yours.
    Command(Box<command::Written>),
}

impl Written {
    /// Checks it; also gives the content of the files it reads. Paths start at `base`.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn read(self, base: &Path) -> Read {
        match self {
            Written::Router(written) => router::Router::read(*written, base),
            Written::Pgbouncer(written) => pgbouncer::Pgbouncer::read(*written, base),
            Written::File(written) => file::FileSwap::read(*written, base),
            Written::Http(written) => http::Http::read(*written),
            Written::Command(written) => command::Command::read(*written, base),
        }
    }
}

/// What reading one gives: it, and the content of the files it reads; or everything that is wrong.
pub type Read = Result<(Box<dyn Participant>, Vec<Vec<u8>>), Vec<String>>;

/// Asks a participant until it stands on this side; a system may take a moment to do what it was told.
///
/// # Errors
/// Where it stands instead after `scene.patience`.
pub async fn settle(participant: &dyn Participant, scene: &Scene, to: Side) -> anyhow::Result<()> {
    let began = Instant::now();
    loop {
        let standing = participant.standing(scene).await?;
        if standing.side == Some(to) || standing.side.is_none() && standing.held {
            return Ok(());
        }
        if began.elapsed() > scene.patience {
            bail!("was told to switch to {to} and after {} it stands on: {standing}", humantime::format_duration(scene.patience));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
