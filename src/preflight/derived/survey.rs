//! One pass over everything a projection gives: does any row break anything, which rows of other tables may point nowhere, and
//! which rows of blue does it leave out? Most of the answers are no, and then nothing else is asked. Places are ctids of the
//! reader's snapshot.

use super::reader::{Answer, Reader};
use super::rows::{RowSource, Rows};
use super::several::{Child, Keys};
use super::tally::Probe;
use crate::projection::anatomy;
use crate::sql::QualifiedName;

/// Up to so many rows are looked at again by their place.
pub(super) const MOST_PLACES: usize = 1000;

/// A function takes up to 100 arguments (PostgreSQL manual, appendix K).
const MOST_ARGUMENTS: usize = 100;

/// The questions.
pub(super) struct Survey<'a> {
    /// The rows that the projection gives.
    pub rows: &'a Rows,
    /// What is asked of each of them.
    pub probes: &'a [Probe],
    /// Keys that must not repeat.
    pub keys: &'a [Keys<'a>],
    /// Rows of others that point to them.
    pub children: &'a [Child<'a>],
    /// Tables whose rows may be left out.
    pub drives: &'a [QualifiedName],
}

/// The answers, in the order of the questions.
#[derive(Debug, Default, Clone)]
pub(super) struct Surveyed {
    /// Whether no row breaks any probe; `None` when no probe was asked.
    pub clean: Option<bool>,
    /// Whether the keys repeat nowhere.
    pub unique: Vec<bool>,
    /// Of each child and each of its sources, the rows of the driving table whose key points nowhere.
    pub lost: Vec<Vec<Places>>,
    /// Of each table, the rows that no source brings.
    pub left_out: Vec<Places>,
}

/// Rows of a table.
#[derive(Debug, Clone, Default)]
pub(super) struct Places {
    /// How many there are, of children at least.
    pub count: u64,
    /// Where they stand; all of them when they are at most [`MOST_PLACES`].
    pub places: Vec<String>,
}

impl Places {
    /// Where all of them stand, if that is known.
    pub fn all(&self) -> Option<&[String]> {
        (self.count == self.places.len() as u64).then_some(&self.places)
    }
}

/// Asks. `None` when values of some rows make the query fail, or the server refuses it.
pub(super) async fn ask(reader: &Reader, survey: &Survey<'_>) -> anyhow::Result<Option<Surveyed>> {
    if survey.questions() == 0 {
        return Ok(Some(Surveyed::default()));
    }
    let Answer::Rows(rows) = reader.ask(&survey.sql()).await? else { return Ok(None) };
    let Some(row) = rows.first() else { return Ok(None) };
    let mut counts = row.get::<_, Vec<i64>>(2).into_iter().map(i64::unsigned_abs);
    let mut places = row
        .get::<_, Vec<String>>(3)
        .into_iter()
        .map(|list| list.split(';').filter(|place| !place.is_empty()).map(str::to_owned).collect::<Vec<_>>());
    let mut next = || Places { count: counts.next().unwrap_or_default(), places: places.next().unwrap_or_default() };
    let lost = survey.children.iter().map(|child| child.rows.sources.iter().map(|_| next()).collect()).collect();
    Ok(Some(Surveyed {
        clean: (!survey.probes.is_empty()).then(|| row.get(0)),
        unique: row.get(1),
        lost,
        left_out: survey.drives.iter().map(|_| next()).collect(),
    }))
}

