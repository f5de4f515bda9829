//! What the linter says about locks, held to what servers do.

use std::collections::{BTreeMap, BTreeSet};

use crossfade::lint::rules::{self, Example};
use crossfade::lint::{Config, Known, Report, Within, lint};
use crossfade::pg::Session;
use crossfade::shadow::Binaries;
use crossfade::sql::{Block, LockMode};

use crate::lint::files;
use crate::support::TestDb;

/// The lock modes by the words of `pg_locks`, weakest first.
const MODES: &[(&str, LockMode)] = &[
    ("AccessShareLock", LockMode::AccessShare),
    ("RowShareLock", LockMode::RowShare),
    ("RowExclusiveLock", LockMode::RowExclusive),
    ("ShareUpdateExclusiveLock", LockMode::ShareUpdateExclusive),
    ("ShareLock", LockMode::Share),
    ("ShareRowExclusiveLock", LockMode::ShareRowExclusive),
    ("ExclusiveLock", LockMode::Exclusive),
    ("AccessExclusiveLock", LockMode::AccessExclusive),
];

/// The strongest lock of the session's transaction on each relation of the schemas of users, by object id.
async fn locks(session: &Session) -> BTreeMap<u32, LockMode> {
    let sql = "SELECT l.relation, l.mode FROM pg_locks l \
               WHERE l.pid = pg_backend_pid() AND l.locktype = 'relation' AND l.granted AND l.relation >= 16384";
    let mut found = BTreeMap::new();
    for row in session.query(sql, &[]).await.unwrap() {
        let mode: String = row.get(1);
        let mode = MODES.iter().find(|(name, _)| *name == mode).unwrap().1;
        let known = found.entry(row.get::<_, u32>(0)).or_insert(mode);
        *known = (*known).max(mode);
    }
    found
}

/// The relations there are, by object id, with their kind.
async fn relations(session: &Session) -> BTreeMap<u32, (String, String)> {
    let sql = "SELECT c.oid, c.relname::text, c.relkind::text FROM pg_class c WHERE c.oid >= 16384 AND c.relkind IN ('r', 'p', 'm', 'v', 'i', 'S', 'I')";
    let rows = session.query(sql, &[]).await.unwrap();
    rows.iter().map(|row| (row.get(0), (row.get(1), row.get(2)))).collect()
}

/// An example, as the linter reads it.
fn read(example: &Example) -> Report {
    lint(files(example), &Config::default(), Known::new()).unwrap()
}

/// Rules whose bad example a server refuses, which is what they are about, or which needs what the servers of the tests lack.
pub const REFUSED: &[(&str, &str)] = &[
    ("body-not-read", "plperl is not installed"),
    ("drop-database", "there is no such database"),
    ("drop-extension", "hstore is not installed"),
    ("duplicate-assignment", "refused: 42601"),
    ("enum-value-in-transaction", "of PostgreSQL 11"),
    ("enum-value-used-early", "its second statement runs in a transaction of its own here"),
    ("extension-upgrade", "needs nothing of the tables"),
    ("lock-not-known", "there are no such roles"),
    ("psql-command", "not SQL"),
    ("syntax-error", "not SQL"),
    ("template-directive", "not SQL"),
];

