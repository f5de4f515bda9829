//! Named places where the tests kill the process, as `kill -9` would. Only in builds with debug assertions.
//!
//! With `CROSSFADE_CRASH_SEEN=<file>` the process dies at every place the first time any process that shares the file comes
//! by, so that a loop of resumes goes through a crash at every place. With `CROSSFADE_CRASH_AT=<place>` it dies there each time.

use std::io::Write;
use std::sync::{Mutex, PoisonError};

/// Held while dying, so that one process dies at one place even when several threads come by at once.
static DYING: Mutex<()> = Mutex::new(());

/// Dies here, if the tests asked for it.
pub fn point(place: &str) {
    let _alone = DYING.lock().unwrap_or_else(PoisonError::into_inner);
    if !is_next(place) {
        return;
    }
    if let Some(file) = std::env::var_os("CROSSFADE_CRASH_SEEN")
        && let Ok(mut seen) = std::fs::OpenOptions::new().append(true).create(true).open(file)
    {
        let _ = writeln!(seen, "{place}");
        let _ = seen.sync_all();
    }
    let _ = nix::sys::signal::kill(nix::unistd::Pid::this(), nix::sys::signal::Signal::SIGKILL);
}

/// Whether [`point`] would die at this place.
pub fn is_next(place: &str) -> bool {
    if !cfg!(debug_assertions) {
        return false;
    }
    if let Some(file) = std::env::var_os("CROSSFADE_CRASH_SEEN") {
        let seen = std::fs::read_to_string(file).unwrap_or_default();
        return !seen.lines().any(|line| line == place);
    }
    std::env::var("CROSSFADE_CRASH_AT").is_ok_and(|at| at == place)
}
