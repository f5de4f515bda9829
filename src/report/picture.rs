//! How a run stands at a moment: what everybody who watches it is shown, on a terminal, as lines, as metrics, from the same
//! process or another. Pure.

use std::collections::{BTreeMap, VecDeque};

use jiff::Timestamp;
use serde::Serialize;

use crate::journal::{Direction, Entry, Event, Line, Progress, Record, Sample, State, StepStatus};
use crate::pg::{Counters, Hindrance, Reading};
use crate::terms::{Exit, Phase, RunId, Side, StepId};

/// What a picture needs to know of a plan.
#[derive(Debug, Clone, Default)]
pub struct Outline {
    /// Its name.
    pub plan: String,
    /// The run, when it is known.
    pub run: Option<RunId>,
    /// Its steps in order.
    pub steps: Vec<Outlined>,
}

/// What a picture needs to know of a step.
#[derive(Debug, Clone)]
pub struct Outlined {
    /// Its name.
    pub id: StepId,
    /// Its phase.
    pub phase: Phase,
    /// Its kind.
    pub kind: &'static str,
    /// Why it cannot be undone, when it cannot.
    pub irreversible: Option<String>,
}

/// Whether somebody drives the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Driven {
    /// A driver is at work.
    #[default]
    Yes,
    /// None is.
    No,
    /// The databases could not be asked.
    Unknown,
}

/// How far the side that follows is behind, as somebody who asks both databases sees it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Lag {
    /// Seconds.
    pub seconds: f64,
    /// Changed rows that wait.
    pub rows: Option<u64>,
    /// Bytes of them.
    pub bytes: Option<u64>,
}

/// How a run stands.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Picture {
    /// The plan.
    pub plan: String,
    /// The run.
    pub run: Option<RunId>,
    /// When this was so.
    pub at: Timestamp,
    /// In words: `running`, `stopped`, `done`...
    pub standing: &'static str,
    /// Whether somebody drives it.
    pub driven: Driven,
    /// Every step.
    pub steps: Vec<StepPicture>,
    /// The step at work, or the one that comes next.
    pub now: Option<AtWork>,
    /// Each database.
    pub sides: BTreeMap<Side, SidePicture>,
    /// How far the side that follows is behind.
    pub lag: Option<Lag>,
    /// What is so with the traffic while a switch goes on.
    pub hold: Option<String>,
    /// Who is in the way, by side.
    pub blockers: Vec<(Side, Hindrance)>,
    /// The next step that cannot be undone, and why; none: everything that follows can.
    pub no_return: Option<(StepId, String)>,
    /// What a rollback would do now.
    pub way_back: String,
    /// What Ctrl-C would do now.
    pub interrupt: &'static str,
    /// The last remarks, the latest last.
    pub remarks: Vec<String>,
}

/// One step.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StepPicture {
    /// Its name.
    pub id: StepId,
    /// Its phase.
    pub phase: Phase,
    /// Its kind.
    pub kind: &'static str,
    /// Where it stands.
    pub status: StepStatus,
    /// Net seconds, when it is done.
    pub seconds: Option<f64>,
    /// Why it stopped last.
    pub failure: Option<String>,
}

/// The step at work.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AtWork {
    /// The step.
    pub step: StepId,
    /// Its place among the steps, from 1, and how many there are.
    pub number: (usize, usize),
    /// Its phase.
    pub phase: Phase,
    /// Its kind.
    pub kind: &'static str,
    /// Seconds since the attempt began; none: it has not begun.
    pub elapsed: Option<f64>,
    /// How far it is.
    pub progress: Option<Progress>,
    /// Units per second, lately.
    pub per_second: Option<f64>,
    /// Seconds that are left at that pace.
    pub eta: Option<f64>,
    /// The part that goes on.
    pub doing: Option<String>,
}

/// One database, while a step is at work.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct SidePicture {
    /// What was done to it since the step began, by everybody.
    pub since: Counters,
    /// Rows inserted, updated and deleted per second, lately.
    pub rows_per_second: f64,
    /// Bytes of write-ahead log per second, lately.
    pub wal_bytes_per_second: f64,
    /// Commits per second, lately.
    pub commits_per_second: f64,
    /// How far the slowest standby is behind, in milliseconds.
    pub replication_lag_ms: Option<u64>,
    /// Sessions of others that wait for the run's locks.
    pub others_waiting: u32,
}

/// A sample, and when it was taken.
type Sampled = (Timestamp, Sample);

