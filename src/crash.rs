//! Named places where the tests kill the process, as `kill -9` would. Only in builds with debug assertions.
//!
//! With `CROSSFADE_CRASH_SEEN=<file>` the process dies at every place the first time any process that shares the file comes
//! by, so that a loop of resumes goes through a crash at every place. With `CROSSFADE_CRASH_AT=<place>` it dies there each time.
//! With `CROSSFADE_WAIT_AT=<place>` and `CROSSFADE_WAIT_FILE=<file>` it waits there, once, after it has made the file, until the
//! file is gone: time for a test to kill somebody else.

use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

/// Held while dying, so that one process dies at one place even when several threads come by at once.
static DYING: Mutex<()> = Mutex::new(());

/// Whether this process has waited.
static WAITED: AtomicBool = AtomicBool::new(false);

/// Dies here, if the tests asked for it.
pub fn point(place: &str) {
    wait(place);
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

/// Waits here, if the tests asked for it.
fn wait(place: &str) {
    if !cfg!(debug_assertions) || !std::env::var("CROSSFADE_WAIT_AT").is_ok_and(|at| at == place) {
        return;
    }
    let Some(file) = std::env::var_os("CROSSFADE_WAIT_FILE") else { return };
    if !WAITED.swap(true, Ordering::Relaxed) && std::fs::File::create_new(&file).is_ok() {
        while std::path::Path::new(&file).exists() {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    }
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
