//! The checks of a copy: its projections bound to both catalogs, with what green's tables demand.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::dangling::Dangling;
use super::definitions::{self, key_of};
use super::green::{Green, green};
use super::inspect::Parents;
use super::labels::Labels;
use super::projected::{Brought, InputsCheck, ProjectedCheck, Table};
use super::rows::Rows;
use super::{Begin, Known, proof, same_table};
use crate::pg::{Session, explain};
use crate::plan::{Plan, PlannedStep};
use crate::projection::{Projection, anatomy, bind, identity, read_target};
use crate::sql::{Ident, Literal, QualifiedName, Rule};
use crate::step::{Cx, Projected, RowChange};
use crate::terms::{Finding, Severity, Side};

/// The most rows of a table outside the copy that are held against a foreign key.
const MOST_KEPT: usize = 10_000;

/// Begins the checks of the copy step, the longest first. `seen` are blue tables whose foreign keys are looked at already.
pub(super) async fn checks(
    plan: &Plan,
    cx: &Cx,
    step: &PlannedStep,
    projected: &Projected,
    seen: &mut BTreeSet<QualifiedName>,
    changes: &[(String, RowChange)],
    begin: Begin<'_>,
) -> anyhow::Result<()> {
    for source in projected.set().projections.iter().flat_map(|projection| &projection.sources) {
        for relation in anatomy(&source.from).relations {
            if seen.insert(relation.table.clone()) {
                begin(Box::new(Dangling { table: relation.table }));
            }
        }
    }
    match green(plan, cx, step).await {
        Ok(schema) => of_rows(cx, step, projected, changes, &schema, begin).await?,
        Err(error) => begin(Box::new(without_green(step, &error))),
    }
    Ok(())
}

/// Begins the checks of what green's schema demands.
async fn of_rows(
    cx: &Cx,
    step: &PlannedStep,
    projected: &Projected,
    changes: &[(String, RowChange)],
    schema: &Green,
    begin: Begin<'_>,
) -> anyhow::Result<()> {
    let blue = cx.connect(Side::Blue).await?;
    let on_green = schema.database.connect("crossfade/preflight").await?;
    let (same, mut findings) = identity(&blue, &on_green, projected.tables()).await?;
    let mut set = projected.set().clone();
    set.projections.extend(same.iter().cloned());
    findings.extend(bind(&blue, &on_green, &set, true).await?.findings);
    set.projections.truncate(projected.set().projections.len());
    for projection in same {
        if let Some(target) = read_target(&on_green, &projection.table).await? {
            let labels = definitions::read(&on_green, &target).await?.labels;
            if !labels.is_empty() {
                begin(Box::new(Labels { table: projection.table.clone(), labels }));
            }
        }
        set.projections.push(with_casts(&blue, &on_green, projection).await?);
    }
    let binding = bind(&blue, &on_green, &set, true).await?;
    begin(Box::new(Known(format!("step {}", step.id), findings)));
    let mut tables = Vec::new();
    for (bound, target) in binding.bound {
        let (mut keys, mut same) = (Vec::new(), None);
        let mut estimate = 0;
        let mut known = Vec::new();
        let mut pending = None;
        for source in &bound.sources {
            let mut of = proof::Known::default();
            let key = key_of(&blue, &source.drives).await?;
            keys.push(key.columns.clone());
            same.get_or_insert(key);
            let driving = read_target(&blue, &source.drives).await?;
            estimate += driving.map_or(0, |target| target.estimated_rows.max(0).unsigned_abs());
            for relation in anatomy(&source.from).relations {
                let changed = changes.iter().find(|(_, change)| same_table(&change.table, &relation.table));
                match (changed, read_target(&blue, &relation.table).await?) {
                    (None, Some(target)) => drop(of.tables.insert(relation.alias.clone(), target)),
                    (Some((step, change)), _) if !bound.identity || change.known.is_none() => pending = Some(step.clone()),
                    _ => {}
                }
            }
            known.push(of);
        }
        let definitions = definitions::read(&on_green, &target).await?;
        let left: Vec<(Ident, String)> = definitions
            .defaults
            .iter()
            .filter(|(name, _)| !bound.columns.iter().any(|column| column.name == *name))
            .filter(|(name, _)| target.column(name).is_some_and(|column| column.built_in())) // blue knows no other type
            .cloned()
            .collect();
        let mut rows = Rows::of_projection(&bound, &target, &keys, &left);
        if let (true, Some(blue)) = (bound.identity, read_target(&blue, &bound.table).await?) {
            let ahead: Vec<RowChange> = changes
                .iter()
                .filter(|(_, change)| same_table(&change.table, &blue.table))
                .map(|(_, change)| change.clone())
                .collect();
            rows.look_ahead(&blue, &ahead);
        }
        let same = same.filter(|_| bound.identity);
        tables.push(Table { rows, bound, target, definitions, same, estimate, known, pending });
    }
    let kept = kept(&on_green, &tables).await?;
    let encoding = encoding(&blue, &cx.connect(Side::Green).await?).await?;
    let bytewise = "SELECT NOT EXISTS (SELECT FROM pg_collation WHERE NOT collisdeterministic)";
    let bytewise = on_green.query_one(bytewise, &[]).await?.get(0);
    let mut longest: Vec<usize> = (0..tables.len()).collect();
    longest.sort_by_key(|number| std::cmp::Reverse(tables[*number].estimate));
    let brought = Arc::new(Brought { tables, kept, encoding, bytewise });
    for number in longest {
        begin(Box::new(ProjectedCheck { brought: Arc::clone(&brought), number }));
        if brought.tables[number].same.is_none() {
            begin(Box::new(InputsCheck { brought: Arc::clone(&brought), number }));
        }
    }
    Ok(())
}

