//! Writing results to stdout.

use std::io::Write;

/// Writes to stdout; a reader that went away (`| head`) is no error.
///
/// # Errors
/// When stdout cannot be written for any other reason.
pub(super) fn print(text: &str) -> anyhow::Result<()> {
    pass(std::io::stdout().write_all(text.as_bytes()))
}

/// The same of what is not at hand in one piece.
///
/// # Errors
/// Likewise.
pub(super) fn stream(write: impl FnOnce(&mut dyn Write) -> std::io::Result<()>) -> anyhow::Result<()> {
    let mut out = std::io::BufWriter::with_capacity(1 << 16, std::io::stdout().lock());
    pass(write(&mut out).and_then(|()| out.flush()))
}

fn pass(result: std::io::Result<()>) -> anyhow::Result<()> {
    match result {
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