impl Survey<'_> {
    fn questions(&self) -> usize {
        self.probes.len() + self.keys.len() + self.children.len() + self.drives.len()
    }

    /// One row: clean, unique, counts, and places separated by `;`, for each list of rows.
    fn sql(&self) -> String {
        let mut columns = Vec::new();
        let mut broken = Vec::new();
        let mut had = Vec::new();
        for probe in self.probes {
            match probe {
                Probe::Broken(condition) => broken.push(format!("({condition}\n)")),
                Probe::Fails(expression) => had.push(format!("({expression}\n)")),
            }
        }
        for (n, rule) in self.keys.iter().enumerate() {
            columns.push(format!("({}) AS w{n}", rule.counted()));
            columns.extend(rule.keys.iter().enumerate().map(|(k, key)| format!("({key}) AS u{n}_{k}")));
        }
        for (n, child) in self.children.iter().enumerate() {
            columns.extend(child.referenced.iter().enumerate().map(|(k, column)| format!("p.{column} AS r{n}_{k}")));
        }
        let places = Mentioned::of(self.rows, self.drives);
        columns.extend(places.names.iter().flatten().map(|name| format!("p.{name}")));
        columns.push(format!("({}) AS broken", if broken.is_empty() { "false".to_owned() } else { broken.join(" OR ") }));
        // Every argument is evaluated, which is all that is wanted of it.
        columns.extend(had.chunks(MOST_ARGUMENTS).enumerate().map(|(n, had)| format!("num_nulls({}) AS f{n}", had.join(", "))));
        // OFFSET 0: what a column is computed from is computed once, however many questions there are about it.
        let asked = columns.join(",\n");
        let sources =
            self.rows.sources.iter().zip(&places.columns).map(|(s, more)| format!("({}\nOFFSET 0)", s.only(&asked, more)));
        let own = format!("SELECT {asked}\nFROM (\n{}\n) AS p", sources.collect::<Vec<_>>().join("\nUNION ALL\n"));
        let unique: Vec<String> = self.keys.iter().enumerate().map(|(n, rule)| unique(n, rule.keys.len())).collect();
        let lists: Vec<String> = self.lost().into_iter().chain(places.left_out(self.drives)).collect();
        let from: Vec<String> = lists.iter().enumerate().map(|(n, list)| format!(" CROSS JOIN (\n{list}\n) AS l{n}")).collect();
        let all = |what: &str| (0..lists.len()).map(|n| format!("l{n}.{what}")).collect::<Vec<_>>().join(", ");
        format!(
            "{}own AS MATERIALIZED (\n{own}\n)\nSELECT NOT EXISTS (SELECT FROM own WHERE broken), ARRAY[{}]::bool[], ARRAY[{}]::int8[], ARRAY[{}]::text[]\nFROM (SELECT) AS one{}",
            self.rows.with(),
            unique.join(",\n"),
            all("n"),
            all("places"),
            from.concat()
        )
    }

    /// Of each source of each child, the rows that point to none of the rows. Conditions and joins of the child are left aside
    /// where its key is in its driving table: few rows are left to ask about.
    fn lost(&self) -> Vec<String> {
        let of = |(n, child): (usize, &Child<'_>)| -> Vec<String> {
            let own = (0..child.referenced.len()).map(|k| format!("r{n}_{k}")).collect::<Vec<_>>().join(", ");
            // EXCEPT hashes or sorts, however few rows the planner expects.
            child.rows.sources.iter().map(|source| {
                let Some(key) = child.plain(source) else {
                    let [filled, some] = child.filled();
                    let names = child.columns.iter().map(|column| format!("p.{column}")).collect::<Vec<_>>().join(", ");
                    let rows = source.only(&names, &[]);
                    let torn = if child.full { format!("\nUNION ALL SELECT 1 FROM (\n{rows}\n) AS p WHERE ({some}) AND NOT ({filled})") } else { String::new() };
                    return format!(
                        "SELECT count(*) AS n, ''::text AS places FROM (SELECT 1 FROM (SELECT {names} FROM (\n{rows}\n) AS p WHERE {filled} EXCEPT SELECT {own} FROM own) AS e{torn}) AS e"
                    );
                };
                let (names, filled) = (key.join(", "), key.iter().map(|name| format!("{name} IS NOT NULL")).collect::<Vec<_>>().join(" AND "));
                let from = format!("FROM {} AS {} WHERE {filled}", source.drives, source.alias);
                listed(&format!(
                    "SELECT {}.ctid {from} AND ({names}) IN (SELECT {names} {from} EXCEPT SELECT {own} FROM own LIMIT {})",
                    source.alias,
                    MOST_PLACES + 1
                ))
            }).collect()
        };
        self.children.iter().enumerate().flat_map(of).collect()
    }
}

/// Whether the keys with number `n` repeat nowhere.
fn unique(n: usize, columns: usize) -> String {
    let names = (0..columns).map(|k| format!("u{n}_{k}")).collect::<Vec<_>>().join(", ");
    format!("NOT EXISTS (SELECT FROM own WHERE w{n} GROUP BY {names} HAVING count(*) > 1)")
}

/// How many places a query gives, and which, when they are few.
fn listed(places: &str) -> String {
    format!(
        "SELECT count(*) AS n, coalesce(string_agg(place::text, ';') FILTER (WHERE nth <= {MOST_PLACES}), '') AS places \
         FROM (SELECT place, row_number() OVER () AS nth FROM (\n{places}\n) AS found (place)) AS found"
    )
}

/// Where the sources name the tables whose rows may be left out.
struct Mentioned {
    /// For each source, what it gives beside its columns.
    columns: Vec<Vec<String>>,
    /// For each table, the names of these.
    names: Vec<Vec<String>>,
}

impl Mentioned {
    fn of(rows: &Rows, drives: &[QualifiedName]) -> Self {
        let mut names: Vec<Vec<String>> = drives.iter().map(|_| Vec::new()).collect();
        let found: Vec<Vec<(usize, Vec<String>)>> = rows
            .sources
            .iter()
            .map(|source| drives.iter().enumerate().map(|(k, table)| (k, mentions(source, table))).collect())
            .collect();
        for (k, aliases) in found.iter().flatten() {
            for n in names[*k].len()..aliases.len() {
                names[*k].push(format!("\"crossfade place {k} {n}\""));
            }
        }
        let column = |k: usize, n: usize, aliases: &[String]| {
            let place = aliases.get(n).map_or("NULL::tid".to_owned(), |alias| format!("{alias}.ctid"));
            format!("{place} AS {}", names[k][n])
        };
        let of_source = |tables: &Vec<(usize, Vec<String>)>| {
            tables
                .iter()
                .flat_map(|(k, aliases)| (0..names[*k].len()).map(|n| column(*k, n, aliases)).collect::<Vec<_>>())
                .collect()
        };
        Self { columns: found.iter().map(of_source).collect(), names }
    }

    fn left_out(&self, drives: &[QualifiedName]) -> Vec<String> {
        let of = |(table, names): (&QualifiedName, &Vec<String>)| {
            let brought: Vec<String> = names.iter().map(|name| format!("SELECT {name} FROM own")).collect();
            listed(&format!("SELECT ctid FROM {table} EXCEPT ({})", brought.join(" UNION ALL ")))
        };
        drives.iter().zip(&self.names).map(of).collect()
    }
}

/// What a source calls a table, once for each time it names it.
pub(super) fn mentions(source: &RowSource, table: &QualifiedName) -> Vec<String> {
    let relations = anatomy(&source.from).relations;
    let named = relations.iter().filter(|relation| relation.table.name() == table.name());
    named.map(|relation| crate::sql::Ident::new(&relation.alias).to_string()).collect()
}
