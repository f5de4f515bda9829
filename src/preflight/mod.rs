//! What would stop a plan, before it begins: rows that break the constraints to come, and surroundings that do not fit.
//! Everything here only reads: the sessions on both sides are read-only, so a standby may stand in for blue.

pub mod derived;
pub mod environment;
mod grants;
mod violation;

use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

pub use grants::grants;
pub use violation::{Counted, Violation};

use crate::pg::explain;
use crate::plan::Plan;
use crate::step::{Cx, Guard};
use crate::terms::{Finding, Severity};

/// One thing preflight looks at.
#[async_trait]
pub trait Check: Send + Sync {
    /// What it looks at, in a few words.
    fn name(&self) -> String;

    /// What `crossfade explain` takes for its findings, where it is not the rule that rows break.
    fn code(&self) -> Option<String> {
        None
    }

    /// Looks. Changes nothing.
    async fn run(&self, cx: &Cx) -> anyhow::Result<Vec<Finding>>;

    /// The same with everything that is known about the rows, for a check that looks at rows.
    async fn look(&self, cx: &Cx) -> anyhow::Result<Vec<Violation>> {
        Ok(self.run(cx).await?.into_iter().map(Violation::from).collect())
    }
}

/// Runs every check, as many at once as the plan allows sessions; what blocks comes first. The checks run while others are still
/// being made out: green's schema on a throw-away server takes seconds.
///
/// # Errors
/// When the checks cannot be made out because a server cannot be reached. A check that fails becomes a finding.
pub async fn run(plan: &Plan, cx: &Cx) -> anyhow::Result<Vec<Violation>> {
    let places = Arc::new(Semaphore::new(cx.limits.jobs));
    let mut running = JoinSet::new();
    let mut begin = |check: Box<dyn Check>| {
        let (cx, places, number) = (cx.clone(), Arc::clone(&places), running.len());
        running.spawn(async move {
            let _place = places.acquire_owned().await;
            let found = check.look(&cx).await;
            let mut found = found.unwrap_or_else(|error| vec![failed(&check.name(), &error)]);
            let of_check = check.code();
            for violation in &mut found {
                let of_rows = Some(violation.rule).filter(|rule| *rule != "environment").map(str::to_owned);
                violation.code = of_check.clone().or(of_rows).unwrap_or_default();
            }
            (number, found)
        });
    };
    environment::checks(plan, cx).await?.into_iter().for_each(&mut begin);
    (0..plan.guards().len()).for_each(|at| begin(Box::new(Off { guards: Arc::clone(plan.guards()), at })));
    // Green's schema is work for one, too: its throw-away server would wait for its turn among checks of rows.
    let place = Arc::clone(&places).acquire_owned().await;
    derived::checks(plan, cx, &mut begin).await?;
    drop(place);
    let mut found = Vec::new();
    while let Some(ended) = running.join_next().await {
        found.push(ended?);
    }
    found.sort_by_key(|(number, _)| *number);
    let mut violations: Vec<Violation> = found.into_iter().flat_map(|(_, violations)| violations).collect();
    for step in plan.steps() {
        match step.step.lacks(cx).await {
            Ok(findings) => violations.extend(findings.into_iter().map(Violation::from)),
            Err(error) => violations.push(failed(&format!("step {}", step.id), &error)),
        }
    }
    violations.sort_by_key(|violation| std::cmp::Reverse(violation.finding.severity));
    Ok(violations)
}

/// A job that must be off between the copy and a clean audit.
struct Off {
    guards: Arc<[Guard]>,
    at: usize,
}

#[async_trait]
impl Check for Off {
    fn name(&self) -> String {
        format!("job {}", self.guards[self.at].job())
    }

    async fn run(&self, cx: &Cx) -> anyhow::Result<Vec<Finding>> {
        Ok(self.guards[self.at].findings(cx, Severity::Warning).await)
    }
}

/// A check that could not look: nothing is known, which is no all-clear.
fn failed(name: &str, error: &anyhow::Error) -> Violation {
    Violation::from(Finding {
        severity: Severity::Blocks,
        object: name.to_owned(),
        what: format!("could not be checked: {}", explain(error)),
        next: "correct that and run preflight again".to_owned(),
    })
}
