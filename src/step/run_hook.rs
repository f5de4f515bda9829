//! `run_hook`: runs a program of yours. A probe tells whether its effect is there; without one it could not be in a plan.
//!
//! No shell is involved. The program inherits the environment (and with it the plan's connection variables) and gets
//! `CROSSFADE_RUN`, `CROSSFADE_STEP` and `CROSSFADE_ATTEMPT`. It must bear being run twice: after a `kill -9` of crossfade the
//! probe is asked again, and the command runs again unless the probe says the effect is there.

use std::time::Duration;

use anyhow::{Context, bail};
use async_trait::async_trait;
use serde::Deserialize;

use super::registry::{Kind, KindResult, Surroundings, keys_of};
use super::{Cx, Fault, Forecast, Reversal, Step, Summary, from_table};
use crate::hook::Program;
use crate::limits::Span;
use crate::step::Stop;
use crate::terms::{Before, Extent, Finding, Severity, Side};

/// The table entry of this kind.
pub(super) const KIND: Kind =
    Kind { name: "run_hook", about: "run a program, with a probe that tells whether it worked", parse, keys: keys_of::<Written> };

#[derive(Debug, Deserialize, schemars::JsonSchema)]
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

fn parse(table: toml::Table, around: &Surroundings) -> KindResult {
    let Written { command, probe, undo, timeout } = from_table(table)?;
    let (mut faults, mut files) = (Vec::new(), Vec::new());
    let mut program = |key: &str, words: Vec<String>| match Program::find(key, words, &around.base) {
        Ok((program, content)) => {
            files.extend(content);
            Some(program)
        }
        Err(what) => {
            faults.push(Fault::key(key, what));
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
        let code = self.probe.run(&cx.hook(), self.timeout).await?;
        extent_of(code).map_err(|why| anyhow::anyhow!("the probe {} cannot tell: {why}", self.probe.shown()))
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
        self.command.must(&cx.hook(), self.timeout).await
    }

    async fn undo(&self, cx: &Cx, _: &Before) -> anyhow::Result<()> {
        let undo = self.undo.as_ref().context("the plan gives no undo command")?;
        if !cx.allow_hooks {
            return Err(Stop::Findings(vec![self.not_allowed(undo)]).into());
        }
        if self.probed(cx).await? == Extent::Absent {
            return Ok(());
        }
        undo.must(&cx.hook(), self.timeout).await?;
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
}
