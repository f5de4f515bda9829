//! The cutover on real servers: the fence under writers, participants that switch together or not at all, crashes at every beat.

mod back;
mod bouncer;
mod faults;
mod fence;
mod revoked;
mod slot;
pub mod stage;
mod switch;
mod traffic;
mod watch;
