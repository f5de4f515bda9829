//! A fence: from its commit on no session, old or new, of whatever role, writes to the fenced tables.
//!
//! It is one statement trigger per table, created for all tables in one transaction. The lock that creates it (SHARE ROW
//! EXCLUSIVE) waits for every transaction that wrote to the table, so after the commit no write is in flight; whoever comes
//! later finds the trigger. `ENABLE ALWAYS`: it also fires for sessions in the replication role.
//!
//! It opens by replacing the body of its function, which locks no table: writers go on at once, whatever else holds locks.
//! The triggers go afterwards. It may lift itself at a time: should whoever put it up be gone by then, the side takes writes again
//! when its traffic comes back. [`Fence::seal`] makes it lasting, before that time or not at all. Sessions of the run itself (`application_name` `crossfade/<run>/...`) pass, so that reverse
//! projections can keep a fenced database current.

use std::time::{Duration, Instant};

use anyhow::Context;

use crate::limits::Limits;
use crate::pg::{Blocker, Class, Database, Patience, Session, blockers_of, set_class, sqlstate};
use crate::sql::{Literal, QualifiedName};
use crate::terms::{Finding, RunId, Severity};

/// The name of the trigger, the same on every table, so that it is found without any notes.
const TRIGGER: &str = "crossfade_fence";

/// Where the body of the fence's function says when it lifts itself.
const LIFTS: &str = "lifts at '([^']+)'";

/// SQLSTATE read_only_sql_transaction: clients that look for the primary take it for a server that no longer is.
pub const REFUSED: &str = "25006";

/// `pg_trigger.tgtype` of BEFORE INSERT OR DELETE OR UPDATE OR TRUNCATE FOR EACH STATEMENT (PostgreSQL's `catalog/pg_trigger.h`).
const EVERY_WRITE: i16 = 2 | 4 | 8 | 16 | 32;

/// A fence around some tables of one database.
#[derive(Debug, Clone)]
pub struct Fence {
    run: RunId,
    tables: Vec<QualifiedName>,
    oids: Vec<u32>,
}

/// How much of a fence is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// No trigger.
    Absent,
    /// Triggers that let writes pass, because it was opened or lifted itself, or not on every table.
    Open,
    /// A trigger of this run on every table, always enabled, for every write.
    Closed,
    /// A trigger of another run.
    Foreign(RunId),
}

impl Fence {
    /// The fence around `tables` and everything that inherits from them or is a partition of them.
    ///
    /// # Errors
    /// When a table is not there.
    pub async fn around(session: &Session, run: &RunId, tables: &[QualifiedName]) -> anyhow::Result<Self> {
        let mut roots = Vec::new();
        for table in tables {
            let oid: Option<u32> = session.query_one("SELECT to_regclass($1::text)::oid", &[&table.to_string()]).await?.get(0);
            roots.push(oid.with_context(|| format!("table {} is not there on {}", table.plain(), session.database().name()))?);
        }
        let rows = session
            .query(
                "WITH RECURSIVE family AS (SELECT unnest($1::oid[]) AS oid UNION \
                   SELECT i.inhrelid FROM pg_inherits i JOIN family f ON f.oid = i.inhparent) \
                 SELECT n.nspname, c.relname, c.oid FROM family f JOIN pg_class c ON c.oid = f.oid \
                   JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind IN ('r', 'p') ORDER BY 1, 2",
                &[&roots],
            )
            .await?;
        let tables = rows.iter().map(|row| QualifiedName::new(row.get::<_, String>(0), row.get::<_, String>(1))).collect();
        Ok(Self { run: run.clone(), tables, oids: rows.iter().map(|row| row.get(2)).collect() })
    }

    /// The tables, with their schemas.
    pub fn tables(&self) -> &[QualifiedName] {
        &self.tables
    }

