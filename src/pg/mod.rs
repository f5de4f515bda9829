//! Talking to PostgreSQL: connections, time limits, who blocks whom, our own tables, and what an error means.

mod catalog;
mod certificate;
mod connect;
mod conninfo;
mod control;
mod counters;
mod endpoint;
mod environment;
mod fault;
mod identity;
mod keyword;
mod opener;
mod orphan;
mod passfile;
mod patience;
mod quote;
mod refusal;
mod secret;
mod service;
mod snapshot;
mod target;
mod threads;
mod timeouts;
mod tls;

pub use catalog::{
    ColumnState, ConstraintState, IndexState, Reference, TableState, column_state, constraint_state, index_state, table_state,
};
pub use connect::{Database, Session};
pub use control::{check_control, control_present, ensure_control, mark, marked, unmark};
pub use counters::Counters;
pub use environment::Environment;
pub use fault::{explain, is_connection_loss, sqlstate};
pub use identity::{DriverLock, Identity, check_server, identify};
pub use opener::Opener;
pub use orphan::end_orphans;
pub use patience::{Blocker, Patience, blockers_of};
pub use refusal::ConnectFailure;
pub use snapshot::{Snapshot, Ticket};
pub use threads::{Tasks, on_threads};
pub use timeouts::{Class, set_class};
