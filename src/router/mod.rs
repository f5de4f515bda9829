//! The router: a reverse proxy in front of both sides that knows OAuth.
//!
//! A request goes through the [`gate`](Gate) to the side that serves by the [`Route`]; during a hold it is parked. The route changes
//! by compare and set, at one router ([`Control`]) or for several that share it in a database. Identical refreshes are one request
//! upstream ([`Ledger`]); revocations are on disk before their client gets an answer ([`Recorder`]). Each thread has its own
//! connections to the sides.

mod admin;
mod body;
mod coalesce;
mod config;
mod control;
mod core;
mod digest;
mod durable;
mod forward;
mod gate;
mod headers;
mod keeper;
mod metrics;
mod oauth;
mod pool;
mod proxy;
mod refresh;
mod replay;
mod revoke;
mod route;
mod server;
mod shared;
mod socket;
mod tap;
mod tls;

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;

pub use admin::{Instance, Status};
pub use coalesce::{Asked, Ledger};
pub use config::{AdminConfig, ListenConfig, Problem, Problems, RouterConfig};
pub use control::{Behind, Changed, Control};
pub use digest::Digester;
pub use gate::Gate;
pub use oauth::{Authentication, Endpoints, Form, Reach, reach};
pub use refresh::identity;
pub use replay::{Replay, replay};
pub use route::{Change, Position, Refused, Route, now_ms};
pub use tap::{Recorder, Tap, TapKey};

use crate::router::core::{Core, Settings};
use crate::router::durable::Kept;
use crate::router::keeper::Keeper;
use crate::router::server::Listeners;
use crate::router::shared::Shared;

/// A running router.
pub struct Router {
    core: Arc<Core>,
    addresses: Vec<SocketAddr>,
    admin: AdminConfig,
    threads: Vec<JoinHandle<()>>,
    shared: Option<tokio::task::JoinHandle<()>>,
}

impl Router {
    /// Starts it: the route from its folder, then the admin socket, then the listeners.
    ///
    /// # Errors
    /// Names what it cannot have.
    pub async fn start(config: RouterConfig) -> anyhow::Result<Self> {
        let (kept, route) = Kept::open(&config.state, config.first)?;
        let shared = config.shared.as_ref().map(Shared::new).transpose()?;
        let tap = match &config.tap {
            Some(tap) => Some(Recorder::open(&tap.folder, TapKey::from_env(&tap.key_env)?)?),
            None => None,
        };
        let addresses: Vec<_> = config.listen.iter().map(|listen| (listen.name.clone(), listen.address)).collect();
        let keeper = Keeper::new(kept, route, shared.is_some());
        let core = Core::new(Settings::new(config)?, keeper, tap)?;
        let listeners = Listeners::open(&addresses)?;
        let addresses = listeners.addresses()?;
        let admin = admin::Admin::start(Arc::clone(&core), shared.clone()).await?;
        let following = match shared {
            Some(shared) => Some(tokio::spawn(shared.follow(Arc::clone(&core)))),
            None => {
                let core = Arc::clone(&core);
                tokio::spawn(async move { core.stopped.run_until_cancelled(core.keeper.end_holds()).await });
                None
            }
        };
        let threads = listeners.serve(&core)?;
        Ok(Self { core, addresses, admin, threads, shared: following })
    }

    /// Where it listens, in the order of the configuration.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Where it is asked and told.
    pub fn control(&self) -> Control {
        Control::new(self.admin.clone())
    }

    /// The route it goes by.
    pub fn route(&self) -> Route {
        self.core.keeper.route()
    }

    /// Puts another configuration into effect, for requests that come from now on.
    ///
    /// # Errors
    /// Names what cannot be changed while it runs, or cannot be used; everything is as it was then.
    pub fn reload(&self, config: RouterConfig) -> anyhow::Result<()> {
        let fixed = self.core.settings().config.fixed_differences(&config);
        if !fixed.is_empty() {
            anyhow::bail!("these need a restart: {}; nothing was changed", fixed.join(", "));
        }
        self.core.reload(Settings::new(config)?);
        Ok(())
    }

    /// Takes no more requests, waits for those under way as long as the configuration says, and ends.
    pub async fn stop(mut self) {
        let core = Arc::clone(&self.core);
        core.stopping.cancel();
        core.tasks.close();
        let threads = std::mem::take(&mut self.threads);
        let ended = tokio::task::spawn_blocking(move || threads.into_iter().for_each(|thread| drop(thread.join())));
        let drain = core.settings().config.drain;
        let mut ended = std::pin::pin!(ended);
        if tokio::time::timeout(drain, ended.as_mut()).await.is_err() {
            tracing::warn!("requests did not end in time and were cut");
            core.stopped.cancel();
            let _ = ended.await;
        }
        core.stopped.cancel();
        if let Some(shared) = self.shared.take() {
            let _ = shared.await;
        }
    }
}

impl Drop for Router {
    fn drop(&mut self) {
        self.core.stopping.cancel();
        self.core.stopped.cancel();
    }
}
