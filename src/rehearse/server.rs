//! Where a side's databases are made: on a throw-away server of the rehearsal's own, or beside a copy that somebody gave.

use std::collections::BTreeSet;
use std::sync::Mutex;

use anyhow::{Context, Result, bail};

use super::stage::NAME;
use crate::pg::{Database, Session};
use crate::shadow::Cluster;
use crate::sql::Ident;
use crate::terms::Side;

/// What the databases that are made beside a given copy are called, with a number behind.
const MADE: &str = "crossfade_rehearsal";

/// A server with databases that rounds are copied from.
pub enum Server {
    /// Our own: it goes with everything on it.
    Scratch(Cluster),
    /// That of a given copy.
    Given(Given),
}

/// A copy of a real database that nobody else uses, and what was made of it.
pub struct Given {
    copy: Database,
    dbname: String,
    made: Mutex<BTreeSet<String>>,
}

impl Server {
    /// The server of a copy.
    ///
    /// # Errors
    /// When it cannot be reached, or has databases of another rehearsal.
    pub async fn of_copy(side: Side, copy: &Database) -> Result<Self> {
        let session = copy.connect(NAME).await?;
        let left = "SELECT string_agg(quote_ident(datname), ', ' ORDER BY datname) FROM pg_database WHERE datname LIKE $1";
        let left: Option<String> =
            session.query_one(left, &[&format!("{}\\_{side}\\_%", MADE.replace('_', "\\_"))]).await?.get(0);
        if let Some(left) = left {
            bail!(
                "the server of the copy of {side} has databases of another rehearsal: {left}; when none is running, they were left by \
                 one that was killed: DROP DATABASE takes them away"
            );
        }
        let dbname = session.query_one("SELECT current_database()::text", &[]).await?.get(0);
        Ok(Server::Given(Given { copy: copy.clone(), dbname, made: Mutex::default() }))
    }

    /// A database of the server; `name` is what messages call it.
    ///
    /// # Errors
    /// As [`Database::parse`].
    pub fn database(&self, name: &str, dbname: &str) -> Result<Database> {
        match self {
            Server::Scratch(cluster) => cluster.database(name, dbname),
            Server::Given(given) => given.copy.beside(name, dbname),
        }
    }

    /// The database that a round is copied from, on a throw-away server `template`.
    ///
    /// # Errors
    /// As [`Database::parse`].
    pub fn template(&self, template: &str) -> Result<Database> {
        match self {
            Server::Scratch(cluster) => cluster.database("scratch database", template),
            Server::Given(given) => Ok(given.copy.clone()),
        }
    }

    /// Makes the database of a round.
    ///
    /// # Errors
    /// When the server refuses; a copy that somebody is connected to cannot be copied.
    pub async fn make(&self, side: Side, number: u32, template: &str) -> Result<Database> {
        let (dbname, template) = match self {
            Server::Scratch(_) => (format!("round_{number}"), template.to_owned()),
            Server::Given(given) => (format!("{MADE}_{side}_{number}"), given.dbname.clone()),
        };
        let maintenance = self.maintenance().await?;
        if let Server::Given(given) = self {
            given.made().insert(dbname.clone());
        }
        let create = format!("CREATE DATABASE {} TEMPLATE {}", Ident::new(&dbname), Ident::new(&template));
        if let Err(error) = maintenance.batch_execute(&create).await {
            // What the server refused to make is not ours to take away: another rehearsal may have begun at the same moment.
            if let (Server::Given(given), Some(_)) = (self, error.as_db_error()) {
                given.made().remove(&dbname);
            }
            let connected = "SELECT string_agg(format('pid %s, %s', pid, coalesce(nullif(application_name, ''), usename, backend_type)), '; ') \
                             FROM pg_stat_activity WHERE datname = $1";
            let connected: Option<String> = maintenance.query_one(connected, &[&template]).await?.get(0);
            let said = anyhow::Error::from(error);
            return Err(match connected {
                Some(who) => said.context(format!(
                    "the database of {side} cannot be copied while somebody is connected to it ({who}): end that first"
                )),
                None => said.context(format!("no database for a round on {side}")),
            });
        }
        // Every round begins alike: what the copy of the template left to write is not the plan's. It takes a privilege there.
        let checkpoint = maintenance.batch_execute("CHECKPOINT").await;
        if let Server::Scratch(_) = self {
            checkpoint?;
        }
        self.database(&format!("{side}'s scratch database"), &dbname)
    }

    /// Takes away what was made beside a given copy; on a throw-away server it stays to be looked at.
    ///
    /// # Errors
    /// When the server refuses; names the databases that are still there.
    pub async fn clear(&self) -> Result<()> {
        let Server::Given(given) = self else { return Ok(()) };
        let names: Vec<String> = given.made().iter().cloned().collect();
        if names.is_empty() {
            return Ok(());
        }
        let maintenance = self.maintenance().await?;
        for dbname in names {
            // Slots that a round left there would keep the database; FORCE ends its sessions (PostgreSQL manual, DROP DATABASE).
            let slots = "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE database = $1 AND NOT active";
            maintenance.execute(slots, &[&dbname]).await?;
            let drop = format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", Ident::new(&dbname));
            maintenance.batch_execute(&drop).await.with_context(|| format!("database {dbname} is still there"))?;
            given.made().remove(&dbname);
        }
        Ok(())
    }

    async fn maintenance(&self) -> Result<Session> {
        self.database("the rehearsal's server", "postgres")?.connect(NAME).await
    }
}

impl Given {
    fn made(&self) -> std::sync::MutexGuard<'_, BTreeSet<String>> {
        self.made.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
