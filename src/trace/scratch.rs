//! The throw-away server that migrations are tried on, and what they begin with.

use std::path::PathBuf;

use crate::pg::{Database, Session};
use crate::shadow::{Binaries, Cluster, fill};

/// A throw-away server with one database.
pub struct Scratch {
    database: Database,
    major: u32,
    /// Stops when it goes.
    _cluster: Cluster,
}

impl Scratch {
    /// Starts a server and loads SQL files as `pg_dump` writes them, schema or rows. Then every empty table gets `rows` generated rows;
    /// says of each table that could not have them why.
    ///
    /// # Errors
    /// When the server does not start, or a file cannot be loaded.
    pub async fn start(files: &[PathBuf], rows: u32) -> anyhow::Result<(Self, Vec<String>)> {
        let binaries = Binaries::find()?;
        // Nothing but the migrations and the probes takes locks.
        let cluster = Cluster::start(&binaries, vec![("autovacuum", "off".to_owned())]).await?;
        let maintenance = cluster.database("the throw-away server", "postgres")?.connect("crossfade/trace").await?;
        maintenance.batch_execute("CREATE DATABASE traced").await?;
        for file in files {
            cluster.load("traced", file, &binaries).await?;
        }
        let database = cluster.database("the throw-away server", "traced")?;
        let session = database.connect("crossfade/trace").await?;
        let unfilled = if rows > 0 { fill(&session, rows).await? } else { Vec::new() };
        session.batch_execute("ANALYZE").await?;
        Ok((Self { database, major: binaries.major(), _cluster: cluster }, unfilled))
    }

    /// Its database.
    pub fn database(&self) -> &Database {
        &self.database
    }

    /// The major version of the server.
    pub fn major(&self) -> u32 {
        self.major
    }

    /// A session on it.
    ///
    /// # Errors
    /// When the server is gone.
    pub async fn session(&self) -> anyhow::Result<Session> {
        self.database.connect("crossfade/trace").await
    }
}
