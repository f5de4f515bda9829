//! The integration tests: one binary, real servers.

mod hydra;
mod journeys;
mod shadow;
mod support;
mod tls;
