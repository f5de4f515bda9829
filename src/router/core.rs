//! What all threads of a router share.

use std::sync::{Arc, Mutex, PoisonError, RwLock};

use tokio::sync::watch;
use tokio_rustls::{TlsAcceptor, TlsConnector};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::router::coalesce::Ledger;
use crate::router::config::RouterConfig;
use crate::router::digest::Digester;
use crate::router::keeper::Keeper;
use crate::router::metrics::{Gauges, Metrics};
use crate::router::pool::Pool;
use crate::router::refresh::Answer;
use crate::router::route::Position;
use crate::router::tap::Recorder;
use crate::router::tls;
use crate::terms::Side;

/// What identical refreshes wait for; `None` while there is no answer yet.
pub type Flight = watch::Receiver<Option<Arc<Answer>>>;

/// A configuration in effect, and what hangs on it. A reload puts another one in its place.
pub struct Settings {
    /// The configuration.
    pub config: RouterConfig,
    /// By listener: what it shows its clients.
    pub acceptors: Vec<Option<TlsAcceptor>>,
    /// By thread, listener and side.
    pools: Vec<Vec<[Arc<Pool>; 2]>>,
}

impl Settings {
    /// Reads certificates and prepares connections.
    ///
    /// # Errors
    /// Names the file that cannot be used.
    pub fn new(config: RouterConfig) -> anyhow::Result<Arc<Self>> {
        let mut acceptors = Vec::new();
        for listen in &config.listen {
            let files = listen.tls.as_ref();
            let server = files.map(|(certificate, key)| tls::server(certificate, key)).transpose()?;
            acceptors.push(server.map(TlsAcceptor::from));
        }
        let ca = config.upstream.ca_file.as_deref();
        let connectors = [false, true].map(|http2| {
            let wanted = config.listen.iter().flat_map(|listen| [&listen.blue, &listen.green]);
            let needed = wanted.into_iter().any(|target| target.tls && target.http2 == http2);
            let empty = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()));
            match needed {
                true => tls::client(ca, http2),
                false => Ok(Arc::new(
                    empty
                        .with_safe_default_protocol_versions()?
                        .with_root_certificates(rustls::RootCertStore::empty())
                        .with_no_client_auth(),
                )),
            }
        });
        let [h1, h2] = connectors;
        let (h1, h2) = (TlsConnector::from(h1?), TlsConnector::from(h2?));
        let mut pools = Vec::new();
        for _ in 0..config.threads {
            let mut of_thread = Vec::new();
            for listen in &config.listen {
                let pool = |target: &crate::router::config::Target| {
                    Pool::new(target, &config.upstream, if target.http2 { &h2 } else { &h1 })
                };
                of_thread.push([pool(&listen.blue)?, pool(&listen.green)?]);
            }
            pools.push(of_thread);
        }
        Ok(Arc::new(Self { config, acceptors, pools }))
    }

    /// The connections of a thread for a listener to a side.
    pub fn pool(&self, thread: usize, listener: usize, side: Side) -> &Arc<Pool> {
        &self.pools[thread][listener][side as usize]
    }
}

/// What all threads of a router share.
pub struct Core {
    settings: RwLock<Arc<Settings>>,
    /// The route and the gate.
    pub keeper: Keeper,
    /// What is counted.
    pub metrics: Metrics,
    /// The identical refreshes, where they are coalesced.
    pub ledger: Option<Mutex<Ledger<Flight, Arc<Answer>>>>,
    /// What tokens are compared by.
    pub digester: Digester,
    /// Where revocations are recorded.
    pub tap: Option<Recorder>,
    /// Work that goes on when its client goes away.
    pub tasks: TaskTracker,
    /// From when on no requests are taken.
    pub stopping: CancellationToken,
    /// From when on nothing is waited for.
    pub stopped: CancellationToken,
}

impl Core {
    /// Puts it together.
    ///
    /// # Errors
    /// When the system has no random numbers.
    pub fn new(settings: Arc<Settings>, keeper: Keeper, tap: Option<Recorder>) -> anyhow::Result<Arc<Self>> {
        let ledger = settings.config.coalesce.map(|bounds| Mutex::new(Ledger::new(bounds)));
        Ok(Arc::new(Self {
            settings: RwLock::new(settings),
            keeper,
            metrics: Metrics::default(),
            ledger,
            digester: Digester::random()?,
            tap,
            tasks: TaskTracker::new(),
            stopping: CancellationToken::new(),
            stopped: CancellationToken::new(),
        }))
    }

    /// The configuration in effect.
    pub fn settings(&self) -> Arc<Settings> {
        Arc::clone(&self.settings.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Puts another configuration into effect; requests that are under way end with the one they began with.
    pub fn reload(&self, settings: Arc<Settings>) {
        if let (Some(bounds), Some(_)) = (settings.config.coalesce, &self.ledger) {
            self.with_ledger(|ledger| ledger.set_bounds(bounds));
        }
        *self.settings.write().unwrap_or_else(PoisonError::into_inner) = settings;
    }

    /// Does something with the ledger, where there is one.
    pub fn with_ledger<T>(&self, work: impl FnOnce(&mut Ledger<Flight, Arc<Answer>>) -> T) -> Option<T> {
        let ledger = self.ledger.as_ref()?;
        Some(work(&mut ledger.lock().unwrap_or_else(PoisonError::into_inner)))
    }

    /// What is so at the moment.
    pub fn gauges(&self) -> Gauges {
        let gate = self.keeper.gate();
        let (flights, answers) = self
            .with_ledger(|ledger| {
                ledger.expire(std::time::Instant::now());
                ledger.live()
            })
            .unwrap_or_default();
        Gauges {
            epoch: self.keeper.route().epoch,
            in_flight: [gate.in_flight(Side::Blue), gate.in_flight(Side::Green)],
            parked: gate.parked(),
            flights,
            answers,
            position: match gate.position() {
                Position::Blue => 0,
                Position::Green => 1,
                Position::Hold => 2,
            },
        }
    }
}
