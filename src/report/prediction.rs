//! What a rehearsal predicts of a run, and how the run compares with it. Pure.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::sections::{Cell, Grid, Section, Tone, count, plain, section, toned};
use super::{JourneySummary, bytes, time};
use crate::pg::Counters;
use crate::terms::{Fingerprint, Side, StepId};

/// Version of the document.
pub const PREDICTION_FORMAT: u32 = 1;

/// A predicted number and how far it may be off, in its own unit.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Estimate {
    /// The number.
    pub value: f64,
    /// The stated error: so much more or less.
    pub error: f64,
}

impl Estimate {
    /// The number as a whole one.
    pub fn whole(&self) -> i64 {
        rounded(self.value)
    }

    /// Whether a measured number is within the stated error.
    pub fn covers(&self, real: f64) -> bool {
        (real - self.value).abs() <= self.error
    }
}

/// What a rehearsal predicts for the real sizes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Prediction {
    /// [`PREDICTION_FORMAT`].
    pub format: u32,
    /// The plan's name.
    pub plan: String,
    /// The plan's fingerprint.
    pub fingerprint: Fingerprint,
    /// Version of crossfade that rehearsed.
    pub version: String,
    /// When.
    pub made: jiff::Timestamp,
    /// What it was predicted from, by size.
    pub sizes: Vec<Size>,
    /// Each step that was rehearsed, in the plan's order.
    pub steps: Vec<StepPrediction>,
    /// All of them together.
    pub total: Work,
    /// Bytes that each database takes when the run is done (`pg_database_size`).
    pub disk_bytes: BTreeMap<Side, Estimate>,
    /// Bytes that it takes more than before.
    pub disk_growth_bytes: BTreeMap<Side, Estimate>,
    /// The most sessions at a time on each database; more parts at the real sizes may keep more of them busy.
    pub peak_connections: BTreeMap<Side, u64>,
    /// Steps that were not rehearsed.
    pub left_out: Vec<LeftOut>,
}

/// One size that was rehearsed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Size {
    /// The part of the real rows, of the tables that were sampled.
    pub share: f64,
    /// Rows, of all tables.
    pub rows: u64,
    /// How often the plan ran at it, timed.
    pub rounds: usize,
}

/// A step that was not rehearsed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftOut {
    /// The step.
    pub step: StepId,
    /// Why.
    pub why: String,
}

/// One step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepPrediction {
    /// The step.
    pub step: StepId,
    /// What it takes.
    #[serde(flatten)]
    pub work: Work,
}

/// What a step, or all of them, takes.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Work {
    /// Seconds.
    pub seconds: Estimate,
    /// What it does to each database.
    pub sides: BTreeMap<Side, Effects>,
}

/// What a step does to a database.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Effects {
    /// Rows inserted.
    pub rows_inserted: Estimate,
    /// Rows updated.
    pub rows_updated: Estimate,
    /// Rows deleted.
    pub rows_deleted: Estimate,
    /// Bytes written to temporary files.
    pub temp_bytes: Estimate,
    /// Bytes of write-ahead log, of the whole cluster.
    pub wal_bytes: Estimate,
}

impl Effects {
    /// Rows written in any way.
    pub fn rows(&self) -> Estimate {
        together([self.rows_inserted, self.rows_updated, self.rows_deleted])
    }
}

impl Work {
    /// Rows written, on both sides.
    pub fn rows(&self) -> Estimate {
        together(self.sides.values().map(Effects::rows))
    }

    /// Bytes of temporary files, on both sides.
    pub fn temp_bytes(&self) -> Estimate {
        together(self.sides.values().map(|side| side.temp_bytes))
    }

    /// Bytes of write-ahead log, on both sides.
    pub fn wal_bytes(&self) -> Estimate {
        together(self.sides.values().map(|side| side.wal_bytes))
    }
}

/// Errors of one rehearsal lean the same way: they add up.
fn together(all: impl IntoIterator<Item = Estimate>) -> Estimate {
    let add = |sum: Estimate, one: Estimate| Estimate { value: sum.value + one.value, error: sum.error + one.error };
    all.into_iter().fold(Estimate::default(), add)
}

/// What a run really took, beside what was predicted.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Compared {
    /// The step; none for all that are in both.
    pub step: Option<StepId>,
    /// Seconds.
    pub seconds: (Estimate, f64),
    /// Rows written.
    pub rows: (Estimate, i64),
    /// Bytes of temporary files.
    pub temp_bytes: (Estimate, i64),
    /// Bytes of write-ahead log.
    pub wal_bytes: (Estimate, i64),
}

