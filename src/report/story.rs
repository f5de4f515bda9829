//! A run as its journal and its record tell it: when each step was at work, how things went meanwhile, and what was found. Pure.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;

use super::{Compared, JourneySummary, Prediction, compare, summarize};
use crate::journal::{Entry, Event, Line, Measured, Ran, Record, Sample, Verified};
use crate::pg::{Counters, Identity, Reading};
use crate::terms::{Exit, Side, StepId};

/// Everything a report shows.
#[derive(Debug, Clone, Serialize)]
pub struct Story {
    /// What the run did, by step.
    pub summary: JourneySummary,
    /// When it began.
    pub began: Timestamp,
    /// When its last line was written.
    pub ended: Timestamp,
    /// Version of crossfade that began it.
    pub version: String,
    /// The databases.
    pub databases: BTreeMap<Side, Identity>,
    /// Times at which a step was at work, in the order of their beginnings.
    pub spans: Vec<Span>,
    /// Where the drivers left before the end, with their exit codes.
    pub stops: Vec<(Timestamp, u8)>,
    /// The counters of each database at the first and at the last reading of the run.
    pub counters: BTreeMap<Side, (Counters, Counters)>,
    /// How things went, sampled.
    pub series: Vec<Series>,
    /// Service metrics that a `watch` compared, by step.
    pub measures: Vec<(StepId, Vec<Measured>)>,
    /// What a `verify` compared, by step.
    pub verified: Vec<(StepId, Vec<Verified>)>,
    /// What an `audit` counted.
    pub audits: Vec<Audited>,
    /// Rows set aside.
    pub set_aside: Vec<SetAside>,
    /// Statements, by step in the order of the run.
    pub statements: Vec<(StepId, Vec<Ran>)>,
    /// What a rehearsal predicted, where it was given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prediction: Option<Prediction>,
    /// What was predicted beside what it took: each step, and all of them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub compared: Vec<Compared>,
}

/// A time at which a step was at work.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Span {
    /// The step.
    pub step: StepId,
    /// Its beginning.
    pub from: Timestamp,
    /// Its end.
    pub to: Timestamp,
    /// How it ended.
    pub end: End,
}

/// How a time of work ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// The step was done.
    Done,
    /// It stopped, or its driver died.
    Stopped,
    /// It was taken back.
    Undone,
    /// It goes on, as far as the journal tells.
    Open,
}

/// Figures over time.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Series {
    /// What it shows.
    pub figure: Figure,
    /// Of which database.
    pub side: Option<Side>,
    /// Moments and values, in order; a value holds from the moment before it.
    pub points: Vec<(Timestamp, f64)>,
}

/// What a series shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Figure {
    /// Rows inserted, updated and deleted per second, by the server's counters.
    RowsPerSecond,
    /// Bytes of write-ahead log per second.
    WalBytesPerSecond,
    /// Seconds that the side that follows is behind.
    LagSeconds,
    /// Seconds that the slowest standby is behind.
    ReplicationLagSeconds,
}

/// What an `audit` counted of one set of facts.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Audited {
    /// The step.
    pub step: StepId,
    /// The set.
    pub set: String,
    /// Blue's state, green's, rows.
    pub matrix: Vec<(Option<String>, Option<String>, u64)>,
    /// The class, whether it harms, rows.
    pub found: Vec<(String, bool, u64)>,
}

/// Rows that a step set aside.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SetAside {
    /// The step.
    pub step: StepId,
    /// The side.
    pub side: Side,
    /// The table.
    pub table: String,
    /// Why.
    pub reason: String,
    /// Rows.
    pub rows: u64,
}

