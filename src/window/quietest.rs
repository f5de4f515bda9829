//! The quietest windows of a length, and what one would cost.

use std::time::Duration;

use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use serde::Serialize;

use super::{Profile, SLOT};

const WEEK: f64 = 604_800.0;

/// What is to be expected of one kind of event.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Estimate {
    /// What happens.
    pub kind: String,
    /// On average over the weeks that were observed.
    pub mean: f64,
    /// In the worst of these weeks.
    pub worst: f64,
}

/// A window and what is to be expected in it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Window {
    /// When it begins next.
    pub begins: String,
    /// When it ends then.
    pub ends: String,
    /// Writes, kind by kind: what would be lost if nothing followed.
    pub writes: Vec<Estimate>,
    /// Requests of all kinds; absent where no source tells of requests.
    pub requests: Option<f64>,
    #[serde(skip)]
    begin: f64,
}

impl Window {
    /// The writes of all kinds, on average.
    pub fn mean(&self) -> f64 {
        self.writes.iter().map(|write| write.mean).sum()
    }

    /// The writes of all kinds, each in its worst week.
    pub fn worst(&self) -> f64 {
        self.writes.iter().map(|write| write.worst).sum()
    }
}

/// The quietest windows, at most `count`, none of which overlap; fewest writes first, then fewest requests. Each begins with a
/// quarter of an hour. None where no time of the week was observed for so long.
pub fn quietest(profiles: &[Profile], length: Duration, count: usize, now: Timestamp, zone: &TimeZone) -> Vec<Window> {
    let seconds = length.as_secs_f64();
    #[expect(clippy::cast_precision_loss, reason = "a week has 672 slots")]
    let begins = (0..super::SLOTS_A_WEEK).map(|slot| slot as f64 * SLOT as f64);
    let mut rated: Vec<(f64, f64, f64)> = begins
        .filter_map(|begin| {
            let (writes, requests) = rate(profiles, begin, seconds)?;
            Some((writes, requests.unwrap_or_default(), begin))
        })
        .collect();
    rated.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)).then(a.2.total_cmp(&b.2)));
    let mut chosen: Vec<Window> = Vec::new();
    for (.., begin) in rated {
        let apart = |other: &Window| {
            let between = (begin - other.begin).rem_euclid(WEEK);
            between >= seconds && WEEK - between >= seconds
        };
        if chosen.len() < count && chosen.iter().all(apart) {
            chosen.extend(window(profiles, begin, seconds, next(begin, now, zone)));
        }
    }
    chosen
}

/// The window that begins at a given time; `None` where that time of the week was not observed.
pub fn at(profiles: &[Profile], begins: Timestamp, length: Duration, zone: &TimeZone) -> Option<Window> {
    let local = begins.to_zoned(zone.clone());
    let minutes =
        i32::from(local.weekday().to_monday_zero_offset()) * 1440 + i32::from(local.hour()) * 60 + i32::from(local.minute());
    let begin = f64::from(minutes) * 60.0 + f64::from(local.second()) + f64::from(local.subsec_nanosecond()) / 1e9;
    window(profiles, begin, length.as_secs_f64(), begins)
}

/// Writes, and requests where there are any, of a window. Rows of blue say what is written; where there are none, requests that write.
fn rate(profiles: &[Profile], begin: f64, seconds: f64) -> Option<(f64, Option<f64>)> {
    let expected = |profile: &Profile| profile.expected(begin, seconds);
    let of_requests: Option<Vec<f64>> = profiles.iter().filter(|profile| profile.requests).map(expected).collect();
    let requests = of_requests?;
    let writes: Option<Vec<f64>> = writing(profiles).map(expected).collect();
    Some((writes?.iter().sum(), (!requests.is_empty()).then(|| requests.iter().sum())))
}

/// The profiles that say what is written.
fn writing(profiles: &[Profile]) -> impl Iterator<Item = &Profile> {
    let rows = profiles.iter().any(|profile| profile.writes && !profile.requests);
    profiles.iter().filter(move |profile| profile.writes && profile.requests != rows)
}

