//! A run for the tests of this module: one side of everything a report shows, with a stop in the middle.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::journal::{Entry, Event, FORMAT, Line, Measured, Progress, Ran, Record, Sample, Verified};
use crate::pg::{Counters, Hindrance, Identity, Reading};
use crate::report::picture::{Outline, Outlined, Scene};
use crate::terms::{Before, Exit, Extent, Fingerprint, Phase, RunId, Side, StepId};

/// When it began.
pub const BEGAN: i64 = 1_790_000_000;

pub fn run_id() -> RunId {
    RunId::existing("20260921t133320000-0000")
}

pub fn at(second: i64) -> Timestamp {
    Timestamp::from_second(BEGAN + second).unwrap()
}

fn id(step: &str) -> StepId {
    StepId::new(step).unwrap()
}

fn reading(rows: i64) -> Reading {
    let counters = Counters {
        rows_inserted: rows,
        transaction_commits: rows / 100,
        wal_bytes: rows * 120,
        temp_bytes: if rows > 30_000 { 4096 } else { 0 },
        ..Counters::default()
    };
    Reading { counters, ..Reading::default() }
}

fn sample(step: &str, second: i64, rows: i64, with: impl FnOnce(&mut Sample)) -> Entry {
    let mut sample =
        Sample { sides: BTreeMap::from([(Side::Blue, reading(0)), (Side::Green, reading(rows))]), ..Sample::default() };
    with(&mut sample);
    Entry { v: FORMAT, at: at(second), step: id(step), what: Record::Sample(sample) }
}

/// The journal and the record.
pub fn run() -> (Vec<Line>, Vec<Entry>) {
    let started =
        |step: &str, attempt| Event::StepStarted { step: id(step), attempt, found: Extent::Absent, before: Before::default() };
    let done = |step: &str, seconds: f64, rows: i64| Event::StepDone {
        step: id(step),
        seconds,
        counters: BTreeMap::from([(Side::Green, reading(rows).counters)]),
        longest_lock_wait_ms: 12.0,
        findings: Vec::new(),
        figures: BTreeMap::new(),
    };
    let identity = |name: &str| Identity { cluster: "1".to_owned(), database: 1, name: name.to_owned(), version: 150_018 };
    let steps = ["add", "copy", "follow", "watch", "drop-old"];
    let events = [
        (
            0,
            Event::RunStarted {
                plan: "move <b>all</b>".to_owned(),
                fingerprint: Fingerprint::of([b"p".as_slice()]),
                steps: steps.iter().map(|step| (id(step), Fingerprint::of([step.as_bytes()]))).collect(),
                databases: BTreeMap::from([(Side::Blue, identity("shop")), (Side::Green, identity("shop2"))]),
                version: "0.1.0".to_owned(),
            },
        ),
        (1, started("add", 1)),
        (2, done("add", 1.0, 0)),
        (2, started("copy", 1)),
        (
            4,
            Event::StepFailed {
                step: id("copy"),
                reason: "green is <away>".to_owned(),
                findings: Vec::new(),
                figures: BTreeMap::new(),
            },
        ),
        (4, Event::Stopped { exit: Exit::Stopped }),
        (3600, Event::RunResumed { orphans: 1 }),
        (3600, started("copy", 2)),
        (3612, done("copy", 12.0, 60_000)),
        (3612, started("follow", 1)),
        (3617, done("follow", 5.0, 0)),
        (3617, started("watch", 1)),
        (3620, done("watch", 3.0, 0)),
    ];
    let lines = events.into_iter().zip(1..).map(|((second, event), seq)| Line { v: FORMAT, seq, at: at(second), event });
    let mut record: Vec<Entry> = (0..=12)
        .map(|second| {
            sample("copy", 3600 + second, second * 5000, |sample| {
                let done = second.unsigned_abs() * 5000;
                sample.progress = Some(Progress { done, total: 60_000, unit: "rows".to_owned() });
                if second == 6
                    && let Some(green) = sample.sides.get_mut(&Side::Green)
                {
                    green.hindrances.push(Hindrance {
                        pid: 4711,
                        application: "nightly".to_owned(),
                        state: "idle in transaction".to_owned(),
                        query: "UPDATE t SET a = ?".to_owned(),
                        seconds: Some(61.0),
                    });
                }
            })
        })
        .collect();
    record.extend((0..5).map(|second| {
        let lag = [900, 400, 120, 80, 60][usize::try_from(second).unwrap_or(0)];
        sample("follow", 3612 + second, 60_000, |sample| sample.lag_ms = Some(lag))
    }));
    let entry = |step: &str, what| Entry { v: FORMAT, at: at(3620), step: id(step), what };
    record.extend([
        entry(
            "add",
            Record::Statement(Ran {
                side: Side::Green,
                statement: "ALTER TABLE \"a<b\" ADD c text DEFAULT ?".to_owned(),
                lock: Some("ACCESS EXCLUSIVE on a<b".to_owned()),
                attempt: 1,
                times: 1,
                seconds: 0.02,
                longest_seconds: 0.02,
                rows: 0,
            }),
        ),
        entry(
            "watch",
            Record::Measured {
                measures: vec![Measured {
                    name: "p99 of refreshes, seconds".to_owned(),
                    before: Some(0.010),
                    after: Some(0.025),
                    verdict: "degraded".to_owned(),
                    why: "more than 0.0200, from 0.0100 before".to_owned(),
                }],
            },
        ),
        entry(
            "watch",
            Record::Audited {
                set: "sessions".to_owned(),
                matrix: vec![(Some("used".to_owned()), Some("used".to_owned()), 41), (Some("used".to_owned()), None, 1)],
                found: vec![("lost".to_owned(), true, 1)],
            },
        ),
        entry("watch", Record::Verified { tables: vec![Verified { table: "public.t".to_owned(), rows: 60_000, differing: 0 }] }),
        entry(
            "copy",
            Record::SetAside { side: Side::Green, table: "public.t".to_owned(), reason: "no <owner>".to_owned(), rows: 7 },
        ),
    ]);
    (lines.collect(), record)
}

