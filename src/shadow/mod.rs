//! Throw-away PostgreSQL servers: for the demo, the tests, and everything that tries something out before it is done.

mod binaries;
mod cluster;
mod companion;
mod folder;
mod generate;

pub use binaries::{Binaries, install};
pub use cluster::{Cluster, Settings};
pub use companion::Companion;
pub use folder::Folder;
pub use generate::fill;
