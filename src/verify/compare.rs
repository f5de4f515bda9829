//! Reads both sides and compares.

use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context;
use futures_util::TryStreamExt;

use super::aside::Aside;
use super::difference::{Differences, Rows, key_json};
use super::{Class, Key, Sums};
use crate::pg::{Session, Snapshot, on_threads};
use crate::projection::{Blocks, Bound, cut, read_target};
use crate::sql::{Ident, QualifiedName};
use crate::terms::{RunId, Side, StepId, key_digest};

/// Rows of both sides that are held in memory at once, when keys are compared.
const HELD: u64 = 200_000;

/// What the comparison of one table found.
#[derive(Debug, Clone)]
pub struct Comparison {
    /// The green table.
    pub table: QualifiedName,
    /// Its key columns.
    pub key: Vec<Ident>,
    /// Rows the projection gives.
    pub rows: u64,
    /// What differs.
    pub differences: Differences,
}

/// One statement that gives sums, and where its sums belong.
struct Reading {
    table: usize,
    side: Side,
    sql: String,
}

/// Compares every projection with its table, with up to `jobs` sessions per side. Rows that `clean_rows` steps of the run removed
/// from green or changed there are compared as they were before. `told` hears how many of how many parts are read.
///
/// # Errors
/// When a session is gone or a projection fails on a row: names the table and the side.
pub async fn compare(
    bound: &[Bound],
    blue: &Snapshot,
    green: &Snapshot,
    jobs: usize,
    run: &RunId,
    told: impl Fn(u64, u64) + Send + Sync + 'static,
) -> anyhow::Result<Vec<Comparison>> {
    let mut asides = Vec::new();
    for one in bound {
        asides.push(Aside::read(green.session(), run, &one.table).await?);
    }
    let sums = sums(bound, &asides, blue, green, jobs, told).await?;
    let mut comparisons = Vec::new();
    for ((bound, aside), [on_blue, on_green]) in bound.iter().zip(&asides).zip(sums) {
        let mut differences = Differences::default();
        for buckets in on_blue.differing(&on_green, HELD) {
            let (mut projected, mut held) = (Rows::default(), Rows::default());
            for source in &bound.sources {
                keys(blue.session(), &bound.blue_keys(source), &buckets, &mut projected).await?;
            }
            let on_green = match aside {
                Some(aside) => bound.with_rows_as_before(&aside.before, &aside.changed).green_keys(),
                None => bound.green_keys(),
            };
            keys(green.session(), &on_green, &buckets, &mut held).await?;
            differences.classify(projected, held);
        }
        comparisons.push(Comparison { table: bound.table.clone(), key: bound.key.clone(), rows: on_blue.rows(), differences });
    }
    Ok(comparisons)
}

/// Per table the sums of blue and of green.
async fn sums(
    bound: &[Bound],
    asides: &[Option<Aside>],
    blue: &Snapshot,
    green: &Snapshot,
    jobs: usize,
    told: impl Fn(u64, u64) + Send + Sync + 'static,
) -> anyhow::Result<Vec<[Sums; 2]>> {
    let readings = plan(bound, asides, blue, green, jobs).await?;
    let (total, names) = (readings.len() as u64, bound.iter().map(|bound| bound.table.plain()).collect::<Vec<_>>());
    let state = Arc::new((Mutex::new((0, vec![[Sums::default(), Sums::default()]; bound.len()])), names, told));
    let (shared, tickets) = (Arc::clone(&state), (blue.ticket(), green.ticket()));
    on_threads(jobs, readings, move |tasks| {
        let (shared, tickets) = (Arc::clone(&shared), tickets.clone());
        async move {
            let (blue, green) = (tickets.0.join_beside_locks().await?, tickets.1.join().await?);
            let (found, names, told) = &*shared;
            while let Some(Reading { table, side, sql }) = tasks.take() {
                let session = if side == Side::Blue { &blue } else { &green };
                let what = || format!("comparing table {}, on {side}", names[table]);
                let rows = session.query(&sql, &[]).await.with_context(what)?;
                let mut found = found.lock().unwrap_or_else(PoisonError::into_inner);
                for row in rows {
                    let sum: i128 = row.get::<_, &str>(2).parse().with_context(what)?;
                    found.1[table][side as usize].add(row.get(0), row.get::<_, i64>(1).cast_unsigned(), sum);
                }
                found.0 += 1;
                told(found.0, total);
            }
            Ok(())
        }
    })
    .await?;
    let mut found = state.0.lock().unwrap_or_else(PoisonError::into_inner);
    Ok(std::mem::take(&mut found.1))
}

