//! Signals: the first stops after the step, the second cancels the query.

use tokio::signal::unix::{SignalKind, signal};

use crate::step::Interrupt;

/// Listens for SIGINT and SIGTERM for the rest of the process's life.
///
/// # Errors
/// When the system refuses a signal handler.
pub fn listen(interrupt: &Interrupt) -> std::io::Result<()> {
    let mut int = signal(SignalKind::interrupt())?;
    let mut term = signal(SignalKind::terminate())?;
    let interrupt = interrupt.clone();
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = int.recv() => {}
                _ = term.recv() => {}
            }
            eprintln!("{}", interrupt.ask());
        }
    });
    Ok(())
}
