//! Room on the server: for the sessions of the plan's parallel steps, and in the shared table of locks.

use async_trait::async_trait;

use super::Topic;
use super::ground::Ground;
use crate::step::Use;
use crate::terms::{Finding, Severity};

/// Sessions beside the jobs of a step: the driver's lock, its observer, the snapshot's holder, the sampler, one to spare.
const BESIDE: i64 = 5;

/// Free connections.
pub(super) struct Connections;

#[async_trait]
impl Topic for Connections {
    fn name(&self) -> &'static str {
        "connections"
    }

    async fn ask(&self, ground: &Ground<'_>) -> anyhow::Result<Vec<Finding>> {
        // Our own sessions of now are gone when the plan begins. `reserved_connections` came with PostgreSQL 16.
        let sql = "SELECT r.rolsuper, current_setting('max_connections')::bigint, \
                          current_setting('superuser_reserved_connections')::bigint + coalesce(current_setting('reserved_connections', true), '0')::bigint, \
                          (SELECT coalesce(sum(numbackends), 0)::bigint FROM pg_stat_database) - ours.on_server, \
                          r.rolconnlimit::bigint, (SELECT count(*) FROM pg_stat_activity WHERE usesysid = r.oid) - ours.of_role, \
                          d.datconnlimit::bigint, pg_stat_get_db_numbackends(d.oid)::bigint - ours.on_database \
                   FROM pg_roles r, pg_database d, LATERAL ( \
                        SELECT count(*) AS on_server, count(*) FILTER (WHERE a.usesysid = r.oid) AS of_role, \
                               count(*) FILTER (WHERE a.datid = d.oid) AS on_database \
                        FROM pg_stat_activity a WHERE a.application_name LIKE 'crossfade/%') AS ours \
                   WHERE r.rolname = current_user AND d.datname = current_database()";
        let row = ground.session.query_one(sql, &[]).await?;
        let superuser: bool = row.get(0);
        let [most, reserved, used, role_most, role_used, database_most, database_used] =
            [1, 2, 3, 4, 5, 6, 7].map(|column| row.get::<_, i64>(column));
        let (role, database) = ground.role_and_database().await?;
        let needed = i64::try_from(ground.needs.limits.jobs)?.saturating_add(BESIDE);
        let limits = [
            (most - if superuser { 0 } else { reserved }, used, "max_connections".to_owned(), "raise max_connections".to_owned()),
            (role_most, role_used, format!("role {role}"), format!("ALTER ROLE {role} CONNECTION LIMIT -1")),
            (
                database_most,
                database_used,
                format!("database {database}"),
                format!("ALTER DATABASE {database} CONNECTION LIMIT -1"),
            ),
        ];
        let mut findings = Vec::new();
        for (most, used, object, next) in limits {
            // No limit holds a superuser but the server's own.
            if most >= 0 && most - used < needed && (object == "max_connections" || !superuser) {
                let jobs = ground.needs.limits.jobs;
                let what =
                    format!("leaves room for {} more sessions; with jobs = {jobs} the plan needs {needed}", (most - used).max(0));
                let next = format!("set `jobs` lower under [limits], end idle sessions, or {next}");
                findings.push(ground.finding(Severity::Blocks, &object, what, next));
            }
        }
        Ok(findings)
    }
}

/// Room for the locks of the largest transaction: a copy takes indexes and constraints off all its tables at once.
pub(super) struct Locks;

#[async_trait]
impl Topic for Locks {
    fn name(&self) -> &'static str {
        "lock table size"
    }

    async fn ask(&self, ground: &Ground<'_>) -> anyhow::Result<Vec<Finding>> {
        let sql = "WITH RECURSIVE family AS (SELECT unnest($1::oid[]) AS oid \
                       UNION SELECT i.inhrelid FROM pg_inherits i JOIN family f ON f.oid = i.inhparent), \
                   locked AS (SELECT oid FROM family UNION SELECT x.indexrelid FROM pg_index x JOIN family f ON f.oid = x.indrelid \
                       UNION SELECT k.conrelid FROM pg_constraint k JOIN family f ON f.oid = k.confrelid WHERE k.contype = 'f') \
                   SELECT (SELECT count(*) FROM locked), current_setting('max_locks_per_transaction')::bigint * \
                          (current_setting('max_connections')::bigint + current_setting('max_prepared_transactions')::bigint)";
        let row = ground.session.query_one(sql, &[&ground.oids(&[Use::Fills, Use::Alters]).await?]).await?;
        let (locked, room): (i64, i64) = (row.get(0), row.get(1));
        if locked <= room / 2 {
            return Ok(Vec::new());
        }
        let what = format!(
            "makes room for {room} locks in all sessions; one transaction of the plan may lock {locked} tables and indexes, and then fails with `out of shared memory`"
        );
        let next = "raise max_locks_per_transaction (needs a restart), or divide the tables among several steps";
        Ok(vec![ground.finding(Severity::Warning, "max_locks_per_transaction", what, next)])
    }
}