/// What was seen of a run so far: the fold of its journal, its samples, and what was said.
#[derive(Debug, Clone, Default)]
pub struct Scene {
    outline: Outline,
    state: State,
    began: BTreeMap<StepId, Timestamp>,
    seconds: BTreeMap<StepId, f64>,
    first: Option<Entry>,
    samples: VecDeque<(Timestamp, Sample)>,
    left: Option<Exit>,
    remarks: VecDeque<String>,
    driven: Driven,
    lag: Option<Lag>,
    beside: Option<u64>,
}

/// How far back rates look, in seconds, and how many samples and remarks are kept.
const LATELY: f64 = 30.0;
const SAMPLES: usize = 120;
/// Seconds between two samples that name who is in the way, and some: between two tries for a lock nobody is.
const TRIES: f64 = 4.0;
const REMARKS: usize = 8;

impl Scene {
    /// Of a plan of which nothing was seen yet.
    pub fn new(outline: Outline) -> Self {
        Self { outline, ..Self::default() }
    }

    /// Of a run's two files.
    ///
    /// # Errors
    /// When the journal is not one driver's work.
    pub fn of(outline: Outline, lines: &[Line], record: &[Entry]) -> Result<Self, String> {
        let mut scene = Self::new(outline);
        for line in lines {
            scene.line(line)?;
        }
        for entry in record {
            scene.entry(entry);
        }
        Ok(scene)
    }

    /// Adds a line of the journal.
    ///
    /// # Errors
    /// When it cannot follow what came before.
    pub fn line(&mut self, line: &Line) -> Result<(), String> {
        self.state.take(&line.event)?;
        match &line.event {
            Event::StepStarted { step, .. } | Event::UndoStarted { step } => {
                self.began.insert(step.clone(), line.at);
                self.left = None;
            }
            Event::StepDone { step, seconds, .. } => {
                self.seconds.insert(step.clone(), *seconds);
            }
            Event::RunResumed { .. } | Event::RunStarted { .. } => self.left = None,
            Event::Stopped { exit } => self.left = Some(*exit),
            _ => {}
        }
        Ok(())
    }

    /// Adds an entry of the record. Samples of another step than the last one's begin anew.
    pub fn entry(&mut self, entry: &Entry) {
        let Record::Sample(sample) = &entry.what else { return };
        let at_work = self.current().map(|index| &self.outline.steps[index].id);
        let working = at_work.is_some_and(|step| self.state.step(step).status == StepStatus::Started && self.left.is_none());
        let follows = entry.step.as_str() == "follow" && at_work != Some(&entry.step);
        if follows && working && at_work.and_then(|step| self.began.get(step)).is_some_and(|began| entry.at >= *began) {
            self.beside = sample.lag_ms; // `crossfade follow`, beside a step of the run
            return;
        }
        let anew = self.first.as_ref().is_none_or(|first| first.step != entry.step);
        if anew {
            self.samples.clear();
        }
        let mut sample = sample.clone();
        if sample.sides.is_empty()
            && let Some((_, last)) = self.samples.back()
        {
            sample.sides.clone_from(&last.sides); // a beat of a switch is told without asking the databases
        }
        let empty = matches!(self.first.as_ref().map(|first| &first.what), Some(Record::Sample(first)) if first.sides.is_empty());
        if anew || empty {
            self.first = Some(Entry { what: Record::Sample(sample.clone()), ..entry.clone() });
        }
        self.samples.push_back((entry.at, sample));
        if self.samples.len() > SAMPLES {
            self.samples.pop_front();
        }
    }

    /// Adds what the databases say now, for somebody who watches from another process. What the step itself tells stays as its
    /// last sample said.
    pub fn readings(&mut self, at: Timestamp, mut sides: BTreeMap<Side, Reading>) {
        let (told, last) = self.samples.back().cloned().unwrap_or_default();
        if at.duration_since(told).as_secs_f64() < TRIES {
            for (side, reading) in &mut sides {
                reading.also(last.sides.get(side).into_iter().flat_map(|last| last.hindrances.iter().cloned()));
            }
        }
        self.samples.push_back((at, Sample { sides, ..last }));
        if self.samples.len() > SAMPLES {
            self.samples.pop_front();
        }
    }

    /// Says whether somebody drives the run.
    pub fn driven(&mut self, driven: Driven) {
        self.driven = driven;
    }

    /// Says how far the side that follows is behind, where both were asked.
    pub fn behind(&mut self, lag: Option<Lag>) {
        self.lag = lag;
    }

