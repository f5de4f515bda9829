//! A program beside us, that goes away with the process that started it, even when that one is killed.

use std::ffi::OsStr;
use std::fs::File;
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};

use anyhow::{Context, Result};

use super::Folder;

/// A running program. Dropping it ends the program at once.
#[derive(Debug)]
pub struct Companion {
    guardian: Child,
    lifeline: Option<ChildStdin>,
    log: PathBuf,
}

/// Starts the program, waits for its own standard input to end, which happens when the process that started it is gone, and ends
/// the program.
const GUARDIAN: &str = r#"
trap : HUP INT TERM
log=$1; shift
"$@" >"$log" 2>&1 </dev/null &
pid=$!
read -r word
kill -KILL "$pid" 2>/dev/null
wait "$pid"
"#;

impl Companion {
    /// Starts it. What it prints and says goes to `log`, a file in `folder`, which stands at least until the program has ended.
    ///
    /// # Errors
    /// When there is no shell, or the log cannot be made.
    pub fn start(folder: &Folder, program: &Path, arguments: &[&OsStr], log: &Path) -> Result<Self> {
        File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
        let mut guardian = Command::new("sh");
        guardian.args(["-c", GUARDIAN, "crossfade-guardian"]).arg(log).arg(program).args(arguments);
        guardian.stdin(Stdio::piped()).stdout(folder.hold()?).stderr(Stdio::null()).current_dir("/").process_group(0);
        let mut guardian = guardian.spawn().with_context(|| format!("cannot start {}", program.display()))?;
        let lifeline = guardian.stdin.take();
        Ok(Self { guardian, lifeline, log: log.to_owned() })
    }

    /// What it printed and said so far.
    pub fn said(&self) -> String {
        let mut text = String::new();
        let _ = File::open(&self.log).and_then(|mut file| file.read_to_string(&mut text));
        text
    }
}

impl Drop for Companion {
    fn drop(&mut self) {
        self.lifeline = None;
        let _ = self.guardian.wait();
    }
}
