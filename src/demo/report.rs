//! What the demo did and found. Pure.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{Balance, Measured};
use crate::pg::Counters;
use crate::report::JourneySummary;
use crate::terms::{Exit, Severity, Side};

/// Both journeys.
#[derive(Debug, Serialize)]
pub struct DemoReport {
    /// One for each plan that was run, in order.
    pub journeys: Vec<JourneyReport>,
    /// How many sessions were generated.
    pub sessions: u32,
    /// With which seed.
    pub seed: String,
    /// `server_version` of the servers.
    pub server_version: String,
}

/// One plan's run under live traffic.
#[derive(Debug, Serialize)]
pub struct JourneyReport {
    /// The plan.
    pub plan: String,
    /// `done`, or how it ended otherwise.
    pub outcome: &'static str,
    /// Why it left before its end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Net runtime of the steps.
    pub seconds: f64,
    /// What the changed database counted meanwhile, live traffic included.
    #[serde(flatten)]
    pub counters: Counters,
    /// Longest wait for a lock that others had to make because of the run.
    pub longest_lock_wait_ms: f64,
    /// Longest time any request of the live clients took.
    pub longest_stall_ms: f64,
    /// Half of the requests stayed within this.
    pub latency_p50_ms: f64,
    /// 99 of 100 requests stayed within this.
    pub latency_p99_ms: f64,
    /// Requests of the live clients.
    pub requests: u64,
    /// Those with another answer than it had to be.
    pub requests_failed: u64,
    /// The failed ones by reason.
    pub failures: BTreeMap<String, u64>,
    /// [`Balance::before`].
    pub sessions_valid_before: usize,
    /// [`Balance::after`].
    pub sessions_valid_after: usize,
    /// Sessions the live clients began.
    pub sessions_created: usize,
    /// Sessions the live clients revoked.
    pub sessions_revoked: usize,
    /// Sessions that are not as they must be; 0 when all is well.
    pub sessions_differing: usize,
    /// What verification found, and the differing sessions.
    pub divergences: usize,
    /// What green followed, in a journey where blue is written to all the while.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub followed: Option<Followed>,
    /// What the switch was to the clients, in a journey that has one.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub switched: Option<Switched>,
    /// The run itself, step by step.
    pub run: JourneySummary,
}

/// What the switch was to the clients.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Switched {
    /// How long traffic was held.
    pub hold_ms: u64,
    /// Changes of blue that came after its fence.
    pub writes_after_fence: u64,
    /// Token families that the services ended because a refresh token came a second time, with the router that coalesces.
    pub token_families_revoked_by_reuse: u64,
    /// The same in a short side run through a router that does not.
    pub token_families_revoked_by_reuse_without_coalescing: u64,
    /// The way back, where one was gone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rollback: Option<RolledBack>,
}

/// The way back to blue.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct RolledBack {
    /// Why it did not come to its end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What green was told after the release and blue does not hold: sessions and tokens.
    pub lost_writes: u64,
    /// Requests of the live clients meanwhile.
    pub requests: u64,
    /// Those with another answer than it had to be.
    pub requests_failed: u64,
    /// The failed ones by reason.
    pub failures: BTreeMap<String, u64>,
    /// Longest time any of them took.
    pub longest_stall_ms: f64,
    /// Sessions that the clients began on green.
    pub sessions_created: usize,
    /// Sessions that they revoked there.
    pub sessions_revoked: usize,
}

/// What was written on blue while green was made, and what became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Followed {
    /// Changed keys that capture wrote down.
    pub changes_captured: u64,
    /// Rows that were inserted, updated and deleted on green for them.
    pub changes_applied: u64,
    /// 99 of 100 batches had everything on green within this.
    pub follow_lag_ms_p99: u64,
    /// What a client was told and green does not hold: sessions, and tokens that green calls other than they are.
    pub lost_writes: u64,
    /// Revocations among the changes.
    pub revocations: Revocations,
}

/// What became of the revocations made on blue.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Revocations {
    /// Written down.
    pub captured: u64,
    /// Taken away on green ahead of the batch.
    pub replayed: u64,
    /// Shown to have no access on green but what blue granted anew.
    pub proved: u64,
    /// Shown to have access on green all the same.
    pub restored_access: u64,
}

impl JourneyReport {
    /// Puts together the run, the traffic and the sessions. `side` is the database that the plan changes. `balances` are
    /// those of the journey and of what followed it; the first one's sessions are the journey's.
    pub fn new(run: JourneySummary, reason: Option<String>, side: Side, measured: &Measured, balances: &[Balance]) -> Self {
        let journey = balances.first().copied().unwrap_or_default();
        let sum = |of: fn(&Balance) -> usize| balances.iter().map(of).sum::<usize>();
        let blocking = run.steps.iter().flat_map(|step| &step.findings).filter(|f| f.severity == Severity::Blocks).count();
        let differing = sum(|balance| balance.differing);
        Self {
            plan: run.plan.clone(),
            outcome: run.outcome,
            reason,
            seconds: run.seconds,
            counters: run.counters.get(&side).copied().unwrap_or_default(),
            longest_lock_wait_ms: run.longest_lock_wait_ms,
            longest_stall_ms: measured.quantile_ms(1.0),
            latency_p50_ms: measured.quantile_ms(0.5),
            latency_p99_ms: measured.quantile_ms(0.99),
            requests: measured.requests(),
            requests_failed: measured.requests_failed(),
            failures: measured.failures().clone(),
            sessions_valid_before: journey.before,
            sessions_valid_after: journey.after,
            sessions_created: sum(|balance| balance.created),
            sessions_revoked: sum(|balance| balance.revoked),
            sessions_differing: differing,
            divergences: blocking + differing,
            followed: None,
            switched: None,
            run,
        }
    }