    /// Adds a line that was said to the person who watches.
    pub fn remark(&mut self, text: String) {
        self.remarks.push_back(text);
        if self.remarks.len() > REMARKS {
            self.remarks.pop_front();
        }
    }

    /// The run, once it is known.
    pub fn run(&mut self, run: RunId) {
        self.outline.run = Some(run);
    }

    /// How it stands now.
    pub fn picture(&self, now: Timestamp) -> Picture {
        let over = self.state.finished;
        let at_work = if over { None } else { self.at_work(now) };
        let current = at_work.as_ref().map(|at_work| &at_work.step);
        // `crossfade follow` works beside the steps and tells under its own name.
        let fresh =
            self.first.as_ref().is_some_and(|first| over || Some(&first.step) == current || first.step.as_str() == "follow");
        let last = self.samples.back().filter(|_| fresh).map(|(_, sample)| sample);
        let doing = at_work.as_ref().and_then(|at_work| at_work.doing.clone());
        let told =
            last.and_then(|sample| sample.lag_ms).or(self.beside).map(|ms| Lag { seconds: millis(ms), rows: None, bytes: None });
        Picture {
            plan: self.outline.plan.clone(),
            run: self.outline.run.clone(),
            at: now,
            standing: self.standing(),
            driven: self.driven,
            steps: self.steps(),
            sides: if fresh && !over { self.sides() } else { BTreeMap::new() },
            lag: self.lag.or(told),
            hold: doing.as_deref().and_then(|beat| hold(beat, self.driven)).map(str::to_owned),
            blockers: last
                .filter(|_| !over)
                .into_iter()
                .flat_map(|sample| &sample.sides)
                .flat_map(|(side, reading)| reading.hindrances.iter().map(|one| (*side, one.clone())))
                .collect(),
            no_return: self.no_return(),
            way_back: self.way_back(),
            interrupt: self.interrupt(at_work.as_ref()),
            now: at_work,
            remarks: self.remarks.iter().cloned().collect(),
        }
    }

