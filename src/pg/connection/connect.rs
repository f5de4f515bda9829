//! One database and the sessions opened on it.

use std::net::IpAddr;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use tokio::sync::mpsc::UnboundedSender;
use tokio_postgres::config::SslMode;
use tokio_postgres::{AsyncMessage, Client, Config};

use crate::pg::connection::conninfo;
use crate::pg::connection::endpoint::Place;
use crate::pg::connection::environment::Environment;
use crate::pg::connection::refusal::{ConnectFailure, Reason, Try};
use crate::pg::connection::secret::Secret;
use crate::pg::connection::target::{Keepalive, Server, SessionAttrs, Target};
use crate::pg::{Heard, Listener};
use crate::sql::Literal;

/// A database we may connect to. Its text form never shows a password or the whole connection string.
#[derive(Clone)]
pub struct Database {
    target: Arc<Target>,
    name: String,
    conninfo: Secret,
    notified: Option<UnboundedSender<String>>,
}

impl std::fmt::Debug for Database {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Database").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Database {
    /// Reads a connection string as libpq does: a URI or `keyword=value` pairs, completed from its service, the `PG*`
    /// variables of this process and the password file (PostgreSQL manual 34.1). `name` is what messages call this
    /// database.
    ///
    /// # Errors
    /// Names what is wrong and what to do; never repeats the text, which may hold a password.
    pub fn parse(name: &str, conninfo: &str) -> anyhow::Result<Self> {
        Self::parse_in(name, conninfo, &Environment::of_process())
    }

    /// The same in a given environment.
    ///
    /// # Errors
    /// As [`Database::parse`].
    pub fn parse_in(name: &str, conninfo: &str, environment: &Environment) -> anyhow::Result<Self> {
        let target = Target::resolve(conninfo, environment)
            .map_err(|wrong| anyhow::anyhow!("the connection string of {name}: {wrong}"))?;
        if let Some(why) = &target.passfile_refused {
            tracing::warn!(database = name, "{why}");
        }
        Ok(Self { target: Arc::new(target), name: name.to_owned(), conninfo: Secret::new(conninfo), notified: None })
    }

    /// The same database, whose sessions pass on what they are notified of (`LISTEN`, PostgreSQL manual 34.9): the payloads.
    pub fn notifying(&self, notified: UnboundedSender<String>) -> Self {
        Self { notified: Some(notified), ..self.clone() }
    }

    /// Another database of the same servers, for the same user; `name` is what messages call it.
    ///
    /// # Errors
    /// As [`Database::parse`].
    pub fn beside(&self, name: &str, dbname: &str) -> anyhow::Result<Self> {
        Self::parse(name, &conninfo::beside(self.conninfo.reveal(), dbname))
    }

    /// What messages call this database.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Opens a session that carries `application_name`, with the settings under which values have one text form
    /// (PostgreSQL manual 20.11), without time limits, and with commits that outlast a crash of the server. Tries the servers of the connection string in order, each with or
    /// without TLS as `sslmode` says.
    ///
    /// # Errors
    /// A [`ConnectFailure`]: the database, each server tried, why it failed, and the next command.
    pub async fn connect(&self, application_name: &str) -> anyhow::Result<Session> {
        let (client, way) = self.open(application_name).await?;
        client
            .batch_execute(
                "SET datestyle = 'ISO, MDY'; SET intervalstyle = 'postgres'; SET timezone = 'UTC'; \
                 SET extra_float_digits = 1; SET bytea_output = 'hex'; SET standard_conforming_strings = on; \
                 SET client_min_messages = warning; SET statement_timeout = 0; SET lock_timeout = 0; \
                 SET idle_in_transaction_session_timeout = 0; \
                 SELECT set_config(name, '0', false) FROM unnest(ARRAY['idle_session_timeout', 'transaction_timeout']) AS name \
                  WHERE current_setting(name, true) IS NOT NULL; \
                 SELECT set_config('synchronous_commit', 'local', false) WHERE current_setting('synchronous_commit') = 'off'",
            )
            .await
            .with_context(|| format!("cannot set up a session on {}", self.name))?;
        if way.address.is_some() {
            client.batch_execute(&noticed_by_the_server(&self.target.keepalive)).await?;
        }
        let pid = client.query_one("SELECT pg_backend_pid()", &[]).await?.get(0);
        Ok(Session { client, pid, database: self.clone(), way, listener: None })
    }

