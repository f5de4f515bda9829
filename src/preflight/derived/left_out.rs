//! Rows of blue that no source of a projection brings along, and the condition or join that leaves each out.

use super::inspect::row_word;
use super::projected::Table;
use super::raw::told;
use super::reader::{Answer, Reader};
use super::rows::at;
use super::survey::{Places, mentions};
use crate::preflight::Violation;
use crate::projection::{BoundSource, anatomy, conditions};
use crate::sql::QualifiedName;
use crate::terms::key_digest;

/// The tables whose rows its sources bring, as far as these have names.
pub(super) fn tables(table: &Table) -> Vec<QualifiedName> {
    let mut all: Vec<QualifiedName> = Vec::new();
    for source in table.rows.sources.iter().filter(|source| !source.key.is_empty()) {
        if !all.contains(&source.drives) {
            all.push(source.drives.clone());
        }
    }
    all
}

/// Says which of them leave rows out, given where these stand, and why, where that is known of all of them.
pub(super) async fn rows(reader: &Reader, table: &Table, left_out: &[Places]) -> anyhow::Result<Vec<Violation>> {
    let mut found = Vec::new();
    for (drives, left_out) in tables(table).iter().zip(left_out).filter(|(_, left_out)| left_out.count > 0) {
        let what = format!("{} {} left out of {}", left_out.count, are(left_out.count), table.rows.table.plain());
        let mut whole = told("left_out", drives, None, what, left_out.count, table);
        whole.keys = keys(reader, table, drives, &left_out.places).await?;
        found.push(whole);
        let Some(places) = left_out.all() else { continue };
        for (number, source) in table.bound.sources.iter().enumerate() {
            for alias in mentions(&table.rows.sources[number], drives) {
                for loose in loosened(source) {
                    let sql = format!(
                        "{}SELECT ARRAY(SELECT DISTINCT {alias}.ctid::text {})",
                        table.rows.prelude,
                        loose.brings(source, &at(&alias, places))
                    );
                    let Answer::Rows(answer) = reader.ask(&sql).await? else { continue };
                    let brought: Vec<String> = answer.first().map(|row| row.get(0)).unwrap_or_default();
                    if brought.is_empty() {
                        continue;
                    }
                    let count = brought.len() as u64;
                    let what = format!(
                        "{count} {} left out of {} only because of {} (source {})",
                        are(count),
                        table.rows.table.plain(),
                        loose.words(source),
                        source.name
                    );
                    let mut violation = told("left_out_by", drives, None, what, count, table);
                    violation.keys = keys(reader, table, drives, &brought).await?;
                    found.push(violation);
                }
            }
        }
    }
    Ok(found)
}

/// Digests of the keys of up to five rows at these places.
async fn keys(reader: &Reader, table: &Table, drives: &QualifiedName, places: &[String]) -> anyhow::Result<Vec<String>> {
    let Some(source) = table.rows.sources.iter().find(|source| source.drives == *drives) else { return Ok(Vec::new()) };
    let texts = source.key.iter().map(|column| format!("x.{column}::text")).collect::<Vec<_>>().join(", ");
    let some = at("x", &places[..places.len().min(5)]);
    let rows =
        reader.session().query(&format!("SELECT to_jsonb(ARRAY[{texts}])::text FROM {drives} AS x WHERE {some}"), &[]).await?;
    Ok(rows.iter().map(|row| key_digest(row.get(0))).collect())
}

fn are(count: u64) -> String {
    format!("{} {}", row_word(count), if count == 1 { "is" } else { "are" })
}

/// One thing a source asks for, taken away. Ranges are of its `from` or `where`.
enum Loose {
    /// A condition of an ON, which does not say that columns are equal.
    On(std::ops::Range<usize>),
    /// A join that leaves rows without a partner out.
    Join(std::ops::Range<usize>, String),
    /// A condition of the `where`.
    Where(std::ops::Range<usize>),
}

impl Loose {
    /// `FROM` and `WHERE` of a source without it, for the rows of this condition.
    fn brings(&self, source: &BoundSource, condition: &str) -> String {
        let (mut from, mut filter) = (source.from.clone(), source.filter.clone());
        match self {
            Loose::On(place) => from.replace_range(place.clone(), "true"),
            Loose::Join(place, _) => from.replace_range(place.clone(), "LEFT JOIN"),
            Loose::Where(place) => {
                if let Some(filter) = &mut filter {
                    filter.replace_range(place.clone(), "true");
                }
            }
        }
        let filter = filter.map_or(String::new(), |filter| format!("({filter}\n) AND "));
        format!("\nFROM {from}\nWHERE {filter}{condition}")
    }

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
