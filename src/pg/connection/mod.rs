//! From a connection string to a session, as libpq means it (PostgreSQL manual, chapter 34).

mod certificate;
mod connect;
mod conninfo;
mod endpoint;
mod environment;
mod keyword;
mod opener;
mod passfile;
mod quote;
mod refusal;
mod relay;
mod secret;
mod service;
mod target;
mod tls;

pub use connect::{Console, Database, Session};
pub use environment::Environment;
pub use opener::Opener;
pub use refusal::ConnectFailure;
pub use relay::Relay;