    /// Opens a session of a server that only speaks the protocol, such as PgBouncer's admin console: nothing is set up, and
    /// only simple queries will do.
    ///
    /// # Errors
    /// As [`Database::connect`].
    pub async fn console(&self, application_name: &str) -> anyhow::Result<Console> {
        Ok(self.open(application_name).await?.0)
    }

    /// The connection string as it was given, for a process of our own that runs in the same environment. It may hold a password.
    pub fn conninfo(&self) -> &str {
        self.conninfo.reveal()
    }

    pub(super) fn target(&self) -> &Target {
        &self.target
    }

    async fn open(&self, application_name: &str) -> Result<(Client, Way), ConnectFailure> {
        let target = &*self.target;
        let mut order: Vec<&Server> = target.servers.iter().collect();
        if target.shuffle {
            fastrand::shuffle(&mut order);
        }
        let mut tries = Vec::new();
        'rounds: for wanted in target.session.rounds() {
            for server in &order {
                if let Some(open) = self.open_server(server, *wanted, application_name, &mut tries).await {
                    return Ok(open);
                }
                if tries.last().is_some_and(|last| !last.reason.invites_next_host()) {
                    break 'rounds;
                }
            }
        }
        Err(ConnectFailure::new(&self.name, target, &tries))
    }

    /// Tries every address of a server, each with and without TLS as far as `sslmode` allows.
    async fn open_server(
        &self,
        server: &Server,
        wanted: SessionAttrs,
        application_name: &str,
        tries: &mut Vec<Try>,
    ) -> Option<(Client, Way)> {
        let endpoint = &server.endpoint;
        let limit = self.target.connect_timeout;
        let mut failed = |reason: Reason, encrypted: bool| {
            let password = server.password.as_ref().map(|password| password.origin.clone());
            tries.push(Try { endpoint: endpoint.clone(), password, encrypted, reason });
        };
        let addresses: Vec<Option<IpAddr>> = match &endpoint.place {
            Place::Socket(_) => vec![None],
            Place::Address(address, _) => vec![Some(*address)],
            Place::Host(name) => match within(limit, tokio::net::lookup_host((name.as_str(), endpoint.port))).await {
                Some(Ok(found)) => found.map(|found| Some(found.ip())).collect(),
                Some(Err(error)) => {
                    failed(Reason::Unresolved(error.to_string()), false);
                    return None;
                }
                None => {
                    failed(Reason::Timeout(limit.unwrap_or_default()), false);
                    return None;
                }
            },
        };
        let attempts = if endpoint.is_socket() { &[false][..] } else { self.target.tls.mode().attempts() };
        for address in addresses {
            let mut reason = Reason::Refused;
            for encrypted in attempts {
                let config = config(&self.target, server, address, *encrypted, application_name);
                reason = match within(limit, self.open_once(&config, wanted)).await {
                    Some(Ok(client)) => {
                        return Some((client, Way { server: server.clone(), address, encrypted: *encrypted }));
                    }
                    Some(Err(reason)) => reason,
                    None => Reason::Timeout(limit.unwrap_or_default()),
                };
                failed(reason.clone(), *encrypted);
                if !reason.invites_other_encryption() {
                    break;
                }
            }
            if !reason.invites_next_host() {
                break;
            }
        }
        None
    }

    async fn open_once(&self, config: &Config, wanted: SessionAttrs) -> Result<Client, Reason> {
        let (client, mut connection) = config.connect(self.target.tls.connector()).await.map_err(|e| Reason::of(&e))?;
        let notified = self.notified.clone();
        tokio::spawn(async move {
            let ended = match notified {
                None => connection.await,
                Some(notified) => loop {
                    match std::future::poll_fn(|cx| connection.poll_message(cx)).await {
                        Some(Ok(AsyncMessage::Notification(message))) => {
                            let _ = notified.send(message.payload().to_owned()); // nobody listens any more
                        }
                        Some(Ok(_)) => {}
                        Some(Err(error)) => break Err(error),
                        None => break Ok(()),
                    }
                },
            };
            if let Err(error) = ended {
                tracing::debug!(code = crate::pg::sqlstate(&error), "connection ended");
            }
        });
        if wanted != SessionAttrs::Any {
            let state = "SELECT pg_is_in_recovery(), current_setting('default_transaction_read_only') = 'on'";
            let row = client.query_one(state, &[]).await.map_err(|e| Reason::of(&e))?;
            if let Some(lacking) = wanted.lacking(row.get(0), row.get(1)) {
                return Err(Reason::Unfit(lacking));
            }
        }
        Ok(client)
    }
}