    /// What stands in its way whatever one waits: tables that are not ours, apply workers that fire no statement trigger,
    /// fences of other runs, and prepared transactions that hold row changes.
    ///
    /// # Errors
    /// When the session is gone.
    pub async fn obstacles(&self, session: &Session) -> anyhow::Result<Vec<Finding>> {
        let name = session.database().name();
        let mut findings = Vec::new();
        let blocks = |object: String, what: &str, next: String| Finding {
            severity: Severity::Blocks,
            object,
            what: what.to_owned(),
            next,
        };
        let rows = session
            .query(
                "SELECT c.oid::regclass::text, pg_get_userbyid(c.relowner)::text FROM pg_class c \
                 WHERE c.oid = ANY ($1) AND NOT pg_has_role(c.relowner, 'USAGE') ORDER BY 1",
                &[&self.oids],
            )
            .await?;
        findings.extend(rows.iter().map(|row| {
            let (table, owner): (String, String) = (row.get(0), row.get(1));
            let what = "belongs to a role this one is not a member of: no fence can be put around it";
            blocks(format!("table {table} on {name}"), what, format!("run as a member of role {owner}"))
        }));
        let rows = session
            .query(
                "SELECT DISTINCT srrelid::regclass::text FROM pg_subscription_rel WHERE srrelid = ANY ($1) ORDER BY 1",
                &[&self.oids],
            )
            .await?;
        findings.extend(rows.iter().map(|row| {
            let what = "is filled by logical replication, whose workers fire no statement trigger: no fence stops them";
            let next = "ALTER SUBSCRIPTION ... DISABLE and DROP it, or leave the table out";
            blocks(format!("table {} on {name}", row.get::<_, String>(0)), what, next.to_owned())
        }));
        for held in self.prepared(session).await? {
            let gid = Literal::new(held.gid.as_str());
            findings.push(Finding {
                severity: Severity::Blocks,
                object: format!("prepared transaction {gid} on {name}"),
                what: format!("holds changes of {}: a fence waits for it, and it would commit behind it", held.tables.join(", ")),
                next: format!("COMMIT PREPARED {gid} or ROLLBACK PREPARED {gid}, as its transaction manager says"),
            });
        }
        if let Standing::Foreign(run) = self.standing(session).await? {
            let next =
                format!("end run {run} (`crossfade rollback`), or drop its triggers {TRIGGER} and function crossfade.fence()");
            findings.push(blocks(format!("fence of run {run} on {name}"), "another run has fenced the same tables", next));
        }
        Ok(findings)
    }

    async fn prepared(&self, session: &Session) -> anyhow::Result<Vec<Prepared>> {
        let rows = session
            .query(
                "SELECT p.gid, array_agg(DISTINCT l.relation::regclass::text) FROM pg_prepared_xacts p \
                   JOIN pg_locks own ON own.pid IS NULL AND own.transactionid = p.transaction \
                   JOIN pg_locks l ON l.pid IS NULL AND l.virtualtransaction = own.virtualtransaction \
                 WHERE p.database = current_database() AND l.relation = ANY ($1) \
                   AND l.mode IN ('RowExclusiveLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock') \
                 GROUP BY p.gid ORDER BY p.gid",
                &[&self.oids],
            )
            .await?;
        Ok(rows.iter().map(|row| Prepared { gid: row.get(0), tables: row.get(1) }).collect())
    }

    /// How much of it is there, asked of the catalog.
    ///
    /// # Errors
    /// When the session is gone.
    pub async fn standing(&self, session: &Session) -> anyhow::Result<Standing> {
        let rows = session
            .query(
                "SELECT t.tgenabled = 'A' AND t.tgtype = $2, substring(p.prosrc FROM 'crossfade run ([0-9a-z-]+)'), \
                        p.prosrc LIKE '%RAISE EXCEPTION%' \
                          AND coalesce(substring(p.prosrc FROM $4)::timestamptz > clock_timestamp(), true) \
                 FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid WHERE t.tgrelid = ANY ($1) AND t.tgname = $3",
                &[&self.oids, &EVERY_WRITE, &TRIGGER, &LIFTS],
            )
            .await?;
        if let Some(row) = rows.iter().find(|row| row.get::<_, Option<&str>>(1) != Some(self.run.as_str())) {
            return Ok(Standing::Foreign(RunId::existing(row.get::<_, Option<&str>>(1).unwrap_or("unknown"))));
        }
        let whole = rows.len() == self.oids.len() && rows.iter().all(|row| row.get::<_, bool>(0) && row.get::<_, bool>(2));
        Ok(match rows.is_empty() {
            true => Standing::Absent,
            false if whole => Standing::Closed,
            false => Standing::Open,
        })
    }

    /// Puts it up, for all tables or for none. Waits for the writers in flight, for each table `limits.lock_timeout` at most, until
    /// `limits.lock_retry_for` is over; `instead` is where the refused writers are sent, for people. With `lifts_after` it lifts
    /// itself so long after this call began, by the server's clock.
    ///
    /// # Errors
    /// The lock timeout with the sessions in the way, a prepared transaction by its name among them.
    pub async fn close(
        &self,
        session: &mut Session,
        observer: &Session,
        limits: &Limits,
        instead: &str,
        lifts_after: Option<Duration>,
        report: &mut (dyn FnMut(&[Blocker]) + Send),
    ) -> anyhow::Result<()> {
        let lifts_at: Option<String> = match lifts_after {
            Some(after) => {
                let sql = "SELECT to_char((clock_timestamp() + make_interval(secs => $1)) AT TIME ZONE 'UTC', \
                           'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')";
                Some(session.query_one(sql, &[&after.as_secs_f64()]).await?.get(0))
            }
            None => None,
        };
        let mut after = vec![self.body(Some((instead, lifts_at.as_deref())))];
        for table in self.missing(session).await? {
            after.push(format!(
                "CREATE TRIGGER {TRIGGER} BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON {table} \
                 FOR EACH STATEMENT EXECUTE FUNCTION crossfade.fence()"
            ));
            after.push(format!("ALTER TABLE ONLY {table} ENABLE ALWAYS TRIGGER {TRIGGER}"));
        }
        let Err(error) = self.locked(session, observer, limits, &after, report).await else { return Ok(()) };
        let held = self.prepared(observer).await.unwrap_or_default();
        match held.is_empty() {
            true => Err(error).context("the fence could not be put up"),
            false => {
                let names = held.iter().map(|held| Literal::new(held.gid.as_str()).to_string()).collect::<Vec<_>>().join(", ");
                Err(error).context(format!("the fence could not be put up: prepared transaction {names} holds row changes"))
            }
        }
    }

