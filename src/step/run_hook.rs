//! `run_hook`: runs a program of yours. A probe tells whether its effect is there; without one it could not be in a plan.
//!
//! No shell is involved. The program inherits the environment (and with it the plan's connection variables) and gets
//! `CROSSFADE_RUN`, `CROSSFADE_STEP` and `CROSSFADE_ATTEMPT`. It must bear being run twice: after a `kill -9` of crossfade the
//! probe is asked again, and the command runs again unless the probe says the effect is there.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail};
use async_trait::async_trait;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use serde::Deserialize;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, BufReader};

use super::registry::{Kind, KindResult, Surroundings};
use super::{Cx, Fault, Forecast, Reversal, Step, Summary, from_table};
use crate::limits::Span;
use crate::step::Stop;
use crate::terms::{Before, Extent, Finding, Severity, Side};

/// The table entry of this kind.
pub(super) const KIND: Kind = Kind { name: "run_hook", about: "run a program, with a probe that tells whether it worked", parse };

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    command: Vec<String>,
    probe: Vec<String>,
    undo: Option<Vec<String>>,
    timeout: Option<Span>,
}

#[derive(Debug)]
struct RunHook {
    command: Program,
    probe: Program,
    undo: Option<Program>,
    timeout: Duration,
}

/// A program and its arguments.
#[derive(Debug)]
pub(super) struct Program {
    path: PathBuf,
    arguments: Vec<String>,
    /// Where it runs: the plan's directory.
    directory: PathBuf,
}

fn parse(table: toml::Table, around: &Surroundings) -> KindResult {
    let Written { command, probe, undo, timeout } = from_table(table)?;
    let (mut faults, mut files) = (Vec::new(), Vec::new());
    let mut program = |key: &str, words: Vec<String>| match Program::find(key, words, &around.base) {
        Ok((program, content)) => {
            files.extend(content);
            Some(program)
        }
        Err(fault) => {
            faults.push(fault);
            None
        }
    };
    let (command, probe) = (program("command", command), program("probe", probe));
    let undo = undo.map(|undo| program("undo", undo));
    let timeout = timeout.map_or(Duration::from_secs(300), |span| span.0);
    if timeout.is_zero() {
        faults.push(Fault::key("timeout", "`timeout` must be longer than nothing"));
    }
    match (command, probe) {
        (Some(command), Some(probe)) if faults.is_empty() => {
            Ok((Box::new(RunHook { command, probe, undo: undo.flatten(), timeout }), files))
        }
        _ => Err(faults),
    }
}

impl Program {
    /// A name with a `/` is a file, from the plan's directory on; any other is looked up in PATH. Gives the content of a
    /// file, so that its change shows in the plan's fingerprint.
    pub(super) fn find(key: &str, words: Vec<String>, base: &Path) -> Result<(Self, Option<Vec<u8>>), Fault> {
        let mut words = words.into_iter();
        let Some(name) = words.next().filter(|name| !name.is_empty()) else {
            return Err(Fault::key(key, format!("`{key}` is empty; expected [\"program\", \"argument\", ...]")));
        };
        let directory = match base.as_os_str().is_empty() {
            true => PathBuf::from("."),
            false => base.to_owned(),
        };
        let (path, content) = match name.contains('/') {
            true => {
                let path = std::path::absolute(directory.join(&name)).map_err(|e| Fault::key(key, format!("`{name}`: {e}")))?;
                let content = std::fs::read(&path).map_err(|e| Fault::key(key, format!("cannot read program {name}: {e}")))?;
                (path, Some(content))
            }
            false => (PathBuf::from(name), None),
        };
        Ok((Self { path, arguments: words.collect(), directory }, content))
    }

    /// The program as a person would name it. Arguments are the plan's own text and hold no secrets.
    pub(super) fn shown(&self) -> String {
        [self.path.display().to_string()].into_iter().chain(self.arguments.iter().cloned()).collect::<Vec<_>>().join(" ")
    }

