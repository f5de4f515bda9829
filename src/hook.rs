//! Programs that a plan names. No shell is involved: words, not text.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, bail};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, BufReader};

/// Hears each line that a program prints.
pub type Listener = Arc<dyn Fn(&str) + Send + Sync>;

/// A program and its arguments.
#[derive(Debug, Clone)]
pub struct Program {
    path: PathBuf,
    arguments: Vec<String>,
    /// Where it runs: the plan's directory.
    directory: PathBuf,
}

/// What a program gets from us beside the environment of this process.
#[derive(Clone)]
pub struct Surroundings {
    /// Variables of its environment.
    pub variables: Vec<(String, String)>,
    /// Hears what it prints.
    pub listener: Listener,
}

impl Program {
    /// A name with a `/` is a file, from `base` on; any other is looked up in PATH. Gives the content of a file, so that its
    /// change shows in the plan's fingerprint. `key` is the key of the plan.
    ///
    /// # Errors
    /// When there is no such file, or there are no words.
    pub fn find(key: &str, words: Vec<String>, base: &Path) -> Result<(Self, Option<Vec<u8>>), String> {
        let mut words = words.into_iter();
        let Some(name) = words.next().filter(|name| !name.is_empty()) else {
            return Err(format!("`{key}` is empty; expected [\"program\", \"argument\", ...]"));
        };
        let directory = match base.as_os_str().is_empty() {
            true => PathBuf::from("."),
            false => base.to_owned(),
        };
        let (path, content) = match name.contains('/') {
            true => {
                let path = std::path::absolute(directory.join(&name)).map_err(|e| format!("`{name}`: {e}"))?;
                let content = std::fs::read(&path).map_err(|e| format!("cannot read program {name}: {e}"))?;
                (path, Some(content))
            }
            false => (PathBuf::from(name), None),
        };
        Ok((Self { path, arguments: words.collect(), directory }, content))
    }

    /// The program as a person would name it. Arguments are the plan's own text and hold no secrets.
    pub fn shown(&self) -> String {
        [self.path.display().to_string()].into_iter().chain(self.arguments.iter().cloned()).collect::<Vec<_>>().join(" ")
    }

    /// Runs it to its end; gives its exit code, `None` when a signal ended it.
    ///
    /// # Errors
    /// When it cannot be started, or takes longer than `timeout`: then, and when this future is dropped, its whole process
    /// group is killed.
    pub async fn run(&self, around: &Surroundings, timeout: Duration) -> anyhow::Result<Option<i32>> {
        self.run_with(around, Arc::clone(&around.listener), timeout).await
    }

    /// Runs it; it must end with exit code 0. Gives what it printed, which nobody else hears.
    ///
    /// # Errors
    /// When it does not.
    pub async fn output(&self, around: &Surroundings, timeout: Duration) -> anyhow::Result<String> {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&lines);
        let listener: Listener = Arc::new(move |line| kept.lock().unwrap_or_else(PoisonError::into_inner).push(line.to_owned()));
        match self.run_with(around, listener, timeout).await? {
            Some(0) => Ok(lines.lock().unwrap_or_else(PoisonError::into_inner).join("\n")),
            Some(code) => bail!("{} ended with exit code {code}", self.shown()),
            None => bail!("{} was ended by a signal", self.shown()),
        }
    }

    /// The same program with this text for every `{value}` in its arguments.
    #[must_use]
    pub fn with_value(&self, value: &str) -> Self {
        let arguments = self.arguments.iter().map(|argument| argument.replace("{value}", value)).collect();
        Self { arguments, ..self.clone() }
    }

    /// Runs it with a listener of its own for what it prints.
    async fn run_with(&self, around: &Surroundings, prints: Listener, timeout: Duration) -> anyhow::Result<Option<i32>> {
        let mut command = tokio::process::Command::new(&self.path);
        command
            .args(&self.arguments)
            .current_dir(&self.directory)
            .envs(around.variables.iter().cloned())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true);
        let mut child = command.spawn().with_context(|| format!("cannot start {}", self.shown()))?;
        let group = Group(child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw));
        let output = [
            child.stdout.take().map(|out| tokio::spawn(relay(prints, out))),
            child.stderr.take().map(|out| tokio::spawn(relay(Arc::clone(&around.listener), out))),
        ];
        let Ok(status) = tokio::time::timeout(timeout, child.wait()).await else {
            bail!("{} did not end within {} and was killed", self.shown(), humantime::format_duration(timeout));
        };
        let status = status.with_context(|| format!("cannot wait for {}", self.shown()))?;
        group.over();
        for mut task in output.into_iter().flatten() {
            // A process the hook left behind may hold the pipe open.
            if tokio::time::timeout(Duration::from_secs(1), &mut task).await.is_err() {
                task.abort();
            }
        }
        Ok(status.code())
    }

    /// Runs it; it must end with exit code 0.
    ///
    /// # Errors
    /// When it does not.
    pub async fn must(&self, around: &Surroundings, timeout: Duration) -> anyhow::Result<()> {
        match self.run(around, timeout).await? {
            Some(0) => Ok(()),
            Some(code) => bail!("{} ended with exit code {code}", self.shown()),
            None => bail!("{} was ended by a signal", self.shown()),
        }
    }
}

/// A process group that is killed when this is dropped before [`Group::over`].
struct Group(Option<Pid>);

impl Group {
    fn over(mut self) {
        self.0 = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            let _ = killpg(group, Signal::SIGKILL); // it may have ended by itself
        }
    }
}

/// The longest piece of output shown as one line, in bytes.
const LINE: u64 = 2000;

async fn relay(listener: Listener, from: impl AsyncRead + Unpin) {
    let mut reader = BufReader::new(from);
    let mut line = Vec::new();
    loop {
        line.clear();
        match (&mut reader).take(LINE).read_until(b'\n', &mut line).await {
            Ok(0) | Err(_) => return,
            Ok(_) => listener(String::from_utf8_lossy(&line).trim_end()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_hook_that_takes_too_long_is_killed_with_its_children() {
        let around = Surroundings { variables: Vec::new(), listener: Arc::new(|_| ()) };
        let folder = tempfile::tempdir().unwrap();
        let (late, soon) = (folder.path().join("late"), folder.path().join("soon"));
        let script = format!("touch {}; (sleep 1; touch {}) & wait", soon.display(), late.display());
        let words = ["sh", "-c", &script].map(str::to_owned).to_vec();
        let (program, _) = Program::find("command", words, Path::new("")).unwrap();
        let error = program.run(&around, Duration::from_millis(500)).await.unwrap_err();
        assert!(error.to_string().contains("did not end within 500ms"), "{error}");
        tokio::time::sleep(Duration::from_millis(1000)).await;
        assert!(soon.exists() && !late.exists());
    }
}