    fn standing(&self) -> &'static str {
        match (self.state.fingerprint.is_some(), self.state.finished, self.state.direction) {
            (false, ..) => "not begun",
            (_, true, Direction::Forward) => "done",
            (_, true, Direction::Back) => "rolled back",
            (_, false, direction) => match (self.left, self.driven, direction) {
                (None, Driven::Yes, Direction::Forward) => "running",
                (None, Driven::Yes, Direction::Back) => "rolling back",
                (Some(Exit::Waiting), ..) => "waiting for an approval",
                (None, Driven::Unknown, _) => "not known whether somebody drives it",
                (None, Driven::No, _) => "stopped: its driver died",
                (Some(_), ..) => "stopped",
            },
        }
    }

    fn steps(&self) -> Vec<StepPicture> {
        let picture = |step: &Outlined| {
            let known = self.state.step(&step.id);
            let seconds = self.seconds.get(&step.id).copied().filter(|_| known.status == StepStatus::Done);
            StepPicture {
                id: step.id.clone(),
                phase: step.phase,
                kind: step.kind,
                status: known.status,
                seconds,
                failure: known.failure,
            }
        };
        self.outline.steps.iter().map(picture).collect()
    }

    /// The place of the step at work, or of the next one.
    fn current(&self) -> Option<usize> {
        use StepStatus::{Adopted, Done, Pending, Undone};
        let status = |step: &Outlined| self.state.step(&step.id).status;
        match self.state.direction {
            Direction::Forward => self.outline.steps.iter().position(|step| !matches!(status(step), Done | Adopted)),
            Direction::Back => self.outline.steps.iter().rposition(|step| !matches!(status(step), Pending | Adopted | Undone)),
        }
    }

    fn at_work(&self, now: Timestamp) -> Option<AtWork> {
        let index = self.current()?;
        let step = &self.outline.steps[index];
        let status = self.state.step(&step.id).status;
        let begun = matches!(status, StepStatus::Started | StepStatus::Undoing);
        let running = begun && self.left.is_none();
        let own = self.first.as_ref().is_some_and(|first| first.step == step.id) && self.left.is_none();
        let last = self.samples.back().filter(|_| own).map(|(_, sample)| sample);
        let progress = last.and_then(|sample| sample.progress.clone());
        let per_second = if own { self.pace() } else { None };
        let eta = match (&progress, per_second) {
            (Some(Progress { done, total, .. }), Some(pace)) if *total >= *done && *total > 0 && pace > 0.0 => {
                Some(count(total - done) / pace)
            }
            _ => None,
        };
        Some(AtWork {
            step: step.id.clone(),
            number: (index + 1, self.outline.steps.len()),
            phase: step.phase,
            kind: step.kind,
            elapsed: self.began.get(&step.id).filter(|_| running).map(|began| now.duration_since(*began).as_secs_f64().max(0.0)),
            progress,
            per_second,
            eta,
            doing: last.and_then(|sample| sample.doing.clone()),
        })
    }

    /// The two samples between which rates are measured: the last, and the oldest one that is not too old.
    fn window(&self) -> Option<(&Sampled, &Sampled, f64)> {
        let last = self.samples.back()?;
        let age = |at: &Timestamp| last.0.duration_since(*at).as_secs_f64();
        let young = self.samples.iter().find(|(at, _)| age(at) <= LATELY);
        let before = self.samples.iter().rev().nth(1); // where samples are further apart than that
        [young, before].into_iter().flatten().map(|oldest| (oldest, last, age(&oldest.0))).find(|(_, _, seconds)| *seconds > 0.0)
    }

    fn pace(&self) -> Option<f64> {
        let (then, now, seconds) = self.window()?;
        let (then, now) = (then.1.progress.as_ref(), now.1.progress.as_ref()?);
        let done = match then {
            Some(then) if then.unit == now.unit => now.done.saturating_sub(then.done),
            Some(_) => return None,
            None => now.done,
        };
        Some(count(done) / seconds)
    }

    fn sides(&self) -> BTreeMap<Side, SidePicture> {
        let Some((_, last)) = self.samples.back() else { return BTreeMap::new() };
        let first = match self.first.as_ref().map(|first| &first.what) {
            Some(Record::Sample(first)) => &first.sides,
            _ => return BTreeMap::new(),
        };
        let picture = |(side, reading): (&Side, &Reading)| {
            let since = first.get(side).map(|first| reading.counters.since(&first.counters)).unwrap_or_default();
            let lately = self.window().and_then(|(then, _, seconds)| {
                let then = then.1.sides.get(side)?;
                Some((reading.counters.since(&then.counters), seconds))
            });
            let rate =
                |of: fn(&Counters) -> i64| lately.as_ref().map_or(0.0, |(did, seconds)| count(of(did).unsigned_abs()) / seconds);
            let one = SidePicture {
                since,
                rows_per_second: rate(|c| c.rows_inserted + c.rows_updated + c.rows_deleted),
                wal_bytes_per_second: rate(|c| c.wal_bytes),
                commits_per_second: rate(|c| c.transaction_commits),
                replication_lag_ms: reading.replication_lag_ms,
                others_waiting: reading.others_waiting,
            };
            (*side, one)
        };
        last.sides.iter().map(picture).collect()
    }

    fn no_return(&self) -> Option<(StepId, String)> {
        if self.state.direction == Direction::Back || self.state.finished {
            return None;
        }
        let from = self.current()?;
        let next = self.outline.steps[from..].iter().find_map(|step| Some((step.id.clone(), step.irreversible.clone()?)));
        let switch = self.outline.steps[from..].iter().find(|step| step.kind == "switch").map(|step| step.id.clone());
        let place = |id: &StepId| self.outline.steps.iter().position(|step| step.id == *id);
        match (next, switch) {
            (Some((id, why)), Some(switch)) if place(&id) <= place(&switch) => Some((id, why)),
            (_, Some(switch)) => Some((
                switch,
                "its release: until then it takes everything back by itself, after it only a rollback brings the traffic back"
                    .to_owned(),
            )),
            (next, None) => next,
        }
    }

    fn way_back(&self) -> String {
        let status = |step: &Outlined| self.state.step(&step.id).status;
        let ours = |step: &&Outlined| matches!(status(step), StepStatus::Done | StepStatus::Started);
        let done: Vec<&Outlined> = self.outline.steps.iter().filter(ours).collect();
        if self.state.direction == Direction::Back {
            return "a rollback goes on".to_owned();
        }
        match done.iter().rev().find(|step| step.irreversible.is_some() && status(step) == StepStatus::Done) {
            _ if done.is_empty() => "nothing was done".to_owned(),
            None => "a rollback takes back everything that was done".to_owned(),
            Some(step) => format!("a rollback stops at {}: {}", step.id, step.irreversible.as_deref().unwrap_or_default()),
        }
    }

    fn interrupt(&self, now: Option<&AtWork>) -> &'static str {
        let Some(now) = now else { return "nothing: the run is over" };
        if self.state.direction == Direction::Back {
            return "ends after this undo; a second one cancels its query; `crossfade rollback` goes on";
        }
        match now.kind {
            "backfill" | "clean_rows" | "repair" => {
                "ends after this batch, which stays; a second one cancels it; `run` goes on there"
            }
            "follow" => "ends after this batch; changes wait on blue; `run` goes on there",
            "watch" => "ends the measuring; `run` measures anew",
            "switch" if now.doing.as_deref().is_some_and(past_return) => {
                "ends when the switch is finished: it is past the point of no return"
            }
            "switch" => "lets the switch end; a second one cuts it off, and the next `run` takes it back",
            "copy" | "clone" => "ends when the copy is done; a second one cancels it, and `run` begins the copy anew",
            _ => "ends after this step; a second one cancels its query; `run` goes on there",
        }
    }
}

