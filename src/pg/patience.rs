//! DDL on busy tables: short waits, many tries, and the name of whoever is in the way.

use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use crate::limits::Limits;
use crate::pg::{Class, Heard, Session, set_class, sqlstate};
use crate::sql::shape;

/// A session that stands in the way of ours. Its query text is not shown whole: it may hold values.
#[derive(Debug, Clone, PartialEq)]
pub struct Blocker {
    /// Its server process; 0 for a prepared transaction, which has none.
    pub pid: i32,
    /// Its `application_name`.
    pub application: String,
    /// `active`, `idle in transaction`, ... (`pg_stat_activity.state`).
    pub state: String,
    /// Age of its transaction in seconds; `None` where the server hides it from our role.
    pub seconds: Option<f64>,
    /// First word of its last query.
    pub command: String,
    /// Its last query without values.
    pub query: String,
    /// What messages call the database it was asked on.
    pub database: String,
}

impl std::fmt::Display for Blocker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.pid == 0 {
            return f.write_str(&self.state);
        }
        write!(f, "pid {} ({}), {}", self.pid, self.application, self.state)?;
        if !self.command.is_empty() {
            write!(f, ", last command {}", self.command)?;
        }
        self.seconds.map_or(Ok(()), |seconds| write!(f, ", transaction {seconds:.1} s old"))
    }
}

/// Who blocks the session `pid`, asked from another session of the same server.
///
/// # Errors
/// When the asking session is gone.
pub async fn blockers_of(observer: &Session, pid: i32) -> anyhow::Result<Vec<Blocker>> {
    let rows = observer
        .query(
            "SELECT b.pid, coalesce(a.application_name, ''), \
                    CASE WHEN b.pid = 0 THEN 'a prepared transaction (see pg_prepared_xacts)' \
                         WHEN a.backend_type = 'autovacuum worker' AND a.query LIKE '%(to prevent wraparound)%' \
                         THEN 'an autovacuum to prevent wraparound, which gives way to nobody: let it end' \
                         WHEN a.backend_type = 'autovacuum worker' \
                         THEN 'an autovacuum, which gives way to who waits longer than deadlock_timeout' \
                         ELSE coalesce(a.state, a.backend_type, 'state hidden from this role (grant pg_read_all_stats to see it)') END, \
                    extract(epoch FROM clock_timestamp() - a.xact_start)::float8, \
                    coalesce(upper(substring(a.query FROM '^\\s*(\\w+)')), ''), coalesce(a.query, '') \
             FROM (SELECT DISTINCT unnest(pg_blocking_pids($1)) AS pid) b LEFT JOIN pg_stat_activity a USING (pid) \
             WHERE b.pid = 0 OR a.pid IS NOT NULL ORDER BY a.xact_start",
            &[&pid],
        )
        .await?;
    Ok(rows
        .iter()
        .map(|row| Blocker {
            pid: row.get(0),
            application: row.get(1),
            state: row.get(2),
            seconds: row.get(3),
            command: row.get(4),
            query: shape(row.get(5)),
            database: observer.database().name().to_owned(),
        })
        .collect())
}

/// Runs transactions that take strong locks on busy tables.
pub struct Patience<'a> {
    /// Runs the statements.
    pub session: &'a mut Session,
    /// Watches who blocks them.
    pub observer: &'a Session,
    /// How long one try waits, and how long to go on trying.
    pub limits: &'a Limits,
}

