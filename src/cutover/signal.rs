//! A signal to the process that a file names.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::Deserialize;

/// Who is told, and how.
#[derive(Debug, Clone, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SignalTo {
    pid_file: PathBuf,
    #[serde(default)]
    signal: Told,
}

#[derive(Debug, Clone, Copy, Default, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
enum Told {
    #[default]
    Hup,
    Usr1,
    Usr2,
    Term,
}

impl SignalTo {
    /// The same with its path from this folder on.
    #[must_use]
    pub fn from_folder(self, base: &Path) -> Self {
        Self { pid_file: base.join(self.pid_file), ..self }
    }

    /// What messages call it.
    pub fn shown(&self) -> String {
        format!("{} to {}", self.number(), self.pid_file.display())
    }

    /// Makes sure that the process can be signalled.
    ///
    /// # Errors
    /// When the file names no process, or one that we may not signal.
    pub fn reachable(&self) -> anyhow::Result<()> {
        kill(self.pid()?, None).with_context(|| format!("the process of {} cannot be signalled", self.pid_file.display()))
    }

    /// Sends it.
    ///
    /// # Errors
    /// As [`SignalTo::reachable`].
    pub fn send(&self) -> anyhow::Result<()> {
        kill(self.pid()?, self.number()).with_context(|| format!("cannot signal {}", self.pid_file.display()))
    }

    fn pid(&self) -> anyhow::Result<Pid> {
        let file = self.pid_file.display();
        let text = std::fs::read_to_string(&self.pid_file).with_context(|| format!("cannot read {file}"))?;
        match text.trim().parse() {
            Ok(pid) if pid > 1 => Ok(Pid::from_raw(pid)),
            _ => bail!("{file} holds no process number"),
        }
    }

    fn number(&self) -> Signal {
        match self.signal {
            Told::Hup => Signal::SIGHUP,
            Told::Usr1 => Signal::SIGUSR1,
            Told::Usr2 => Signal::SIGUSR2,
            Told::Term => Signal::SIGTERM,
        }
    }
}
