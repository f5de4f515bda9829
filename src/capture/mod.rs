//! Capture: which rows of blue changed, recorded by the transactions that change them.
//!
//! Triggers that run once per statement write the keys of changed rows to `crossfade.outbox`, within the writer's own
//! transaction, under its [transaction id](https://www.postgresql.org/docs/current/functions-info.html#FUNCTIONS-PG-SNAPSHOT).
//! Where a reader stands is told by a snapshot: what a later snapshot sees and that one does not are exactly the changes
//! between them, whatever the order of commits was. So nothing is missed and nothing is counted twice, without a replication
//! slot and at any `wal_level`.
//!
//! Where triggers cost writers too much, a logical replication slot tells the same: its stream gives each transaction with its
//! id, and the keys land in an inbox on green, from where they are read as from the outbox.
//!
//! A table is captured from the moment its triggers are committed. `CREATE TRIGGER` waits for every transaction that wrote to
//! the table, so a snapshot taken afterwards sees all that was not captured.

mod change;
mod fence;
mod inbox;
mod outbox;
mod pgoutput;
mod seen;
mod shape;
mod slot;
mod slot_state;
mod stream;
mod table;
mod trigger;
mod waiting;

use std::time::SystemTime;

pub use outbox::{Backlog, Outbox, Reading};
pub use pgoutput::{Column, Message, Relation, Value};
pub use shape::{Shape, obstacles};
pub use slot::{
    Identity, captured_from_here, create_slot, drop_publication, drop_slot, ended, forget_inbox, identities, publish, slot_name,
    slot_obstacles,
};
pub use slot_state::{SlotState, own_slots, slot_state};
pub use table::{CapturedTable, altered, forget_changes, install, installed, remove};
pub use waiting::{Alarm, Telling, Waiting, waiting};

use crate::terms::Finding;

/// Some changes of captured tables, as far as they are captured.
#[derive(Debug, Clone, PartialEq)]
pub enum Piece {
    /// Rows of one table.
    Rows {
        /// Which: counts [`Outbox::tables`].
        table: usize,
        /// Values of the captured columns as text, old and new ones, each once.
        keys: Vec<Vec<Option<String>>>,
        /// Whether rows came to have these values or have them no longer. False: rows that have them were updated in other columns.
        moved: bool,
        /// When the oldest of these changes was written, by blue's clock.
        oldest: SystemTime,
    },
    /// All rows of one table went at once.
    Truncated {
        /// Which: counts [`Outbox::tables`].
        table: usize,
    },
}

/// Captured tables are no longer what they were when capture began: changes may be missing from the outbox.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("captured tables changed: {}", .findings.iter().map(|found| format!("{} {}", found.object, found.what)).collect::<Vec<_>>().join("; "))]
pub struct Changed {
    /// One per table and change; each blocks.
    pub findings: Vec<Finding>,
}
