//! The integration tests: one binary, real servers.

mod bad_input;
mod contract;
mod ddl;
mod demo;
mod driver;
mod fingerprint;
mod hot_tables;
mod hydra;
mod journeys;
mod layers;
mod privileges;
mod reference;
mod secrecy;
mod shadow;
mod support;
mod tls;
mod versions;
