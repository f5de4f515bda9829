//! What a table's catalog demands of its rows, read back through the same grammar as statements.

use crate::pg::Session;
use crate::projection::Target;
use crate::sql::{Demand, Ident, QualifiedName, Rule, Statement, split};

/// What a catalog says of one table.
#[derive(Debug, Default)]
pub(super) struct Definitions {
    /// Constraints, indexes, NOT NULL, and what domains demand.
    pub demands: Vec<Demand>,
    /// What fills columns that an insert leaves out, as far as that can be evaluated beforehand.
    pub defaults: Vec<(Ident, String)>,
    /// Generated columns with their expressions.
    pub generated: Vec<(Ident, String)>,
    /// Columns of enum types with the labels.
    pub labels: Vec<(Ident, Vec<String>)>,
}

/// Reads them. Names come back with their schema.
///
/// # Errors
/// When the session is gone.
pub(super) async fn read(session: &Session, target: &Target) -> anyhow::Result<Definitions> {
    session.batch_execute("SET search_path = pg_catalog").await?;
    let found = read_all(session, target).await;
    session.batch_execute("RESET search_path").await?;
    found
}

async fn read_all(session: &Session, target: &Target) -> anyhow::Result<Definitions> {
    let mut read = Definitions::default();
    let table = &target.table;
    let refuses = |column: &Ident| Demand {
        table: table.clone(),
        name: column.as_str().to_owned(),
        rule: Rule::NotNull(column.clone()),
        checked: true,
    };
    read.demands.extend(target.columns.iter().filter(|c| c.not_null && !c.generated).map(|c| refuses(&c.name)));
    for row in session.query(CONSTRAINTS, &[&target.oid]).await? {
        let (name, definition): (String, String) = (row.get(0), row.get(1));
        read.demands.extend(constraint(table, &Ident::new(name), &definition));
    }
    for row in session
        .query(
            "SELECT pg_get_indexdef(indexrelid) FROM pg_index WHERE indrelid = $1 AND indisvalid AND NOT indisexclusion",
            &[&target.oid],
        )
        .await?
    {
        let statements = split(&row.get::<_, String>(0)).unwrap_or_default();
        read.demands.extend(statements.iter().flat_map(Statement::demands));
    }
    for row in session.query(COLUMNS, &[&target.oid]).await? {
        let name = Ident::new(row.get::<_, String>(0));
        let (kind, filled, labels): (String, Option<String>, Option<Vec<String>>) = (row.get(1), row.get(2), row.get(3));
        read.labels.extend(labels.map(|labels| (name.clone(), labels)));
        match (kind.as_str(), filled) {
            ("generated", Some(expression)) => read.generated.push((name, expression)),
            ("plain", Some(expression)) if !expression.contains("nextval(") => {
                read.defaults.push((name, format!("({expression})::{}", row.get::<_, String>(4))));
            }
            ("plain", None) => read.defaults.push((name, format!("NULL::{}", row.get::<_, String>(4)))),
            _ => {}
        }
    }
    for row in session.query(DOMAINS, &[&target.oid]).await? {
        let (column, name, definition): (String, String, Option<String>) = (row.get(0), row.get(1), row.get(2));
        let column = Ident::new(column);
        match definition {
            None => read.demands.push(refuses(&column)),
            Some(definition) => {
                let text = of_value(&definition, &column);
                read.demands.extend(constraint(table, &Ident::new(name), &text));
            }
        }
    }
    Ok(read)
}

/// The demands of a constraint as `pg_get_constraintdef` writes it.
pub(super) fn constraint(table: &QualifiedName, name: &Ident, definition: &str) -> Vec<Demand> {
    let statements = split(&format!("ALTER TABLE {table} ADD CONSTRAINT {name} {definition}")).unwrap_or_default();
    statements.iter().flat_map(Statement::demands).collect()
}

