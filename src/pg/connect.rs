//! One database and the sessions opened on it.

use std::ops::{Deref, DerefMut};

use anyhow::Context;
use tokio_postgres::{Client, Config, NoTls};

/// A database we may connect to. Its text form never shows a password or the whole connection string.
#[derive(Clone)]
pub struct Database {
    config: Config,
    name: String,
}

impl std::fmt::Debug for Database {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Database").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Database {
    /// Reads a connection string: a URI or `key=value` pairs. `name` is what messages call this database.
    ///
    /// # Errors
    /// When the text is no connection string; the error never repeats the text, which may hold a password.
    pub fn parse(name: &str, conninfo: &str) -> anyhow::Result<Self> {
        let config: Config = conninfo.parse().map_err(|_| {
            anyhow::anyhow!("the connection string of {name} cannot be read (its text is not shown: it may hold a password)")
        })?;
        Ok(Self { config, name: name.to_owned() })
    }

    /// What messages call this database.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Opens a session that carries `application_name`, with the settings under which values have one text form
    /// (PostgreSQL manual 20.11) and without time limits.
    ///
    /// # Errors
    /// When the server cannot be reached or refuses us; names the database.
    pub async fn connect(&self, application_name: &str) -> anyhow::Result<Session> {
        let mut config = self.config.clone();
        config.application_name(application_name);
        let (client, connection) = config.connect(NoTls).await.with_context(|| format!("cannot connect to {}", self.name))?;
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(code = crate::pg::sqlstate(&error), "connection ended");
            }
        });
        client
            .batch_execute(
                "SET datestyle = 'ISO, MDY'; SET intervalstyle = 'postgres'; SET timezone = 'UTC'; \
                 SET extra_float_digits = 1; SET bytea_output = 'hex'; SET standard_conforming_strings = on; \
                 SET client_min_messages = warning; SET statement_timeout = 0; SET lock_timeout = 0; \
                 SET idle_in_transaction_session_timeout = 0",
            )
            .await
            .with_context(|| format!("cannot set up a session on {}", self.name))?;
        let pid = client.query_one("SELECT pg_backend_pid()", &[]).await?.get(0);
        Ok(Session { client, pid, database: self.clone() })
    }
}

/// One open session. Dereferences to the client.
pub struct Session {
    client: Client,
    pid: i32,
    database: Database,
}

impl Session {
    /// The server process that serves this session.
    pub fn pid(&self) -> i32 {
        self.pid
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
