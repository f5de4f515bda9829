//! From timed rounds to a prediction for the real sizes. Pure.

use std::collections::BTreeMap;

use super::fit::{Doubt, medians, predict, work_on};
use crate::pg::Counters;
use crate::report::{Effects, Estimate, JourneySummary, StepPrediction, Work};
use crate::terms::{Side, StepId};

/// What one undisturbed run at some size took.
#[derive(Debug, Clone)]
pub struct Timed {
    /// The part of the real rows that it ran on.
    pub share: f64,
    /// What each step took.
    pub summary: JourneySummary,
    /// Bytes that each database took before it and after it.
    pub disk: BTreeMap<Side, (i64, i64)>,
    /// The most sessions at a time on each database.
    pub connections: BTreeMap<Side, u64>,
}

impl Timed {
    fn step(&self, step: &StepId) -> Option<(f64, &BTreeMap<Side, Counters>)> {
        let found = self.summary.steps.iter().find(|known| known.step == *step)?;
        Some((found.seconds, &found.counters))
    }
}

/// Each step at the real sizes: `real` rows of the tables that were sampled.
pub fn steps(rounds: &[Timed], real: u64) -> Vec<StepPrediction> {
    let Some(first) = rounds.first() else { return Vec::new() };
    let names = first.summary.steps.iter().map(|step| step.step.clone());
    names.map(|step| StepPrediction { work: work(rounds, real, |round| round.step(&step)), step: step.clone() }).collect()
}

/// All steps together.
pub fn total(rounds: &[Timed], real: u64) -> Work {
    work(rounds, real, |round| Some((round.summary.seconds, &round.summary.counters)))
}

fn work<'a>(rounds: &'a [Timed], real: u64, of: impl Fn(&'a Timed) -> Option<(f64, &'a BTreeMap<Side, Counters>)>) -> Work {
    let points = |value: &dyn Fn(f64, &BTreeMap<Side, Counters>) -> f64| -> Vec<(f64, f64)> {
        let point = |round| of(round).map(|(seconds, counters)| (round.share, value(seconds, counters)));
        rounds.iter().filter_map(point).collect()
    };
    let mut sides: Vec<Side> = rounds.iter().filter_map(&of).flat_map(|(_, counters)| counters.keys().copied()).collect();
    sides.sort();
    sides.dedup();
    let effects = |side: Side| {
        let counted = |get: fn(&Counters) -> i64, doubt| {
            let value = |_: f64, counters: &BTreeMap<Side, Counters>| number(counters.get(&side).map_or(0, get));
            predict(&points(&value), 1.0, doubt)
        };
        let effects = Effects {
            rows_inserted: counted(|c| c.rows_inserted, Doubt::OF_ROWS),
            rows_updated: counted(|c| c.rows_updated, Doubt::OF_ROWS),
            rows_deleted: counted(|c| c.rows_deleted, Doubt::OF_ROWS),
            temp_bytes: counted(|c| c.temp_bytes, Doubt::OF_WORK),
            wal_bytes: counted(|c| c.wal_bytes, Doubt::OF_WORK),
        };
        (side, effects)
    };
    let taken: Vec<(f64, f64)> =
        points(&|seconds, _| seconds).into_iter().map(|(share, seconds)| (work_on(share, real), seconds)).collect();
    // The error is that of all rounds, disturbed ones too.
    let error = predict(&taken, 1.0, Doubt::OF_WORK).error;
    let seconds = Estimate { error, ..predict(&medians(&taken), 1.0, Doubt::OF_WORK) };
    Work { seconds, sides: sides.into_iter().map(effects).collect() }
}

/// How much each database grows.
pub fn growth(rounds: &[Timed]) -> BTreeMap<Side, Estimate> {
    let mut points: BTreeMap<Side, Vec<(f64, f64)>> = BTreeMap::new();
    for round in rounds {
        for (side, (before, after)) in &round.disk {
            points.entry(*side).or_default().push((round.share, number(after - before)));
        }
    }
    points.into_iter().map(|(side, points)| (side, predict(&points, 1.0, Doubt::OF_WORK))).collect()
}

/// The most sessions that any round had at a time.
pub fn connections(rounds: &[Timed]) -> BTreeMap<Side, u64> {
    let mut most = BTreeMap::new();
    for (side, count) in rounds.iter().flat_map(|round| &round.connections) {
        let known: &mut u64 = most.entry(*side).or_default();
        *known = (*known).max(*count);
    }
    most
}

#[expect(clippy::cast_precision_loss, reason = "rows and bytes, far below where it matters")]
fn number(count: i64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::StepStatus;
    use crate::report::StepSummary;

    fn timed(share: f64, seconds: f64, rows: i64) -> Timed {
        let counters: BTreeMap<Side, Counters> =
            [(Side::Green, Counters { rows_inserted: rows, wal_bytes: rows * 100, ..Counters::default() })].into();
        let step = StepSummary {
            step: StepId::new("copy").unwrap(),
            status: StepStatus::Done,
            seconds,
            attempts: 1,
            counters: counters.clone(),
            longest_lock_wait_ms: 0.0,
            findings: Vec::new(),
            figures: BTreeMap::new(),
            accounts: Vec::new(),
            failure: None,
        };
        let summary = JourneySummary {
            plan: "p".to_owned(),
            outcome: "done",
            seconds,
            counters,
            longest_lock_wait_ms: 0.0,
            steps: vec![step],
            restores: Vec::new(),
        };
        let disk = [(Side::Green, (8_000_000, 8_000_000 + rows * 200))].into();
        Timed { share, summary, disk, connections: [(Side::Green, 4)].into() }
    }

    #[test]
    fn a_tenth_and_a_whole_sample_tell_of_the_real_rows() {
        let rounds = [timed(0.01, 1.1, 500), timed(0.1, 2.0, 5_000), timed(0.01, 1.1, 500), timed(0.1, 2.0, 5_000)];
        let found = steps(&rounds, 0);
        let work = &found[0].work;
        assert!((work.seconds.value - 11.0).abs() < 1e-6, "{work:?}");
        assert_eq!(work.rows().whole(), 50_000);
        assert!(work.rows().error / work.rows().value < 0.02, "{:?}", work.rows());
        assert_eq!((total(&rounds, 0).wal_bytes().whole(), growth(&rounds)[&Side::Green].whole()), (5_000_000, 10_000_000));
        assert_eq!(connections(&rounds)[&Side::Green], 4);
    }
}
