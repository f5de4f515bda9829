//! Rows written, from timestamps that blue's tables hold.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context;

use super::{SLOT, Series};
use crate::pg::Session;
use crate::sql::{Ident, QualifiedName};

/// A declared column that cannot be counted.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Unfit(String);

/// A column that says when a row was written: `table.column`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Declared {
    /// The table.
    pub table: QualifiedName,
    /// The column.
    pub column: Ident,
}

impl std::str::FromStr for Declared {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not of the form table.column or schema.table.column");
        let (table, column) = text.rsplit_once('.').ok_or_else(wrong)?;
        let column = column.strip_prefix('"').and_then(|inner| inner.strip_suffix('"')).unwrap_or(column);
        if column.is_empty() {
            return Err(wrong());
        }
        Ok(Self { table: QualifiedName::try_from(table.to_owned())?, column: Ident::new(column) })
    }
}

impl std::fmt::Display for Declared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.table.plain(), self.column.as_str())
    }
}

/// Counts the rows of each slot, for each column, no further back than `since` before now. A time without a zone is taken for UTC.
/// Reads each table once, in a read-only transaction.
///
/// # Errors
/// [`Unfit`] when a column is not there or holds no time; the server's errors.
pub async fn read(session: &mut Session, declared: &[Declared], since: Duration) -> anyhow::Result<Vec<Series>> {
    let transaction = session.build_transaction().read_only(true).start().await?;
    let mut series = Vec::new();
    for one in declared {
        let found = transaction
            .query_opt(
                "SELECT atttypid::regtype::text FROM pg_attribute \
                 WHERE attrelid = to_regclass($1::text) AND attname = $2::text AND attnum > 0 AND NOT attisdropped",
                &[&one.table.to_string(), &one.column.as_str()],
            )
            .await?;
        let Some(found) = found else { return Err(Unfit(format!("there is no column {one}")).into()) };
        let time = match found.get::<_, String>(0).as_str() {
            "timestamp with time zone" => one.column.to_string(),
            "timestamp without time zone" => format!("({} AT TIME ZONE 'UTC')", one.column),
            other => return Err(Unfit(format!("column {one} is of type {other}: a timestamp is expected")).into()),
        };
        let sql = format!(
            "SELECT floor(extract(epoch FROM {time}) / {SLOT})::bigint, count(*)::float8 FROM {} \
             WHERE {time} >= now() - make_interval(secs => $1) AND {time} <= now() GROUP BY 1",
            one.table
        );
        let rows = transaction.query(&sql, &[&since.as_secs_f64()]).await.with_context(|| format!("cannot count {one}"))?;
        let slots: BTreeMap<i64, f64> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
        series.push(Series { kind: one.to_string(), writes: true, requests: false, slots });
    }
    Ok(series)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_named_as_in_sql() {
        let said = |text: &str| text.parse::<Declared>().map(|declared| declared.to_string());
        assert_eq!(said("token.requested_at"), Ok("token.requested_at".to_owned()));
        assert_eq!(said("app.\"Odd\".\"When\""), Ok("app.Odd.When".to_owned()));
        for wrong in ["token", "token.", ".x", "a.b.c.d"] {
            assert!(said(wrong).is_err(), "{wrong}");
        }
    }
}
