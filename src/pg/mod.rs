//! Talking to PostgreSQL: connections, time limits, who blocks whom, our own tables, and what an error means.

mod connect;
mod control;
mod counters;
mod fault;
mod identity;
mod orphan;
mod patience;
mod timeouts;

pub use connect::{Database, Session};
pub use control::{check_control, control_present, ensure_control, mark, marked, unmark};
pub use counters::Counters;
pub use fault::{explain, is_connection_loss, sqlstate};
pub use identity::{DriverLock, Identity, check_server, identify};
pub use orphan::end_orphans;
pub use patience::{Blocker, Patience, blockers_of};
pub use timeouts::{Class, set_class};
