//! A plan's run by the engine, as `crossfade run --execute` and `crossfade rollback --execute` do it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::Result;

use crate::engine::{self, Options, Outcome, RunChoice};
use crate::pg::Database;
use crate::plan::Plan;
use crate::report::{JourneySummary, Screen, summarize};
use crate::step::Interrupt;
use crate::terms::{Severity, Side};

/// How a plan is run.
pub(super) struct Drive {
    /// Where its journal is.
    pub state: PathBuf,
    /// Steps that are approved.
    pub approve: Vec<String>,
    /// Whether its run is taken back.
    pub back: bool,
    /// Whether to show less.
    pub quiet: bool,
}

/// What came of it.
pub(super) struct Ran {
    /// Step by step.
    pub summary: JourneySummary,
    /// Why it left before its end.
    pub reason: Option<String>,
}

impl Drive {
    /// Runs it.
    ///
    /// # Errors
    /// When something breaks that is not the plan's own.
    pub(super) async fn run(self, plan: Plan, databases: &BTreeMap<Side, Database>) -> Result<Ran> {
        let databases = plan.sides().map(|side| (side, databases[&side].clone())).collect();
        let (screen, notices) = Screen::start(self.quiet);
        let options = Options {
            state_dir: self.state,
            choice: RunChoice::Latest,
            approve: self.approve.into_iter().collect(),
            allow_hooks: false,
            databases,
            interrupt: Interrupt::default(),
            notices,
        };
        let mut driver = engine::prepare(plan, options).await?;
        if self.back {
            engine::turn_back(&mut driver)?;
        }
        let outcome = engine::drive(&mut driver).await?;
        let summary = summarize(driver.journal().lines()).map_err(|why| anyhow::anyhow!(why))?;
        drop(driver);
        screen.finish().await;
        let reason = match outcome {
            Outcome::Left { reason, findings, .. } => {
                let blocking = findings.iter().filter(|finding| finding.severity == Severity::Blocks);
                Some(blocking.fold(reason, |text, finding| format!("{text}\n{finding}")))
            }
            _ => None,
        };
        Ok(Ran { summary, reason })
    }
}
