//! What the same migrations did to live clients, as they are and rewritten. Pure.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{Balance, Measured};
use crate::report::JourneySummary;
use crate::terms::Exit;

/// A folder of migrations, as it is and rewritten.
#[derive(Debug, Serialize)]
pub struct MigrationsReport {
    /// The folder.
    pub directory: String,
    /// Migrations in it.
    pub migrations: usize,
    /// Statements that nothing makes safe, `file:line: why`: the demo approved them all.
    pub approvals: Vec<String>,
    /// That both end the same.
    pub proved: Proved,
    /// As their own tool runs them.
    pub original: UnderTraffic,
    /// As a plan.
    pub rewritten: UnderTraffic,
    /// The plan's run, step by step.
    pub run: JourneySummary,
    /// How many sessions were generated for each.
    pub sessions: u32,
    /// With which seed.
    pub seed: String,
    /// `server_version` of the server.
    pub server_version: String,
}

/// What was compared on throw-away servers, and found the same.
#[derive(Debug, Clone, Copy, Serialize, serde::Deserialize)]
pub struct Proved {
    /// Properties of the catalog.
    pub properties: u64,
    /// Tables.
    pub tables: u64,
    /// Rows in them.
    pub rows: u64,
}

/// One run and what live clients saw of it.
#[derive(Debug, Clone, Default, Serialize)]
pub struct UnderTraffic {
    /// `done`, or how it ended otherwise.
    pub outcome: &'static str,
    /// Why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// How long it took.
    pub seconds: f64,
    /// How often the server ended one of its transactions because of a deadlock; it was run anew.
    pub deadlocks: u32,
    /// Slow reports that somebody ran meanwhile.
    pub reports: u64,
    /// Requests of the live clients.
    pub requests: u64,
    /// Those with another answer than it had to be.
    pub requests_failed: u64,
    /// The failed ones by reason.
    pub failures: BTreeMap<String, u64>,
    /// Longest time any of them took.
    pub longest_stall_ms: f64,
    /// Half of the requests stayed within this.
    pub latency_p50_ms: f64,
    /// 99 of 100 requests stayed within this.
    pub latency_p99_ms: f64,
    /// Sessions before and after, and what the clients did to them.
    pub sessions: Balance,
}

impl UnderTraffic {
    /// Adds what the clients measured, and their books.
    pub fn seen(mut self, measured: &Measured, sessions: Balance) -> Self {
        self.requests = measured.requests();
        self.requests_failed = measured.requests_failed();
        self.failures = measured.failures().clone();
        self.longest_stall_ms = measured.quantile_ms(1.0);
        self.latency_p50_ms = measured.quantile_ms(0.5);
        self.latency_p99_ms = measured.quantile_ms(0.99);
        self.sessions = sessions;
        self
    }
}

impl MigrationsReport {
    /// What is not as it must be. How the original treats the clients is shown and not judged.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let mut say = |wrong: bool, what: String| {
            if wrong {
                problems.push(what);
            }
        };
        for (which, run) in [("the original", &self.original), ("the plan", &self.rewritten)] {
            let reason = run.reason.as_deref().unwrap_or("no reason given");
            say(run.outcome != "done", format!("{which} is {}: {reason}", run.outcome));
            say(run.requests == 0, format!("no request was made beside {which}"));
        }
        let UnderTraffic { requests, failures, sessions, .. } = &self.rewritten;
        for (why, times) in failures {
            say(true, format!("{times} of {requests} requests failed beside the plan: {why}"));
        }
        say(sessions.differing > 0, format!("{} sessions are not as they must be after the plan", sessions.differing));
        problems
    }

    /// 0 when everything is as it must be, 14 otherwise.
    pub fn exit(&self) -> Exit {
        if self.problems().is_empty() { Exit::Done } else { Exit::Divergence }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn report() -> MigrationsReport {
        let mut measured = Measured::default();
        measured.took(Duration::from_millis(1));
        let run = || UnderTraffic { outcome: "done", ..UnderTraffic::default() }.seen(&measured, Balance::default());
        let summary = JourneySummary {
            plan: "p".to_owned(),
            outcome: "done",
            seconds: 1.0,
            counters: BTreeMap::new(),
            longest_lock_wait_ms: 0.0,
            steps: Vec::new(),
            restores: Vec::new(),
        };
        MigrationsReport {
            directory: String::new(),
            migrations: 1,
            approvals: Vec::new(),
            proved: Proved { properties: 1, tables: 1, rows: 1 },
            original: run(),
            rewritten: run(),
            run: summary,
            sessions: 1,
            seed: String::new(),
            server_version: String::new(),
        }
    }

    #[test]
    fn failures_of_the_plan_count_and_those_of_the_original_are_shown() {
        assert_eq!(report().exit(), Exit::Done);
        let mut hurt = report();
        hurt.original.failures = [("refresh: no answer".to_owned(), 3)].into();
        assert_eq!(hurt.exit(), Exit::Done);
        hurt.rewritten.failures = [("refresh: no answer".to_owned(), 1)].into();
        hurt.rewritten.sessions.differing = 1;
        assert_eq!(hurt.problems().len(), 2);
        let mut stopped = report();
        stopped.original.outcome = "failed";
        stopped.rewritten.outcome = "stopped";
        assert_eq!((stopped.problems().len(), stopped.exit()), (2, Exit::Divergence));
    }
}
