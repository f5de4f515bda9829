//! Indexes and foreign keys, and waiting for locks: what the DDL kinds share.

pub(super) mod foreign_key;
pub(super) mod index;
pub(super) mod patient;
