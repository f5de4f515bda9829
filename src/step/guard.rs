//! Jobs that delete rows and must not run between the copy and a clean audit: `[[guard]]` of a plan.
//!
//! A probe says whether a job is off. The engine asks before each step from phase copy to phase cutover, preflight asks, and an
//! audit asks and says what the job would delete if it ran now.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use serde::Deserialize;

use super::{Cx, Fault, from_table};
use crate::audit::Job;
use crate::hook::Program;
use crate::pg::explain;
use crate::terms::{Finding, Phase, Severity, Side};

/// A job that must be off.
#[derive(Debug)]
pub struct Guard {
    job: String,
    side: Side,
    probe: Probe,
    deletes: Vec<(String, String)>,
}

#[derive(Debug)]
enum Probe {
    /// A query that gives true when it is off.
    Sql(String),
    /// Exit code 0 when it is off, 1 when it is not.
    Program(Program),
}

/// What the probe says.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Standing {
    Off,
    On,
    /// The probe is a program, and programs are not allowed.
    NotAsked,
    Unknown(String),
}

/// A `[[guard]]` as written.
#[derive(Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Written {
    job: String,
    side: Side,
    #[schemars(with = "OneOrMany")]
    probe: toml::Value,
    #[serde(default)]
    #[schemars(with = "BTreeMap<String, String>")]
    deletes: toml::Table,
}

/// A query, or a program with its arguments.
#[derive(schemars::JsonSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "what a probe looks like in the schema of plans")]
enum OneOrMany {
    Query(String),
    Program(Vec<String>),
}

/// How long a program may take to answer.
const PATIENCE: Duration = Duration::from_secs(60);

impl Guard {
    /// Reads one `[[guard]]`; also gives the content of a program in the plan's folder.
    ///
    /// # Errors
    /// Every fault at once.
    pub fn parse(table: toml::Table, base: &Path, has_green: bool) -> Result<(Self, Vec<Vec<u8>>), Vec<Fault>> {
        let Written { job, side, probe, deletes } = from_table(table)?;
        let (mut faults, mut files) = (Vec::new(), Vec::new());
        if job.trim().is_empty() {
            faults.push(Fault::key("job", "`job` is empty"));
        }
        if side == Side::Green && !has_green {
            faults.push(Fault::key("side", "is on green, but the plan has no [green]"));
        }
        let words = |value: &toml::Value| value.as_str().map(str::to_owned);
        let probe = match &probe {
            toml::Value::String(sql) if !sql.trim().is_empty() => Some(Probe::Sql(sql.clone())),
            toml::Value::Array(list) if list.iter().all(|word| word.is_str()) => {
                match Program::find("probe", list.iter().filter_map(words).collect(), base) {
                    Ok((program, content)) => {
                        files.extend(content);
                        Some(Probe::Program(program))
                    }
                    Err(fault) => {
                        faults.push(Fault::key("probe", fault));
                        None
                    }
                }
            }
            _ => {
                let what = "`probe` is a query that gives true when the job is off, or [\"program\", \"argument\", ...]";
                faults.push(Fault::key("probe", what));
                None
            }
        };
        let mut counted = Vec::new();
        for (what, sql) in &deletes {
            match words(sql).filter(|sql| !sql.trim().is_empty()) {
                Some(sql) => counted.push((what.clone(), sql)),
                None => faults.push(Fault::key("deletes", format!("`deletes.{what}` must be a query that gives one number"))),
            }
        }
        match probe {
            Some(probe) if faults.is_empty() => Ok((Self { job, side, probe, deletes: counted }, files)),
            _ => Err(faults),
        }
    }

    /// The job's name.
    pub fn job(&self) -> &str {
        &self.job
    }

    async fn standing(&self, cx: &Cx) -> Standing {
        match &self.probe {
            Probe::Sql(sql) => match ask::<bool>(cx, self.side, sql).await {
                Ok(Some(true)) => Standing::Off,
                Ok(_) => Standing::On,
                Err(error) => Standing::Unknown(format!("its probe cannot be asked: {}", explain(&error))),
            },
            Probe::Program(_) if !cx.allow_hooks => Standing::NotAsked,
            Probe::Program(program) => match program.run(&cx.hook(), PATIENCE).await {
                Ok(Some(0)) => Standing::Off,
                Ok(Some(1)) => Standing::On,
                Ok(code) => {
                    let code = code.map_or("a signal".to_owned(), |code| format!("exit code {code}"));
                    Standing::Unknown(format!("its probe {} ended with {code}; 0 means off, 1 not off", program.shown()))
                }
                Err(error) => Standing::Unknown(explain(&error)),
            },
        }
    }

