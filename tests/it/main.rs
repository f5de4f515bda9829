//! The integration tests: one binary, real servers.

mod bad_input;
mod batches;
mod contract;
mod copies;
mod ddl;
mod demo;
mod differences;
mod driver;
mod environment;
mod fingerprint;
mod golden;
mod hot_tables;
mod hydra;
mod journeys;
mod layers;
mod preflight;
mod privileges;
mod projections;
mod quarantine;
mod reference;
mod secrecy;
mod shadow;
mod star_readers;
mod support;
mod tls;
mod versions;