impl Story {
    /// Of the journal's lines and the record's entries.
    ///
    /// # Errors
    /// When the journal is not one driver's work, or empty.
    pub fn of(lines: &[Line], record: &[Entry]) -> Result<Self, String> {
        let summary = summarize(lines)?;
        let (Some(first), Some(last)) = (lines.first(), lines.last()) else { return Err("the journal is empty".to_owned()) };
        let (mut version, mut databases) = (String::new(), BTreeMap::new());
        if let Event::RunStarted { version: of, databases: known, .. } = &first.event {
            version.clone_from(of);
            databases.clone_from(known);
        }
        let stops = lines.iter().filter_map(|line| match line.event {
            Event::Stopped { exit } => Some((line.at, exit as u8)),
            _ => None,
        });
        let mut story = Self {
            began: first.at,
            ended: last.at,
            version,
            databases,
            spans: spans(lines),
            stops: stops.filter(|(_, exit)| *exit != Exit::Done as u8).collect(),
            counters: BTreeMap::new(),
            series: Vec::new(),
            measures: Vec::new(),
            verified: Vec::new(),
            audits: Vec::new(),
            set_aside: Vec::new(),
            statements: Vec::new(),
            prediction: None,
            compared: Vec::new(),
            summary,
        };
        let mut samples: Vec<(Timestamp, &StepId, &Sample)> = Vec::new();
        let mut ran_last: BTreeMap<(&StepId, u32, Side, &str), &Ran> = BTreeMap::new();
        for entry in record {
            let step = &entry.step;
            match &entry.what {
                Record::Sample(sample) => samples.push((entry.at, step, sample)),
                Record::Statement(ran) => drop(ran_last.insert((step, ran.attempt, ran.side, ran.statement.as_str()), ran)),
                Record::Measured { measures } => put(&mut story.measures, step, measures.clone()),
                Record::Verified { tables } => put(&mut story.verified, step, tables.clone()),
                Record::Audited { set, matrix, found } => {
                    story.audits.retain(|known| known.step != *step || known.set != *set);
                    let (matrix, found) = (matrix.clone(), found.clone());
                    story.audits.push(Audited { step: step.clone(), set: set.clone(), matrix, found });
                }
                Record::SetAside { side, table, reason, rows } => {
                    let new =
                        SetAside { step: step.clone(), side: *side, table: table.clone(), reason: reason.clone(), rows: *rows };
                    let same = |known: &&mut SetAside| SetAside { rows: *rows, ..(**known).clone() } == new;
                    match story.set_aside.iter_mut().find(same) {
                        Some(known) => known.rows = *rows,
                        None => story.set_aside.push(new),
                    }
                }
            }
        }
        for (_, _, sample) in &samples {
            for (side, reading) in &sample.sides {
                story.counters.entry(*side).or_insert((reading.counters, reading.counters)).1 = reading.counters;
            }
        }
        story.series = series(&samples);
        story.statements = statements(&story.summary, ran_last);
        Ok(story)
    }

    /// Adds what a rehearsal predicted, and compares.
    pub fn predicted(&mut self, prediction: Prediction) {
        self.compared = compare(&prediction, &self.summary);
        self.prediction = Some(prediction);
    }

    /// The series of one figure that have something to show.
    pub fn figure(&self, figure: Figure) -> Vec<&Series> {
        self.series.iter().filter(|series| series.figure == figure && series.points.len() > 1).collect()
    }
}

/// An attempt counts its statements from the beginning: of a step the attempts are added.
fn statements(summary: &JourneySummary, last: BTreeMap<(&StepId, u32, Side, &str), &Ran>) -> Vec<(StepId, Vec<Ran>)> {
    let mut all: Vec<(StepId, Vec<Ran>)> = summary.steps.iter().map(|step| (step.step.clone(), Vec::new())).collect();
    for ((step, ..), ran) in last {
        let at = all.iter().position(|(known, _)| known == step).unwrap_or_else(|| {
            all.push((step.clone(), Vec::new())); // `crossfade follow`
            all.len() - 1
        });
        let of_step = &mut all[at].1;
        match of_step.iter_mut().find(|known| known.side == ran.side && known.statement == ran.statement) {
            Some(known) => {
                known.attempt = ran.attempt;
                known.times += ran.times;
                known.seconds += ran.seconds;
                known.longest_seconds = known.longest_seconds.max(ran.longest_seconds);
                known.rows += ran.rows;
            }
            None => of_step.push(ran.clone()),
        }
    }
    all.retain(|(_, statements)| !statements.is_empty());
    all
}

fn put<T>(list: &mut Vec<(StepId, T)>, step: &StepId, what: T) {
    match list.iter_mut().find(|(known, _)| known == step) {
        Some((_, known)) => *known = what,
        None => list.push((step.clone(), what)),
    }
}

/// The times of work. A driver that died ends nothing: the work is taken to have ended with the last line before the next driver's.
fn spans(lines: &[Line]) -> Vec<Span> {
    let mut spans: Vec<Span> = Vec::new();
    let mut before = None;
    for line in lines {
        let open = spans.iter_mut().rev().find(|span| span.end == End::Open);
        let close = |end: End, at: Timestamp| {
            if let Some(span) = open {
                (span.end, span.to) = (end, at);
            }
        };
        match &line.event {
            Event::StepStarted { step, .. } | Event::UndoStarted { step } => {
                close(End::Stopped, before.unwrap_or(line.at));
                spans.push(Span { step: step.clone(), from: line.at, to: line.at, end: End::Open });
            }
            Event::StepDone { .. } => close(End::Done, line.at),
            Event::UndoDone { .. } => close(End::Undone, line.at),
            Event::StepFailed { .. } | Event::UndoFailed { .. } | Event::Stopped { .. } => close(End::Stopped, line.at),
            Event::RunResumed { .. } => close(End::Stopped, before.unwrap_or(line.at)),
            _ => {}
        }
        before = Some(line.at);
    }
    spans
}

