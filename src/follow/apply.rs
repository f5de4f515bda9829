//! Brings what is staged into green's tables, in one transaction.

use std::collections::BTreeMap;

use anyhow::{Context, bail};
use tokio_postgres::SimpleQueryMessage;

use super::green::Green;
use super::pending::Used;
use crate::pg::Session;

/// What happened to one table.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Count {
    /// Rows inserted, updated and deleted; those taken out and put back do not count.
    pub touched: u64,
    /// Rows more than before.
    pub net: i64,
}

/// The second half of a batch.
pub(super) struct Apply<'a> {
    /// The tables.
    pub green: &'a Green,
    /// In the transaction of the batch.
    pub session: &'a Session,
    /// What is staged.
    pub used: &'a Used,
}

/// One statement of the batch, on the table at a place.
struct Change {
    place: usize,
    sign: i64,
    sql: String,
}

impl Apply<'_> {
    /// Leaves green's tables as the projections say, not committed.
    ///
    /// # Errors
    /// When green refuses a row, or two sources give one key.
    pub async fn run(&self) -> anyhow::Result<BTreeMap<usize, Count>> {
        // Only now: the batch before this one may have been applied while rows were staged.
        for place in &self.used.whole {
            self.session.batch_execute(&self.green.every_key(*place)).await.context("write on green")?;
        }
        self.each_once().await?;
        let mut net: BTreeMap<usize, i64> = BTreeMap::new();
        let saved = self.clear_the_way(&mut net).await?;
        let green = self.green;
        let used = |place: &&usize| self.used.places.contains(place);
        let mut changes = Vec::new();
        for place in &green.order {
            let rows = self.used.places.contains(place);
            if let Some(sql) = green.insert(*place, rows, saved.contains_key(place)) {
                // The statement tells the number of the new rows; where there are none, that of the saved ones.
                changes.push(Change { place: *place, sign: i64::from(rows), sql });
            }
            // Before the children's turn: a row that is there already may get the value that a new child points to.
            if rows {
                changes.extend(green.update(*place).map(|sql| Change { place: *place, sign: 0, sql }));
            }
        }
        for place in green.order.iter().rev().filter(used) {
            changes.push(Change { place: *place, sign: -1, sql: green.delete(*place) });
        }
        for (place, rows) in &saved {
            *net.entry(*place).or_default() += rows.cast_signed();
        }
        let mut done: BTreeMap<usize, Count> = BTreeMap::new();
        let text: Vec<&str> = changes.iter().map(|change| change.sql.as_str()).collect();
        let numbers = counts(&self.session.simple_query(&text.join(";\n")).await.context(REFUSED)?);
        if numbers.len() != changes.len() {
            bail!("green answered {} of {} statements of a batch", numbers.len(), changes.len());
        }
        for (change, rows) in changes.iter().zip(numbers) {
            let count = done.entry(change.place).or_default();
            count.net += change.sign * rows.cast_signed();
            if self.used.places.contains(&change.place) {
                count.touched += rows;
            }
        }
        for (place, rows) in net {
            done.entry(place).or_default().net += rows;
        }
        Ok(done)
    }

    async fn each_once(&self) -> anyhow::Result<()> {
        for place in &self.used.repeated {
            self.session.batch_execute(&self.green.once(*place)).await?;
        }
        for place in &self.used.several {
            let count: i64 = self.session.query_one(&self.green.twice(*place), &[]).await?.get(0);
            if count > 0 {
                bail!(
                    "projection {}: several of its sources give the same key ({count} of them); next: correct their conditions, \
                     each row must come from one source",
                    self.green.tables[*place].table.plain()
                );
            }
        }
        Ok(())
    }

    /// Takes rows out that hold what others will get. Gives the number of those to put back unchanged, by table.
    async fn clear_the_way(&self, net: &mut BTreeMap<usize, i64>) -> anyhow::Result<BTreeMap<usize, u64>> {
        let (green, session) = (self.green, self.session);
        let queries: Vec<(usize, String)> =
            self.used.places.iter().flat_map(|place| green.in_the_way(*place).into_iter().map(|query| (*place, query))).collect();
        if queries.is_empty() {
            return Ok(BTreeMap::new());
        }
        let asked: Vec<String> = queries.iter().map(|(_, query)| format!("SELECT FROM ({query}) AS q LIMIT 1")).collect();
        let found = counts(&session.simple_query(&asked.join(";\n")).await.context("looking for values that move")?);
        let found: Vec<&(usize, String)> =
            queries.iter().zip(found).filter(|(_, rows)| *rows > 0).map(|(query, _)| query).collect();
        if found.is_empty() {
            return Ok(BTreeMap::new());
        }
        let there: bool = session.query_one("SELECT to_regclass('pg_temp.crossfade_way_0') IS NOT NULL", &[]).await?.get(0);
        if !there {
            session.batch_execute(&green.create_way()).await?;
        }
        for (place, query) in found {
            session.batch_execute(&green.put_in_way(*place, query)).await?;
        }
        loop {
            let mut more = 0;
            for key in &green.foreign_keys {
                more += session.execute(&green.more_in_way(key), &[]).await?;
            }
            if more == 0 {
                break;
            }
        }
        let mut saved = BTreeMap::new();
        for place in 0..green.tables.len() {
            let rows = session.execute(&green.save(place, self.used.places.contains(&place)), &[]).await?;
            if rows > 0 {
                saved.insert(place, rows);
            }
        }
        for place in green.order.iter().rev() {
            let rows =
                session.execute(&green.take_out(*place), &[]).await.context("taking rows out of green's tables for a moment")?;
            *net.entry(*place).or_default() -= rows.cast_signed();
        }
        Ok(saved)
    }
}

/// The numbers of rows that the statements of a simple query changed or gave.
pub(super) fn counts(messages: &[SimpleQueryMessage]) -> Vec<u64> {
    let complete = |message: &SimpleQueryMessage| match message {
        SimpleQueryMessage::CommandComplete(count) => Some(*count),
        _ => None,
    };
    messages.iter().filter_map(complete).collect()
}

const REFUSED: &str =
    "green refuses the change; next: look at the constraint it names, correct the projection or blue's rows, then run again";
