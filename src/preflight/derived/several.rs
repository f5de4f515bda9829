//! Rules about several rows at once: keys that repeat, keys that point nowhere, rows that exclude each other.

use tokio_postgres::Row;

use super::reader::{Answer, Reader};
use super::rows::{KEY, Rows};
use crate::sql::{Ident, Rule};
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

/// Keys that must not repeat.
pub(super) struct Keys<'a> {
    /// Columns or expressions.
    pub keys: &'a [String],
    /// The rows it is about.
    pub predicate: Option<&'a str>,
    /// Whether NULL is a value like another.
    pub nulls_same: bool,
}

impl<'a> Keys<'a> {
    /// Of a rule that is one.
    pub fn of(rule: &'a Rule) -> Option<Self> {
        let Rule::Unique { keys, predicate, nulls_same } = rule else { return None };
        Some(Self { keys, predicate: predicate.as_deref(), nulls_same: *nulls_same })
    }

    fn conditions(&self) -> Vec<String> {
        let filled = self.keys.iter().filter(|_| !self.nulls_same).map(|key| format!("({key}) IS NOT NULL"));
        self.predicate.map(|predicate| format!("({predicate}\n)")).into_iter().chain(filled).collect()
    }
}

/// Rows whose keys point to `referenced` columns of others.
pub(super) struct Child<'a> {
    /// The rows.
    pub rows: &'a Rows,
    /// Their columns.
    pub columns: &'a [Ident],
    /// The columns of the others.
    pub referenced: &'a [Ident],
    /// MATCH FULL.
    pub full: bool,
}

impl<'a> Child<'a> {
    /// Of a rule that is one.
    pub fn of(rows: &'a Rows, rule: &'a Rule) -> Option<Self> {
        let Rule::ForeignKey { columns, referenced, full, .. } = rule else { return None };
        Some(Self { rows, columns, referenced, full: *full })
    }
}

/// Reads `rows` once, and says for each rule whether they keep to it: keys that must not repeat, then rows of others that point
/// to them. `None` where the rows cannot be had in one query.
pub(super) async fn kept(
    reader: &Reader,
    rows: &Rows,
    keys: &[Keys<'_>],
    children: &[Child<'_>],
) -> anyhow::Result<Option<Vec<bool>>> {
    if keys.len() + children.len() < 2 {
        return Ok(None); // nothing is saved
    }
    let (mut columns, mut questions) = (Vec::new(), Vec::new());
    for (n, rule) in keys.iter().enumerate() {
        let conditions = rule.conditions();
        let counts = if conditions.is_empty() { "true".to_owned() } else { conditions.join(" AND ") };
        columns.push(format!("({counts}) AS w{n}"));
        columns.extend(rule.keys.iter().enumerate().map(|(k, key)| format!("({key}) AS u{n}_{k}")));
        let names = (0..rule.keys.len()).map(|k| format!("u{n}_{k}")).collect::<Vec<_>>().join(", ");
        questions.push(format!("NOT EXISTS (SELECT FROM own WHERE w{n} GROUP BY {names} HAVING count(*) > 1)"));
    }
    for (n, child) in children.iter().enumerate() {
        columns.extend(child.referenced.iter().enumerate().map(|(k, column)| format!("p.{column} AS r{n}_{k}")));
        let list = (0..child.referenced.len()).map(|k| format!("r{n}_{k}")).collect::<Vec<_>>().join(", ");
        let [filled, some] = filled(child.columns);
        let (all, names) = (child.rows.all(None), child.columns.iter().map(|column| format!("p.{column}")).collect::<Vec<_>>());
        // EXCEPT hashes or sorts, however few rows the planner expects.
        let mut question = format!(
            "NOT EXISTS (SELECT {} FROM (\n{all}\n) AS p WHERE {filled} EXCEPT SELECT {list} FROM own)",
            names.join(", ")
        );
        if child.full {
            question += &format!(" AND NOT EXISTS (SELECT FROM (\n{all}\n) AS p WHERE ({some}) AND NOT ({filled}))");
        }
        questions.push(question);
    }
    let start = if rows.prelude.is_empty() { "WITH ".to_owned() } else { format!("{}, ", rows.prelude.trim_end()) };
    let sql = format!(
        "{start}own AS MATERIALIZED (\nSELECT {} FROM (\n{}\n) AS p\n) SELECT ARRAY[{}]",
        columns.join(", "),
        rows.all(None),
        questions.join(",\n")
    );
    Ok(match reader.ask(&sql).await? {
        Answer::Rows(found) => found.first().map(|row| row.get(0)),
        Answer::BadRow(_) | Answer::Refused(_) => None,
    })
}

/// That every column of a row `p` has a value; that one has.
fn filled(columns: &[Ident]) -> [String; 2] {
    [" AND ", " OR "].map(|by| columns.iter().map(|column| format!("p.{column} IS NOT NULL")).collect::<Vec<_>>().join(by))
}

/// The condition of a row `p` whose key is not among `parents`, a `SELECT` of the columns `referenced`.
fn lost(columns: &[Ident], parents: &str, referenced: &[Ident], full: bool) -> String {
    let [filled, some] = filled(columns);
    let same: Vec<String> = columns.iter().zip(referenced).map(|(column, parent)| format!("q.{parent} = p.{column}")).collect();
    let lost = format!("{filled} AND NOT EXISTS (SELECT FROM (\n{parents}\n) AS q WHERE {})", same.join(" AND "));
    if full { format!("({lost}) OR (({some}) AND NOT ({filled}))") } else { lost }
}

/// Rows beyond the first of each key.
pub(super) async fn repeated(reader: &Reader, rows: &Rows, rule: &Keys<'_>) -> anyhow::Result<Unanswered> {
    let conditions = rule.conditions();
    let filter = if conditions.is_empty() { String::new() } else { format!("WHERE {}", conditions.join(" AND ")) };
    let grouped: Vec<String> = rule.keys.iter().map(|key| format!("({key})")).collect();
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
) -> anyhow::Result<Unanswered> {
    let condition = lost(columns, parents, referenced, full);
    let body = format!("SELECT p.{KEY} AS key FROM (\n{}\n) AS p WHERE {condition}", rows.all(None));
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
