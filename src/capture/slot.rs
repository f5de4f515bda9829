//! A logical replication slot and its publication: making them, their state, and what forbids them.

use std::fmt::Write;

use anyhow::Context;

use super::Shape;
use super::table::{fenced, register};
use crate::pg::{Session, sqlstate, table_state};
use crate::projection::Captured;
use crate::sql::{Ident, QualifiedName};
use crate::terms::{Finding, RunId, Severity, StepId, key_digest};

/// The name of a run's slot and of its publication. Slots have names of lower-case letters, digits and `_`, at most 63.
pub fn slot_name(run: &RunId) -> String {
    let plain = |c: char| if c.is_ascii_lowercase() || c.is_ascii_digit() { c } else { '_' };
    let name: String = run.as_str().chars().map(plain).collect();
    match name.len() {
        0..=48 => format!("crossfade_{name}"),
        _ => format!("crossfade_{}", key_digest(run.as_str())),
    }
}

/// The statements that publish tables for a run and put them on the list of those that are captured, for one transaction. From
/// their commit on the tables need a replica identity for each UPDATE and DELETE.
///
/// # Errors
/// When the session is gone.
pub async fn publish(session: &Session, run: &RunId, step: &StepId, shapes: &[Shape], alarm: u64) -> anyhow::Result<Vec<String>> {
    let name = slot_name(run);
    let tables: Vec<String> = shapes.iter().map(|shape| shape.table.to_string()).collect();
    let mut statements = vec![format!(
        "CREATE PUBLICATION {} FOR TABLE ONLY {} WITH (publish = 'insert, update, delete, truncate')",
        Ident::new(&name),
        tables.join(", ONLY ")
    )];
    for shape in shapes {
        statements.push(register(session, run, step, shape, alarm, Some(&name)).await?.1);
    }
    Ok(statements)
}

/// The statement that keeps the state of the tables of a step, when its slot gives all that happens from here on. A snapshot
/// that sees it is one from which a copy may begin.
pub fn captured_from_here(run: &RunId, step: &StepId) -> String {
    let literal = crate::sql::Literal::new;
    fenced(&format!("k.run = {} AND k.step = {}", literal(run.as_str()), literal(step.as_str())))
}

/// Makes the slot. Waits until every transaction has ended that ran at the beginning, in every database of the server.
///
/// # Errors
/// When the server refuses, or the session is gone.
pub async fn create_slot(session: &Session, slot: &str) -> anyhow::Result<()> {
    session.execute("SELECT pg_create_logical_replication_slot($1, 'pgoutput')", &[&slot]).await?;
    Ok(())
}

/// Whether every transaction has ended that the snapshot `at` does not see and that it knows. A transaction whose commit is in
/// the log before the slot began, and that others do not see yet (it may wait for a standby), is one of them: it is not in the
/// stream, and must be in the copy.
///
/// # Errors
/// When the session is gone.
pub async fn ended(session: &Session, at: &str) -> anyhow::Result<bool> {
    let sql = "SELECT NOT EXISTS (SELECT FROM pg_snapshot_xip($1::text::pg_snapshot) AS x(id) \
                                  WHERE NOT pg_visible_in_snapshot(x.id, pg_current_snapshot()))";
    Ok(session.query_one(sql, &[&at]).await?.get(0))
}

