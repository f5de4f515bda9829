//! Sequences that give columns of copied tables their values.

use serde::{Deserialize, Serialize};

use crate::pg::Session;
use crate::sql::{Ident, Literal, QualifiedName};

/// A sequence that a column takes its values from, with its value as it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sequence {
    /// Its name.
    pub name: QualifiedName,
    /// The table of the column.
    pub table: QualifiedName,
    /// The column.
    pub column: Ident,
    /// Whether it counts down.
    pub descending: bool,
    /// `last_value`.
    pub last_value: i64,
    /// `is_called`.
    pub is_called: bool,
}

impl Sequence {
    /// Reads those of these tables.
    pub(super) async fn read_all(session: &Session, tables: &[u32]) -> anyhow::Result<Vec<Self>> {
        let rows = session.query(OF_TABLES, &[&tables]).await?;
        let mut sequences = Vec::new();
        for row in rows {
            let name = QualifiedName::new(row.get::<_, String>(0), row.get::<_, String>(1));
            let (last_value, is_called) = value(session, &name).await?;
            sequences.push(Self {
                name,
                table: QualifiedName::new(row.get::<_, String>(2), row.get::<_, String>(3)),
                column: Ident::new(row.get::<_, String>(4)),
                descending: row.get(5),
                last_value,
                is_called,
            });
        }
        Ok(sequences)
    }

    /// Puts the sequences of these green tables past every value in their columns, and those of `identity` tables at least where
    /// blue's stand.
    ///
    /// # Errors
    /// When a session is gone.
    pub async fn carry(green: &Session, blue: &Session, tables: &[u32], identity: &[QualifiedName]) -> anyhow::Result<()> {
        for sequence in Self::read_all(green, tables).await? {
            sequence.advance(green, identity.contains(&sequence.table).then_some(blue)).await?;
        }
        Ok(())
    }

    /// Puts the sequence past every value in its column, and for an identity copy where blue's stands if that is further.
    pub(super) async fn advance(&self, green: &Session, blue: Option<&Session>) -> anyhow::Result<()> {
        let furthest = if self.descending { "min" } else { "max" };
        let column = format!("SELECT {furthest}({})::bigint FROM {}", self.column, self.table);
        let in_rows: Option<i64> = green.query_one(&column, &[]).await?.get(0);
        let on_blue = match blue {
            Some(blue) => self.of_blue(blue).await?,
            None => None,
        };
        let further = |a: i64, b: i64| if self.descending { a < b } else { a > b };
        let set = match (in_rows, on_blue) {
            (Some(rows), Some((blue, called))) if !further(rows, blue) => Some((blue, called || rows == blue)),
            (Some(rows), _) => Some((rows, true)),
            (None, blue) => blue,
        };
        // Another table may use it too, and may have put it further.
        let now = value(green, &self.name).await?;
        match set.filter(|(value, called)| further(*value, now.0) || (*value == now.0 && *called)) {
            Some((value, called)) => Ok(green.batch_execute(&self.set(value, called)).await?),
            None => Ok(()),
        }
    }

    /// The statement that puts it back where it was.
    pub(super) fn put_back(&self) -> String {
        self.set(self.last_value, self.is_called)
    }

    fn set(&self, value: i64, called: bool) -> String {
        format!("SELECT setval({}::regclass, {value}, {called})", Literal::new(self.name.to_string()))
    }

    async fn of_blue(&self, blue: &Session) -> anyhow::Result<Option<(i64, bool)>> {
        let oid: Option<u32> = blue.query_one("SELECT to_regclass($1::text)::oid", &[&self.table.to_string()]).await?.get(0);
        let there = Self::read_all(blue, oid.as_slice()).await?;
        Ok(there.iter().find(|sequence| sequence.column == self.column).map(|there| (there.last_value, there.is_called)))
    }

    /// The sequences of these tables that our role may not read.
    ///
    /// # Errors
    /// When the session is gone.
    pub async fn unreadable(session: &Session, tables: &[QualifiedName]) -> anyhow::Result<Vec<QualifiedName>> {
        let names: Vec<String> = tables.iter().map(QualifiedName::to_string).collect();
        let sql = "SELECT array_agg(to_regclass(name)::oid) FILTER (WHERE to_regclass(name) IS NOT NULL) FROM unnest($1::text[]) AS name";
        let oids: Option<Vec<u32>> = session.query_one(sql, &[&names]).await?.get(0);
        let sql =
            format!("SELECT DISTINCT o.schema, o.name FROM ({OF_TABLES}) AS o WHERE NOT has_sequence_privilege(o.oid, 'SELECT')");
        let rows = session.query(&sql, &[&oids.unwrap_or_default()]).await?;
        Ok(rows.iter().map(|row| QualifiedName::new(row.get::<_, String>(0), row.get::<_, String>(1))).collect())
    }
}

/// Sequences that a numeric column owns (serial, identity) or that its default takes values from.
const OF_TABLES: &str = "\
    SELECT sn.nspname AS schema, s.relname AS name, tn.nspname, t.relname, a.attname, q.seqincrement < 0, s.oid \
    FROM (SELECT d.objid AS sequence, d.refobjid AS relation, d.refobjsubid::int AS place FROM pg_depend d \
           WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass AND d.deptype IN ('a', 'i') \
             AND d.refobjid = ANY ($1) \
          UNION SELECT d.refobjid, f.adrelid, f.adnum::int FROM pg_attrdef f \
            JOIN pg_depend d ON d.classid = 'pg_attrdef'::regclass AND d.objid = f.oid AND d.refclassid = 'pg_class'::regclass \
           WHERE f.adrelid = ANY ($1)) AS o \
    JOIN pg_class s ON s.oid = o.sequence AND s.relkind = 'S' \
    JOIN pg_namespace sn ON sn.oid = s.relnamespace JOIN pg_sequence q ON q.seqrelid = s.oid \
    JOIN pg_class t ON t.oid = o.relation JOIN pg_namespace tn ON tn.oid = t.relnamespace \
    JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum = o.place \
    JOIN pg_type y ON y.oid = a.atttypid AND y.typcategory = 'N' \
    ORDER BY sn.nspname, s.relname, tn.nspname, t.relname, a.attnum";

async fn value(session: &Session, name: &QualifiedName) -> anyhow::Result<(i64, bool)> {
    let row = session.query_one(&format!("SELECT last_value, is_called FROM {name}"), &[]).await?;
    Ok((row.get(0), row.get(1)))
}
