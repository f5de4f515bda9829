//! Counts rows by what they break, in one pass over them. Where a value makes the pass fail, the table is halved until
//! the failing rows stand alone.

use super::reader::{Answer, Reader};
use super::rows::{KEY, Place, RowSource, Rows, Span};
use crate::terms::key_digest;

/// One thing asked of every row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Probe {
    /// Counts rows for which this is true; a row whose value makes it fail counts too.
    Broken(String),
    /// Counts rows whose value makes this fail.
    Fails(String),
}

impl Probe {
    fn counted(&self) -> String {
        match self {
            Probe::Broken(condition) => format!("count(*) FILTER (WHERE ({condition}\n))"),
            Probe::Fails(expression) => format!("0 * count(({expression}\n))"),
        }
    }
}

/// What one probe found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Hit {
    /// Rows.
    pub rows: u64,
    /// Digests of up to five keys.
    pub keys: Vec<String>,
    /// SQLSTATEs of the rows that made it fail.
    pub codes: Vec<String>,
    /// Why the server would not evaluate it at all.
    pub refused: Option<String>,
    spans: Vec<(usize, Span)>,
}

/// What all probes found.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// Rows looked at.
    pub rows: u64,
    /// By probe.
    pub hits: Vec<Hit>,
    /// Counting ended before all failing rows were found.
    pub ended_early: bool,
}

/// The most queries that look for rows whose values fail.
const MOST_QUERIES: u32 = 40_000;

/// Counts.
pub(super) async fn tally(reader: &Reader, rows: &Rows, probes: &[Probe], sample: Option<f64>) -> anyhow::Result<Tally> {
    let mut tally = Tally { hits: vec![Hit::default(); probes.len()], ..Tally::default() };
    let mut counter = Counter { reader, rows, probes, sample, queries: 0, fit: Vec::new() };
    counter.prepare(&mut tally).await?;
    for number in 0..rows.sources.len() {
        counter.source(number, &mut tally).await?;
    }
    if rows.keyed() {
        counter.keys(&mut tally).await?;
    }
    Ok(tally)
}

struct Counter<'a> {
    reader: &'a Reader,
    rows: &'a Rows,
    probes: &'a [Probe],
    sample: Option<f64>,
    queries: u32,
    /// Probes the server can evaluate.
    fit: Vec<usize>,
}

