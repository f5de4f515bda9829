//! When a migration disturbs least: requests and writes per hour of the week, from what the data says of itself, and the quietest
//! windows of a given length.
//!
//! A [`Series`] counts what happened in each quarter of an hour; a [`Profile`] folds it over the weeks that were observed, in
//! one time zone; [`quietest`] slides the window over the week. What was never observed is not taken for quiet.

mod access_log;
mod blue;
mod heat;
mod lifetime;
mod profile;
mod prometheus;
mod quietest;

use std::collections::BTreeMap;

pub use access_log::read as read_access_log;
pub use blue::{Declared, Unfit, read as read_blue};
pub use heat::heat;
pub use lifetime::{Clients, Lifetime, solve};
pub use profile::{Profile, SLOTS_A_WEEK, Week};
pub use prometheus::read as read_prometheus;
pub use quietest::{Estimate, Window, at, quietest};

/// Seconds of a slot: offsets of all time zones are multiples of a quarter of an hour.
pub const SLOT: i64 = 900;

/// What one kind of event did over time.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Series {
    /// What happened: a table's column, a request's method and path, a metric's labels.
    pub kind: String,
    /// Whether it changes what the database holds.
    pub writes: bool,
    /// Whether these are requests; rows of blue otherwise.
    pub requests: bool,
    /// Events by slot: seconds since 1970 divided by [`SLOT`].
    pub slots: BTreeMap<i64, f64>,
}

/// The slots that were observed, from the first on and without the last; the same for all series of one source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// The first slot.
    pub from: i64,
    /// The first slot that was not observed any more.
    pub until: i64,
}

impl Span {
    /// What these series cover. The slots at both ends were seen in part only and are left out where there are others.
    pub fn of(series: &[Series]) -> Option<Self> {
        let first = series.iter().filter_map(|series| series.slots.keys().next()).min()?;
        let last = series.iter().filter_map(|series| series.slots.keys().next_back()).max()?;
        Some(if last - first > 8 { Self { from: first + 1, until: *last } } else { Self { from: *first, until: last + 1 } })
    }

    /// Its length in weeks.
    #[expect(clippy::cast_precision_loss, reason = "slots of a human time")]
    pub fn weeks(self) -> f64 {
        (self.until - self.from) as f64 / SLOTS_A_WEEK as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ends_of_what_was_seen_are_left_out() {
        let series = |slots: &[i64]| Series { slots: slots.iter().map(|slot| (*slot, 1.0)).collect(), ..Series::default() };
        assert_eq!(Span::of(&[]), None);
        assert_eq!(Span::of(&[series(&[5])]), Some(Span { from: 5, until: 6 }));
        assert_eq!(Span::of(&[series(&[5, 20]), series(&[3])]), Some(Span { from: 4, until: 20 }));
    }
}
