//! The integration tests: one binary, real servers.

mod shadow;
mod support;
