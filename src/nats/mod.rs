//! Revocations for services that must hear of them: published to a stream of NATS JetStream, and consumed from there.
//!
//! The journey: `crossfade.revocation` on green, where followers record → [`Notice`], whose id is the event's identity →
//! [`Publisher`], page by page, each acknowledged by the stream before the mark on green moves → the stream drops ids it saw
//! within its window → [`Consumer`], which writes each id once to a file, makes that durable, and only then acknowledges.
//!
//! Both sides may be killed at any place: what was not acknowledged comes again, and what comes again changes nothing. The stream is no
//! store of record (its acknowledgements are not flushed to disk one by one): green is, and `--from-start` publishes all again.

mod account;
mod consume;
mod inbox;
mod notice;
mod publish;

pub use account::Account;
pub use consume::{Consumer, NotOurs};
pub use inbox::Inbox;
pub use notice::{Notice, Wording};
pub use publish::{Mark, Publisher};