fn past_return(beat: &str) -> bool {
    matches!(beat, "release" | "tidy")
}

/// What is so with the traffic in this beat of a switch.
fn hold(beat: &str, driven: Driven) -> Option<&'static str> {
    let held =
        matches!(beat, "hold" | "drain" | "fence" | "last-batch" | "sequences" | "readiness" | "guard" | "commit" | "smoke");
    match (held, driven) {
        (true, Driven::No) => {
            Some("its driver died while traffic was held: the hold ends by its deadline; `crossfade run` takes the switch back")
        }
        (true, _) => Some(
            "traffic is held: requests are parked where a participant can, writes are about to be refused on the old side or are",
        ),
        _ if beat.starts_with("taking back") => Some("the switch is being taken back"),
        _ if past_return(beat) => Some("traffic is released to the other side"),
        _ => None,
    }
}

#[expect(clippy::cast_precision_loss, reason = "a rate for people")]
fn count(number: u64) -> f64 {
    number as f64
}

fn millis(ms: u64) -> f64 {
    count(ms) / 1e3
}

#[cfg(test)]
mod tests {
    use super::super::example;
    use super::*;

    /// The example at this many seconds after its beginning.
    fn at(second: i64) -> Picture {
        example::scene_at(second).picture(example::at(second))
    }

    #[test]
    fn a_copy_has_a_pace_an_end_and_somebody_in_its_way() {
        let picture = at(3606);
        assert_eq!((picture.standing, picture.steps[0].status), ("running", StepStatus::Done));
        let now = picture.now.unwrap();
        assert_eq!((now.step.as_str(), now.number, now.elapsed), ("copy", (2, 5), Some(6.0)));
        assert_eq!((now.per_second, now.eta), (Some(5000.0), Some(6.0)));
        assert!((picture.sides[&Side::Green].rows_per_second - 5000.0).abs() < 1e-6);
        assert_eq!(picture.sides[&Side::Green].since.rows_inserted, 30_000);
        assert_eq!(picture.blockers[0].1.pid, 4711);
        let (step, why) = picture.no_return.unwrap();
        assert_eq!((step.as_str(), why.as_str()), ("drop-old", "a dropped column is gone"));
        assert_eq!(picture.way_back, "a rollback takes back everything that was done");
    }

    #[test]
    fn a_run_that_stopped_says_so_and_has_no_pace() {
        let picture = at(10);
        assert_eq!(picture.standing, "stopped");
        let now = picture.now.unwrap();
        assert_eq!((now.elapsed, now.per_second, now.eta), (None, None, None));
        assert!(picture.sides.is_empty());
    }

    #[test]
    fn a_dead_driver_is_not_a_running_one() {
        let mut scene = example::scene_at(3606);
        scene.driven(Driven::No);
        assert_eq!(scene.picture(example::at(3606)).standing, "stopped: its driver died");
    }

    #[test]
    fn the_lag_is_the_last_batch_s_or_what_both_databases_say() {
        let mut scene = example::scene_at(3614);
        assert_eq!(scene.picture(example::at(3614)).lag.unwrap().seconds, 0.12);
        let asked = Lag { seconds: 9.0, rows: Some(3), bytes: None };
        scene.behind(Some(asked));
        assert_eq!(scene.picture(example::at(3614)).lag, Some(asked));
    }

    #[test]
    fn a_switch_says_what_traffic_does_and_where_return_ends() {
        let scene = example::switching("drain");
        let picture = scene.picture(example::at(20));
        assert!(picture.hold.unwrap().starts_with("traffic is held"));
        assert_eq!(picture.no_return.unwrap().0.as_str(), "cutover");
        assert!(picture.interrupt.contains("takes it back"));
        let picture = example::switching("release").picture(example::at(20));
        assert!(picture.hold.unwrap().contains("released") && picture.interrupt.contains("no return"));
    }
}
