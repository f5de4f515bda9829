//! What tests of faults found, for the table that `tests/faults` prints: one line each in the file that `CROSSFADE_FAULT_TABLE` names.

use std::io::Write;

/// Tells of so many runs under a fault: which fault, how it was brought about, and how they ended. Called when everything held; a test
/// that fails tells nothing.
pub fn told(fault: &str, how: &str, runs: u64, result: &str) {
    let Some(path) = std::env::var_os("CROSSFADE_FAULT_TABLE").filter(|_| runs > 0) else { return };
    let mut file = std::fs::File::options().create(true).append(true).open(path).unwrap();
    // One write: the tests run side by side.
    file.write_all(format!("{fault}\t{how}\t{runs}\t{result}\n").as_bytes()).unwrap();
}

/// A number from the environment: how much of a thing is asked for.
pub fn asked(name: &str, usual: u64) -> u64 {
    std::env::var(name).map_or(usual, |text| text.parse().unwrap_or_else(|_| panic!("{name}={text} is not a number")))
}
