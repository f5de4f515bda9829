//! What the linter asks a database: tables, their sizes, columns, constraints and indexes. Only reads.

use std::collections::BTreeMap;

use crate::lint::act::{Constraint, Demands};
use crate::lint::state::{Dependents, KnownColumn, KnownIndex, KnownTable, Size, Standing, StandingKind, proves};
use crate::lint::{self, Known};
use crate::pg::Session;
use crate::sql::QualifiedName;

const TABLES: &str = "SELECT n.nspname::text, c.relname::text, greatest(c.reltuples, 0)::int8, pg_table_size(c.oid), \
                             pg_indexes_size(c.oid), c.relkind = 'p' \
                      FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
                      WHERE c.relkind IN ('r', 'p', 'm') AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast')";

const COLUMNS: &str = "SELECT n.nspname::text, c.relname::text, a.attname::text, format_type(a.atttypid, a.atttypmod), a.attnotnull \
                       FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace \
                       WHERE a.attnum > 0 AND NOT a.attisdropped AND c.relkind IN ('r', 'p')";

const CONSTRAINTS: &str = "SELECT n.nspname::text, c.relname::text, k.conname::text, k.contype::text, k.convalidated, \
                                  pg_get_constraintdef(k.oid), fn.nspname::text, f.relname::text, \
                                  ARRAY(SELECT a.attname::text FROM unnest(k.conkey) WITH ORDINALITY AS u (num, at) \
                                        JOIN pg_attribute a ON (a.attrelid, a.attnum) = (k.conrelid, u.num) ORDER BY u.at) \
                           FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace \
                           LEFT JOIN pg_class f ON f.oid = k.confrelid LEFT JOIN pg_namespace fn ON fn.oid = f.relnamespace \
                           WHERE k.contype IN ('c', 'f', 'p', 'u')";

const INDEXES: &str = "SELECT n.nspname::text, c.relname::text, i.relname::text, \
                              ARRAY(SELECT pg_get_indexdef(x.indexrelid, at, true) FROM generate_series(1, x.indnkeyatts::int) AS at ORDER BY at) \
                       FROM pg_index x JOIN pg_class c ON c.oid = x.indrelid JOIN pg_class i ON i.oid = x.indexrelid \
                       JOIN pg_namespace n ON n.oid = c.relnamespace \
                       WHERE n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast')";