/// A domain's check with the column in place of VALUE (CREATE DOMAIN).
fn of_value(definition: &str, column: &Ident) -> String {
    let (mut out, mut rest, mut quoted) = (String::new(), definition, false);
    let part_of_name = |c: char| c.is_alphanumeric() || c == '_' || c == '.' || c == '"';
    while let Some(c) = rest.chars().next() {
        quoted ^= c == '\'';
        let whole = !out.ends_with(part_of_name) && !rest.get(5..).unwrap_or_default().starts_with(part_of_name);
        if !quoted && rest.starts_with("VALUE") && whole {
            out += &column.to_string();
            rest = &rest[5..];
        } else {
            out.push(c);
            rest = &rest[c.len_utf8()..];
        }
    }
    out
}

const CONSTRAINTS: &str = "SELECT conname::text, pg_get_constraintdef(oid) FROM pg_constraint \
    WHERE conrelid = $1 AND contype IN ('c', 'f', 'x') ORDER BY conname";

const COLUMNS: &str = "\
    SELECT a.attname::text, CASE WHEN a.attgenerated <> '' THEN 'generated' WHEN a.attidentity <> '' THEN 'identity' ELSE 'plain' END, \
           pg_get_expr(d.adbin, d.adrelid), \
           (SELECT array_agg(e.enumlabel::text) FROM pg_enum e WHERE e.enumtypid = a.atttypid), \
           format_type(a.atttypid, a.atttypmod) \
    FROM pg_attribute a LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum \
    WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum";

/// Checks and NOT NULL of the domains a column's type is made of.
const DOMAINS: &str = "\
    WITH RECURSIVE chain(attname, oid) AS ( \
        SELECT attname, atttypid FROM pg_attribute WHERE attrelid = $1 AND attnum > 0 AND NOT attisdropped UNION ALL \
        SELECT chain.attname, t.typbasetype FROM chain JOIN pg_type t ON t.oid = chain.oid WHERE t.typtype = 'd') \
    SELECT chain.attname::text, t.typname::text, NULL FROM chain JOIN pg_type t ON t.oid = chain.oid WHERE t.typtype = 'd' AND t.typnotnull \
    UNION ALL \
    SELECT chain.attname::text, c.conname::text, pg_get_constraintdef(c.oid) \
    FROM chain JOIN pg_constraint c ON c.contypid = chain.oid AND c.contype = 'c'";

/// The columns that name the rows of a table, in order.
#[derive(Debug, Clone, Default)]
pub(super) struct TableKey {
    /// None: nothing names them.
    pub columns: Vec<Ident>,
    /// Whether they are its primary key, which steps that walk a table take unasked.
    pub primary: bool,
}

/// A table's primary key, or its first unique index over NOT NULL columns that is checked at once; without columns when it has none.
///
/// # Errors
/// When the session is gone.
pub(super) async fn key_of(session: &Session, table: &QualifiedName) -> anyhow::Result<TableKey> {
    let sql = "SELECT array_agg(a.attname::text ORDER BY k.n), i.indisprimary \
               FROM pg_index i, unnest(i.indkey::int2[]) WITH ORDINALITY AS k(number, n), pg_attribute a \
               WHERE i.indrelid = to_regclass($1::text) AND i.indisunique AND i.indisvalid AND i.indimmediate \
                 AND i.indpred IS NULL AND i.indexprs IS NULL \
                 AND k.n <= i.indnkeyatts AND a.attrelid = i.indrelid AND a.attnum = k.number \
               GROUP BY i.indexrelid, i.indisprimary HAVING bool_and(a.attnotnull) ORDER BY i.indisprimary DESC, i.indexrelid LIMIT 1";
    let row = session.query_opt(sql, &[&table.to_string()]).await?;
    Ok(row.map_or_else(TableKey::default, |row| TableKey {
        columns: row.get::<_, Vec<String>>(0).into_iter().map(Ident::new).collect(),
        primary: row.get(1),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn value_becomes_the_column() {
        let text = of_value("CHECK ((VALUE > 0 AND s.VALUE <> 'VALUE' AND MY_VALUE(VALUE)))", &Ident::new("c"));
        assert_eq!(text, "CHECK ((\"c\" > 0 AND s.VALUE <> 'VALUE' AND MY_VALUE(\"c\")))");
    }
}
