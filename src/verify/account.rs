//! Counts where every row is: read on blue, in a projection or left out of it, on green, set aside.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context;

use super::Comparison;
use super::aside::Aside;
use crate::pg::{Session, Snapshot, on_threads};
use crate::projection::{Bound, BoundSource, anatomy};
use crate::sql::{Ident, QualifiedName};
use crate::terms::{Account, Origin, RunId};

/// A source that names a table: the alias it has there.
struct Mention<'a> {
    source: &'a BoundSource,
    alias: Ident,
}

/// Three counts of one blue table, as statements.
struct Question {
    account: usize,
    table: QualifiedName,
    sql: [String; 3],
}

/// Counts, in the snapshots of the comparison. A blue table that drives a source is accounted for in the projections where it
/// does; one that drives none (an answer beside its request) in each projection that joins it. Views are left out: they have no
/// rows of their own.
///
/// # Errors
/// When a session is gone.
pub async fn accounts(
    bound: &[Bound],
    compared: &[Comparison],
    blue: &Snapshot,
    green: &Snapshot,
    jobs: usize,
    run: &RunId,
) -> anyhow::Result<Vec<Account>> {
    let mut accounts = Vec::new();
    for comparison in compared {
        let count = format!("SELECT count(*) FROM {}", comparison.table);
        let held: i64 = green.session().query_one(&count, &[]).await?.get(0);
        let aside = Aside::read(green.session(), run, &comparison.table).await?.unwrap_or_default();
        accounts.push(Account {
            table: comparison.table.plain(),
            projected: comparison.rows,
            held: held.unsigned_abs(),
            set_aside: aside.removed,
            mended: aside.mended,
            from: Vec::new(),
        });
    }
    let questions = questions(bound, blue.session()).await?;
    let answers = Arc::new(Mutex::new(Vec::new()));
    let (kept, ticket, run) = (Arc::clone(&answers), blue.ticket(), run.clone());
    let numbered: Vec<(usize, Question)> = questions.into_iter().enumerate().collect();
    on_threads(jobs, numbered, move |tasks| {
        let (kept, ticket, run) = (Arc::clone(&kept), ticket.clone(), run.clone());
        async move {
            let blue = ticket.join_beside_locks().await?;
            while let Some((number, question)) = tasks.take() {
                let origin = question.ask(&blue, &run).await?;
                kept.lock().unwrap_or_else(PoisonError::into_inner).push((number, question.account, origin));
            }
            Ok(())
        }
    })
    .await?;
    let mut answers = std::mem::take(&mut *answers.lock().unwrap_or_else(PoisonError::into_inner));
    answers.sort_by_key(|(number, ..)| *number);
    for (_, account, origin) in answers {
        accounts[account].from.push(origin);
    }
    Ok(accounts)
}

impl Question {
    async fn ask(&self, blue: &Session, run: &RunId) -> anyhow::Result<Origin> {
        let mut counts = [0; 3];
        for (count, sql) in counts.iter_mut().zip(&self.sql) {
            let row =
                blue.query_one(sql, &[]).await.with_context(|| format!("counting rows of {} on blue", self.table.plain()))?;
            *count = row.get::<_, i64>(0).unsigned_abs();
        }
        let aside = Aside::read(blue, run, &self.table).await?.unwrap_or_default();
        let [rows, brought, left_out] = counts;
        Ok(Origin { table: self.table.plain(), rows, brought, left_out, set_aside: aside.removed, mended: aside.mended })
    }
}

async fn questions(bound: &[Bound], blue: &Session) -> anyhow::Result<Vec<Question>> {
    let mut names = BTreeMap::new();
    let mut of = async |name: &QualifiedName| {
        if !names.contains_key(name) {
            names.insert(name.clone(), table(blue, name).await?);
        }
        anyhow::Ok(names.get(name).cloned().flatten())
    };
    let (mut mentions, mut drivers) = (Vec::new(), BTreeSet::new());
    for one in bound {
        let mut by_table: BTreeMap<QualifiedName, Vec<Mention>> = BTreeMap::new();
        for source in &one.sources {
            drivers.extend(of(&source.drives).await?);
            for relation in anatomy(&source.from).relations {
                if let Some(table) = of(&relation.table).await? {
                    by_table.entry(table).or_default().push(Mention { source, alias: Ident::new(&relation.alias) });
                }
            }
        }
        mentions.push(by_table);
    }
    let mut questions = Vec::new();
    for (account, (one, by_table)) in bound.iter().zip(mentions).enumerate() {
        for (table, mentions) in by_table {
            let drives = mentions.iter().any(|mention| mention.alias == mention.source.alias);
            if drives || !drivers.contains(&table) {
                let sql = statements(&one.prelude, &table, &mentions);
                questions.push(Question { account, table, sql });
            }
        }
    }
    Ok(questions)
}

/// The table's name with its schema; `None` for what is no table.
async fn table(blue: &Session, name: &QualifiedName) -> anyhow::Result<Option<QualifiedName>> {
    let sql = "SELECT n.nspname::text, c.relname::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
               WHERE c.oid = to_regclass($1::text) AND c.relkind IN ('r', 'p', 'm')";
    let row = blue.query_opt(sql, &[&name.to_string()]).await?;
    Ok(row.map(|row| QualifiedName::new(row.get::<_, String>(0), row.get::<_, String>(1))))
}

/// All rows; those that some source has; those that none has.
fn statements(prelude: &str, table: &QualifiedName, mentions: &[Mention]) -> [String; 3] {
    let all = format!("SELECT count(*) FROM {table}");
    if let [Mention { source, .. }] = mentions
        && anatomy(&source.from).relations.iter().map(|relation| relation.end).eq([source.from.trim_end().len()])
    {
        // Nothing but this table: a row is there once.
        let from = format!("{prelude}SELECT count(*) FROM {}", source.from);
        let filter = source.filter.as_deref().unwrap_or("true");
        return [all, format!("{from}\nWHERE ({filter}\n)"), format!("{from}\nWHERE ({filter}\n) IS NOT TRUE")];
    }
    let places: Vec<String> = mentions
        .iter()
        .map(|Mention { source, alias }| {
            let filter = source.filter.as_ref().map_or(String::new(), |filter| format!("({filter}\n) AND "));
            format!(
                "SELECT {alias}.tableoid AS of, {alias}.ctid AS place\nFROM {}\nWHERE {filter}{alias}.ctid IS NOT NULL",
                source.from
            )
        })
        .collect();
    let nowhere: Vec<String> = places
        .iter()
        .map(|places| {
            format!("NOT EXISTS (SELECT FROM (\n{places}\n) AS there WHERE there.place = x.ctid AND there.of = x.tableoid)")
        })
        .collect();
    [
        all,
        format!(
            "{prelude}SELECT count(*) FROM (SELECT DISTINCT of, place FROM (\n{}\n) AS every) AS brought",
            places.join("\nUNION ALL\n")
        ),
        format!("{prelude}SELECT count(*) FROM {table} AS x WHERE {}", nowhere.join("\nAND ")),
    ]
}