impl Counter<'_> {
    fn sql(&self, source: &RowSource, span: Span, counts: &[String]) -> String {
        format!(
            "{}SELECT count(*){}\nFROM (\n{}\n) AS p",
            self.rows.prelude,
            counts.iter().map(|c| format!(",\n{c}")).collect::<String>(),
            source.select(span, self.sample)
        )
    }

    /// Leaves out what the server would refuse whatever the rows are.
    async fn prepare(&mut self, tally: &mut Tally) -> anyhow::Result<()> {
        let all: Vec<String> = self.probes.iter().map(Probe::counted).collect();
        let mut good = true;
        for source in &self.rows.sources {
            let sql = format!("{} WHERE false", self.sql(source, Span::ALL, &all));
            good &= matches!(self.reader.ask(&sql).await?, Answer::Rows(_));
        }
        if good {
            self.fit = (0..self.probes.len()).collect();
            return Ok(());
        }
        for (number, probe) in self.probes.iter().enumerate() {
            let mut refused = None;
            for source in &self.rows.sources {
                let sql = format!("{} WHERE false", self.sql(source, Span::ALL, &[probe.counted()]));
                if let Answer::Refused(why) = self.reader.ask(&sql).await? {
                    refused = Some(why);
                }
            }
            if refused.is_none() {
                self.fit.push(number);
            }
            tally.hits[number].refused = refused;
        }
        Ok(())
    }

    async fn source(&mut self, number: usize, tally: &mut Tally) -> anyhow::Result<()> {
        let source = &self.rows.sources[number];
        let size = format!(
            "SELECT (pg_relation_size({0}) / current_setting('block_size')::int)::int8 + 1, current_setting('block_size')::int / 28 + 1",
            format_args!("{}::regclass", crate::sql::Literal::new(source.drives.to_string()))
        );
        let size = self.reader.session().query_one(&size, &[]).await?;
        let blocks = u32::try_from(size.get::<_, i64>(0)).unwrap_or(u32::MAX);
        let lines = u32::try_from(size.get::<_, i32>(1)).unwrap_or(292);
        let counts: Vec<String> = self.fit.iter().map(|probe| self.probes[*probe].counted()).collect();
        let mut open = vec![Span::ALL];
        while let Some(span) = open.pop() {
            self.queries += 1;
            if self.queries > MOST_QUERIES {
                tally.ended_early = true;
                return Ok(());
            }
            match self.reader.ask(&self.sql(source, span, &counts)).await? {
                Answer::Rows(found) => {
                    let Some(row) = found.first() else { continue };
                    tally.rows += row.get::<_, i64>(0).unsigned_abs();
                    for (place, probe) in self.fit.iter().enumerate() {
                        add(&mut tally.hits[*probe], row.get::<_, i64>(place + 1).unsigned_abs(), number, span);
                    }
                }
                Answer::BadRow(_) => match span.halves(blocks, lines) {
                    Some([first, second]) => open.extend([second, first]),
                    None => self.single(number, span.from, tally).await?,
                },
                Answer::Refused(why) => anyhow::bail!("{why}"),
            }
        }
        Ok(())
    }

    /// One row of the driving table whose values fail: which probe is it? Where an expression of the rows themselves fails, it is
    /// that and not what builds on it.
    async fn single(&mut self, number: usize, place: Place, tally: &mut Tally) -> anyhow::Result<()> {
        let source = &self.rows.sources[number];
        let span = Span { from: place, to: Some((place.0, place.1 + 1)) };
        let (mut failed, mut rows) = (Vec::new(), 1);
        for probe in &self.fit {
            self.queries += 1;
            match self.reader.ask(&self.sql(source, span, &[self.probes[*probe].counted()])).await? {
                Answer::Rows(found) => {
                    let Some(row) = found.first() else { continue };
                    rows = row.get::<_, i64>(0).unsigned_abs();
                    add(&mut tally.hits[*probe], row.get::<_, i64>(1).unsigned_abs(), number, span);
                }
                Answer::BadRow(code) => failed.push((*probe, code)),
                Answer::Refused(why) => anyhow::bail!("{why}"),
            }
        }
        tally.rows += rows;
        let own = failed.iter().any(|(probe, _)| matches!(self.probes[*probe], Probe::Fails(_)));
        let key = match self.rows.keyed() {
            true => {
                let sql = format!("{}SELECT p.{KEY} FROM (\n{}\n) AS p LIMIT 1", self.rows.prelude, source.select(span, None));
                self.reader.one(&sql).await?.ok().map(|row| key_digest(row.get(0)))
            }
            false => None,
        };
        for (probe, code) in failed.into_iter().filter(|(probe, _)| !own || matches!(self.probes[*probe], Probe::Fails(_))) {
            let hit = &mut tally.hits[probe];
            hit.rows += 1;
            if !hit.codes.contains(&code) {
                hit.codes.push(code);
            }
            hit.keys.extend(key.clone().filter(|_| hit.keys.len() < 5));
        }
        Ok(())
    }

    /// Keys of rows that were counted.
    async fn keys(&self, tally: &mut Tally) -> anyhow::Result<()> {
        for (probe, hit) in self.probes.iter().zip(&mut tally.hits) {
            let Probe::Broken(condition) = probe else { continue };
            for (number, span) in std::mem::take(&mut hit.spans) {
                let room = 5usize.saturating_sub(hit.keys.len());
                if room == 0 {
                    break;
                }
                let select = self.rows.sources[number].select(span, self.sample);
                let sql =
                    format!("{}SELECT p.{KEY} FROM (\n{select}\n) AS p WHERE ({condition}\n) LIMIT {room}", self.rows.prelude);
                if let Answer::Rows(found) = self.reader.ask(&sql).await? {
                    hit.keys.extend(found.iter().filter_map(|row| row.get::<_, Option<String>>(0)).map(|key| key_digest(&key)));
                }
            }
        }
        Ok(())
    }
}

fn add(hit: &mut Hit, rows: u64, source: usize, span: Span) {
    hit.rows += rows;
    if rows > 0 && hit.spans.len() < 5 {
        hit.spans.push((source, span));
    }
}
