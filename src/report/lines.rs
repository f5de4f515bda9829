//! A picture as lines: where there is no terminal, and for `crossfade status`. Pure.

use super::picture::{AtWork, Lag, Picture, SidePicture};
use super::{bytes, thousands, time};
use crate::journal::Progress;
use crate::terms::Side;

/// What the step at work does, in one line; none when nothing is at work.
pub fn line(picture: &Picture) -> Option<String> {
    let now = picture.now.as_ref().filter(|now| now.elapsed.is_some())?;
    let parts: Vec<String> = [work(now)]
        .into_iter()
        .chain(picture.sides.iter().map(|(side, one)| database(*side, one)))
        .chain(picture.lag.iter().map(lag))
        .chain(picture.hold.clone())
        .collect();
    Some(format!("{}: {}", now.step, parts.join("; ")))
}

/// The whole picture.
pub fn whole(picture: &Picture) -> String {
    let mut out = String::new();
    if let Some(now) = &picture.now {
        let (number, of) = now.number;
        let state = if now.elapsed.is_some() { "at work" } else { "next" };
        out += &format!("{state}: step {number} of {of}, {} ({}, {}): {}\n", now.step, now.phase, now.kind, work(now));
    }
    for (side, one) in &picture.sides {
        out += &format!("{}\n", database(*side, one));
    }
    if let Some(one) = &picture.lag {
        out += &format!("{}\n", lag(one));
    }
    if let Some(hold) = &picture.hold {
        out += &format!("traffic: {hold}\n");
    }
    for (side, blocker) in &picture.blockers {
        out += &format!("in the way on {side}: {blocker}\n");
    }
    out += &format!("cannot be undone from here on: {}\n", no_return(picture));
    out += &format!("way back: {}\n", picture.way_back);
    out + &format!("Ctrl-C on the run: {}\n", picture.interrupt)
}

/// The next step that cannot be undone.
pub(super) fn no_return(picture: &Picture) -> String {
    match &picture.no_return {
        Some((step, why)) => format!("{step} ({why})"),
        None => "nothing that follows".to_owned(),
    }
}

/// How far a step is, how fast, and how long it takes yet.
pub(super) fn work(now: &AtWork) -> String {
    let mut parts = Vec::new();
    parts.extend(now.doing.clone());
    if let Some(Progress { done, total, unit }) = &now.progress {
        parts.push(match total {
            0 => format!("{} {unit}", count(*done)),
            _ => format!("{} of {} {unit} ({} %)", count(*done), count(*total), done.saturating_mul(100) / total),
        });
        if let Some(pace) = now.per_second.filter(|pace| *pace > 0.0) {
            parts.push(format!("{} {unit}/s", rate(pace)));
        }
    }
    parts.extend(now.eta.map(|eta| format!("about {} left", time(eta))));
    parts.extend(now.elapsed.map(|elapsed| format!("{} so far", time(elapsed))));
    if parts.is_empty() { "not begun".to_owned() } else { parts.join(", ") }
}

/// What is done to a database.
pub(super) fn database(side: Side, one: &SidePicture) -> String {
    let mut out = format!(
        "{side}: {} rows/s, {} of log/s, {} commits/s; {} commits, {} of temporary files since the step began",
        rate(one.rows_per_second),
        bytes(whole_number(one.wal_bytes_per_second)),
        rate(one.commits_per_second),
        thousands(one.since.transaction_commits),
        bytes(one.since.temp_bytes),
    );
    if let Some(lag) = one.replication_lag_ms {
        out += &format!("; its slowest standby is {lag} ms behind");
    }
    if one.others_waiting > 0 {
        out += &format!("; sessions of others that wait for us: {}", one.others_waiting);
    }
    out
}

/// How far the side that follows is behind.
pub(super) fn lag(lag: &Lag) -> String {
    let mut out = format!("lag {}", time(lag.seconds));
    if let Some(rows) = lag.rows {
        out += &format!(", {} changed rows", count(rows));
    }
    if let Some(size) = lag.bytes {
        out += &format!(" ({})", bytes(i64::try_from(size).unwrap_or(i64::MAX)));
    }
    out
}

fn rate(value: f64) -> String {
    thousands(whole_number(value))
}

#[expect(clippy::cast_possible_truncation, reason = "a rate for people, and as saturates")]
fn whole_number(value: f64) -> i64 {
    value.round() as i64
}

fn count(number: u64) -> String {
    thousands(i64::try_from(number).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::super::example;
    use super::*;

    #[test]
    fn one_line_says_how_far_how_fast_and_how_long() {
        let picture = example::scene_at(3606).picture(example::at(3606));
        assert_eq!(
            line(&picture).unwrap(),
            "copy: 30 000 of 60 000 rows (50 %), 5 000 rows/s, about 6.0 s left, 6.0 s so far; \
             blue: 0 rows/s, 0 B of log/s, 0 commits/s; 0 commits, 0 B of temporary files since the step began; \
             green: 5 000 rows/s, 585.94 KiB of log/s, 50 commits/s; 300 commits, 0 B of temporary files since the step began"
        );
        assert_eq!(line(&example::scene_at(10).picture(example::at(10))), None);
    }

    #[test]
    fn the_whole_names_who_is_in_the_way_and_what_cannot_be_undone() {
        let text = whole(&example::scene_at(3606).picture(example::at(3606)));
        for words in [
            "at work: step 2 of 5, copy (copy, copy): 30 000 of 60 000 rows",
            "in the way on green: pid 4711 (nightly), idle in transaction, transaction 61 s old: UPDATE t SET a = ?",
            "cannot be undone from here on: drop-old (a dropped column is gone)",
            "Ctrl-C on the run: ends when the copy is done",
        ] {
            assert!(text.contains(words), "{words}: {text}");
        }
    }
}