/// Everything that stands on a column: what it is, its name, its definition or why no other column can take the place for it.
const DEPENDENTS: &str = "WITH col AS (
        SELECT n.nspname::text AS schema, c.relname::text AS rel, a.attname::text AS name, a.attrelid AS oid, a.attnum AS num, a AS att, c AS class
        FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE a.attnum > 0 AND NOT a.attisdropped AND c.relkind IN ('r', 'p')
          AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'crossfade') AND n.nspname !~ '^pg_'
    ), found AS (
        SELECT col.*, 'default' AS what, '' AS called, pg_get_expr(d.adbin, d.adrelid) AS said
        FROM col JOIN pg_attrdef d ON (d.adrelid, d.adnum) = (col.oid, col.num) WHERE (att).attgenerated = ''
        UNION ALL
        SELECT col.*, 'comment', '', col_description(col.oid, col.num) FROM col WHERE col_description(col.oid, col.num) IS NOT NULL
        UNION ALL
        SELECT col.*, CASE WHEN k.contype IN ('p', 'u') THEN 'key' ELSE 'rule' END, k.conname::text, pg_get_constraintdef(k.oid)
        FROM col JOIN pg_constraint k ON k.conrelid = col.oid AND col.num = ANY (k.conkey) AND k.contype IN ('c', 'f', 'p', 'u')
        UNION ALL
        SELECT col.*, 'index', i.relname::text, pg_get_indexdef(i.oid)
        FROM col JOIN pg_index x ON x.indrelid = col.oid JOIN pg_class i ON i.oid = x.indexrelid
        WHERE EXISTS (SELECT FROM pg_depend d WHERE (d.refclassid, d.refobjid, d.refobjsubid) = ('pg_class'::regclass, col.oid, col.num)
                      AND (d.classid, d.objid) = ('pg_class'::regclass, i.oid))
          AND NOT EXISTS (SELECT FROM pg_constraint k WHERE k.conindid = i.oid AND k.contype IN ('p', 'u', 'x'))
        UNION ALL
        SELECT col.*, 'sequence', sn.nspname::text, s.relname::text
        FROM col JOIN pg_depend d ON (d.refclassid, d.refobjid, d.refobjsubid) = ('pg_class'::regclass, col.oid, col.num)
        JOIN pg_class s ON d.classid = 'pg_class'::regclass AND s.oid = d.objid AND s.relkind = 'S' AND d.deptype = 'a'
        JOIN pg_namespace sn ON sn.oid = s.relnamespace
        UNION ALL
        SELECT col.*, 'unfit', '', pg_describe_object(d.classid, d.objid, d.objsubid) || ' stands on it'
        FROM col JOIN pg_depend d ON (d.refclassid, d.refobjid, d.refobjsubid) = ('pg_class'::regclass, col.oid, col.num)
        LEFT JOIN pg_class r ON d.classid = 'pg_class'::regclass AND r.oid = d.objid
        LEFT JOIN pg_constraint k ON d.classid = 'pg_constraint'::regclass AND k.oid = d.objid
        LEFT JOIN pg_attrdef f ON d.classid = 'pg_attrdef'::regclass AND f.oid = d.objid
        WHERE coalesce(r.relkind NOT IN ('i', 'I') AND NOT (r.relkind = 'S' AND d.deptype = 'a'), true)
          AND coalesce(k.conrelid <> col.oid OR k.contype = 'x' OR (k.contype = 'f' AND k.confrelid = col.oid), true)
          AND coalesce((f.adrelid, f.adnum) <> (col.oid, col.num), true)
        UNION ALL
        SELECT col.*, 'unfit', '', why FROM col CROSS JOIN LATERAL (VALUES
            ((att).attidentity <> '', 'it is an identity column'), ((att).attgenerated <> '', 'it is a generated column'),
            ((att).attacl IS NOT NULL, 'it has privileges of its own'), (EXISTS (SELECT FROM unnest((att).attoptions) AS o WHERE o !~ '^pg_attver='), 'it has options'),
            (coalesce(nullif(to_jsonb(att) ->> 'attstattarget', '-1'), '') <> '', 'it has a statistics target'),
            ((class).relkind = 'p' OR (class).relispartition OR (class).relhassubclass OR (att).attinhcount > 0,
             'its table is partitioned or inherits'),
            (NOT EXISTS (SELECT FROM pg_index p WHERE p.indrelid = col.oid AND p.indisprimary),
             'its table has no primary key to walk by'),
            (EXISTS (SELECT FROM pg_trigger t WHERE t.tgrelid = col.oid AND NOT t.tgisinternal AND t.tgtype & 17 = 17),
             'a trigger of its table would run for every row that is filled'),
            (EXISTS (SELECT FROM pg_index x WHERE x.indrelid = col.oid AND col.num = ANY (x.indkey::int2[])
                     AND (x.indisclustered OR x.indisreplident OR NOT x.indisvalid)),
             'an index on it is invalid, the replica identity, or what the table is clustered by')
        ) AS v (holds, why) WHERE holds
    )
    SELECT schema, rel, name, what, called, said FROM found ORDER BY schema, rel, name, what, called";

const PARTITIONS: &str = "SELECT n.nspname::text, p.relname::text, cn.nspname::text, c.relname::text \
                          FROM pg_inherits h JOIN pg_class p ON p.oid = h.inhparent JOIN pg_namespace n ON n.oid = p.relnamespace \
                          JOIN pg_class c ON c.oid = h.inhrelid JOIN pg_namespace cn ON cn.oid = c.relnamespace \
                          WHERE p.relkind = 'p' AND c.relkind IN ('r', 'p')";

