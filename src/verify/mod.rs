//! Verifying: does green hold what the projections give?
//!
//! Both sides are read once, in parallel parts and each in one snapshot. Rows fall into buckets by the hash of their key; each
//! bucket has a count and the sum of its rows' hashes, and sums of parts add up. Only buckets that differ are read key by key.

mod account;
mod aside;
mod compare;
mod difference;
mod sums;

pub use account::accounts;
pub use compare::{Comparison, compare};
pub use difference::{Class, Differences, Key};
pub use sums::Sums;
