//! Signals: the first stops after the step, the second cancels the query, the third ends the process as it is; SIGUSR1 pauses a copy,
//! SIGUSR2 lets it go on.

use tokio::signal::unix::{SignalKind, signal};

use crate::step::Interrupt;
use crate::terms::Exit;

/// Listens for SIGINT, SIGTERM, SIGUSR1 and SIGUSR2 for the rest of the process's life.
///
/// # Errors
/// When the system refuses a signal handler.
pub fn listen(interrupt: &Interrupt) -> std::io::Result<()> {
    let mut int = signal(SignalKind::interrupt())?;
    let mut term = signal(SignalKind::terminate())?;
    let (mut pause, mut go_on) = (signal(SignalKind::user_defined1())?, signal(SignalKind::user_defined2())?);
    let interrupt = interrupt.clone();
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = int.recv() => {}
                _ = term.recv() => {}
                _ = pause.recv() => {
                    interrupt.wish.pause(true);
                    continue;
                }
                _ = go_on.recv() => {
                    interrupt.wish.pause(false);
                    continue;
                }
            }
            match interrupt.ask() {
                Some(words) => eprintln!("{words}"),
                None => std::process::exit(Exit::Interrupted as i32),
            }
        }
    });
    Ok(())
}
