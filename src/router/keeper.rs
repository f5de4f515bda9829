//! Keeps the route of one router: on disk, at the gate, and, where it is shared, as the database has it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use crate::router::durable::Kept;
use crate::router::gate::Gate;
use crate::router::route::{Change, Position, Refused, Route, now_ms};

/// The route of one router.
pub struct Keeper {
    kept: Mutex<Kept>,
    gate: Arc<Gate>,
    route: watch::Sender<Route>,
}

impl Keeper {
    /// A keeper of this route, and the gate that stands accordingly. `closed`: nobody is let through until [`Keeper::stand`] says so.
    pub fn new(kept: Kept, route: Route, closed: bool) -> Self {
        let gate = Gate::new(if closed { Position::Hold } else { route.position });
        Self { kept: Mutex::new(kept), gate, route: watch::Sender::new(route) }
    }

    /// The gate.
    pub fn gate(&self) -> &Arc<Gate> {
        &self.gate
    }

    /// The route.
    pub fn route(&self) -> Route {
        *self.route.borrow()
    }

    /// Tells when the route changes.
    pub fn watch(&self) -> watch::Receiver<Route> {
        self.route.subscribe()
    }

    /// Changes a route that is this router's alone. The new one is on disk before anybody goes by it.
    ///
    /// # Errors
    /// When somebody changed it in between, or it cannot be kept.
    pub fn change(&self, change: &Change) -> Result<Route, Refused> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let next = self.route().changed(change, now_ms())?;
        kept.write(&next).map_err(|error| Refused::NotKept(format!("{error:#}")))?;
        self.gate.set(next.position);
        self.route.send_replace(next);
        Ok(next)
    }

    /// Takes a route over from the database, when it is newer; the gate follows it.
    ///
    /// # Errors
    /// When it cannot be kept; nobody goes by it then.
    pub fn adopt(&self, route: Route) -> anyhow::Result<()> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let known = self.route();
        if route.epoch > known.epoch {
            kept.write(&route)?;
            self.gate.set(route.position);
            self.route.send_replace(route);
        } else if route != known {
            anyhow::bail!(
                "the database has the route at epoch {} ({}), this router knows epoch {} ({}): the database was put back, or is another one",
                route.epoch,
                route.position,
                known.epoch,
                known.position
            );
        }
        Ok(())
    }

    /// Sets the gate as `judge` says for the route that is known: it may be an old one.
    pub fn stand(&self, judge: impl FnOnce(&Route) -> Position) {
        let _kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let position = judge(&self.route());
        if self.gate.position() != position {
            self.gate.set(position);
        }
    }

    /// A name for this router that it keeps over restarts and shares with nobody.
    pub fn instance(&self, name: &str) -> String {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        format!("{name}-{}", kept.id())
    }

    /// Ends holds at their deadlines, for a route that is this router's alone. Runs until it is dropped.
    pub async fn end_holds(&self) {
        let mut changes = self.watch();
        loop {
            let route = *changes.borrow_and_update();
            let wait = match route.position {
                Position::Hold => Duration::from_millis(route.deadline_ms.saturating_sub(now_ms())),
                Position::Blue | Position::Green => Duration::from_secs(3600),
            };
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                changed = changes.changed() => match changed {
                    Ok(()) => continue,
                    Err(_) => return,
                },
            }
            let Some(change) = route.overdue(now_ms()) else { continue };
            match self.change(&change) {
                Ok(route) => tracing::warn!(epoch = route.epoch, "a hold ended by its deadline: {} serves again", route.position),
                // Another start would find the hold overdue and end it the same way: that it ended need not be on disk.
                Err(Refused::NotKept(why)) => {
                    tracing::error!("a hold ended by its deadline, and {why}");
                    if let Ok(route) = self.route().changed(&change, now_ms()) {
                        self.gate.set(route.position);
                        self.route.send_replace(route);
                    }
                }
                Err(_) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::terms::Side;

    #[tokio::test]
    async fn a_hold_ends_by_itself_on_disk_too() {
        let folder = tempfile::tempdir().unwrap();
        let (kept, route) = Kept::open(folder.path(), Side::Blue).unwrap();
        let keeper = Keeper::new(kept, route, false);
        let held = keeper.change(&Change { epoch: 1, to: Position::Hold, hold_ms: 30 }).unwrap();
        assert_eq!((keeper.gate().position(), held.epoch), (Position::Hold, 2));
        let mut changes = keeper.watch();
        tokio::select! {
            () = keeper.end_holds() => {}
            _ = changes.changed() => {}
        }
        assert_eq!((keeper.route(), keeper.gate().position()), (Route { epoch: 3, ..Route::first(Side::Blue) }, Position::Blue));
        let late = keeper.change(&Change { epoch: 2, to: Position::Green, hold_ms: 0 }).unwrap_err();
        assert!(late.to_string().contains("the route is at epoch 3 (blue), not at epoch 2"), "{late}");
        drop(keeper);
        assert_eq!(Kept::open(folder.path(), Side::Green).unwrap().1.epoch, 3);
    }
}
