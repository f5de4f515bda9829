//! A series folded over the week.

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::{SLOT, Series, Span};

/// Slots of a week.
pub const SLOTS_A_WEEK: usize = 672;

/// Where a slot lies in the week of a time zone: 0 is Monday, midnight.
fn place(slot: i64, zone: &TimeZone) -> Option<usize> {
    let local = Timestamp::from_second(slot * SLOT).ok()?.to_zoned(zone.clone());
    let day = usize::try_from(local.weekday().to_monday_zero_offset()).ok()?;
    let minute = usize::try_from(i64::from(local.hour()) * 60 + i64::from(local.minute())).ok()?;
    Some(day * 96 + minute / 15)
}

/// The slots that were observed, by their place in the week.
#[derive(Debug, Clone)]
pub struct Week {
    places: Vec<(i64, usize)>,
    seen: Vec<u32>,
}

impl Week {
    /// The week of this span in this time zone.
    pub fn of(span: Span, zone: &TimeZone) -> Self {
        let places: Vec<(i64, usize)> = (span.from..span.until).filter_map(|slot| Some((slot, place(slot, zone)?))).collect();
        let mut seen = vec![0; SLOTS_A_WEEK];
        places.iter().for_each(|(_, place)| seen[*place] += 1);
        Self { places, seen }
    }
}

/// How often something happens at each time of the week.
#[derive(Debug, Clone)]
pub struct Profile {
    /// What happens.
    pub kind: String,
    /// Whether it changes what the database holds.
    pub writes: bool,
    /// Whether these are requests.
    pub requests: bool,
    /// All events that were observed.
    pub total: f64,
    /// Events in a slot of the week, on average over the weeks; `None` where no week was observed.
    mean: Vec<Option<f64>>,
    /// What was observed, slot by slot, with the place in the week.
    observed: Vec<(usize, f64)>,
}

impl Profile {
    /// Folds a series over the week.
    pub fn of(series: &Series, week: &Week) -> Self {
        let mut sum = vec![0.0; SLOTS_A_WEEK];
        let mut observed = Vec::with_capacity(week.places.len());
        for (slot, place) in &week.places {
            let events = series.slots.get(slot).copied().unwrap_or_default();
            sum[*place] += events;
            observed.push((*place, events));
        }
        let mean = sum.iter().zip(&week.seen).map(|(sum, seen)| (*seen > 0).then(|| sum / f64::from(*seen))).collect();
        Self {
            kind: series.kind.clone(),
            writes: series.writes,
            requests: series.requests,
            total: sum.iter().sum(),
            mean,
            observed,
        }
    }

    /// The events to expect from `begin` (seconds since Monday, midnight) on, for `length` seconds; `None` where a part of that
    /// was never observed.
    pub fn expected(&self, begin: f64, length: f64) -> Option<f64> {
        shares(begin, length).try_fold(0.0, |sum, (slot, share)| Some(sum + self.mean[slot]? * share))
    }

    /// The most events in such a window that begins with a slot, in any one week that was observed.
    pub fn worst(&self, begin: f64, length: f64) -> f64 {
        let wanted: Vec<(usize, f64)> = shares(begin, length).collect();
        let first = wanted.first().map_or(0, |(slot, _)| *slot);
        let windows = self.observed.windows(wanted.len().max(1)).filter(|window| window[0].0 == first);
        windows.map(|window| window.iter().zip(&wanted).map(|((_, events), (_, share))| events * share).sum()).fold(0.0, f64::max)
    }

    /// Events per hour of the week, Monday's first hour first; `None` where nothing was observed.
    pub fn hours(&self) -> Vec<Option<f64>> {
        self.mean.chunks(4).map(|hour| hour.iter().copied().sum()).collect()
    }
}

/// The slots of a window that wraps at the week's end, each with how much of it the window takes.
fn shares(begin: f64, length: f64) -> impl Iterator<Item = (usize, f64)> {
    #[expect(clippy::cast_precision_loss, reason = "900")]
    let (slot, end) = (SLOT as f64, begin + length);
    let mut now = begin;
    std::iter::from_fn(move || {
        // What floating point leaves of the last slot is no slot.
        if end - now < 1e-6 {
            return None;
        }
        let number = ((now + 1e-6) / slot).floor();
        let until = ((number + 1.0) * slot).min(end);
        let share = (until - now) / slot;
        now = until;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a week has 672 slots")]
        Some((number as usize % SLOTS_A_WEEK, share))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-01-05 is a Monday.
    const MONDAY: i64 = 1_767_571_200 / SLOT;

    fn series(events: impl Fn(i64) -> f64, slots: i64) -> Series {
        Series { kind: "k".into(), slots: (0..slots).map(|n| (MONDAY + n, events(n))).collect(), ..Series::default() }
    }

    #[test]
    fn a_window_takes_shares_of_slots_and_wraps() {
        assert_eq!(shares(0.0, 900.0).collect::<Vec<_>>(), [(0, 1.0)]);
        assert_eq!(shares(450.0, 900.0).collect::<Vec<_>>(), [(0, 0.5), (1, 0.5)]);
        assert_eq!(shares(671.0 * 900.0, 1800.0).collect::<Vec<_>>(), [(671, 1.0), (0, 1.0)]);
    }

    #[test]
    fn the_mean_is_over_the_weeks_that_were_seen_and_the_worst_is_one_of_them() {
        let two_weeks = series(
            |n| {
                if n == 4 {
                    10.0
                } else if n == 4 + 672 {
                    30.0
                } else {
                    1.0
                }
            },
            1344,
        );
        let week = Week::of(Span { from: MONDAY, until: MONDAY + 1344 }, &TimeZone::UTC);
        let profile = Profile::of(&two_weeks, &week);
        assert_eq!(profile.expected(3600.0, 900.0), Some(20.0));
        assert_eq!(profile.expected(3600.0, 90.0), Some(2.0));
        assert_eq!(profile.worst(3600.0, 900.0), 30.0);
        assert_eq!(profile.hours()[1], Some(23.0));
    }

    #[test]
    fn what_was_never_seen_is_not_quiet() {
        let week = Week::of(Span { from: MONDAY, until: MONDAY + 8 }, &TimeZone::UTC);
        let profile = Profile::of(&series(|_| 1.0, 8), &week);
        assert_eq!(profile.expected(0.0, 7200.0), Some(8.0));
        assert_eq!(profile.expected(0.0, 7201.0), None);
        assert_eq!(profile.hours()[1..3], [Some(4.0), None]);
    }

    #[test]
    fn the_week_is_that_of_the_time_zone() {
        // Monday 00:00 UTC is Monday 09:00 in Tokyo.
        let week = Week::of(Span { from: MONDAY, until: MONDAY + 4 }, &TimeZone::get("Asia/Tokyo").unwrap());
        let profile = Profile::of(&series(|_| 2.0, 4), &week);
        assert_eq!(profile.hours()[9], Some(8.0));
        assert_eq!(profile.hours()[0], None);
    }
}
