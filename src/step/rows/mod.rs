//! Rows by key, in batches, with everything that is changed set aside first: what the row kinds share.

pub(super) mod assignment;
pub(super) mod batches;
pub(super) mod dependent;
pub(super) mod key_walk;
pub(super) mod keyed_table;
pub(super) mod quarantine;
pub(super) mod set_aside;
pub(super) mod throttle;
