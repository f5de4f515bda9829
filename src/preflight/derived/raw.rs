//! The values a projection reads, as they stand: which of them would have broken green's types, keys and indexes.

use std::collections::BTreeSet;

use super::ask::{Ask, empty, no_json_string, null_character, other_json_string};
use super::inspect::{Inspection, Repair, row_word};
use super::projected::Table;
use super::reader::{Answer, Reader};
use super::rows::Rows;
use super::tally::Probe;
use crate::preflight::{Counted, Violation};
use crate::projection::{Anatomy, Target, anatomy, read_target, reads_json};
use crate::sql::{Ident, QualifiedName, Rule};
use crate::terms::{Finding, Severity, Side};

/// Rows of blue whose values need the projection's repairs.
pub(super) async fn inputs(reader: &Reader, table: &Table, sample: Option<f64>) -> anyhow::Result<Vec<Violation>> {
    let mut found = Vec::new();
    let mut seen: BTreeSet<(QualifiedName, String)> = BTreeSet::new();
    for (number, source) in table.bound.sources.iter().enumerate() {
        let anatomy = anatomy(&source.from);
        found.extend(more_than_one(reader, table, &anatomy, &mut seen).await?);
        let mut tables: Vec<(Target, Vec<Ask>)> = Vec::new();
        for (column, (text, _)) in table.bound.columns.iter().zip(&table.bound.sources[number].expressions) {
            let Some(green) = table.target.column(&column.name) else { continue };
            let json = matches!(green.bare_type.as_str(), "json" | "jsonb");
            let indexed = indexed(table, &column.name);
            if !json && !indexed {
                continue;
            }
            for (alias, name) in anatomy.reads(text) {
                let Some(blue) = anatomy.table(&alias) else { continue };
                let position =
                    match tables.iter().position(|(known, _)| known.table == *blue || known.table.name() == blue.name()) {
                        Some(position) => position,
                        None => match read_target(reader.session(), blue).await? {
                            Some(target) => {
                                tables.push((target, Vec::new()));
                                tables.len() - 1
                            }
                            None => continue,
                        },
                    };
                let (target, asks) = &mut tables[position];
                let raw = Ident::new(&name);
                if target.column(&raw).is_none_or(|column| column.category != 'S') {
                    continue;
                }
                if seen.insert((target.table.clone(), format!("{name} {json}"))) {
                    asks.extend(if json { as_json(&raw, text, &green.bare_type) } else { vec![too_large(&raw, &column.name)] });
                }
            }
        }
        for (target, asks) in tables.into_iter().filter(|(_, asks)| !asks.is_empty()) {
            let key = super::definitions::key_of(reader.session(), &target.table).await?;
            let rows = Rows::of_table(Side::Blue, &target, key.columns, &[]);
            let estimate = target.estimated_rows.max(0).unsigned_abs();
            let inspection = Inspection { reader, rows: &rows, sample, estimate, pending: None, repair: Repair::Projection };
            let violations = inspection.single(&asks).await?;
            found.extend(violations.into_iter().map(|violation| note(violation, table)));
        }
    }
    Ok(found)
}

/// What a projection is there to repair is worth knowing, no more; where it fails, that is found at the projection.
fn note(mut violation: Violation, table: &Table) -> Violation {
    violation.finding.severity = Severity::Note;
    violation.finding.next = format!("look at what {} makes of them", table.rows.label);
    violation.suggestion = None;
    violation
}

/// Text on its way to JSON: cast as a whole, or put between quotes.
fn as_json(raw: &Ident, expression: &str, to: &str) -> Vec<Ask> {
    let name = raw.as_str();
    let ask = |rule, probe, one: &str, many: &str| {
        let tail = format!(" in {name}: the projection has to mend them");
        Ask::new(rule, Some(raw), probe, format!("{one}{tail}"), format!("{many}{tail}"))
    };
    let text = raw.to_string();
    if reads_json(expression) {
        let (none, null) = (empty(&text), null_character(&text));
        let rest = Probe::Fails(format!("CASE WHEN {none} OR ({null}) THEN NULL ELSE {text}::{to} END"));
        return vec![
            ask("json_empty", Probe::Broken(none), "has no text where JSON is due", "have no text where JSON is due"),
            ask(
                "json_null_character",
                Probe::Broken(null),
                "has \\u0000, which jsonb does not take,",
                "have \\u0000, which jsonb does not take,",
            ),
            ask("json_broken", rest, "is no JSON", "are no JSON"),
        ];
    }
    let breaks = "a quote, backslash or control character that breaks JSON when put between quotes as it is,";
    let changes = "a backslash that becomes another character when put between JSON quotes as it is,";
    vec![
        ask("json_string", Probe::Broken(no_json_string(&text)), &format!("has {breaks}"), &format!("have {breaks}")),
        ask(
            "json_string_changed",
            Probe::Broken(other_json_string(&text)),
            &format!("has {changes}"),
            &format!("have {changes}"),
        ),
    ]
}