/// More points than a screen has room for say nothing more.
const POINTS: usize = 240;
/// The shortest time over which a rate says something, in seconds.
const LEAST: f64 = 0.5;

/// Values and when they were so.
type Points = Vec<(Timestamp, f64)>;

fn series(samples: &[(Timestamp, &StepId, &Sample)]) -> Vec<Series> {
    let mut all: BTreeMap<(Figure, Option<Side>), Points> = BTreeMap::new();
    let mut last: BTreeMap<Side, (Timestamp, Counters)> = BTreeMap::new();
    for (at, _, sample) in samples {
        for (side, Reading { counters, .. }) in &sample.sides {
            let (earlier, before) = *last.entry(*side).or_insert((*at, *counters));
            let seconds = at.duration_since(earlier).as_secs_f64();
            if seconds < LEAST {
                continue; // servers count late: what is missing here comes with the next sample
            }
            last.insert(*side, (*at, *counters));
            let did = counters.since(&before);
            #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
            let per_second = |count: i64| count as f64 / seconds;
            let rows = did.rows_inserted + did.rows_updated + did.rows_deleted;
            for (figure, value) in [(Figure::RowsPerSecond, rows), (Figure::WalBytesPerSecond, did.wal_bytes)] {
                let points = all.entry((figure, Some(*side))).or_default();
                if points.is_empty() {
                    points.push((earlier, 0.0));
                }
                points.push((*at, per_second(value)));
            }
        }
    }
    #[expect(clippy::cast_precision_loss, reason = "a time for people")]
    let seconds = |ms: u64| ms as f64 / 1e3;
    for (at, _, sample) in samples {
        if let Some(lag) = sample.lag_ms {
            all.entry((Figure::LagSeconds, None)).or_default().push((*at, seconds(lag)));
        }
        for (side, reading) in &sample.sides {
            if let Some(lag) = reading.replication_lag_ms {
                all.entry((Figure::ReplicationLagSeconds, Some(*side))).or_default().push((*at, seconds(lag)));
            }
        }
    }
    let series = |((figure, side), mut points): ((Figure, Option<Side>), Points)| {
        points.sort_by_key(|(at, _)| *at); // `crossfade follow` beside a run samples too
        Series { figure, side, points: thinned(points) }
    };
    all.into_iter().map(series).collect()
}

/// At most [`POINTS`] points: of neighbours the highest stays, so that no peak is lost.
fn thinned(points: Points) -> Points {
    let each = points.len().div_ceil(POINTS).max(1);
    points.chunks(each).filter_map(|chunk| chunk.iter().max_by(|a, b| a.1.total_cmp(&b.1)).copied()).collect()
}

#[cfg(test)]
mod tests {
    use super::super::example;
    use super::*;

    #[test]
    fn a_run_is_told_from_its_two_files() {
        let (lines, record) = example::run();
        let story = Story::of(&lines, &record).unwrap();
        let spans: Vec<(&str, End)> = story.spans.iter().map(|span| (span.step.as_str(), span.end)).collect();
        assert_eq!(
            spans,
            [("add", End::Done), ("copy", End::Stopped), ("copy", End::Done), ("follow", End::Done), ("watch", End::Done)]
        );
        let rows =
            &story.figure(Figure::RowsPerSecond).into_iter().find(|series| series.side == Some(Side::Green)).unwrap().points;
        assert!(rows.iter().any(|(_, value)| (*value - 5000.0).abs() < 1.0), "{rows:?}");
        assert_eq!(story.figure(Figure::LagSeconds).len(), 1);
        assert_eq!(story.counters[&Side::Green].1.rows_inserted, 60_000);
        assert_eq!(story.stops.len(), 1);
    }

    #[test]
    fn statements_of_attempts_add_up() {
        let (lines, _) = example::run();
        let ran = |attempt: u32, times: u64| {
            let (statement, seconds) = ("COPY t".to_owned(), 1.0);
            let ran =
                Ran { side: Side::Green, statement, lock: None, attempt, times, seconds, longest_seconds: 1.0, rows: times };
            Entry { at: lines[0].at, ..Entry::now(StepId::new("copy").unwrap(), Record::Statement(ran)) }
        };
        let story = Story::of(&lines, &[ran(1, 2), ran(1, 5), ran(2, 1), ran(2, 3)]).unwrap();
        let (_, of_copy) = &story.statements[0];
        assert_eq!((of_copy.len(), of_copy[0].times, of_copy[0].rows), (1, 8, 8));
    }

    #[test]
    fn peaks_stay() {
        let second = |at| Timestamp::from_second(at).unwrap();
        let points: Vec<_> = (0..5000).map(|at| (second(at), if at == 2501 { 9.0 } else { 1.0 })).collect();
        let thin = thinned(points);
        assert!(thin.len() <= POINTS && thin.contains(&(second(2501), 9.0)));
    }
}
