//! The route: which side serves, or nobody for the moment, and the epoch that orders every change. Pure.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::terms::Side;

/// Where requests go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Position {
    /// To blue.
    Blue,
    /// To green.
    Green,
    /// Nowhere: they are parked.
    Hold,
}

impl Position {
    /// The side that serves; `None` while requests are parked.
    pub fn side(self) -> Option<Side> {
        match self {
            Position::Blue => Some(Side::Blue),
            Position::Green => Some(Side::Green),
            Position::Hold => None,
        }
    }
}

impl From<Side> for Position {
    fn from(side: Side) -> Self {
        match side {
            Side::Blue => Position::Blue,
            Side::Green => Position::Green,
        }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.side() {
            Some(side) => side.fmt(f),
            None => f.write_str("hold"),
        }
    }
}

/// The route at one epoch. Every change makes the epoch one greater; it never becomes smaller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// Counts the changes, from 1.
    pub epoch: u64,
    /// Where requests go.
    pub position: Position,
    /// The side that serves, during a hold the one that served before it and serves again when it ends by itself.
    pub side: Side,
    /// When a hold ends by itself, in Unix milliseconds; 0 when the position is no hold.
    pub deadline_ms: u64,
}

/// A wish to change the route, which comes true only if nobody changed it in between.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Change {
    /// The epoch that the wisher saw.
    pub epoch: u64,
    /// Where requests shall go.
    pub to: Position,
    /// How long a hold lasts at most, in milliseconds; only for a hold.
    #[serde(default)]
    pub hold_ms: u64,
}

/// Why a change does not come true.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Somebody changed the route in between, or a hold ended by itself.
    #[error("the route is at epoch {} ({}), not at epoch {seen}: it was changed in between; read it again and decide anew", .now.epoch, .now.position)]
    Moved {
        /// What it is now.
        now: Route,
        /// The epoch the change was for.
        seen: u64,
    },
    /// A hold must end.
    #[error("a hold needs hold_ms between 1 and {}", MAX_HOLD.as_millis())]
    NoDeadline,
    /// The route is in a file or a table of which we know nothing.
    #[error("the route could not be kept: {0}; it is as it was")]
    NotKept(String),
}

/// The longest hold: clients do not wait longer.
pub const MAX_HOLD: Duration = Duration::from_secs(600);

impl Route {
    /// The first route of a router.
    pub fn first(side: Side) -> Self {
        Self { epoch: 1, position: side.into(), side, deadline_ms: 0 }
    }

    /// The route after `change`, if it comes true at `now_ms` (Unix milliseconds).
    ///
    /// # Errors
    /// When the epoch is another by now, or a hold has no end.
    pub fn changed(&self, change: &Change, now_ms: u64) -> Result<Route, Refused> {
        if change.epoch != self.epoch {
            return Err(Refused::Moved { now: *self, seen: change.epoch });
        }
        let epoch = self.epoch + 1;
        match change.to.side() {
            Some(side) => Ok(Route { epoch, position: change.to, side, deadline_ms: 0 }),
            None if change.hold_ms == 0 || u128::from(change.hold_ms) > MAX_HOLD.as_millis() => Err(Refused::NoDeadline),
            None => Ok(Route { epoch, position: Position::Hold, side: self.side, deadline_ms: now_ms + change.hold_ms }),
        }
    }

    /// The change that ends a hold whose deadline has passed at `now_ms`: back to the side that served before.
    pub fn overdue(&self, now_ms: u64) -> Option<Change> {
        let over = self.position == Position::Hold && now_ms >= self.deadline_ms;
        over.then(|| Change { epoch: self.epoch, to: self.side.into(), hold_ms: 0 })
    }
}

/// How a router that follows a shared route stands: what it last read, and for how long it could not read.
///
/// Nobody may serve by a route that may be an old one: after `confirm_within` without an answer requests are parked. They cannot
/// be parked for ever: after `hold_for` more they go where the last known route says.
pub fn standing(known: &Route, silent_for: Duration, confirm_within: Duration, hold_for: Duration) -> Position {
    if silent_for <= confirm_within {
        known.position
    } else if silent_for <= confirm_within + hold_for {
        Position::Hold
    } else {
        known.side.into()
    }
}

/// Unix time in milliseconds.
pub fn now_ms() -> u64 {
    u64::try_from(jiff::Timestamp::now().as_millisecond()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn change() -> impl Strategy<Value = (u64, Position, u64, u64)> {
        let position = prop_oneof![Just(Position::Blue), Just(Position::Green), Just(Position::Hold)];
        (0..4u64, position, prop_oneof![Just(0u64), 1..700_000u64], 0..5_000u64)
    }

    proptest! {
        /// Of all who saw one epoch one at most gets through; the epoch grows by one with each change and with nothing else.
        #[test]
        fn the_epoch_orders_every_change(changes in prop::collection::vec(change(), 1..60)) {
            let mut route = Route::first(Side::Blue);
            let mut now = 1_000_000;
            for (back, to, hold_ms, later) in changes {
                now += later;
                if let Some(end) = route.overdue(now) {
                    let ended = route.changed(&end, now).unwrap();
                    prop_assert_eq!(ended.position.side(), Some(route.side));
                    prop_assert_eq!(ended.epoch, route.epoch + 1);
                    route = ended;
                }
                let change = Change { epoch: route.epoch.saturating_sub(back), to, hold_ms };
                match route.changed(&change, now) {
                    Ok(next) => {
                        prop_assert_eq!(change.epoch, route.epoch);
                        prop_assert_eq!(next.epoch, route.epoch + 1);
                        prop_assert_eq!(next.position, to);
                        if to == Position::Hold {
                            prop_assert_eq!(next.side, route.side);
                            prop_assert!(next.deadline_ms > now);
                        } else {
                            prop_assert_eq!((Some(next.side), next.deadline_ms), (to.side(), 0));
                        }
                        prop_assert_eq!(route.changed(&change, now).is_ok(), true);
                        prop_assert!(next.changed(&change, now).is_err(), "the same wish twice");
                        route = next;
                    }
                    Err(Refused::Moved { now, seen }) => {
                        prop_assert_eq!(now, route);
                        prop_assert_ne!(seen, route.epoch);
                    }
                    Err(other) => prop_assert_eq!(other, Refused::NoDeadline),
                }
            }
        }
    }

    #[test]
    fn who_cannot_confirm_the_route_holds_and_then_goes_where_it_last_pointed() {
        let (second, five) = (Duration::from_secs(1), Duration::from_secs(5));
        let blue = Route::first(Side::Blue);
        let hold = Route { epoch: 2, position: Position::Hold, side: Side::Green, deadline_ms: 9 };
        let at = |route: &Route, ms: u64| standing(route, Duration::from_millis(ms), second, five);
        assert_eq!(
            [at(&blue, 0), at(&blue, 1000), at(&blue, 1001), at(&blue, 6000), at(&blue, 6001)],
            [Position::Blue, Position::Blue, Position::Hold, Position::Hold, Position::Blue]
        );
        assert_eq!([at(&hold, 0), at(&hold, 5000), at(&hold, 7000)], [Position::Hold, Position::Hold, Position::Green]);
    }
}
