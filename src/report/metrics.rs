//! A picture as Prometheus text (exposition format 0.0.4). Pure.

use std::fmt::Write;

use super::picture::Picture;
use crate::journal::StepStatus;

/// A metric: its name with its unit, and what it is. All are gauges: they are so at a moment, and begin anew with each step.
pub struct Metric {
    /// Its name.
    pub name: &'static str,
    /// Its labels beside `plan`.
    pub labels: &'static str,
    /// What it is.
    pub help: &'static str,
    samples: fn(&Picture) -> Vec<Sample>,
}

/// More labels, and a value.
type Sample = (Vec<(&'static str, String)>, f64);

/// Every metric of a run. Names and units are stable.
pub const METRICS: &[Metric] = &[
    Metric {
        name: "crossfade_run_info",
        labels: "run, standing",
        help: "1; the labels say which run it is and how it stands.",
        samples: |picture| {
            let run = picture.run.as_ref().map(ToString::to_string).unwrap_or_default();
            vec![(vec![("run", run), ("standing", picture.standing.to_owned())], 1.0)]
        },
    },
    Metric {
        name: "crossfade_run_steps",
        labels: "status",
        help: "Steps of the plan by where they stand.",
        samples: |picture| {
            let all = [
                ("pending", StepStatus::Pending),
                ("started", StepStatus::Started),
                ("done", StepStatus::Done),
                ("adopted", StepStatus::Adopted),
                ("undoing", StepStatus::Undoing),
                ("undone", StepStatus::Undone),
            ];
            let count = |status| picture.steps.iter().filter(|step| step.status == status).count();
            all.map(|(name, status)| (vec![("status", name.to_owned())], number(count(status) as u64))).to_vec()
        },
    },
    Metric {
        name: "crossfade_step_seconds",
        labels: "step, phase, kind",
        help: "Seconds since the attempt at the step at work began.",
        samples: |picture| of_step(picture, |now| now.elapsed),
    },
    Metric {
        name: "crossfade_step_units_done",
        labels: "step, phase, kind",
        help: "Units (rows, parts, statements...) of the step at work that are done.",
        samples: |picture| of_step(picture, |now| now.progress.as_ref().map(|progress| number(progress.done))),
    },
    Metric {
        name: "crossfade_step_units_total",
        labels: "step, phase, kind",
        help: "Units of the step at work in all, where that is known.",
        samples: |picture| {
            of_step(picture, |now| {
                now.progress.as_ref().filter(|progress| progress.total > 0).map(|progress| number(progress.total))
            })
        },
    },
    Metric {
        name: "crossfade_step_remaining_seconds",
        labels: "step, phase, kind",
        help: "Seconds that the step at work takes yet at its pace of the last 30 seconds.",
        samples: |picture| of_step(picture, |now| now.eta),
    },
    Metric {
        name: "crossfade_database_rows_per_second",
        labels: "side",
        help: "Rows inserted, updated and deleted per second, everybody's.",
        samples: |picture| of_side(picture, |one| Some(one.rows_per_second)),
    },
    Metric {
        name: "crossfade_database_wal_bytes_per_second",
        labels: "side",
        help: "Bytes of write-ahead log per second, the whole cluster's.",
        samples: |picture| of_side(picture, |one| Some(one.wal_bytes_per_second)),
    },
    Metric {
        name: "crossfade_database_commits_per_second",
        labels: "side",
        help: "Transactions committed per second, everybody's.",
        samples: |picture| of_side(picture, |one| Some(one.commits_per_second)),
    },
    Metric {
        name: "crossfade_database_temp_bytes",
        labels: "side",
        help: "Bytes of temporary files since the step at work began.",
        samples: |picture| of_side(picture, |one| Some(number(one.since.temp_bytes.unsigned_abs()))),
    },
    Metric {
        name: "crossfade_database_replication_lag_seconds",
        labels: "side",
        help: "How far the slowest standby is behind; absent without standbys.",
        samples: |picture| of_side(picture, |one| one.replication_lag_ms.map(|ms| number(ms) / 1e3)),
    },
    Metric {
        name: "crossfade_database_others_waiting",
        labels: "side",
        help: "Sessions of others that wait for locks of the run's.",
        samples: |picture| of_side(picture, |one| Some(f64::from(one.others_waiting))),
    },
    Metric {
        name: "crossfade_blockers",
        labels: "side",
        help: "Sessions of others that are in the way of the run's.",
        samples: |picture| {
            let count = |side| picture.blockers.iter().filter(|(of, _)| of == side).count() as u64;
            picture.sides.keys().map(|side| (vec![("side", side.to_string())], number(count(side)))).collect()
        },
    },
    Metric {
        name: "crossfade_lag_seconds",
        labels: "",
        help: "How far the side that follows is behind; absent while nothing follows.",
        samples: |picture| picture.lag.iter().map(|lag| (Vec::new(), lag.seconds)).collect(),
    },
    Metric {
        name: "crossfade_traffic_held",
        labels: "",
        help: "1 while a switch holds traffic, else 0.",
        samples: |picture| {
            let held = picture.hold.as_ref().is_some_and(|hold| hold.starts_with("traffic is held"));
            vec![(Vec::new(), f64::from(u8::from(held)))]
        },
    },
    Metric {
        name: "crossfade_picture_timestamp_seconds",
        labels: "",
        help: "When all of this was so, in seconds since the epoch: an old one means that nobody drives the run.",
        samples: |picture| vec![(Vec::new(), picture.at.as_duration().as_secs_f64())],
    },
];

fn of_step(picture: &Picture, value: fn(&super::picture::AtWork) -> Option<f64>) -> Vec<Sample> {
    let labels = |now: &super::picture::AtWork| {
        vec![("step", now.step.to_string()), ("phase", now.phase.to_string()), ("kind", now.kind.to_owned())]
    };
    picture.now.iter().filter_map(|now| Some((labels(now), value(now)?))).collect()
}

fn of_side(picture: &Picture, value: fn(&super::picture::SidePicture) -> Option<f64>) -> Vec<Sample> {
    picture.sides.iter().filter_map(|(side, one)| Some((vec![("side", side.to_string())], value(one)?))).collect()
}

#[expect(clippy::cast_precision_loss, reason = "Prometheus knows nothing but doubles")]
fn number(value: u64) -> f64 {
    value as f64
}

/// The page.
pub fn prometheus(picture: &Picture) -> String {
    let mut out = String::new();
    for metric in METRICS {
        let samples = (metric.samples)(picture);
        if samples.is_empty() {
            continue;
        }
        // Writing to a String cannot fail.
        let _ = writeln!(out, "# HELP {} {}\n# TYPE {} gauge", metric.name, metric.help, metric.name);
        for (labels, value) in samples {
            let labels: Vec<String> = [("plan", picture.plan.clone())]
                .into_iter()
                .chain(labels)
                .map(|(name, text)| format!("{name}=\"{}\"", escaped(&text)))
                .collect();
            let _ = writeln!(out, "{}{{{}}} {value}", metric.name, labels.join(","));
        }
    }
    out
}

/// A label's value, as the format wants it.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::super::example;
    use super::*;

    #[test]
    fn a_copy_as_metrics() {
        let page = prometheus(&example::scene_at(3606).picture(example::at(3606)));
        for line in [
            "crossfade_step_units_done{plan=\"move <b>all</b>\",step=\"copy\",phase=\"copy\",kind=\"copy\"} 30000",
            "crossfade_step_remaining_seconds{plan=\"move <b>all</b>\",step=\"copy\",phase=\"copy\",kind=\"copy\"} 6",
            "crossfade_database_rows_per_second{plan=\"move <b>all</b>\",side=\"green\"} 5000",
            "crossfade_blockers{plan=\"move <b>all</b>\",side=\"green\"} 1",
            "crossfade_traffic_held{plan=\"move <b>all</b>\"} 0",
            "crossfade_run_steps{plan=\"move <b>all</b>\",status=\"done\"} 1",
        ] {
            assert!(page.contains(&format!("{line}\n")), "{line}\n{page}");
        }
        assert!(!page.contains("crossfade_lag_seconds"), "nothing follows yet");
    }

    #[test]
    fn names_have_units_and_are_named_once() {
        let mut names: Vec<&str> = METRICS.iter().map(|metric| metric.name).collect();
        assert!(names.iter().all(|name| name.starts_with("crossfade_") && !name.ends_with("_ms")));
        let all = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all);
    }
}