impl Patience<'_> {
    /// Runs `statements` in one transaction. A try that meets a lock timeout (55P03), a deadlock (40P01) or a
    /// serialization failure (40001) is rolled back whole and made again after a pause of 50 ms to 2 s, until
    /// `lock_retry_for` is over. The waits of all statements together stay within about `lock_timeout`: what the first one
    /// locked stays locked while a later one waits. Returns the rows each statement changed.
    ///
    /// # Errors
    /// Any other error at once; after the last try, the lock timeout together with the blockers.
    pub async fn transaction(
        &mut self,
        statements: &[String],
        report: &mut (dyn FnMut(&[Blocker]) + Send),
    ) -> anyhow::Result<Vec<u64>> {
        let began = Instant::now();
        let mut pause = Duration::from_millis(50);
        loop {
            set_class(self.session, Class::Queueing, self.limits).await?;
            let pid = self.session.pid();
            let mut blockers = Vec::new();
            let outcome = {
                let attempt = attempt(self.session, statements, self.limits.lock_timeout);
                tokio::pin!(attempt);
                loop {
                    tokio::select! {
                        outcome = &mut attempt => break outcome,
                        () = tokio::time::sleep(self.limits.lock_timeout / 3) => {
                            let now = blockers_of(self.observer, pid).await?;
                            if !now.is_empty() {
                                blockers = now;
                            }
                        }
                    }
                }
            };
            let error = match outcome {
                Ok(ran) => {
                    for (statement, (rows, took)) in statements.iter().zip(&ran) {
                        self.session.ran(Heard { statement, took: *took, times: 1, longest: *took, rows: *rows });
                    }
                    return Ok(ran.into_iter().map(|(rows, _)| rows).collect());
                }
                Err(error) => error,
            };
            if !matches!(sqlstate(&error), "55P03" | "40P01" | "40001") {
                return Err(error.into());
            }
            report(&blockers);
            if began.elapsed() + pause > self.limits.lock_retry_for {
                let who = match blockers.is_empty() {
                    true => "the blocker was gone when asked".to_owned(),
                    false => blockers.iter().map(Blocker::to_string).collect::<Vec<_>>().join("; "),
                };
                return Err(error).with_context(|| {
                    format!(
                        "no lock within {} of tries; in the way: {who}",
                        humantime::format_duration(self.limits.lock_retry_for)
                    )
                });
            }
            tokio::time::sleep(pause.mul_f64(0.75 + fastrand::f64() / 2.0)).await;
            pause = (pause * 2).min(Duration::from_secs(2));
        }
    }

    /// Runs one statement outside a transaction block, without a lock timeout: for statements whose waits block nobody.
    ///
    /// # Errors
    /// The server's error. A `CREATE INDEX CONCURRENTLY` that failed may have left an INVALID index.
    pub async fn alone(&mut self, statement: &str) -> anyhow::Result<()> {
        if statement.trim().is_empty() {
            bail!("an empty statement cannot run");
        }
        set_class(self.session, Class::Patient, self.limits).await?;
        Ok(self.session.run(statement).await?)
    }
}

async fn attempt(
    session: &mut Session,
    statements: &[String],
    lock_timeout: Duration,
) -> Result<Vec<(u64, Duration)>, tokio_postgres::Error> {
    let transaction = session.transaction().await?;
    let (began, mut set) = (Instant::now(), lock_timeout);
    let mut rows = Vec::with_capacity(statements.len());
    for statement in statements {
        if let Some(less) = shortened(set, lock_timeout, began.elapsed()) {
            transaction.batch_execute(&format!("SET LOCAL lock_timeout = {}", less.as_millis().max(1))).await?;
            set = less;
        }
        let started = Instant::now();
        let written = transaction.execute(statement.as_str(), &[]).await?;
        rows.push((written, started.elapsed()));
    }
    transaction.commit().await?;
    Ok(rows)
}

/// The lock timeout for the rest of a transaction that began so long ago, when it is worth setting anew. Never under a tenth
/// of the whole, so that a transaction that takes its time still gets past short waits.
fn shortened(set: Duration, whole: Duration, elapsed: Duration) -> Option<Duration> {
    let step = whole / 10;
    let rest = whole.saturating_sub(elapsed).max(step);
    (rest + step <= set).then_some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rest_of_a_transaction_waits_for_what_is_left_of_the_timeout() {
        let ms = Duration::from_millis;
        assert_eq!(shortened(ms(200), ms(200), ms(5)), None);
        assert_eq!(shortened(ms(200), ms(200), ms(50)), Some(ms(150)));
        assert_eq!(shortened(ms(150), ms(200), ms(60)), None);
        assert_eq!(shortened(ms(150), ms(200), ms(9000)), Some(ms(20)));
        assert_eq!(shortened(ms(20), ms(200), ms(9000)), None);
    }
}