/// Each step that was predicted and is done, and all of these together.
pub fn compare(prediction: &Prediction, summary: &JourneySummary) -> Vec<Compared> {
    let mut all = Vec::new();
    for StepPrediction { step, work } in &prediction.steps {
        let Some(real) = summary.steps.iter().find(|known| known.step == *step && !known.counters.is_empty()) else { continue };
        let did = real.counters.values().fold(Counters::default(), |sum, counters| sum.plus(counters));
        all.push(Compared {
            step: Some(step.clone()),
            seconds: (work.seconds, real.seconds),
            rows: (work.rows(), did.rows_inserted + did.rows_updated + did.rows_deleted),
            temp_bytes: (work.temp_bytes(), did.temp_bytes),
            wal_bytes: (work.wal_bytes(), did.wal_bytes),
        });
    }
    // Where every step is in both, the total has an estimate of its own: what varies from step to step evens out.
    let every = all.len() == prediction.steps.len();
    let of = |own: Estimate, one: fn(&Compared) -> Estimate| if every { own } else { together(all.iter().map(one)) };
    let total = Compared {
        step: None,
        seconds: (of(prediction.total.seconds, |c| c.seconds.0), all.iter().map(|c| c.seconds.1).sum()),
        rows: (of(prediction.total.rows(), |c| c.rows.0), all.iter().map(|c| c.rows.1).sum()),
        temp_bytes: (of(prediction.total.temp_bytes(), |c| c.temp_bytes.0), all.iter().map(|c| c.temp_bytes.1).sum()),
        wal_bytes: (of(prediction.total.wal_bytes(), |c| c.wal_bytes.0), all.iter().map(|c| c.wal_bytes.1).sum()),
    };
    if !all.is_empty() {
        all.push(total);
    }
    all
}

