//! Writing results to stdout.

use std::io::Write;

/// Writes to stdout; a reader that went away (`| head`) is no error.
///
/// # Errors
/// When stdout cannot be written for any other reason.
pub(super) fn print(text: &str) -> anyhow::Result<()> {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        other => Ok(other?),
    }
}