/// Asks the database.
///
/// # Errors
/// The server's.
pub(super) async fn known(session: &Session) -> anyhow::Result<Known> {
    let mut tables: BTreeMap<(String, String), KnownTable> = BTreeMap::new();
    for row in session.query(TABLES, &[]).await? {
        let bytes = |index: usize| u64::try_from(row.get::<_, i64>(index)).unwrap_or_default();
        let size = Size { rows: bytes(2), bytes: bytes(3), index_bytes: bytes(4) };
        let table = KnownTable { size: Some(size), partitioned: row.get(5), ..KnownTable::default() };
        tables.insert((row.get(0), row.get(1)), table);
    }
    for row in session.query(COLUMNS, &[]).await? {
        if let Some(table) = tables.get_mut(&(row.get(0), row.get(1))) {
            let ty = lint::type_of(row.get(3));
            let column = KnownColumn { ty, not_null: row.get(4), new: false, dependents: Some(Dependents::default()) };
            table.columns.insert(row.get(2), column);
        }
    }
    for row in session.query(DEPENDENTS, &[]).await? {
        let column = tables.get_mut(&(row.get(0), row.get(1))).and_then(|table| table.columns.get_mut(row.get::<_, &str>(2)));
        let Some(dependents) = column.and_then(|column| column.dependents.as_mut()) else { continue };
        let (what, name, said): (&str, String, String) = (row.get(3), row.get(4), row.get(5));
        let kind = match what {
            "index" => StandingKind::Index,
            "key" => StandingKind::Key,
            "rule" => StandingKind::Rule,
            _ => {
                match what {
                    "default" => dependents.default = Some(said),
                    "comment" => dependents.comment = Some(said),
                    "sequence" => dependents.sequences.push(QualifiedName::new(name, said)),
                    _ => dependents.unfit.push(said),
                }
                continue;
            }
        };
        dependents.standing.push(Standing { kind, name, definition: said });
    }
    for row in session.query(CONSTRAINTS, &[]).await? {
        let Some(table) = tables.get_mut(&(row.get(0), row.get(1))) else { continue };
        let (kind, definition): (String, String) = (row.get(3), row.get(5));
        let demands = match (kind.as_str(), row.get::<_, Option<String>>(6), row.get::<_, Option<String>>(7)) {
            ("f", Some(schema), Some(name)) => {
                Demands::ForeignKey { references: QualifiedName::new(schema, name), referenced: Vec::new() }
            }
            ("p", ..) => Demands::PrimaryKey,
            ("u", ..) => Demands::Unique,
            _ => Demands::Check(definition.trim_start_matches("CHECK ").trim_end_matches(" NOT VALID").to_owned()),
        };
        let (name, valid, columns) = (row.get(2), row.get::<_, bool>(4), row.get(8));
        let constraint = Constraint { demands, name: Some(name), columns, not_valid: !valid, using_index: None };
        table.proven.extend(Some(&constraint).filter(|_| valid).and_then(proves));
        table.constraints.push(constraint);
    }
    let mut indexes = Vec::new();
    for row in session.query(INDEXES, &[]).await? {
        let (schema, name): (String, String) = (row.get(0), row.get(1));
        let unquoted = |key: String| key.trim_matches('"').replace("\"\"", "\"");
        let columns: Vec<String> = row.get::<_, Vec<String>>(3).into_iter().map(unquoted).collect();
        if let Some(table) = tables.get_mut(&(schema.clone(), name.clone())) {
            table.indexed.push(columns.clone());
        }
        let index = QualifiedName::new(schema.clone(), row.get::<_, String>(2));
        indexes.push((index, KnownIndex { table: QualifiedName::new(schema, name), columns, new: false }));
    }
    for row in session.query(PARTITIONS, &[]).await? {
        if let Some(table) = tables.get_mut(&(row.get(0), row.get(1))) {
            table.partitions.push(QualifiedName::new(row.get::<_, String>(2), row.get::<_, String>(3)));
        }
    }
    let tables = tables.into_iter().map(|((schema, name), table)| (QualifiedName::new(schema, name), table)).collect();
    Ok(Known { tables, indexes })
}
