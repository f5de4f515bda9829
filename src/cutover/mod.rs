//! The cutover: traffic goes from one database to the other, and at no moment can both be written.
//!
//! [`beat`] decides what comes next (pure), [`fence`] stops writes on a database and proves it, [`readiness`] judges
//! measurements (pure), [`participant`]s are the systems that send traffic to a side, [`smoke`] asks the new side before anybody
//! else does, [`watch`] compares what came after with what was before (pure).

pub mod beat;
pub mod fence;
pub mod participant;
pub mod prometheus;
pub mod readiness;
pub mod replace;
pub mod request;
pub mod signal;
pub mod smoke;
pub mod watch;
