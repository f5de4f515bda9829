//! Everything a database holds, as lines that can be compared: catalog and rows, apart from crossfade's own schema.

use crate::support::TestDb;

/// One line per object, sorted. Names, definitions, validity, sequence positions; rows as a count and a digest.
pub async fn fingerprint(db: &TestDb) -> Vec<String> {
    let session = db.session().await;
    let mut lines: Vec<String> = session.query(CATALOG, &[]).await.unwrap().iter().map(|row| row.get(0)).collect();
    for table in session.query(TABLES, &[]).await.unwrap() {
        let name: String = table.get(0);
        let rows = format!(
            "SELECT count(*)::text || ' ' || md5(coalesce(string_agg(digest, '' ORDER BY digest), '')) \
             FROM (SELECT md5(r::text) AS digest FROM ONLY {name} AS r) AS digests"
        );
        lines.push(format!("rows {name} {}", session.query_one(&rows, &[]).await.unwrap().get::<_, String>(0)));
    }
    lines.sort();
    lines
}

/// Both sides of a test.
pub async fn fingerprints(blue: &TestDb, green: Option<&TestDb>) -> Vec<Vec<String>> {
    let mut both = vec![fingerprint(blue).await];
    if let Some(green) = green {
        both.push(fingerprint(green).await);
    }
    both
}

/// What is in one and not in the other, for the message of a failed comparison.
#[track_caller]
pub fn assert_same(what: &str, expected: &[Vec<String>], found: &[Vec<String>]) {
    for (side, (expected, found)) in ["blue", "green"].iter().zip(expected.iter().zip(found)) {
        let lost: Vec<_> = expected.iter().filter(|line| !found.contains(line)).collect();
        let new: Vec<_> = found.iter().filter(|line| !expected.contains(line)).collect();
        assert!(
            lost.is_empty() && new.is_empty() && expected.len() == found.len(),
            "{what}, {side}: lost {lost:#?}, new {new:#?}"
        );
    }
}

const TABLES: &str = "SELECT c.oid::regclass::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
    WHERE c.relkind = 'r' AND n.nspname <> 'crossfade' AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_'";

const CATALOG: &str = r"
WITH ours AS (
    SELECT c.* FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname <> 'crossfade' AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_'
)
SELECT format('schema %s', nspname) FROM pg_namespace
 WHERE nspname <> 'crossfade' AND nspname <> 'information_schema' AND nspname !~ '^pg_'
UNION ALL
SELECT format('relation %s %s replica identity %s', c.oid::regclass, c.relkind, c.relreplident) FROM ours c
UNION ALL
SELECT format('publication %s %s', regexp_replace(p.pubname, '^crossfade_.*', 'of a run'), r.prrelid::regclass)
  FROM pg_publication p LEFT JOIN pg_publication_rel r ON r.prpubid = p.oid
UNION ALL
SELECT format('replication slot %s', regexp_replace(slot_name, '^crossfade_.*', 'of a run'))
  FROM pg_replication_slots WHERE database = current_database()
UNION ALL
SELECT format('column %s %s. %s %s%s default %s identity %s generated %s', c.oid::regclass,
              row_number() OVER (PARTITION BY c.oid ORDER BY a.attnum), a.attname, format_type(a.atttypid, a.atttypmod),
              CASE WHEN a.attnotnull THEN ' not null' ELSE '' END, pg_get_expr(d.adbin, d.adrelid), a.attidentity, a.attgenerated)
  FROM ours c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
       LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
 WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f')
UNION ALL
SELECT format('constraint %s %s %s validated %s', c.oid::regclass, k.conname, pg_get_constraintdef(k.oid), k.convalidated)
  FROM ours c JOIN pg_constraint k ON k.conrelid = c.oid
UNION ALL
SELECT format('index %s valid %s ready %s', pg_get_indexdef(x.indexrelid), x.indisvalid, x.indisready)
  FROM ours c JOIN pg_index x ON x.indrelid = c.oid
UNION ALL
SELECT format('sequence %I.%I at %s by %s', schemaname, sequencename, last_value, increment_by) FROM pg_sequences
 WHERE schemaname <> 'crossfade'
UNION ALL
SELECT format('view %s %s', c.oid::regclass, pg_get_viewdef(c.oid)) FROM ours c WHERE c.relkind IN ('v', 'm')
UNION ALL
SELECT format('trigger %s %s', t.tgenabled, pg_get_triggerdef(t.oid))
  FROM ours c JOIN pg_trigger t ON t.tgrelid = c.oid AND NOT t.tgisinternal
UNION ALL
SELECT format('function %s %s', p.oid::regprocedure, md5(pg_get_functiondef(p.oid)))
  FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
 WHERE p.prokind IN ('f', 'p') AND n.nspname <> 'crossfade' AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_'
UNION ALL
SELECT format('type %s %s', t.oid::regtype, t.typtype)
  FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace
 WHERE t.typtype IN ('e', 'd') AND n.nspname <> 'crossfade' AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_'";
