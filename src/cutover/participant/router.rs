//! `crossfade route`: its hold carries its own deadline, its release is a compare-and-set of the route.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use async_trait::async_trait;
use serde::Deserialize;

use super::{Participant, Read, Scene, Standing};
use crate::router::{AdminConfig, Change, Changed, Control, Position, Route};
use crate::terms::Side;

/// A router that said nothing for so long is not waited for.
const LIVE_FOR: Duration = Duration::from_secs(5);

/// As a plan has it.
#[derive(Debug, Clone, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Written {
    name: String,
    /// Its admin socket.
    socket: Option<PathBuf>,
    /// Or its loopback address, with the file that holds the token.
    address: Option<SocketAddr>,
    token_file: Option<PathBuf>,
}

/// What the router at this socket counts, in Prometheus' text form.
///
/// # Errors
/// When it does not answer.
pub async fn page_of_router(socket: &Path) -> anyhow::Result<String> {
    Control::new(AdminConfig::Socket(socket.to_owned())).metrics().await
}

/// The admin end of a router, or of all that share a route.
pub(super) struct Router {
    name: String,
    control: Control,
}

impl Router {
    pub(super) fn read(written: Written, base: &Path) -> Read {
        let Written { name, socket, address, token_file } = written;
        let admin = match (socket, address, token_file) {
            (Some(socket), None, None) => AdminConfig::Socket(base.join(socket)),
            (None, Some(address), Some(token)) if address.ip().is_loopback() => AdminConfig::Loopback(address, base.join(token)),
            _ => return Err(vec![format!("participant {name}: give `socket`, or a loopback `address` with `token_file`")]),
        };
        Ok((Box::new(Self { name, control: Control::new(admin) }), Vec::new()))
    }

    /// Brings the route where it is wanted, from wherever it is now. A lost answer does not matter: the route is read again.
    async fn bring(&self, to: Position, hold: Duration) -> anyhow::Result<Route> {
        let hold_ms = if to == Position::Hold { u64::try_from(hold.as_millis())?.max(1) } else { 0 };
        for _ in 0..20 {
            let route = self.control.status().await?.route;
            if route.position == to {
                return Ok(route);
            }
            if let Changed::Done(route) = self.control.change(&Change { epoch: route.epoch, to, hold_ms }).await? {
                return Ok(route);
            }
        }
        bail!("the route changes all the time: somebody else sets it")
    }
}

#[async_trait]
impl Participant for Router {
    fn name(&self) -> &str {
        &self.name
    }

    fn describe(&self) -> String {
        "hold requests, then route them to green".to_owned()
    }

    fn holds(&self) -> bool {
        true
    }

    async fn standing(&self, _: &Scene) -> anyhow::Result<Standing> {
        let route = self.control.status().await?.route;
        let held = route.position == Position::Hold;
        Ok(Standing { side: route.position.side(), held, says: format!("{} at epoch {}", route.position, route.epoch) })
    }

    async fn prepare(&self, _: &Scene, _: Side) -> anyhow::Result<()> {
        self.control.status().await.map(drop)
    }

    async fn hold(&self, _: &Scene, deadline: Duration) -> anyhow::Result<()> {
        self.bring(Position::Hold, deadline).await.map(drop)
    }

    /// Every live router goes by the hold and has no request under way.
    async fn drain(&self, _: &Scene, limit: Duration) -> anyhow::Result<()> {
        let route = self.control.status().await?.route;
        if route.position != Position::Hold {
            bail!("the hold has ended: the route is {} at epoch {}", route.position, route.epoch);
        }
        self.control.wait(route.epoch, Some(route.side), LIVE_FOR, limit).await.map(drop)
    }

    /// The held requests stay held: the release sends them to the new side.
    async fn commit(&self, _: &Scene, _: Side) -> anyhow::Result<()> {
        Ok(())
    }

    async fn release(&self, scene: &Scene, to: Side) -> anyhow::Result<Option<u64>> {
        let route = self.bring(to.into(), Duration::ZERO).await?;
        self.control.wait(route.epoch, None, LIVE_FOR, scene.patience).await.context("after the release")?;
        Ok(Some(route.epoch))
    }
}
