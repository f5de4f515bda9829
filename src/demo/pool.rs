//! A handful of database sessions with prepared statements, as a service has them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use anyhow::Result;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_postgres::types::ToSql;
use tokio_postgres::{Error, Row, Statement, Transaction};

use crate::pg::{Database, Session};

/// Values for a statement.
pub(super) type Values<'a> = &'a [&'a (dyn ToSql + Sync)];

/// A fixed number of sessions on one database.
pub struct Pool {
    database: Database,
    idle: Mutex<Vec<Connection>>,
    permits: Arc<Semaphore>,
}

/// One session and the statements prepared in it.
struct Connection {
    session: Session,
    statements: HashMap<&'static str, Statement>,
}

/// A connection taken from the pool; it goes back when this is dropped, unless it broke.
pub struct Lease<'a> {
    pool: &'a Pool,
    connection: Option<Connection>,
    _permit: OwnedSemaphorePermit,
}

/// A transaction on a leased connection. Dropped without [`Work::commit`] it is rolled back.
pub struct Work<'a> {
    transaction: Transaction<'a>,
    statements: &'a mut HashMap<&'static str, Statement>,
}

impl Pool {
    /// Opens `size` sessions.
    ///
    /// # Errors
    /// When the server cannot be reached.
    pub async fn open(database: &Database, size: usize) -> Result<Self> {
        let pool = Self { database: database.clone(), idle: Mutex::default(), permits: Arc::new(Semaphore::new(size)) };
        for _ in 0..size {
            let connection = pool.connect().await?;
            pool.give_back(connection);
        }
        Ok(pool)
    }

    async fn connect(&self) -> Result<Connection> {
        Ok(Connection { session: self.database.connect("oauth service").await?, statements: HashMap::new() })
    }

    /// Takes a connection, waiting for one when all are in use; opens a new one in place of one that broke.
    ///
    /// # Errors
    /// When a new session is needed and the server cannot be reached.
    pub async fn lease(&self) -> Result<Lease<'_>> {
        let permit = Arc::clone(&self.permits).acquire_owned().await?;
        let idle = self.idle.lock().ok().and_then(|mut idle| idle.pop());
        let connection = match idle {
            Some(connection) if !connection.session.is_closed() => connection,
            _ => self.connect().await?,
        };
        Ok(Lease { pool: self, connection: Some(connection), _permit: permit })
    }

    fn give_back(&self, connection: Connection) {
        if let Ok(mut idle) = self.idle.lock() {
            idle.push(connection);
        }
    }
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take()
            && !connection.session.is_closed()
        {
            self.pool.give_back(connection);
        }
    }
}

impl Lease<'_> {
    /// Begins a transaction.
    ///
    /// # Errors
    /// When the session is gone.
    pub async fn begin(&mut self) -> Result<Work<'_>> {
        let connection = self.connection()?;
        Ok(Work { transaction: connection.session.transaction().await?, statements: &mut connection.statements })
    }

    /// The first row of a query outside a transaction.
    ///
    /// # Errors
    /// The server's error.
    pub(super) async fn row(&mut self, sql: &'static str, values: Values<'_>) -> Result<Option<Row>> {
        let connection = self.connection()?;
        let statement = match connection.statements.get(sql) {
            Some(statement) => statement.clone(),
            None => {
                let statement = connection.session.prepare(sql).await?;
                connection.statements.insert(sql, statement.clone());
                statement
            }
        };
        Ok(connection.session.query_opt(&statement, values).await?)
    }

    /// Forgets all prepared statements: after 0A000, "cached plan must not change result type", which a column added or
    /// changed under a prepared statement can bring.
    pub fn forget(&mut self) {
        if let Some(connection) = &mut self.connection {
            connection.statements.clear();
        }
    }

    fn connection(&mut self) -> Result<&mut Connection> {
        self.connection.as_mut().ok_or_else(|| anyhow::anyhow!("the lease is over"))
    }
}

impl Work<'_> {
    async fn prepared(&mut self, sql: &'static str) -> Result<Statement, Error> {
        if let Some(statement) = self.statements.get(sql) {
            return Ok(statement.clone());
        }
        let statement = self.transaction.prepare(sql).await?;
        self.statements.insert(sql, statement.clone());
        Ok(statement)
    }

    /// The first row of a query.
    ///
    /// # Errors
    /// The server's error.
    pub(super) async fn row(&mut self, sql: &'static str, values: Values<'_>) -> Result<Option<Row>> {
        let statement = self.prepared(sql).await?;
        Ok(self.transaction.query_opt(&statement, values).await?)
    }

    /// Runs a statement; the number of rows it changed.
    ///
    /// # Errors
    /// The server's error.
    pub(super) async fn execute(&mut self, sql: &'static str, values: Values<'_>) -> Result<u64> {
        let statement = self.prepared(sql).await?;
        Ok(self.transaction.execute(&statement, values).await?)
    }

    /// Makes it lasting.
    ///
    /// # Errors
    /// The server's error.
    pub async fn commit(self) -> Result<()> {
        Ok(self.transaction.commit().await?)
    }
}