    /// What speaks against going on: the job is not off, or nobody knows. A program that was not allowed to run is `unasked`.
    pub async fn findings(&self, cx: &Cx, unasked: Severity) -> Vec<Finding> {
        let (severity, what, next) = match self.standing(cx).await {
            Standing::Off => return Vec::new(),
            Standing::On => {
                let what = "is not off: what it deletes between the copy and a clean audit may be what users still need";
                (Severity::Blocks, what.to_owned(), "switch the job off, then run the same command again")
            }
            Standing::NotAsked => {
                let what = "a program of the plan says whether it is off, and hooks are not allowed";
                (unasked, what.to_owned(), "look at the program, then run the same command with `--allow-hooks`")
            }
            Standing::Unknown(why) => (Severity::Blocks, why, "correct the probe in the plan's [[guard]], or switch the job off"),
        };
        vec![Finding { severity, object: format!("job {}", self.job), what, next: next.to_owned() }]
    }

    /// What it would delete if it ran now.
    pub async fn job_now(&self, cx: &Cx) -> Job {
        let mut unknown = Vec::new();
        let off = match self.standing(cx).await {
            Standing::Off => Some(true),
            Standing::On => Some(false),
            Standing::NotAsked => {
                unknown.push("its probe is a program: --allow-hooks lets it run".to_owned());
                None
            }
            Standing::Unknown(why) => {
                unknown.push(why);
                None
            }
        };
        let mut would_delete = Vec::new();
        for (what, sql) in &self.deletes {
            match ask::<i64>(cx, self.side, sql).await {
                Ok(rows) => would_delete.push((what.clone(), rows)),
                Err(error) => {
                    unknown.push(format!("{what} cannot be counted: {}", explain(&error)));
                    would_delete.push((what.clone(), None));
                }
            }
        }
        Job { name: self.job.clone(), off, unknown: (!unknown.is_empty()).then(|| unknown.join("; ")), would_delete }
    }
}

/// The phases in which guarded jobs must be off.
pub fn guarded(phase: Phase) -> bool {
    (Phase::Copy..=Phase::Cutover).contains(&phase)
}

/// One value, in a transaction that cannot write.
async fn ask<T: for<'a> tokio_postgres::types::FromSql<'a>>(cx: &Cx, side: Side, sql: &str) -> anyhow::Result<Option<T>> {
    let mut session = cx.connect(side).await?;
    let transaction = session.build_transaction().read_only(true).start().await?;
    match transaction.query_opt(sql, &[]).await? {
        Some(row) => Ok(row.try_get::<_, Option<T>>(0)?),
        None => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_of_a_guard_at_once() {
        let faults = |text: &str| match Guard::parse(toml::from_str(text).unwrap(), Path::new("."), false) {
            Ok(_) => Vec::new(),
            Err(faults) => faults.into_iter().map(|fault| fault.key.unwrap_or_default()).collect(),
        };
        assert!(faults("job = 'j'\nside = 'blue'\nprobe = 'SELECT true'\ndeletes = { rows = 'SELECT 1' }").is_empty());
        assert!(faults("job = 'j'\nside = 'blue'\nprobe = ['true']").is_empty());
        let all = faults("job = ' '\nside = 'green'\nprobe = 3\ndeletes = { rows = 4 }");
        assert_eq!(all, ["job", "side", "probe", "deletes"]);
        assert_eq!(faults("job = 'j'\nside = 'blue'\nprobe = ['./missing']"), ["probe"]);
    }

    #[test]
    fn from_the_copy_to_the_switch() {
        let phases = [Phase::Preflight, Phase::Expand, Phase::Copy, Phase::Follow, Phase::Cutover, Phase::Watch];
        assert_eq!(phases.map(guarded), [false, false, true, true, true, false]);
    }
}