/// Ends whoever reads the slot. Only for the one crossfade that may.
///
/// # Errors
/// When the role may not, or the reader does not end within ten seconds.
pub async fn end_reader(session: &Session, slot: &str) -> anyhow::Result<()> {
    for _ in 0..200 {
        let sql =
            "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE slot_name = $1 AND active_pid IS NOT NULL";
        if session.query(sql, &[&slot]).await.context("ending the reader that a killed crossfade left")?.is_empty() {
            return Ok(());
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    anyhow::bail!("replication slot {slot} is being read by a session that does not end; see pg_replication_slots.active_pid")
}

/// Drops the slot, if it is there.
///
/// # Errors
/// When the server refuses.
pub async fn drop_slot(session: &Session, slot: &str) -> anyhow::Result<()> {
    for _ in 0..20 {
        end_reader(session, slot).await?;
        let sql = "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = $1";
        match session.query(sql, &[&slot]).await {
            Err(error) if sqlstate(&error) == "55006" => {} // somebody was quicker
            Err(error) if sqlstate(&error) == "42704" => return Ok(()),
            dropped => return dropped.map(drop).context("dropping the replication slot"),
        }
    }
    anyhow::bail!("replication slot {slot} is taken again and again; end its reader, then run again")
}

/// The statement that drops the publication, if it is there.
pub fn drop_publication(slot: &str) -> String {
    format!("DROP PUBLICATION IF EXISTS {}", Ident::new(slot))
}

/// Forgets on green what came from the slot, by statements of bounded size.
///
/// # Errors
/// When the session is gone.
pub async fn forget_inbox(green: &Session, run: &RunId) -> anyhow::Result<()> {
    let delete =
        "DELETE FROM crossfade.inbox WHERE ctid = ANY (ARRAY(SELECT ctid FROM crossfade.inbox WHERE run = $1 LIMIT 50000))";
    while green.execute(delete, &[&run.as_str()]).await? > 0 {}
    green.execute("DELETE FROM crossfade.inbox_position WHERE run = $1", &[&run.as_str()]).await?;
    Ok(())
}

/// How old rows of a table are named in the log, and how they should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The table.
    pub table: QualifiedName,
    /// What stands after `REPLICA IDENTITY` for what it is.
    pub is: String,
    /// What should; `None` when it serves.
    pub wanted: Option<String>,
    /// Columns that old rows should carry and do not.
    pub lacking: Vec<String>,
}

impl Identity {
    /// The statement that makes it what it should be.
    pub fn alter(table: &QualifiedName, identity: &str) -> String {
        format!("ALTER TABLE {table} REPLICA IDENTITY {identity}")
    }
}

/// The replica identities of the tables to capture; those that are not there are left out.
///
/// # Errors
/// When the session is gone.
pub async fn identities(blue: &Session, tables: &[Captured]) -> anyhow::Result<Vec<Identity>> {
    let mut all = Vec::new();
    for captured in tables {
        let Some(state) = table_state(blue, &captured.table).await? else { continue };
        let columns: Vec<&str> = captured.columns.iter().map(Ident::as_str).collect();
        let row = blue.query_one(IDENTITY, &[&state.name.to_string(), &columns]).await?;
        let (kind, index, lacking, better): (i8, Option<String>, Vec<String>, Option<String>) =
            (row.get(0), row.get(1), row.get(2), row.get(3));
        let using = |index: String| format!("USING INDEX {}", Ident::new(index));
        let is = match (kind.unsigned_abs(), index) {
            (b'f', _) => "FULL".to_owned(),
            (b'i', Some(index)) => using(index),
            (b'n' | b'i', _) => "NOTHING".to_owned(),
            _ => "DEFAULT".to_owned(),
        };
        let nothing: bool = row.get(4);
        let wanted = (nothing || !lacking.is_empty()).then(|| better.map_or("FULL".to_owned(), using));
        all.push(Identity { table: state.name, is, wanted, lacking });
    }
    Ok(all)
}

/// Of table `$1`: its kind, the index it names, those of the columns `$2` that old rows do not carry, an index that carries them
/// all, and whether old rows carry nothing at all.
const IDENTITY: &str = "\
    WITH t AS (SELECT c.oid, c.relreplident FROM pg_class c WHERE c.oid = to_regclass($1::text)), \
    named AS (SELECT i.indexrelid, ARRAY(SELECT a.attname::text FROM pg_attribute a WHERE a.attrelid = t.oid AND a.attnum = ANY (i.indkey::int2[])) AS columns, \
                     i.indisreplident AND t.relreplident = 'i' OR i.indisprimary AND t.relreplident = 'd' AS used \
              FROM t JOIN pg_index i ON i.indrelid = t.oid \
              WHERE i.indisunique AND i.indisvalid AND i.indimmediate AND i.indpred IS NULL AND i.indexprs IS NULL AND i.indnatts = i.indnkeyatts \
                AND NOT EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = t.oid AND a.attnum = ANY (i.indkey::int2[]) AND NOT a.attnotnull)) \
    SELECT t.relreplident, (SELECT x.relname::text FROM named JOIN pg_class x ON x.oid = indexrelid WHERE used AND t.relreplident = 'i'), \
           CASE WHEN t.relreplident = 'f' THEN '{}' \
                ELSE ARRAY(SELECT u FROM unnest($2::text[]) AS u WHERE NOT EXISTS (SELECT FROM named WHERE used AND u = ANY (columns)) ORDER BY u) END, \
           (SELECT x.relname::text FROM named JOIN pg_class x ON x.oid = indexrelid WHERE columns @> $2::text[] ORDER BY cardinality(columns), 1 LIMIT 1), \
           t.relreplident <> 'f' AND NOT EXISTS (SELECT FROM named WHERE used) \
    FROM t";

/// What forbids to read the changes of these tables from a slot, all at once. With `alters` the plan sets the replica
/// identities that are needed. Changes nothing.
///
/// # Errors
/// When the session is gone.
pub async fn slot_obstacles(blue: &Session, tables: &[Captured], run: &RunId, alters: bool) -> anyhow::Result<Vec<Finding>> {
    let slot = slot_name(run);
    let mut findings = Vec::new();
    let mut say = |severity: Severity, object: &str, what: String, next: &str| {
        findings.push(Finding { severity, object: object.to_owned(), what, next: next.to_owned() });
    };
    let row = blue.query_one(SERVER, &[&slot]).await?;
    let (version, level, slots, free_slots, senders, free_senders, role, replicates, creates): (
        i32,
        String,
        i64,
        i64,
        i64,
        i64,
        String,
        bool,
        bool,
    ) = (row.get(0), row.get(1), row.get(2), row.get(3), row.get(4), row.get(5), row.get(6), row.get(7), row.get(8));
    let triggers = "or leave `source` away: triggers need none of this";
    if version < 140_000 {
        let what = format!("is PostgreSQL {}: its slots do not tell where a snapshot is", version / 10_000);
        say(Severity::Blocks, "blue's server", what, "capture by triggers: leave `source` away");
    }
    if level != "logical" {
        let next = format!(
            "ALTER SYSTEM SET wal_level = 'logical' (managed servers: rds.logical_replication = 1, cloudsql.logical_decoding = on, or wal_level \
             among the parameters) and restart blue, {triggers}"
        );
        say(Severity::Blocks, "wal_level on blue", format!("is {level}: no slot can be read"), &next);
    }
    for (name, most, free) in [("max_replication_slots", slots, free_slots), ("max_wal_senders", senders, free_senders)] {
        if free < 1 {
            let next = format!("raise {name} and restart blue, or drop a slot that nobody needs, {triggers}");
            say(Severity::Blocks, &format!("{name} on blue"), format!("is {most}, and all are taken"), &next);
        }
    }
    if !replicates {
        let role = Ident::new(&role);
        let next = format!("ALTER ROLE {role} REPLICATION (RDS, Aurora: GRANT rds_replication TO {role}), {triggers}");
        say(Severity::Blocks, "role on blue", format!("{} may not read the stream of a slot", role.as_str()), &next);
    }
    if !creates {
        let next = format!("GRANT CREATE ON DATABASE {} TO {}", Ident::new(row.get::<_, String>(9)), Ident::new(&role));
        say(Severity::Blocks, "role on blue", format!("{role} may make no publication in this database"), &next);
    }
    let (keep, idle): (Option<i64>, Option<i64>) = (row.get(10), row.get(11));
    if let Some(keep) = keep.filter(|keep| *keep >= 0) {
        let what =
            format!("is {keep} MB: when blue writes more log than that while nobody reads (during the copy), the slot is lost");
        let next = "raise it for the time of the run, as the disk allows; follow warns before it is reached";
        say(Severity::Warning, "max_slot_wal_keep_size on blue", what, next);
    }
    if let Some(idle) = idle.filter(|idle| *idle > 0) {
        let what = format!("is {idle} s: a slot that nobody reads for so long (during the copy) is lost");
        let next = "ALTER SYSTEM SET idle_replication_slot_timeout = 0 and reload, for the time of the run";
        say(Severity::Warning, "idle_replication_slot_timeout on blue", what, next);
    }
    for identity in identities(blue, tables).await?.into_iter().filter(|_| !alters) {
        if let Some(wanted) = &identity.wanted {
            let mut what = match identity.lacking.is_empty() {
                true => "has no replica identity: once it is published its rows could not be changed or deleted".to_owned(),
                false => format!("has a replica identity ({}) without {}", identity.is, identity.lacking.join(", ")),
            };
            if !identity.lacking.is_empty() {
                let _ = write!(what, ": where a changed row was before would not be told");
            }
            let object = format!("table {} on blue", identity.table.plain());
            let next = format!("{}; or set_replica_identity = true in the step", Identity::alter(&identity.table, wanted));
            say(Severity::Blocks, &object, what, &next);
        }
    }
    Ok(findings)
}

/// A slot of ours that is there already counts as free. On RDS and Aurora nobody has the attribute REPLICATION: membership stands for it.
const SERVER: &str = "\
    SELECT current_setting('server_version_num')::int, current_setting('wal_level'), \
           current_setting('max_replication_slots')::bigint, \
           current_setting('max_replication_slots')::bigint - (SELECT count(*) FROM pg_replication_slots WHERE slot_name <> $1), \
           current_setting('max_wal_senders')::bigint, \
           current_setting('max_wal_senders')::bigint - (SELECT count(*) FROM pg_stat_replication WHERE application_name NOT LIKE 'crossfade/%'), \
           current_user::text, (SELECT rolreplication OR rolsuper FROM pg_roles WHERE rolname = current_user) \
             OR EXISTS (SELECT FROM pg_roles WHERE rolname IN ('rds_replication', 'rds_superuser') AND pg_has_role(oid, 'MEMBER')), \
           has_database_privilege(current_database(), 'CREATE'), current_database()::text, \
           (SELECT setting::bigint FROM pg_settings WHERE name = 'max_slot_wal_keep_size'), \
           (SELECT setting::bigint FROM pg_settings WHERE name = 'idle_replication_slot_timeout')";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_a_slot_may_have() {
        let name = |run: &str| slot_name(&RunId::existing(run));
        assert_eq!(name("20261122t081234123-ab12"), "crossfade_20261122t081234123_ab12");
        assert_eq!(name("The Run"), "crossfade__he__un");
        let long = name(&"x".repeat(100));
        assert!(long.len() <= 63 && long != name(&"x".repeat(101)), "{long}");
    }
}