/// What stays open when green's schema cannot be had.
fn without_green(step: &PlannedStep, error: &anyhow::Error) -> Known {
    let open = Finding {
        severity: Severity::Blocks,
        object: format!("step {}: green's schema", step.id),
        what: format!("cannot be had, so that no row was held against it: {}", explain(error)),
        next: "bring green's schema there first (run the plan up to that step) and run preflight again".to_owned(),
    };
    Known(format!("step {}", step.id), vec![open])
}

/// The projection of a table that is the same on both sides, with a cast where the types are not.
async fn with_casts(blue: &Session, green: &Session, mut projection: Projection) -> anyhow::Result<Projection> {
    let (Some(old), Some(new)) = (read_target(blue, &projection.table).await?, read_target(green, &projection.table).await?)
    else {
        return Ok(projection);
    };
    for source in &mut projection.sources {
        for (name, expression) in &mut source.columns {
            if let (Some(from), Some(to)) = (old.column(name), new.column(name))
                && from.type_oid != to.type_oid
                && to.built_in()
            {
                *expression = format!("({expression})::{}", if to.cast_cuts() { &to.bare_type } else { &to.full_type });
            }
        }
    }
    Ok(projection)
}

/// The rows of green tables outside the copy that its foreign keys point to.
async fn kept(green: &Session, tables: &[Table]) -> anyhow::Result<Vec<(QualifiedName, Vec<Ident>, Parents)>> {
    let mut kept: Vec<(QualifiedName, Vec<Ident>, Parents)> = Vec::new();
    for demand in tables.iter().flat_map(|table| &table.definitions.demands) {
        let Rule::ForeignKey { references, referenced, .. } = &demand.rule else { continue };
        let known = tables.iter().any(|table| table.target.table == *references)
            || kept.iter().any(|(table, columns, _)| table == references && columns == referenced);
        if !known {
            kept.push((references.clone(), referenced.clone(), values(green, references, referenced).await?));
        }
    }
    Ok(kept)
}

async fn values(green: &Session, table: &QualifiedName, columns: &[Ident]) -> anyhow::Result<Parents> {
    let Some(target) = read_target(green, table).await? else { return Ok(Err(format!("{} is not there", table.plain()))) };
    let types: Vec<&str> = columns.iter().filter_map(|name| target.column(name)).map(|c| c.full_type.as_str()).collect();
    let texts = columns.iter().map(|column| format!("{column}::text")).collect::<Vec<_>>().join(", ");
    let rows = green.query(&format!("SELECT ARRAY[{texts}] FROM {table} LIMIT {}", MOST_KEPT + 1), &[]).await?;
    if rows.len() > MOST_KEPT || types.len() != columns.len() {
        return Ok(Err(format!("{} has more than {MOST_KEPT} rows and is not part of the copy", table.plain())));
    }
    let value = |(value, of): (&Option<String>, &&str)| {
        let text = value.as_ref().map_or("NULL".to_owned(), |value| Literal::new(value.as_str()).to_string());
        format!("{text}::{of}")
    };
    let row = |values: Vec<Option<String>>| format!("({})", values.iter().zip(&types).map(value).collect::<Vec<_>>().join(", "));
    let names = columns.iter().map(Ident::to_string).collect::<Vec<_>>().join(", ");
    let nothing = types.iter().map(|of| format!("NULL::{of}")).collect::<Vec<_>>().join(", ");
    let lines: Vec<String> = rows.iter().map(|found| row(found.get(0))).collect();
    let select = match lines.is_empty() {
        true => format!("SELECT * FROM (VALUES ({nothing})) AS kept ({names}) WHERE false"),
        false => format!("SELECT * FROM (VALUES {}) AS kept ({names})", lines.join(", ")),
    };
    Ok(Ok((select, columns.to_vec())))
}

/// What shows whether a text of blue has a form in green's encoding, when the encodings differ.
async fn encoding(blue: &Session, green: &Session) -> anyhow::Result<Option<(String, String)>> {
    let sql = "SELECT current_setting('server_encoding')";
    let [from, to]: [String; 2] = [blue.query_one(sql, &[]).await?.get(0), green.query_one(sql, &[]).await?.get(0)];
    Ok(match (from.as_str(), to.as_str()) {
        (from, to) if from == to || to == "SQL_ASCII" => None,
        ("SQL_ASCII", to) => Some(("convert_from(textsend(".to_owned(), format!("), {})", Literal::new(to)))),
        (_, to) => Some(("convert_to(".to_owned(), format!(", {})", Literal::new(to)))),
    })
}
