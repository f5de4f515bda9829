//! Rules about several rows at once: keys that repeat, keys that point nowhere, rows that exclude each other.

use tokio_postgres::Row;

use super::proof;
use super::reader::{Answer, Reader};
use super::rows::{KEY, RowSource, Rows};
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

    /// The condition of the rows that count.
    pub fn counted(&self) -> String {
        let conditions = self.conditions();
        if conditions.is_empty() { "true".to_owned() } else { conditions.join(" AND ") }
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

    /// The key, where it is in the driving table of a source as it is, or a constant; a NULL in it makes it point nowhere else.
    pub fn plain(&self, source: &RowSource) -> Option<Vec<String>> {
        let of = |column: &Ident| {
            let expression = || source.columns.iter().find(|(name, text)| name == column && proof::constant(text));
            let own = source.plain(column).map(|name| format!("{}.{name}", source.alias));
            own.or_else(|| expression().map(|(_, text)| text.clone()))
        };
        if self.full || !source.as_it_is() { None } else { self.columns.iter().map(of).collect() }
    }

    /// That every column of a row `p` has a value; that one has.
    pub fn filled(&self) -> [String; 2] {
        filled(self.columns)
    }
}

/// The rows of a child at these places of the driving tables of its sources: their keys are known to point nowhere.
pub(super) async fn lost_at(reader: &Reader, child: &Child<'_>, places: &[&[String]]) -> anyhow::Result<Unanswered> {
    let sources = child.rows.sources.iter().zip(places).filter(|(_, places)| !places.is_empty());
    let parts: Vec<String> = sources.map(|(source, places)| source.at(places)).collect();
    if parts.is_empty() {
        return Ok(Ok(Several::default()));
    }
    let [filled, _] = child.filled();
    let body = format!("SELECT p.{KEY} AS key FROM (\n{}\n) AS p WHERE {filled}", parts.join("\nUNION ALL\n"));
    ask(reader, child.rows, &child.rows.with_hits(&body, HITS)).await
}

/// Rows found, and keys of some.
const HITS: &str = "SELECT count(*), 0::int8, ARRAY(SELECT key FROM hit LIMIT 5) FROM hit";

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
pub(super) async fn orphans(reader: &Reader, child: &Child<'_>, parents: &str) -> anyhow::Result<Unanswered> {
    let rows = child.rows;
    if let [source] = &rows.sources[..]
        && source.filter.is_none()
        && source.is_table()
        && let Some(key) = child.plain(source)
    {
        return ask(reader, rows, &orphans_of_table(child, source, &key, parents)).await;
    }
    let condition = lost(child.columns, parents, child.referenced, child.full);
    let body = format!("SELECT p.{KEY} AS key FROM (\n{}\n) AS p WHERE {condition}", rows.all(None));
    ask(reader, rows, &rows.with_hits(&body, HITS)).await
}

/// The same where the rows are a table's: nothing but the key is read, which an index may hold, until keys of rows are asked for.
fn orphans_of_table(child: &Child<'_>, source: &RowSource, key: &[String], parents: &str) -> String {
    let table = format!("{} AS {}", source.drives, source.alias);
    let names = key.join(", ");
    let numbered = key.iter().enumerate().map(|(n, column)| format!("{column} AS k{n}")).collect::<Vec<_>>().join(", ");
    let filled = key.iter().map(|column| format!("{column} IS NOT NULL")).collect::<Vec<_>>().join(" AND ");
    let same: Vec<String> = key.iter().zip(child.referenced).map(|(column, parent)| format!("q.{parent} = {column}")).collect();
    let own = if source.key.is_empty() { vec!["ctid".to_owned()] } else { source.key.iter().map(Ident::to_string).collect() };
    let own = own.iter().map(|column| format!("{}.{column}::text", source.alias)).collect::<Vec<_>>().join(", ");
    let body = format!(
        "SELECT {numbered} FROM {table} WHERE {filled} AND NOT EXISTS (SELECT FROM (\n{parents}\n) AS q WHERE {})",
        same.join(" AND ")
    );
    let few = (0..key.len()).map(|n| format!("k{n}")).collect::<Vec<_>>().join(", ");
    let query = format!(
        "SELECT count(*), 0::int8, ARRAY(SELECT to_jsonb(ARRAY[{own}])::text FROM {table} WHERE ({names}) IN (SELECT {few} FROM hit LIMIT 5) LIMIT 5) FROM hit"
    );
    child.rows.with_hits(&body, &query)
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
    ask(reader, rows, &rows.with_hits(&body, HITS)).await
}
