//! Talking to PostgreSQL: connections, time limits, who blocks whom, our own tables, and what an error means.

mod catalog;
mod connection;
mod control;
mod counters;
mod fault;
mod heard;
mod identity;
mod orphan;
mod patience;
mod reading;
mod replication;
mod snapshot;
mod threads;
mod throttle;
mod timeouts;

pub use catalog::{
    ColumnState, ConstraintState, IndexState, Reference, TableState, column_state, constraint_state, index_state, table_state,
};
pub use connection::{ConnectFailure, Console, Database, Environment, Opener, Relay, Session};
pub use control::{check_control, control_present, ensure_control, mark, marked, unmark};
pub use counters::Counters;
pub use fault::{explain, is_connection_loss, is_loss, sqlstate};
pub use heard::{Heard, Listener};
pub use identity::{DriverLock, Identity, check_server, check_version, identify};
pub use orphan::{end_orphans, end_workers};
pub use patience::{Blocker, Patience, blockers_of};
pub use reading::{Hindrance, Reading};
pub use replication::{Received, Replication, StreamEnded};
pub use snapshot::{READER, Snapshot, Ticket, reads_block_ranges};
pub use threads::{Tasks, on_threads};
pub use throttle::{Pause, Throttle};
pub use timeouts::{Class, set_class};
