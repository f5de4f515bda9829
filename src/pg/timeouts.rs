//! Time limits come in classes, by what a statement's waiting does to others.

use tokio_postgres::{Client, Error};

use crate::limits::Limits;
use crate::sql::{Literal, Statement};

/// What waiting for a lock does to others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// DDL whose wait queues everybody behind it: the plan's short `lock_timeout`, tried again with pauses.
    Queueing,
    /// `CREATE INDEX CONCURRENTLY`, `VALIDATE CONSTRAINT` and the like: their waits block nobody, and a lock timeout would
    /// leave an INVALID index behind. No limit.
    Patient,
    /// Batches of rows: the plan's `lock_timeout`, so that a batch never sits on row locks behind someone else.
    Batch,
}

impl Class {
    /// The class of a statement of a migration file.
    pub fn of(statement: &Statement) -> Self {
        if statement.waits_harmlessly() { Class::Patient } else { Class::Queueing }
    }
}

/// Sets the session's limits for the statements that follow.
///
/// # Errors
/// When the session is gone.
pub async fn set_class(client: &Client, class: Class, limits: &Limits) -> Result<(), Error> {
    let lock_timeout = match class {
        Class::Queueing | Class::Batch => limits.lock_timeout.as_millis().max(1),
        Class::Patient => 0,
    };
    let mut settings = format!("SET lock_timeout = {lock_timeout}; SET statement_timeout = 0");
    if class == Class::Queueing {
        // An autovacuum ends when somebody has waited for it for deadlock_timeout (manual 25.1.6): within lock_timeout, where our role
        // may say so. Otherwise it stays in the way until it is done.
        settings += &format!(
            "; SELECT set_config('deadlock_timeout', {}, false) WHERE current_setting('is_superuser') = 'on'",
            Literal::new((lock_timeout / 2).clamp(1, 1000).to_string())
        );
    }
    client.batch_execute(&settings).await
}