#[tokio::test(flavor = "multi_thread")]
async fn claimed_locks_are_those_of_a_server() {
    let major = Binaries::find().unwrap().major();
    let (mut wrong, mut compared, mut outside, mut queries) = (Vec::new(), 0, 0, 0);
    for rule in rules::all() {
        if REFUSED.iter().any(|(id, _)| *id == rule.id) || rule.bad.pg > major {
            continue;
        }
        let db = TestDb::empty().await;
        let session = db.session().await;
        session.batch_execute(rule.bad.before).await.unwrap_or_else(|e| panic!("{}: {e:?}", rule.id));
        let report = read(&rule.bad);
        for query in report.findings.iter().filter_map(|finding| finding.query.as_ref()) {
            session.query(query.as_str(), &[]).await.unwrap_or_else(|e| panic!("{}: {query}: {e:?}", rule.id));
            queries += 1;
        }
        for (file, script) in report.scripts.iter().enumerate().skip(1) {
            for piece in script.pieces.iter().filter(|piece| piece.within == Within::File) {
                let text = &script.text[piece.at.clone()];
                if piece.block == Block::Control {
                    continue;
                }
                if piece.block == Block::Outside {
                    outside += 1;
                    session.batch_execute(text).await.unwrap_or_else(|e| panic!("{}: {text}: {e:?}", rule.id));
                    continue;
                }
                let before = relations(&session).await;
                session.batch_execute("BEGIN").await.unwrap();
                if let Err(error) = session.batch_execute(text).await {
                    wrong.push(format!("{}: {text}: {:?}", rule.id, error.as_db_error().map(|e| e.message().to_owned())));
                    session.batch_execute("ROLLBACK").await.unwrap();
                    continue;
                }
                let taken = locks(&session).await;
                session.batch_execute("COMMIT").await.unwrap();
                let within = |at: &std::ops::Range<usize>| piece.at.start <= at.start && at.end <= piece.at.end;
                let described = || report.described.iter().filter(|d| d.file == file && within(&d.at));
                if described().any(|described| described.locks.is_none()) {
                    continue; // nothing is claimed
                }
                let mut claimed: BTreeMap<String, LockMode> = BTreeMap::new();
                for lock in described().flat_map(|described| described.locks.iter().flatten()) {
                    let known = claimed.entry(lock.relation.name().as_str().to_owned()).or_insert(lock.mode);
                    *known = (*known).max(lock.mode);
                }
                // Of a table, the lock; of an index, only when the statement names it alone.
                let mut real: BTreeMap<String, LockMode> = BTreeMap::new();
                for (oid, mode) in &taken {
                    let Some((name, kind)) = before.get(oid) else { continue };
                    let table = matches!(kind.as_str(), "r" | "p" | "m" | "v");
                    if table || claimed.contains_key(name) {
                        real.insert(name.clone(), *mode);
                    }
                }
                let same = claimed.iter().all(|(name, mode)| real.get(name) == Some(mode))
                    && real.iter().all(|(name, mode)| claimed.contains_key(name) || *mode < LockMode::ShareUpdateExclusive);
                compared += 1;
                if !same {
                    wrong.push(format!("{}: {text}\n  claimed {claimed:?}\n  real    {real:?}", rule.id));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(queries >= 9, "{queries} queries that count rows were run");
    assert!(compared > 80 && outside > 5, "{compared} statements compared, {outside} run outside a transaction");
}

/// What the catalog says, as lines.
async fn catalog(session: &Session) -> BTreeSet<String> {
    let sql = "SELECT 'column ' || c.relname || '.' || a.attname || ' ' || format_type(a.atttypid, a.atttypmod) || \
                      CASE WHEN a.attnotnull THEN ' not null' ELSE '' END || coalesce(' default ' || pg_get_expr(d.adbin, d.adrelid), '') \
               FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid LEFT JOIN pg_attrdef d ON (d.adrelid, d.adnum) = (a.attrelid, a.attnum) \
               WHERE c.oid >= 16384 AND a.attnum > 0 AND NOT a.attisdropped AND c.relkind IN ('r', 'p', 'v', 'm') \
               UNION ALL SELECT 'constraint ' || conrelid::regclass || ' ' || conname || ' ' || pg_get_constraintdef(oid) \
               FROM pg_constraint WHERE conrelid >= 16384 \
               UNION ALL SELECT 'index ' || pg_get_indexdef(indexrelid) || CASE WHEN indisvalid THEN '' ELSE ' invalid' END FROM pg_index \
               WHERE indexrelid >= 16384 AND indrelid::regclass::text NOT LIKE 'pg_toast%' \
               UNION ALL SELECT 'options ' || relname || ' ' || reloptions::text FROM pg_class WHERE oid >= 16384 AND reloptions IS NOT NULL \
               UNION ALL SELECT 'view ' || viewname || ' ' || definition FROM pg_views WHERE schemaname = 'public'";
    session.query(sql, &[]).await.unwrap().iter().map(|row| row.get(0)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn safe_forms_end_with_the_same_schema() {
    let major = Binaries::find().unwrap().major();
    let mut compared = 0;
    for rule in rules::all().filter(|rule| rule.same_end && rule.bad.pg <= major) {
        let mut ends = Vec::new();
        for example in [&rule.bad, &rule.good] {
            let db = TestDb::empty().await;
            let session = db.session().await;
            session.batch_execute(example.before).await.unwrap();
            for script in read(example).scripts.iter().skip(1) {
                for piece in script.pieces.iter().filter(|piece| piece.within == Within::File) {
                    let text = &script.text[piece.at.clone()];
                    session.batch_execute(text).await.unwrap_or_else(|e| panic!("{}: {text}: {e:?}", rule.id));
                }
            }
            ends.push(catalog(&session).await);
        }
        compared += 1;
        assert_eq!(ends[0], ends[1], "{}", rule.id);
    }
    assert!(compared > 25, "{compared}");
}
