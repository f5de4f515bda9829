//! The demo: an OAuth service of ours, live clients, and both journeys on throw-away servers, for real.
//!
//! [`Service`] answers OAuth requests from whichever schema its side has ([`Store`]), behind a real `crossfade route`; [`Load`] is the live clients, who keep
//! books ([`Held`]) about what each of their tokens must be good for; a [`Census`] is what a database says about its
//! sessions; [`run`] puts them together around the same engine that `crossfade run` uses; [`run_migrations`] does so with
//! somebody's migrations, as they are and rewritten.

mod call;
mod census;
mod client;
mod door;
mod drive;
mod embedded;
mod grant;
mod held;
mod journey;
mod load;
mod measured;
mod migrations;
mod migrations_report;
mod pool;
mod reader;
mod report;
mod reuse;
mod service;
mod store;
mod store_1x;
mod store_2x;
mod unruly;
mod worker;
mod world;

pub use call::{Call, Credentials};
pub use census::{Balance, Census, SESSIONS_1X, SESSIONS_2X, balance};
pub use client::{Answer, OAuthClient};
pub use embedded::unpack;
pub use grant::Refusal;
pub use held::{Held, Token};
pub use journey::{Demo, run};
pub use load::Load;
pub use measured::Measured;
pub use migrations::{Migrations, run_migrations};
pub use migrations_report::{MigrationsReport, Proved, UnderTraffic};
pub use pool::{Lease, Pool, Work};
pub use report::{DemoReport, Followed, JourneyReport, Revocations, RolledBack, Switched};
pub use service::Service;
pub use store::Store;
pub use store_1x::{STORE_1_11, STORE_1X};
pub use store_2x::STORE_2X;
pub use worker::{Mix, Worker};
pub use world::{App, World, create_1x};