fn outlined(step: &str, phase: Phase, kind: &'static str) -> Outlined {
    let irreversible = (step == "drop-old").then(|| "a dropped column is gone".to_owned());
    Outlined { id: id(step), phase, kind, irreversible }
}

/// The plan of the run.
pub fn outline() -> Outline {
    let steps = vec![
        outlined("add", Phase::Expand, "run_sql"),
        outlined("copy", Phase::Copy, "copy"),
        outlined("follow", Phase::Follow, "follow"),
        outlined("watch", Phase::Watch, "watch"),
        outlined("drop-old", Phase::Contract, "run_sql"),
    ];
    Outline { plan: "move <b>all</b>".to_owned(), run: Some(run_id()), steps }
}

/// What somebody has seen of it so many seconds after its beginning.
pub fn scene_at(second: i64) -> Scene {
    let (lines, record) = run();
    let lines: Vec<Line> = lines.into_iter().filter(|line| line.at <= at(second)).collect();
    let record: Vec<Entry> = record.into_iter().filter(|entry| entry.at <= at(second)).collect();
    Scene::of(outline(), &lines, &record).unwrap()
}

/// A switch in this beat.
pub fn switching(beat: &str) -> Scene {
    let (lines, _) = run();
    let mut scene = Scene::new(Outline { steps: vec![outlined("cutover", Phase::Cutover, "switch")], ..outline() });
    let started = Event::StepStarted { step: id("cutover"), attempt: 1, found: Extent::Absent, before: Before::default() };
    scene.line(&lines[0]).unwrap();
    scene.line(&Line { v: FORMAT, seq: 2, at: at(1), event: started }).unwrap();
    scene.entry(&sample("cutover", 2, 0, |_| {}));
    let doing = Sample { doing: Some(beat.to_owned()), ..Sample::default() };
    scene.entry(&Entry { v: FORMAT, at: at(3), step: id("cutover"), what: Record::Sample(doing) });
    scene
}
