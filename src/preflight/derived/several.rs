//! Rules about several rows at once: keys that repeat, keys that point nowhere, rows that exclude each other.

use tokio_postgres::Row;

use super::reader::{Answer, Reader};
use super::rows::{KEY, Rows};
use crate::sql::Ident;
use crate::terms::key_digest;

/// What was found.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Several {
    /// Rows that would have to go or change.
    pub rows: u64,
    /// Keys they share, for repeated keys.
    pub groups: u64,
    /// Digests of up to five keys of rows.
    pub keys: Vec<String>,
}

/// Why there is no answer.
pub(super) type Unanswered = Result<Several, String>;

fn read(row: &Row, keyed: bool) -> Several {
    let keys: Vec<Option<String>> = row.get(2);
    let keys = if keyed { keys.iter().flatten().take(5).map(|key| key_digest(key)).collect() } else { Vec::new() };
    Several { rows: row.get::<_, i64>(0).unsigned_abs(), groups: row.get::<_, i64>(1).unsigned_abs(), keys }
}

async fn ask(reader: &Reader, rows: &Rows, sql: &str) -> anyhow::Result<Unanswered> {
    Ok(match reader.ask(sql).await? {
        Answer::Rows(found) => found.first().map(|row| read(row, rows.keyed())).ok_or_else(|| "no row came back".to_owned()),
        Answer::BadRow(code) => Err(format!("the values of some rows make it fail (SQLSTATE {code}); correct those first")),
        Answer::Refused(why) => Err(why),
    })
}

/// Rows beyond the first of each key.
pub(super) async fn repeated(
    reader: &Reader,
    rows: &Rows,
    keys: &[String],
    predicate: Option<&str>,
    nulls_same: bool,
) -> anyhow::Result<Unanswered> {
    let mut conditions: Vec<String> = predicate.map(|predicate| format!("({predicate}\n)")).into_iter().collect();
    if !nulls_same {
        conditions.extend(keys.iter().map(|key| format!("({key}) IS NOT NULL")));
    }
    let filter = if conditions.is_empty() { String::new() } else { format!("WHERE {}", conditions.join(" AND ")) };
    let grouped: Vec<String> = keys.iter().map(|key| format!("({key})")).collect();
    let body = format!(
        "SELECT count(*) AS n, max(p.{KEY}) AS key FROM (\n{}\n) AS p {filter} GROUP BY {} HAVING count(*) > 1",
        rows.all(None),
        grouped.join(", ")
    );
    let query = "SELECT coalesce(sum(n - 1), 0)::int8, count(*), ARRAY(SELECT key FROM hit LIMIT 5) FROM hit";
    ask(reader, rows, &rows.with_hits(&body, query)).await
}

/// Rows whose key is not among `parents`, a `SELECT` of the columns `referenced`.
pub(super) async fn orphans(
    reader: &Reader,
    rows: &Rows,
    columns: &[Ident],
    parents: &str,
    referenced: &[Ident],
    full: bool,
    sample: Option<f64>,
) -> anyhow::Result<Unanswered> {
    let join = |what: &dyn Fn(&Ident) -> String, by: &str| columns.iter().map(what).collect::<Vec<_>>().join(by);
    let filled = join(&|column| format!("p.{column} IS NOT NULL"), " AND ");
    let some = join(&|column| format!("p.{column} IS NOT NULL"), " OR ");
    let same: Vec<String> = columns.iter().zip(referenced).map(|(column, parent)| format!("q.{parent} = p.{column}")).collect();
    let lost = format!("{filled} AND NOT EXISTS (SELECT FROM (\n{parents}\n) AS q WHERE {})", same.join(" AND "));
    let condition = if full { format!("({lost}) OR (({some}) AND NOT ({filled}))") } else { lost };
    let body = format!("SELECT p.{KEY} AS key FROM (\n{}\n) AS p WHERE {condition}", rows.all(sample));
    let query = "SELECT count(*), 0::int8, ARRAY(SELECT key FROM hit LIMIT 5) FROM hit";
    ask(reader, rows, &rows.with_hits(&body, query)).await
}

/// Rows that stand against one before them.
pub(super) async fn excluded(
    reader: &Reader,
    rows: &Rows,
    elements: &[(String, String)],
    predicate: Option<&str>,
) -> anyhow::Result<Unanswered> {
    let values: Vec<String> = elements.iter().enumerate().map(|(n, (text, _))| format!("({text}) AS e{n}")).collect();
    let filter = predicate.map_or(String::new(), |predicate| format!("WHERE ({predicate}\n)"));
    let one = format!("SELECT {}, p.{KEY} AS key FROM (\n{}\n) AS p {filter}", values.join(", "), rows.all(None));
    let against: Vec<String> = elements.iter().enumerate().map(|(n, (_, op))| format!("b.e{n} {op} a.e{n}")).collect();
    let body = format!(
        "SELECT DISTINCT b.key FROM (\n{one}\n) AS a JOIN (\n{one}\n) AS b ON a.key < b.key AND {}",
        against.join(" AND ")
    );
    let query = "SELECT count(*), 0::int8, ARRAY(SELECT key FROM hit LIMIT 5) FROM hit";
    ask(reader, rows, &rows.with_hits(&body, query)).await
}
