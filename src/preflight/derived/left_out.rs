//! Rows of blue that no source of a projection brings along, and the condition or join that leaves each out.

use super::inspect::row_word;
use super::projected::Table;
use super::raw::told;
use super::reader::{Answer, Reader};
use crate::preflight::Violation;
use crate::projection::{BoundSource, anatomy, conditions};
use crate::sql::Ident;
use crate::terms::key_digest;

/// Up to so many rows are looked at again by their place.
const MOST_PLACES: u64 = 1000;

/// Counts them for every table that drives a source.
pub(super) async fn rows(reader: &Reader, table: &Table) -> anyhow::Result<Vec<Violation>> {
    let mut found = Vec::new();
    for (number, (source, rows)) in table.bound.sources.iter().zip(&table.rows.sources).enumerate() {
        let first = table.bound.sources.iter().position(|other| other.drives == source.drives) == Some(number);
        if !first || rows.key.is_empty() {
            continue;
        }
        let key = &rows.key;
        let brought = table.bound.sources.iter().flat_map(|other| with(other, source, key, &Loose::Nothing));
        let brought: Vec<String> = brought.collect();
        let missing: Vec<String> = brought
            .iter()
            .map(|select| format!("NOT EXISTS (SELECT FROM (\n{select}\n) AS there WHERE {})", same(key)))
            .collect();
        let texts = key.iter().map(|column| format!("x.{column}::text")).collect::<Vec<_>>().join(", ");
        let rows = |condition: &str| {
            format!(
                "SELECT x.*, to_jsonb(ARRAY[{texts}])::text AS row_key, x.ctid AS place FROM {} AS x WHERE {condition}",
                source.drives
            )
        };
        let mut body = rows(&missing.join(" AND "));
        let question = format!(
            "SELECT count(*), ARRAY(SELECT row_key FROM hit LIMIT 5), ARRAY(SELECT place::text FROM hit LIMIT {MOST_PLACES}) FROM hit"
        );
        let sql = table.rows.with_hits(&body, &question);
        let Answer::Rows(answer) = reader.ask(&sql).await? else { continue };
        let Some(row) = answer.first() else { continue };
        let count = row.get::<_, i64>(0).unsigned_abs();
        if count == 0 {
            continue;
        }
        let what = format!("{count} {} left out of {}", are(count), table.rows.table.plain());
        let mut whole = told("left_out", &source.drives, None, what, count, table);
        whole.keys = row.get::<_, Vec<String>>(1).iter().map(|key| key_digest(key)).collect();
        found.push(whole);
        let places: Vec<String> = row.get(2);
        if count == places.len() as u64 {
            // Few: from now on they are found by where they stand.
            body = rows(&format!("x.ctid = ANY ('{{\"{}\"}}'::tid[])", places.join("\",\"")));
        }
        for other in &table.bound.sources {
            for loose in loosened(other) {
                for select in with(other, source, key, &loose) {
                    let question = format!(
                        "SELECT count(*), ARRAY(SELECT row_key FROM hit AS x WHERE EXISTS (SELECT FROM (\n{select}\n) AS there WHERE {0}) LIMIT 5) \
                         FROM hit AS x WHERE EXISTS (SELECT FROM (\n{select}\n) AS there WHERE {0})",
                        same(key)
                    );
                    let Answer::Rows(answer) = reader.ask(&table.rows.with_hits(&body, &question)).await? else { continue };
                    let Some(row) = answer.first().filter(|row| row.get::<_, i64>(0) > 0) else { continue };
                    let count = row.get::<_, i64>(0).unsigned_abs();
                    let what = format!(
                        "{count} {} left out of {} only because of {} (source {})",
                        are(count),
                        table.rows.table.plain(),
                        loose.words(other),
                        other.name
                    );
                    let mut violation = told("left_out_by", &source.drives, None, what, count, table);
                    violation.keys = row.get::<_, Vec<String>>(1).iter().map(|key| key_digest(key)).collect();
                    found.push(violation);
                }
            }
        }
    }
    Ok(found)
}

fn are(count: u64) -> String {
    format!("{} {}", row_word(count), if count == 1 { "is" } else { "are" })
}

fn same(key: &[Ident]) -> String {
    key.iter().map(|column| format!("there.{column} = x.{column}")).collect::<Vec<_>>().join(" AND ")
}

/// One thing a source asks for, taken away. Ranges are of its `from` or `where`.
enum Loose {
    Nothing,
    /// A condition of an ON, which does not say that columns are equal.
    On(std::ops::Range<usize>),
    /// A join that leaves rows without a partner out.
    Join(std::ops::Range<usize>, String),
    /// A condition of the `where`.
    Where(std::ops::Range<usize>),
}

impl Loose {
    fn words(&self, source: &BoundSource) -> String {
        let shown = |text: &str| {
            let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
            if text.chars().count() > 160 {
                format!("`{} …`", text.chars().take(160).collect::<String>())
            } else {
                format!("`{text}`")
            }
        };
        match self {
            Loose::Nothing => String::new(),
            Loose::On(place) => format!("the join condition {}", shown(&source.from[place.clone()])),
            Loose::Join(_, table) => format!("the join: {table} has no row for them"),
            Loose::Where(place) => format!("the where {}", shown(&source.filter.as_deref().unwrap_or_default()[place.clone()])),
        }
    }
}

fn loosened(source: &BoundSource) -> Vec<Loose> {
    let anatomy = anatomy(&source.from);
    let mut all = Vec::new();
    for join in &anatomy.joins {
        // Without any equality every row would meet every other.
        let bound = join.conditions.iter().any(|condition| !condition.equal.is_empty());
        let free = join.conditions.iter().filter(|condition| bound && condition.equal.is_empty());
        all.extend(free.map(|condition| Loose::On(condition.place.clone())));
        let tables: Vec<String> = join.right.iter().filter_map(|alias| anatomy.table(alias)).map(|table| table.plain()).collect();
        all.extend(join.inner.clone().map(|place| Loose::Join(place, tables.join(", "))));
    }
    all.extend(source.filter.iter().flat_map(|filter| conditions(filter)).map(|condition| Loose::Where(condition.place)));
    all
}

/// The keys of the rows of `drives` that this source brings, once for each time it names that table.
fn with(source: &BoundSource, drives: &BoundSource, key: &[Ident], loose: &Loose) -> Vec<String> {
    let (mut from, mut filter) = (source.from.clone(), source.filter.clone());
    match loose {
        Loose::Nothing => {}
        Loose::On(place) => from.replace_range(place.clone(), "true"),
        Loose::Join(place, _) => from.replace_range(place.clone(), "LEFT JOIN"),
        Loose::Where(place) => {
            if let Some(filter) = &mut filter {
                filter.replace_range(place.clone(), "true");
            }
        }
    }
    let anatomy = anatomy(&source.from);
    let named = anatomy.relations.iter().filter(|relation| relation.table.name() == drives.drives.name());
    named
        .map(|relation| {
            let alias = Ident::new(&relation.alias);
            let columns = key.iter().map(|column| format!("{alias}.{column} AS {column}")).collect::<Vec<_>>().join(", ");
            let filter = filter.as_ref().map_or(String::new(), |filter| format!("\nWHERE ({filter}\n)"));
            format!("SELECT {columns}\nFROM {from}{filter}")
        })
        .collect()
}
