//! The integration tests: one binary, real servers.

mod bad_input;
mod contract;
mod ddl;
mod demo;
mod fingerprint;
mod hydra;
mod journeys;
mod layers;
mod reference;
mod shadow;
mod support;
mod tls;
mod versions;