/// `work`, unless it takes longer than `limit`.
pub(super) async fn within<T>(limit: Option<Duration>, work: impl Future<Output = T>) -> Option<T> {
    match limit {
        Some(limit) => tokio::time::timeout(limit, work).await.ok(),
        None => Some(work.await),
    }
}

/// What tokio-postgres needs for one try at one address.
fn config(target: &Target, server: &Server, address: Option<IpAddr>, encrypted: bool, application_name: &str) -> Config {
    let mut config = Config::new();
    match &server.endpoint.place {
        // the abstract namespace: a leading zero byte stands for the @ of connection strings
        Place::Socket(folder) => match folder.to_str().and_then(|folder| folder.strip_prefix('@')) {
            Some(name) => config.host_path(format!("\0{name}")),
            None => config.host_path(folder),
        },
        // without any name the address stands in for it: rustls wants one, and no check asks for it
        Place::Host(name) | Place::Address(_, Some(name)) => config.host(name),
        Place::Address(address, None) => config.host(address.to_string()),
    };
    if let Some(address) = address {
        config.hostaddr(address);
    }
    config
        .port(server.endpoint.port)
        .user(&target.user)
        .dbname(&target.dbname)
        .application_name(application_name)
        .channel_binding(target.channel_binding)
        .ssl_mode(if encrypted { SslMode::Require } else { SslMode::Disable })
        .ssl_negotiation(target.tls.negotiation())
        .keepalives(target.keepalive.on)
        .keepalives_idle(target.keepalive.idle)
        .keepalives_interval(target.keepalive.interval)
        .keepalives_retries(target.keepalive.count);
    if let Some(password) = &server.password {
        config.password(password.secret.reveal());
    }
    if let Some(options) = &target.options {
        config.options(options);
    }
    if let Some(timeout) = target.keepalive.user_timeout {
        config.tcp_user_timeout(timeout);
    }
    config
}

/// The same for the server: by default its system looks for a client that vanished after two hours (PostgreSQL manual 20.3.2), and until
/// then that client's locks stand. Whoever has set less on the server keeps it.
fn noticed_by_the_server(keepalive: &Keepalive) -> String {
    if !keepalive.on {
        return String::new();
    }
    let set = |name: &str, value: u64| {
        let (name, text) = (Literal::new(name), Literal::new(value.to_string()));
        format!(
            "SELECT set_config({name}, {text}, false) FROM pg_settings \
             WHERE name = {name} AND setting::bigint NOT BETWEEN 1 AND {value};"
        )
    };
    let Keepalive { idle, interval, count, .. } = keepalive;
    set("tcp_keepalives_idle", idle.as_secs())
        + &set("tcp_keepalives_interval", interval.as_secs())
        + &set("tcp_keepalives_count", u64::from(*count))
}

/// How a session came to its server.
#[derive(Debug, Clone)]
pub(super) struct Way {
    /// The server, with the password for it.
    pub server: Server,
    /// The address; `None` for a Unix socket.
    pub address: Option<IpAddr>,
    /// Whether it is encrypted.
    pub encrypted: bool,
}

/// A session without any settings, see [`Database::console`].
pub type Console = Client;

/// One open session. Dereferences to the client.
pub struct Session {
    client: Client,
    pid: i32,
    database: Database,
    way: Way,
    pub(super) listener: Option<Listener>,
}

impl Session {
    pub(super) fn way(&self) -> &Way {
        &self.way
    }

    /// The server process that serves this session.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Says which statement ran, to whoever keeps a record.
    pub fn ran(&self, heard: Heard<'_>) {
        if let Some(listener) = &self.listener {
            listener.tell(heard);
        }
    }

    /// Runs a statement without parameters, and says so.
    ///
    /// # Errors
    /// The server's error; then nothing is said.
    pub async fn run(&self, statement: &str) -> Result<(), tokio_postgres::Error> {
        let began = Instant::now();
        self.client.batch_execute(statement).await?;
        let took = began.elapsed();
        self.ran(Heard { statement, took, times: 1, longest: took, rows: 0 });
        Ok(())
    }

    /// The database it is open on.
    pub fn database(&self) -> &Database {
        &self.database
    }
}

impl Deref for Session {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

impl DerefMut for Session {
    fn deref_mut(&mut self) -> &mut Client {
        &mut self.client
    }
}