    /// Runs statements in one transaction that has locked every table. A table whose lock did not come in time goes first in the
    /// next try: where writers go through the tables in an order of their own, that one becomes ours, and they no longer wait for a
    /// table that we have while we wait for one of theirs.
    async fn locked(
        &self,
        session: &mut Session,
        observer: &Session,
        limits: &Limits,
        statements: &[String],
        report: &mut (dyn FnMut(&[Blocker]) + Send),
    ) -> anyhow::Result<()> {
        let (began, pid) = (Instant::now(), session.pid());
        let mut order: Vec<&QualifiedName> = self.tables.iter().collect();
        loop {
            set_class(session, Class::Queueing, limits).await?;
            let mut blockers = Vec::new();
            let outcome = {
                let attempt = attempt(session, &order, statements);
                tokio::pin!(attempt);
                loop {
                    tokio::select! {
                        outcome = &mut attempt => break outcome,
                        () = tokio::time::sleep(limits.lock_timeout / 3) => {
                            let now = blockers_of(observer, pid).await?;
                            if !now.is_empty() {
                                blockers = now;
                            }
                        }
                    }
                }
            };
            let (waited_for, error) = match outcome {
                Ok(()) => return Ok(()),
                Err(failed) => failed,
            };
            if !matches!(sqlstate(&error), "55P03" | "40P01") {
                return Err(error.into());
            }
            report(&blockers);
            if began.elapsed() + PAUSE > limits.lock_retry_for {
                let who = match blockers.is_empty() {
                    true => "the blocker was gone when asked".to_owned(),
                    false => blockers.iter().map(Blocker::to_string).collect::<Vec<_>>().join("; "),
                };
                let span = humantime::format_duration(limits.lock_retry_for);
                return Err(error).with_context(|| format!("no lock within {span} of tries; in the way: {who}"));
            }
            if let Some(place) = waited_for {
                order[..=place].rotate_right(1);
            }
            tokio::time::sleep(PAUSE.mul_f64(0.5 + fastrand::f64())).await;
        }
    }

    /// Makes a closed fence one that does not lift itself.
    ///
    /// # Errors
    /// When it is not closed, or lifted itself before it was lasting: then writes may have passed.
    pub async fn seal(&self, session: &Session, instead: &str) -> anyhow::Result<()> {
        let standing = self.standing(session).await?;
        anyhow::ensure!(
            standing == Standing::Closed,
            "the fence is not closed any more: it lifted itself, or somebody opened it"
        );
        let sql = "SELECT DISTINCT substring(p.prosrc FROM $2) FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid \
                   WHERE t.tgrelid = ANY ($1) AND t.tgname = $3";
        let lifts_at: Option<String> = session.query_one(sql, &[&self.oids, &LIFTS, &TRIGGER]).await?.get(0);
        session.batch_execute(&self.body(Some((instead, None)))).await?;
        // Asked after the commit: whatever wrote until now met one of the two.
        let sql = "SELECT coalesce(clock_timestamp() < $1::text::timestamptz, true)";
        let lasting: bool = session.query_one(sql, &[&lifts_at]).await?.get(0);
        anyhow::ensure!(lasting, "the fence lifted itself before it was lasting");
        Ok(())
    }

    /// Lets everybody write again, at once and without a lock on any table.
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn open(&self, session: &Session) -> anyhow::Result<()> {
        match self.standing(session).await? {
            Standing::Closed | Standing::Open => Ok(session.batch_execute(&self.body(None)).await?),
            Standing::Absent | Standing::Foreign(_) => Ok(()),
        }
    }

