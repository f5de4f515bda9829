//! crossfade moves a live PostgreSQL application from one schema to the next without taking it down.
//!
//! The journey of a run, and where each part of it lives:
//!
//! 1. [`plan`] reads a plan file, finds every problem in it at once, and gives a checked [`plan::Plan`].
//! 2. [`engine`] asks the pure function [`engine::next`] what to do, given the plan and the [`journal`].
//! 3. For that step the systems are asked what is already there ([`step::Step::observe`]), the information an undo
//!    would need is written to the journal, and only then the step is applied.
//! 4. Every event goes to the journal first, and from there to the screen and the [`report`].
//!
//! A run that was killed is resumed by the same command: state is a fold over the journal, and what the
//! journal cannot know is asked of the databases.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod audit;
pub mod capture;
pub mod cli;
pub mod copy;
pub mod crash;
pub mod cutover;
pub mod demo;
pub mod draft;
pub mod engine;
pub mod explain;
pub mod follow;
pub mod hook;
pub mod journal;
pub mod junit;
pub mod limits;
pub mod lint;
#[cfg(feature = "nats")]
pub mod nats;
pub mod notify;
pub mod pg;
pub mod plan;
pub mod preflight;
pub mod projection;
pub mod prove;
pub mod rehearse;
pub mod report;
pub mod revocation;
pub mod router;
pub mod shadow;
pub mod sql;
pub mod step;
pub mod suggest;
pub mod terms;
pub mod trace;
pub mod verify;
pub mod window;
