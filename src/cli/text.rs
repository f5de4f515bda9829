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

/// The columns of the terminal that results go to: `COLUMNS` where it is set, 80 where nothing says.
pub(super) fn width() -> usize {
    let said = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
    let terminal = || comfy_table::Table::new().width().map(usize::from);
    said.or_else(terminal).filter(|width| *width > 0).unwrap_or(80)
}
