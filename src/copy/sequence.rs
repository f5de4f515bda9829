//! Sequences that belong to columns of copied tables.

use serde::{Deserialize, Serialize};

use crate::pg::Session;
use crate::sql::{Ident, Literal, QualifiedName};

/// A sequence owned by a column (serial or identity), with its value as it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sequence {
    /// Its name.
    pub name: QualifiedName,
    /// The table whose column owns it.
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
        let rows = session
            .query(
                "SELECT sn.nspname, s.relname, tn.nspname, t.relname, a.attname, q.seqincrement < 0 \
                 FROM pg_depend d JOIN pg_class s ON s.oid = d.objid AND s.relkind = 'S' \
                 JOIN pg_namespace sn ON sn.oid = s.relnamespace JOIN pg_sequence q ON q.seqrelid = s.oid \
                 JOIN pg_class t ON t.oid = d.refobjid JOIN pg_namespace tn ON tn.oid = t.relnamespace \
                 JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum = d.refobjsubid \
                 WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass \
                   AND d.deptype IN ('a', 'i') AND d.refobjid = ANY ($1) ORDER BY sn.nspname, s.relname",
                &[&tables],
            )
            .await?;
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
        match set {
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
        let row = blue
            .query_opt(
                "SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
                 WHERE to_regclass($1::text) IS NOT NULL AND c.oid = pg_get_serial_sequence($1::text, $2::text)::regclass",
                &[&self.table.to_string(), &self.column.as_str()],
            )
            .await?;
        match row {
            Some(row) => value(blue, &QualifiedName::new(row.get::<_, String>(0), row.get::<_, String>(1))).await.map(Some),
            None => Ok(None),
        }
    }
}

async fn value(session: &Session, name: &QualifiedName) -> anyhow::Result<(i64, bool)> {
    let row = session.query_one(&format!("SELECT last_value, is_called FROM {name}"), &[]).await?;
    Ok((row.get(0), row.get(1)))
}