    /// Runs it to its end; each line it prints becomes a remark. Gives its exit code, `None` when a signal ended it. When it
    /// takes longer than `timeout`, or when this future is dropped, its whole process group is killed.
    pub(super) async fn run(&self, cx: &Cx, timeout: Duration) -> anyhow::Result<Option<i32>> {
        let mut command = tokio::process::Command::new(&self.path);
        command
            .args(&self.arguments)
            .current_dir(&self.directory)
            .env("CROSSFADE_RUN", cx.run.as_str())
            .env("CROSSFADE_STEP", cx.step.as_str())
            .env("CROSSFADE_ATTEMPT", cx.attempt.to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true);
        let mut child = command.spawn().with_context(|| format!("cannot start {}", self.shown()))?;
        let group = Group(child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw));
        let output = [
            child.stdout.take().map(|out| tokio::spawn(relay(cx.clone(), out))),
            child.stderr.take().map(|out| tokio::spawn(relay(cx.clone(), out))),
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

async fn relay(cx: Cx, from: impl AsyncRead + Unpin) {
    let mut reader = BufReader::new(from);
    let mut line = Vec::new();
    loop {
        line.clear();
        match (&mut reader).take(LINE).read_until(b'\n', &mut line).await {
            Ok(0) | Err(_) => return,
            Ok(_) => cx.remark(String::from_utf8_lossy(&line).trim_end()),
        }
    }
}

/// What a probe's exit code says.
fn extent_of(code: Option<i32>) -> Result<Extent, String> {
    match code {
        Some(0) => Ok(Extent::Complete),
        Some(1) => Ok(Extent::Absent),
        Some(other) => Err(format!("exit code {other}; 0 means the effect is there, 1 that it is not")),
        None => Err("ended by a signal".to_owned()),
    }
}

impl RunHook {
    async fn probed(&self, cx: &Cx) -> anyhow::Result<Extent> {
        let code = self.probe.run(cx, self.timeout).await?;
        extent_of(code).map_err(|why| anyhow::anyhow!("the probe {} cannot tell: {why}", self.probe.shown()))
    }

    /// Runs a program that must end with exit code 0.
    async fn must(&self, cx: &Cx, program: &Program) -> anyhow::Result<()> {
        match program.run(cx, self.timeout).await? {
            Some(0) => Ok(()),
            Some(code) => bail!("{} ended with exit code {code}", program.shown()),
            None => bail!("{} was ended by a signal", program.shown()),
        }
    }

    fn not_allowed(&self, program: &Program) -> Finding {
        Finding {
            severity: Severity::Blocks,
            object: program.shown(),
            what: "the plan runs this program, and hooks are not allowed".to_owned(),
            next: "look at the program, then run the same command with `--allow-hooks`".to_owned(),
        }
    }
}

#[async_trait]
impl Step for RunHook {
    fn describe(&self) -> Summary {
        Summary { effect: format!("run {}", self.command.shown()), lock: "none by crossfade; the program's own".to_owned() }
    }

    fn sides(&self) -> Vec<Side> {
        Vec::new()
    }

    fn reversal(&self) -> Reversal {
        match &self.undo {
            Some(_) => Reversal::Reversible,
            None => Reversal::Irreversible("the plan gives no undo command".to_owned()),
        }
    }

    async fn forecast(&self, cx: &Cx) -> anyhow::Result<Vec<Forecast>> {
        let what = match cx.allow_hooks {
            true => format!("would run, for at most {}", humantime::format_duration(self.timeout)),
            false => "would stop with exit code 10 until `--allow-hooks`; its probe was not run either".to_owned(),
        };
        Ok(vec![Forecast { object: self.command.shown(), what, rows: None, lock: String::new() }])
    }

    async fn preconditions(&self, cx: &Cx) -> anyhow::Result<Vec<Finding>> {
        Ok(if cx.allow_hooks { Vec::new() } else { vec![self.not_allowed(&self.command)] })
    }

    /// Where hooks are not allowed the probe is not run either, and nothing is known to be there.
    async fn observe(&self, cx: &Cx) -> anyhow::Result<Extent> {
        if cx.allow_hooks { self.probed(cx).await } else { Ok(Extent::Absent) }
    }

    async fn before(&self, _: &Cx) -> anyhow::Result<Before> {
        Ok(Before::default())
    }

    async fn apply(&self, cx: &Cx, _: &Extent, _: &Before) -> anyhow::Result<()> {
        self.must(cx, &self.command).await
    }

    async fn undo(&self, cx: &Cx, _: &Before) -> anyhow::Result<()> {
        let undo = self.undo.as_ref().context("the plan gives no undo command")?;
        if !cx.allow_hooks {
            return Err(Stop::Findings(vec![self.not_allowed(undo)]).into());
        }
        if self.probed(cx).await? == Extent::Absent {
            return Ok(());
        }
        self.must(cx, undo).await?;
        match self.probed(cx).await? {
            Extent::Absent => Ok(()),
            _ => bail!("{} ended without an error, but the probe says the effect is still there", undo.shown()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_probe_says_yes_no_or_nothing() {
        assert_eq!(extent_of(Some(0)), Ok(Extent::Complete));
        assert_eq!(extent_of(Some(1)), Ok(Extent::Absent));
        assert!(extent_of(Some(2)).is_err() && extent_of(Some(127)).is_err() && extent_of(None).is_err());
    }

    #[test]
    fn programs_are_words_not_shell_text() {
        let around = Surroundings { base: "/nowhere".into(), has_green: false };
        let faults = |text: &str| match parse(toml::from_str(text).unwrap(), &around) {
            Ok(_) => Vec::new(),
            Err(faults) => faults.into_iter().map(|fault| fault.key.unwrap_or_default()).collect(),
        };
        assert!(faults("command = ['true']\nprobe = ['false']").is_empty());
        assert_eq!(faults("command = 'true'\nprobe = ['false']"), ["command"]);
        assert_eq!(faults("command = []\nprobe = ['./missing']\ntimeout = '0s'"), ["command", "probe", "timeout"]);
    }

    #[tokio::test]
    async fn a_hook_that_takes_too_long_is_killed_with_its_children() {
        let (notices, _listener) = tokio::sync::mpsc::unbounded_channel();
        let step = crate::terms::StepId::new("hook").unwrap();
        let cx = Cx::new(crate::terms::RunId::fresh(), step, crate::limits::Limits::default(), [None, None], notices);
        let folder = tempfile::tempdir().unwrap();
        let (late, soon) = (folder.path().join("late"), folder.path().join("soon"));
        let script = format!("touch {}; (sleep 1; touch {}) & wait", soon.display(), late.display());
        let words = ["sh", "-c", &script].map(str::to_owned).to_vec();
        let (program, _) = Program::find("command", words, Path::new("")).unwrap();
        let error = program.run(&cx, Duration::from_millis(500)).await.unwrap_err();
        assert!(error.to_string().contains("did not end within 500ms"), "{error}");
        tokio::time::sleep(Duration::from_millis(1000)).await;
        assert!(soon.exists() && !late.exists());
    }
}