/// Stored values that no index row has room for.
fn too_large(raw: &Ident, column: &Ident) -> Ask {
    let words = format!("too large in {} for green's index on {} (2704 bytes, SQLSTATE 54000)", raw.as_str(), column.as_str());
    Ask::new(
        "index_row",
        Some(raw),
        Probe::Broken(format!("8 + pg_column_size({raw}) > 2704")),
        format!("is {words}"),
        format!("are {words}"),
    )
}

fn indexed(table: &Table, column: &Ident) -> bool {
    table.definitions.demands.iter().any(|demand| match &demand.rule {
        Rule::IndexRow { keys, .. } => keys.iter().any(|key| *key == column.to_string() || key == column.as_str()),
        _ => false,
    })
}

/// Rows of a joined table that share what they are joined by: each would give its driving row once more.
async fn more_than_one(
    reader: &Reader,
    table: &Table,
    anatomy: &Anatomy,
    seen: &mut BTreeSet<(QualifiedName, String)>,
) -> anyhow::Result<Vec<Violation>> {
    let mut found = Vec::new();
    for join in &anatomy.joins {
        for alias in &join.right {
            let equal = join.conditions.iter().flat_map(|condition| &condition.equal).filter(|((of, _), _)| of == alias);
            let columns: BTreeSet<String> = equal.map(|((_, name), _)| name.clone()).collect();
            let Some(blue) = anatomy.table(alias).filter(|_| !columns.is_empty()) else { continue };
            let Some(target) = read_target(reader.session(), blue).await? else { continue };
            let list = columns.iter().map(|name| Ident::new(name).to_string()).collect::<Vec<_>>();
            if target.unique.iter().any(|unique| unique.is_subset(&columns))
                || !seen.insert((target.table.clone(), list.join(", ")))
            {
                continue;
            }
            let filled = list.iter().map(|column| format!("{column} IS NOT NULL")).collect::<Vec<_>>().join(" AND ");
            let names = list.join(", ");
            let sql = format!(
                "SELECT count(*), coalesce(sum(n - 1), 0)::int8 FROM (SELECT count(*) AS n FROM {} WHERE {filled} GROUP BY {names} \
                 HAVING count(*) > 1) AS several",
                target.table
            );
            let Answer::Rows(rows) = reader.ask(&sql).await? else { continue };
            let Some(row) = rows.first() else { continue };
            let (groups, extra) = (row.get::<_, i64>(0).unsigned_abs(), row.get::<_, i64>(1).unsigned_abs());
            if extra > 0 {
                let columns = columns.iter().cloned().collect::<Vec<_>>().join(", ");
                let what = format!(
                    "{extra} {} share {columns} with another ({groups} values): joined by it alone, {} would get a key more than once",
                    row_word(extra),
                    table.rows.table.plain()
                );
                found.push(told("shared_key", &target.table, Some(columns), what, extra, table));
            }
        }
    }
    Ok(found)
}

/// A note about rows of blue.
pub(super) fn told(
    rule: &'static str,
    blue: &QualifiedName,
    column: Option<String>,
    what: String,
    count: u64,
    table: &Table,
) -> Violation {
    let next = format!("look at what {} makes of them", table.rows.label);
    let object = format!("table {} on blue", blue.plain());
    Violation {
        code: String::new(),
        finding: Finding { severity: Severity::Note, object, what, next },
        rule,
        table: Some(blue.plain()),
        column,
        count,
        counted: Counted::Exactly,
        keys: Vec::new(),
        suggestion: None,
    }
}