/// A column of that table: its name, what of it, and how it is written.
type Column = (&'static str, fn(&Effects) -> Estimate, fn(f64) -> String);

/// A table of what is predicted: each step, and all of them. What is nothing in every step has no column.
pub(super) fn forecast(prediction: &Prediction) -> Grid {
    let lines = prediction.steps.iter().map(|one| (one.step.as_str(), &one.work)).chain([("all steps", &prediction.total)]);
    let rows = |value| count(rounded(value).unsigned_abs()).text;
    let size = |value| bytes(rounded(value));
    let kinds: [Column; 5] = [
        ("rows inserted", |e| e.rows_inserted, rows),
        ("rows updated", |e| e.rows_updated, rows),
        ("rows deleted", |e| e.rows_deleted, rows),
        ("temp", |e| e.temp_bytes, size),
        ("WAL", |e| e.wal_bytes, size),
    ];
    let sides = prediction.total.sides.keys().flat_map(|side| kinds.iter().map(move |kind| (*side, kind)));
    let something = |side: &Side, of: fn(&Effects) -> Estimate| {
        let works = prediction.steps.iter().map(|one| &one.work).chain([&prediction.total]);
        works.filter_map(|work| work.sides.get(side)).any(|effects| of(effects).value >= 0.5)
    };
    let shown: Vec<(Side, &Column)> = sides.filter(|(side, (_, of, _))| something(side, *of)).collect();
    let head = ["step".to_owned(), "#time".to_owned()].into_iter();
    let head: Vec<String> = head.chain(shown.iter().map(|(side, (name, ..))| format!("#{name}\n{side}"))).collect();
    let mut grid = Grid::of(&head.iter().map(String::as_str).collect::<Vec<_>>());
    for (name, work) in lines {
        let cells = shown.iter().map(|(side, (_, of, show))| {
            let estimate = work.sides.get(side).map(of).unwrap_or_default();
            plain(give_or_take(estimate, show))
        });
        grid.row([plain(name), plain(give_or_take(work.seconds, time))].into_iter().chain(cells));
    }
    grid
}

/// The section of a report.
pub(super) fn predicted(prediction: &Prediction, compared: &[Compared]) -> Option<Section> {
    let mut took = Grid::of(&["step", "#time\npredicted", "#time", "#off by", "#rows\npredicted", "#rows", "#off by"]);
    let mut wrote = Grid::of(&["step", "#temp\npredicted", "#temp", "#WAL\npredicted", "#WAL", "#off by"]);
    for one in compared {
        let name = plain(one.step.as_ref().map_or("all of these", |step| step.as_str()));
        #[expect(clippy::cast_precision_loss, reason = "numbers for people")]
        let (rows, wal) = ((one.rows.0, one.rows.1 as f64), (one.wal_bytes.0, one.wal_bytes.1 as f64));
        took.row([
            name.clone(),
            plain(give_or_take(one.seconds.0, time)),
            plain(time(one.seconds.1)),
            off(one.seconds.0, one.seconds.1),
            plain(give_or_take(one.rows.0, |rows| count(rounded(rows).unsigned_abs()).text)),
            count(one.rows.1.unsigned_abs()),
            off(rows.0, rows.1),
        ]);
        wrote.row([
            name,
            plain(give_or_take(one.temp_bytes.0, |size| bytes(rounded(size)))),
            plain(bytes(one.temp_bytes.1)),
            plain(give_or_take(one.wal_bytes.0, |size| bytes(rounded(size)))),
            plain(bytes(one.wal_bytes.1)),
            off(wal.0, wal.1),
        ]);
    }
    let about = format!(
        "What `crossfade rehearse` predicted on {} (± its stated error), and what the run took; time is net.",
        prediction.made.strftime("%Y-%m-%d %H:%M UTC")
    );
    section("Prediction", &about, vec![took, wrote])
}

#[expect(clippy::cast_possible_truncation, reason = "a number for people, and as saturates")]
fn rounded(value: f64) -> i64 {
    value.round() as i64
}

/// A number with its stated error.
pub fn give_or_take(estimate: Estimate, show: impl Fn(f64) -> String) -> String {
    let (value, error) = (show(estimate.value), show(estimate.error));
    if error == show(0.0) { value } else { format!("{value} ± {error}") }
}

/// How far the prediction is from what was measured, in percent of that; good within the stated error.
fn off(predicted: Estimate, real: f64) -> Cell {
    if real == 0.0 {
        return plain(if predicted.value.abs() < 0.5 { "0 %" } else { "-" });
    }
    let text = format!("{:+.1} %", (predicted.value - real) / real * 100.0);
    if predicted.covers(real) { toned(text, Tone::Good) } else { plain(text) }
}

#[cfg(test)]
mod tests {
    use super::super::{Story, example, text};
    use super::*;

    fn about(value: f64, error: f64) -> Estimate {
        Estimate { value, error }
    }

    fn prediction(steps: &[(&str, f64, f64)]) -> Prediction {
        let work = |seconds: f64, rows: f64| Work {
            seconds: about(seconds, seconds / 10.0),
            sides: [(Side::Green, Effects { rows_inserted: about(rows, 0.0), ..Effects::default() })].into(),
        };
        Prediction {
            format: PREDICTION_FORMAT,
            plan: "p".to_owned(),
            fingerprint: Fingerprint::of([b"p".as_slice()]),
            version: "0".to_owned(),
            made: "2026-01-01T00:00:00Z".parse().unwrap(),
            sizes: Vec::new(),
            steps: steps
                .iter()
                .map(|(name, seconds, rows)| StepPrediction { step: StepId::new(name).unwrap(), work: work(*seconds, *rows) })
                .collect(),
            total: work(100.0, 70_000.0),
            disk_bytes: BTreeMap::new(),
            disk_growth_bytes: BTreeMap::new(),
            peak_connections: BTreeMap::new(),
            left_out: Vec::new(),
        }
    }

    #[test]
    fn a_report_compares_steps_that_are_done_and_says_how_far_off() {
        let (lines, record) = example::run();
        let mut story = Story::of(&lines, &record).unwrap();
        let done: Vec<&str> = story.summary.steps.iter().filter(|s| !s.counters.is_empty()).map(|s| s.step.as_str()).collect();
        let steps: Vec<(&str, f64, f64)> = done.iter().map(|name| (*name, 1.0, 10.0)).collect();
        let compared = compare(&prediction(&steps), &story.summary);
        assert_eq!((compared.len(), compared[done.len()].step.clone()), (done.len() + 1, None));
        assert_eq!(compared[done.len()].rows.0.value, 70_000.0, "the total has its own estimate where every step is there");
        let more = [steps, vec![("never", 9.0, 9.0)]].concat();
        let compared = compare(&prediction(&more), &story.summary);
        assert_eq!(compared.len(), done.len() + 1, "what did not run is not compared");
        assert_eq!(compared[done.len()].rows.0.value, 10.0 * compared.len() as f64 - 10.0);
        story.predicted(prediction(&more));
        let text = text(&story);
        assert!(text.contains("\nPrediction\n") && text.contains("all of these") && text.contains("1.0 s ± 0.1 s"), "{text}");
    }

    #[test]
    fn what_is_off_is_in_percent_of_what_was_real() {
        assert_eq!(off(about(12.0, 1.0), 10.0).text, "+20.0 %");
        assert_eq!(off(about(12.0, 3.0), 10.0).tone, Tone::Good);
        assert_eq!((off(about(0.2, 0.0), 0.0).text.as_str(), off(about(3.0, 0.0), 0.0).text.as_str()), ("0 %", "-"));
    }
}
