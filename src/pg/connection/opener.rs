//! Sessions for the workers of a step, opened on their own threads.

use crate::pg::{Database, Listener, Session};

/// A database together with the application name its sessions carry: what a worker needs to open sessions of its own.
#[derive(Debug, Clone)]
pub struct Opener {
    database: Database,
    application: String,
    reading: bool,
    listener: Option<Listener>,
}

impl Opener {
    /// Sessions of `database` under this application name.
    pub fn new(database: Database, application: String) -> Self {
        Self { database, application, reading: false, listener: None }
    }

    /// Lets its sessions change nothing: the server refuses every write, temporary tables included.
    #[must_use]
    pub fn reading(mut self, reading: bool) -> Self {
        self.reading = reading;
        self
    }

    /// The database.
    pub fn database(&self) -> &Database {
        &self.database
    }

    /// Lets its sessions tell this listener which statements ran.
    #[must_use]
    pub fn heard_by(mut self, listener: Option<Listener>) -> Self {
        self.listener = listener;
        self
    }

    /// What messages call the database.
    pub fn name(&self) -> &str {
        self.database.name()
    }

    /// The application name of the sessions.
    pub fn application(&self) -> &str {
        &self.application
    }

    /// Opens a session.
    ///
    /// # Errors
    /// When the server cannot be reached.
    pub async fn open(&self) -> anyhow::Result<Session> {
        let mut session = self.database.connect(&self.application).await?;
        session.listener.clone_from(&self.listener);
        if self.reading {
            session.batch_execute("SET default_transaction_read_only = on").await?;
        }
        Ok(session)
    }
}