async fn plan(
    bound: &[Bound],
    asides: &[Option<Aside>],
    blue: &Snapshot,
    green: &Snapshot,
    jobs: usize,
) -> anyhow::Result<Vec<Reading>> {
    let size = async |session: &Session, name: &QualifiedName| {
        let table = read_target(session, name).await?;
        anyhow::Ok(table.with_context(|| format!("table {} is gone from {}", name.plain(), session.database().name()))?.blocks)
    };
    let (mut blocks, mut from) = (Vec::new(), Vec::new());
    for (table, one) in bound.iter().enumerate() {
        for source in &one.sources {
            blocks.push(size(blue.session(), &source.drives).await?);
            from.push((table, Some(source)));
        }
        if asides[table].is_none() {
            blocks.push(size(green.session(), &one.table).await?);
            from.push((table, None));
        }
    }
    let ranges = blue.reads_block_ranges().await? && green.reads_block_ranges().await?;
    let reading = |table: usize, source: Option<&_>, blocks: Blocks| match source {
        Some(source) => Reading { table, side: Side::Blue, sql: bound[table].blue_sums(source, blocks) },
        None => Reading { table, side: Side::Green, sql: bound[table].green_sums(blocks) },
    };
    let whole = bound.iter().zip(asides).enumerate().filter_map(|(table, (bound, aside))| {
        let aside = aside.as_ref()?;
        Some(Reading { table, side: Side::Green, sql: bound.with_rows_as_before(&aside.before, &aside.changed).green_sums() })
    });
    let parts = cut(&blocks, 8192, jobs, ranges);
    Ok(whole.chain(parts.iter().map(|part| reading(from[part.of].0, from[part.of].1, part.blocks))).collect())
}

async fn keys(session: &Session, sql: &str, buckets: &[i32], into: &mut Rows) -> anyhow::Result<()> {
    let mut rows = std::pin::pin!(session.query_raw(sql, [buckets]).await?);
    while let Some(row) = rows.try_next().await? {
        into.add(row.get(0), row.get(2));
    }
    Ok(())
}

impl Comparison {
    /// Digests of up to five keys that differ in this way: they name rows without showing them.
    pub fn digests(&self, class: Class) -> Vec<String> {
        let of_class = self.differences.kept().iter().filter(|(found, _)| *found == class);
        of_class.take(5).map(|(_, key)| key_digest(&self.key_json(key))).collect()
    }

    /// The key as stored: a JSON object of column name to text.
    fn key_json(&self, key: &Key) -> String {
        key_json(&self.key, key).to_string()
    }

    /// Stores the kept keys in `crossfade.divergence` on green.
    ///
    /// # Errors
    /// When the session is gone.
    pub async fn store(&self, green: &Session, run: &RunId, step: &StepId) -> anyhow::Result<()> {
        for kept in self.differences.kept().chunks(1000) {
            let keys: Vec<String> = kept.iter().map(|(_, key)| self.key_json(key)).collect();
            let classes: Vec<&str> = kept.iter().map(|(class, _)| class.as_str()).collect();
            green
                .execute(
                    "INSERT INTO crossfade.divergence (run, step, table_name, row_key, kind) \
                     SELECT $1, $2, $3, found.key::jsonb, found.kind FROM unnest($4::text[], $5::text[]) AS found(key, kind) \
                     ON CONFLICT (run, step, table_name, row_key) DO UPDATE SET kind = excluded.kind",
                    &[&run.as_str(), &step.as_str(), &self.table.plain(), &keys, &classes],
                )
                .await?;
        }
        Ok(())
    }
}
