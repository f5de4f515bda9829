//! What is known of a real database before a sample of it is taken: its tables, foreign keys, sequences, roles and settings. Reads
//! only.

use anyhow::Context;

use super::sample::{Link, Table};
use crate::pg::Session;
use crate::sql::{Ident, QualifiedName};

/// A table that says it holds more rows than this is not counted: its statistics stand for it.
const COUNTED: f32 = 50_000_000.0;

/// Tables with their rows, but for those of partitions, which their partitioned table stands for, and ours.
const TABLES: &str = "SELECT c.oid, n.nspname::text, c.relname::text, c.relkind = 'p', c.reltuples, \
        ARRAY(SELECT a.attname::text FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped \
                AND a.attgenerated = '' ORDER BY a.attnum), \
        ARRAY(SELECT a.attname::text FROM pg_constraint k, unnest(k.conkey) WITH ORDINALITY AS u (number, place) \
                JOIN pg_attribute a ON a.attnum = u.number \
               WHERE k.conrelid = c.oid AND k.contype = 'p' AND a.attrelid = c.oid ORDER BY u.place) \
     FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
     WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND c.relpersistence <> 't' \
       AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'crossfade') AND n.nspname !~ '^pg_' \
       AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e') \
     ORDER BY 2, 3";

const LINKS: &str = "SELECT k.conrelid, k.confrelid, \
        ARRAY(SELECT a.attname::text FROM unnest(k.conkey) WITH ORDINALITY AS u (number, place) \
                JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = u.number ORDER BY u.place), \
        ARRAY(SELECT a.attname::text FROM unnest(k.confkey) WITH ORDINALITY AS u (number, place) \
                JOIN pg_attribute a ON a.attrelid = k.confrelid AND a.attnum = u.number ORDER BY u.place) \
     FROM pg_constraint k WHERE k.contype = 'f' AND k.conparentid = 0 ORDER BY k.conrelid::regclass::text, k.conname";

/// Settings that decide how long work takes and how much log it writes.
const SETTINGS: [&str; 18] = [
    "shared_buffers",
    "work_mem",
    "maintenance_work_mem",
    "temp_buffers",
    "max_wal_size",
    "min_wal_size",
    "checkpoint_timeout",
    "fsync",
    "full_page_writes",
    "synchronous_commit",
    "wal_compression",
    "autovacuum",
    "jit",
    "random_page_cost",
    "effective_cache_size",
    "max_parallel_workers_per_gather",
    "max_parallel_maintenance_workers",
    "max_parallel_workers",
];

/// A scratch server gets at most so much of `shared_buffers`, in blocks of 8 kB: 1 GiB.
const MOST_BUFFERS: u64 = 131_072;

/// A real database.
pub struct Source {
    /// Its tables.
    pub tables: Vec<Table>,
    /// Its foreign keys.
    pub links: Vec<Link>,
    /// Its sequences.
    pub sequences: Vec<QualifiedName>,
    /// The roles of its server.
    pub roles: Vec<Ident>,
    /// The server's settings that work depends on, as a server's command line takes them.
    pub settings: Vec<(&'static str, String)>,
    /// The server's major version.
    pub major: u32,
    /// Encoding and locale.
    pub locale: [String; 3],
    /// Bytes that it takes.
    pub bytes: i64,
}

impl Source {
    /// Reads it. Each table is counted, unless it is huge.
    ///
    /// # Errors
    /// When a table cannot be read, or the session is gone.
    pub async fn read(session: &Session) -> anyhow::Result<Self> {
        let names = |all: Vec<String>| all.into_iter().map(Ident::new).collect::<Vec<_>>();
        let (mut oids, mut tables) = (Vec::<u32>::new(), Vec::new());
        for row in session.query(TABLES, &[]).await.context("the tables cannot be listed")? {
            let name = QualifiedName::new(row.get::<_, String>(1), row.get::<_, String>(2));
            let (partitioned, estimate): (bool, f32) = (row.get(3), row.get(4));
            let columns = names(row.get(5));
            let rows = if estimate > COUNTED { whole(estimate) } else { count(session, &name, partitioned).await? };
            oids.push(row.get(0));
            tables.push(Table { name, partitioned, rows, key: names(row.get(6)), columns });
        }
        let at = |oid: u32| oids.iter().position(|known| *known == oid);
        let links = session.query(LINKS, &[]).await?;
        let links = links.iter().filter_map(|row| {
            let (child, parent) = (at(row.get(0))?, at(row.get(1))?);
            Some(Link { child, parent, columns: names(row.get(2)), refers: names(row.get(3)) })
        });
        let links = links.collect();
        let sequences = "SELECT schemaname::text, sequencename::text FROM pg_sequences WHERE schemaname <> 'crossfade'";
        let sequences = session.query(sequences, &[]).await?;
        let sequences = sequences.iter().map(|row| QualifiedName::new(row.get::<_, String>(0), row.get::<_, String>(1)));
        let sequences = sequences.collect();
        let roles = session.query("SELECT rolname::text FROM pg_roles WHERE rolname !~ '^pg_'", &[]).await?;
        let (settings, major) = settings(session).await?;
        let row = session
            .query_one(
                "SELECT pg_encoding_to_char(encoding)::text, datcollate::text, datctype::text, pg_database_size(oid) \
                 FROM pg_database WHERE datname = current_database()",
                &[],
            )
            .await?;
        Ok(Self {
            tables,
            links,
            sequences,
            roles: roles.iter().map(|row| Ident::new(row.get::<_, String>(0))).collect(),
            settings,
            major,
            locale: [row.get(0), row.get(1), row.get(2)],
            bytes: row.get(3),
        })
    }
}

/// How a table is read: without the rows of tables that inherit from it, which are tables of their own.
pub fn only(name: &QualifiedName, partitioned: bool) -> String {
    if partitioned { name.to_string() } else { format!("ONLY {name}") }
}

async fn count(session: &Session, name: &QualifiedName, partitioned: bool) -> anyhow::Result<u64> {
    let sql = format!("SELECT count(*) FROM {}", only(name, partitioned));
    let row = session.query_one(&sql, &[]).await.with_context(|| format!("the rows of {} cannot be counted", name.plain()))?;
    Ok(row.get::<_, i64>(0).unsigned_abs())
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an estimate of rows, never negative here")]
fn whole(estimate: f32) -> u64 {
    estimate as u64
}

async fn settings(session: &Session) -> anyhow::Result<(Vec<(&'static str, String)>, u32)> {
    let names: Vec<&str> = SETTINGS.to_vec();
    let rows = session.query("SELECT name::text, setting::text FROM pg_settings WHERE name = ANY ($1)", &[&names]).await?;
    let known = rows.iter().filter_map(|row| {
        let name: String = row.get(0);
        Some((*SETTINGS.iter().find(|setting| **setting == name)?, row.get::<_, String>(1)))
    });
    let mut settings: Vec<(&'static str, String)> = known.collect();
    for (name, value) in &mut settings {
        if *name == "shared_buffers" && value.parse::<u64>().is_ok_and(|blocks| blocks > MOST_BUFFERS) {
            *value = MOST_BUFFERS.to_string();
        }
    }
    let version: i32 = session.query_one("SELECT current_setting('server_version_num')::int", &[]).await?.get(0);
    Ok((settings, version.unsigned_abs() / 10_000))
}