fn window(profiles: &[Profile], begin: f64, seconds: f64, begins: Timestamp) -> Option<Window> {
    let (_, requests) = rate(profiles, begin, seconds)?;
    let writes = writing(profiles)
        .map(|profile| {
            Some(Estimate {
                kind: profile.kind.clone(),
                mean: profile.expected(begin, seconds)?,
                worst: profile.worst(begin, seconds),
            })
        })
        .collect::<Option<Vec<_>>>()?;
    #[expect(clippy::cast_possible_truncation, reason = "at most a week")]
    let ends = begins.checked_add((seconds.round() as i64).seconds()).unwrap_or(begins);
    Some(Window { begins: begins.to_string(), ends: ends.to_string(), writes, requests, begin })
}

/// When a time of the week (seconds since Monday, midnight) comes next. A time that a change of the clocks leaves out is moved on by it.
fn next(begin: f64, now: Timestamp, zone: &TimeZone) -> Timestamp {
    #[expect(clippy::cast_possible_truncation, reason = "at most a week")]
    let begin = begin as i64;
    let local = now.to_zoned(zone.clone());
    let monday = local.date().checked_sub(i64::from(local.weekday().to_monday_zero_offset()).days());
    let of_week = |weeks: i64| -> Option<Timestamp> {
        let day = monday.clone().ok()?.checked_add((weeks * 7 + begin / 86_400).days()).ok()?;
        let (hour, minute) = (begin % 86_400 / 3600, begin % 3600 / 60);
        let at = day.at(i8::try_from(hour).ok()?, i8::try_from(minute).ok()?, 0, 0);
        zone.to_ambiguous_timestamp(at).compatible().ok()
    };
    [0, 1].into_iter().filter_map(of_week).find(|at| *at > now).unwrap_or(now)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::{Series, Span, Week};
    use super::*;

    fn profiles(zone: &TimeZone) -> Vec<Profile> {
        // Four weeks in which Wednesday from 03:15 to 04:15 of the zone is quiet, and Saturday evening nearly so.
        let monday: Timestamp = "2026-01-05T00:00:00Z".parse().unwrap();
        let first = monday.as_second() / SLOT;
        let slots: BTreeMap<i64, f64> = (first..first + 4 * 672)
            .map(|slot| {
                let local = Timestamp::from_second(slot * SLOT).unwrap().to_zoned(zone.clone());
                let minute = i32::from(local.hour()) * 60 + i32::from(local.minute());
                let events = match local.weekday().to_monday_zero_offset() {
                    2 if (195..255).contains(&minute) => 1.0,
                    5 if minute >= 1200 => 2.0,
                    _ => 50.0,
                };
                (slot, events)
            })
            .collect();
        let series = Series { kind: "rows".into(), writes: true, requests: false, slots };
        let span = Span { from: first, until: first + 4 * 672 };
        vec![Profile::of(&series, &Week::of(span, zone))]
    }

    #[test]
    fn the_known_quiet_window_is_found_in_its_time_zone() {
        let zone = TimeZone::get("America/New_York").unwrap();
        let profiles = profiles(&zone);
        let now: Timestamp = "2026-02-10T12:00:00Z".parse().unwrap();
        let found = quietest(&profiles, Duration::from_secs(3600), 2, now, &zone);
        // Wednesday 2026-02-11 03:15 in New York is 08:15 UTC.
        assert_eq!(found[0].begins, "2026-02-11T08:15:00Z");
        assert_eq!((found[0].mean(), found[0].worst()), (4.0, 4.0));
        assert_eq!(found[1].begins, "2026-02-15T01:00:00Z"); // Saturday 20:00 there
        let same = at(&profiles, "2026-02-11T08:15:00Z".parse().unwrap(), Duration::from_secs(1800), &zone).unwrap();
        assert_eq!(same.mean(), 2.0);
    }

    #[test]
    fn a_window_that_a_change_of_clocks_leaves_out_comes_after_it() {
        // In 2026 clocks in Berlin go from 02:00 to 03:00 on Sunday, March 29.
        let zone = TimeZone::get("Europe/Berlin").unwrap();
        let now: Timestamp = "2026-03-28T12:00:00Z".parse().unwrap();
        assert_eq!(next(6.0 * 86_400.0 + 9000.0, now, &zone).to_string(), "2026-03-29T01:30:00Z");
    }
}