    /// Adds what green followed and what the switch was, by the run's own figures.
    pub fn switched(mut self, lost_writes: u64, clients: Switched) -> Self {
        let sum = |name| self.run.steps.iter().filter_map(|step| step.figures.get(name)).sum::<u64>();
        self.followed = Some(Followed {
            changes_captured: sum("changes_captured"),
            changes_applied: sum("changes_applied"),
            follow_lag_ms_p99: sum("lag_p99_ms"),
            lost_writes,
            revocations: Revocations {
                captured: sum("revocations_captured"),
                replayed: sum("revocations_replayed"),
                proved: sum("revocations_proved"),
                restored_access: sum("access_restored"),
            },
        });
        self.switched = Some(Switched { hold_ms: sum("hold_ms"), writes_after_fence: sum("writes_after_fence"), ..clients });
        self
    }

    /// What is not as it must be.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let mut say = |wrong: bool, what: String| {
            if wrong {
                problems.push(format!("{}: {what}", self.plan));
            }
        };
        let reason = self.reason.as_deref().unwrap_or("no reason given");
        let back = self.switched.as_ref().is_some_and(|switched| switched.rollback.is_some());
        let wanted = if back { "rolled_back" } else { "done" };
        say(self.outcome != wanted, format!("the run is {}: {reason}", self.outcome));
        say(self.requests == 0, "no request was made".to_owned());
        for (why, times) in &self.failures {
            say(true, format!("{times} of {} requests failed: {why}", self.requests));
        }
        let (before, after) = (self.sessions_valid_before, self.sessions_valid_after);
        say(before != after, format!("{before} sessions were valid before, {after} of them after"));
        say(self.sessions_differing > 0, format!("{} sessions are not as they must be", self.sessions_differing));
        say(self.divergences > self.sessions_differing, "verification found divergence".to_owned());
        if let Some(followed) = &self.followed {
            say(followed.changes_captured == 0, "nothing was written on blue meanwhile".to_owned());
            say(followed.lost_writes > 0, format!("{} writes are lost", followed.lost_writes));
            let Revocations { captured, proved, restored_access, .. } = followed.revocations;
            say(captured == 0, "nothing was revoked on blue meanwhile".to_owned());
            say(proved != captured, format!("{captured} revocations were captured, {proved} proved"));
            say(restored_access > 0, format!("{restored_access} revocations have access on green"));
        }
        if let Some(switched) = &self.switched {
            say(switched.writes_after_fence > 0, format!("{} writes came after the fence", switched.writes_after_fence));
            let ended = switched.token_families_revoked_by_reuse;
            say(ended > 0, format!("{ended} token families were revoked because a refresh came twice"));
            let without = switched.token_families_revoked_by_reuse_without_coalescing;
            say(without == 0, "the service revokes nothing for a reuse: coalescing was not put to the test".to_owned());
            if let Some(back) = &switched.rollback {
                say(back.reason.is_some(), format!("the way back: {}", back.reason.as_deref().unwrap_or_default()));
                say(back.requests == 0, "no request was made on the way back".to_owned());
                say(back.lost_writes > 0, format!("{} writes are lost on the way back", back.lost_writes));
                for (why, times) in &back.failures {
                    say(true, format!("{times} of {} requests failed on the way back: {why}", back.requests));
                }
            }
        }
        problems
    }
}

impl DemoReport {
    /// What is not as it must be, in all journeys.
    pub fn problems(&self) -> Vec<String> {
        let mut problems: Vec<String> = self.journeys.iter().flat_map(JourneyReport::problems).collect();
        if self.journeys.len() < 2 {
            problems.push("the second journey was not begun".to_owned());
        }
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

    fn journey(balance: Balance, failure: bool) -> JourneyReport {
        let run = JourneySummary {
            plan: "p".to_owned(),
            outcome: "done",
            seconds: 1.0,
            counters: BTreeMap::new(),
            longest_lock_wait_ms: 0.0,
            steps: Vec::new(),
            restores: Vec::new(),
        };
        let mut measured = Measured::default();
        measured.took(Duration::from_millis(1));
        if failure {
            measured.failed("refresh: status 500".to_owned());
        }
        JourneyReport::new(run, None, Side::Blue, &measured, &[balance])
    }

    #[test]
    fn every_check_counts() {
        let right = Balance { before: 5, after: 5, created: 1, revoked: 1, differing: 0 };
        assert!(journey(right, false).problems().is_empty());
        assert_eq!(journey(right, true).problems().len(), 1);
        assert_eq!(journey(Balance { after: 4, differing: 1, ..right }, false).problems().len(), 2);
        let report =
            DemoReport { journeys: vec![journey(right, false)], sessions: 5, seed: String::new(), server_version: String::new() };
        assert_eq!(report.exit(), Exit::Divergence);
    }
}