    /// Takes an open fence away. Each trigger needs its table alone for an instant.
    ///
    /// # Errors
    /// The lock timeout with the sessions in the way; writes pass all the same.
    pub async fn remove(
        &self,
        session: &mut Session,
        observer: &Session,
        limits: &Limits,
        report: &mut (dyn FnMut(&[Blocker]) + Send),
    ) -> anyhow::Result<()> {
        match self.standing(session).await? {
            Standing::Closed | Standing::Open => {}
            Standing::Absent | Standing::Foreign(_) => return Ok(()),
        }
        let mut statements: Vec<String> =
            self.tables.iter().map(|table| format!("DROP TRIGGER IF EXISTS {TRIGGER} ON {table}")).collect();
        statements.push("DROP FUNCTION IF EXISTS crossfade.fence()".to_owned());
        Patience { session, observer, limits }.transaction(&statements, report).await.map(drop).context("the fence stays, open")
    }

    /// Tries to write to every table from a session of its own, in transactions that are rolled back; each must be refused.
    ///
    /// # Errors
    /// Names the tables that could be written to, or why it could not be tried.
    pub async fn prove(&self, database: &Database) -> anyhow::Result<()> {
        let mut session = database.connect("crossfade-fence-probe").await?;
        let mut open = Vec::new();
        for table in &self.tables {
            let transaction = session.transaction().await?;
            let tried = transaction.batch_execute(&format!("DELETE FROM ONLY {table} WHERE false")).await;
            transaction.rollback().await?;
            match tried {
                Err(error) if sqlstate(&error) == REFUSED => {}
                Err(error) => return Err(error).with_context(|| format!("the fence around {} cannot be tried", table.plain())),
                Ok(()) => open.push(table.plain()),
            }
        }
        anyhow::ensure!(open.is_empty(), "the fence does not hold: {} can be written to", open.join(", "));
        anyhow::ensure!(
            self.standing(&session).await? == Standing::Closed,
            "the fence does not hold: its triggers are not all there and enabled"
        );
        Ok(())
    }

    /// The tables that have no trigger yet.
    async fn missing(&self, session: &Session) -> anyhow::Result<Vec<QualifiedName>> {
        let rows = session
            .query("SELECT tgrelid FROM pg_trigger WHERE tgrelid = ANY ($1) AND tgname = $2", &[&self.oids, &TRIGGER])
            .await?;
        let have: Vec<u32> = rows.iter().map(|row| row.get(0)).collect();
        let all = self.oids.iter().zip(&self.tables);
        Ok(all.filter(|(oid, _)| !have.contains(oid)).map(|(_, table)| table.clone()).collect())
    }

    /// The function that the triggers call: it refuses, or with `None` lets pass. It also says whose fence this is.
    fn body(&self, refuses: Option<(&str, Option<&str>)>) -> String {
        let whose = match refuses.and_then(|(_, lifts_at)| lifts_at) {
            None => format!("crossfade run {}", self.run),
            Some(at) => format!("crossfade run {}, lifts at {}", self.run, Literal::new(at)),
        };
        let refuse = match refuses {
            None => String::new(),
            Some((instead, lifts_at)) => format!(
                "IF {}current_setting('application_name') NOT LIKE {} AND current_setting('application_name') NOT LIKE {} THEN \
                   RAISE EXCEPTION USING ERRCODE = '{REFUSED}', SCHEMA = TG_TABLE_SCHEMA, TABLE = TG_TABLE_NAME, \
                     MESSAGE = format('table %s takes no writes: %s', TG_TABLE_NAME, {}), \
                     HINT = 'The service moves to another database; connect again and repeat the transaction.'; \
                 END IF; ",
                lifts_at.map_or_else(String::new, |at| format!("clock_timestamp() < {}::timestamptz AND ", Literal::new(at))),
                Literal::new(format!("crossfade/{}/%", self.run)),
                Literal::new(format!("crossfade/%/{}", self.run)),
                Literal::new(instead)
            ),
        };
        let body = format!("/* {whose} */ BEGIN {refuse}RETURN NULL; END");
        format!(
            "CREATE OR REPLACE FUNCTION crossfade.fence() RETURNS trigger LANGUAGE plpgsql \
             SET search_path = pg_catalog, pg_temp AS {}",
            Literal::new(body)
        )
    }
}

/// Between two tries to lock the tables: writers that waited go on meanwhile.
const PAUSE: Duration = Duration::from_millis(30);

/// One try; when it fails on a lock, the place of the table in the order.
async fn attempt(
    session: &mut Session,
    order: &[&QualifiedName],
    statements: &[String],
) -> Result<(), (Option<usize>, tokio_postgres::Error)> {
    let other = |error| (None, error);
    let transaction = session.transaction().await.map_err(other)?;
    for (place, table) in order.iter().enumerate() {
        let lock = format!("LOCK TABLE ONLY {table} IN SHARE ROW EXCLUSIVE MODE");
        transaction.batch_execute(&lock).await.map_err(|error| (Some(place), error))?;
    }
    for statement in statements {
        transaction.batch_execute(statement).await.map_err(other)?;
    }
    transaction.commit().await.map_err(other)
}

struct Prepared {
    gid: String,
    tables: Vec<String>,
}
