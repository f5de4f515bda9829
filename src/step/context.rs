//! What a step has in its hands while it runs.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use tokio::sync::mpsc::UnboundedSender;
use tokio_util::sync::CancellationToken;

use super::Guard;
use super::live::{Live, Records};
use crate::copy::Wish;
use crate::hook;
use crate::journal::{Entry, Record};
use crate::limits::Limits;
use crate::pg::{Blocker, Database, Opener, Reading, Session};
use crate::terms::{Account, RunId, Side, StepId};

/// What a run says while it goes on; the screen and the metrics listen.
#[derive(Debug, Clone)]
pub enum Notice {
    /// A run is taken up, with its journal so far.
    Run {
        /// The run.
        run: RunId,
        /// The lines.
        lines: Vec<crate::journal::Line>,
    },
    /// A journal line was written.
    Event(crate::journal::Line),
    /// A step is this far: `done` of `total` `unit`s (total 0: not known).
    Progress {
        /// The step.
        step: StepId,
        /// Units done.
        done: u64,
        /// Units in all, 0 when not known.
        total: u64,
        /// `rows`, `parts`, `statements`, `bytes`.
        unit: &'static str,
    },
    /// How things stand in the step, about once a second.
    Sampled(Entry),
    /// A step waits for a lock; these sessions are in the way.
    Waiting {
        /// The step.
        step: StepId,
        /// Who is in the way, as last seen.
        blockers: Vec<Blocker>,
    },
    /// One line for the person who watches.
    Remark {
        /// The step.
        step: StepId,
        /// The line.
        text: String,
    },
}

/// Where notices go.
pub type Outbound = UnboundedSender<Notice>;

/// The requests to stop: the first ends the run after the step, the second cancels the query, and the third waits for nobody.
#[derive(Debug, Clone, Default)]
pub struct Interrupt {
    /// Stop after this step (long steps: after this batch, keeping what is done).
    pub soft: CancellationToken,
    /// Stop now.
    pub hard: CancellationToken,
    /// Pause a copy, or let it go on.
    pub wish: Wish,
}

impl Interrupt {
    /// Somebody asks to stop: the first time softly, then at once. Says what comes of it; `None` the third time, when the process is
    /// to end whoever does not answer: what was done is in the journal.
    pub fn ask(&self) -> Option<&'static str> {
        if self.hard.is_cancelled() {
            None
        } else if self.soft.is_cancelled() {
            self.hard.cancel();
            Some("stopping now: the running query is cancelled")
        } else {
            self.soft.cancel();
            Some("stopping after this step; once more to cancel it now. Either way the same command resumes")
        }
    }
}

/// What a step has in its hands while it runs.
#[derive(Clone)]
pub struct Cx {
    /// The run.
    pub run: RunId,
    /// The step.
    pub step: StepId,
    /// Which attempt at the step this is, from 1.
    pub attempt: u32,
    /// The plan's safety limits.
    pub limits: Limits,
    /// Step ids a person approved with `--approve`.
    pub approvals: Arc<BTreeSet<String>>,
    /// Whether a person allowed the plan's own programs with `--allow-hooks`.
    pub allow_hooks: bool,
    /// Jobs that must be off, for an audit.
    pub guards: Arc<[Guard]>,
    /// Of huge tables look only at this percentage of the blocks, where that tells something.
    pub sample: Option<f64>,
    /// Requests to stop.
    pub interrupt: Interrupt,
    /// Where progress and remarks go.
    pub notices: Outbound,
    accounts: Arc<Mutex<Vec<Account>>>,
    databases: [Option<Database>; 2],
    figures: Arc<Mutex<BTreeMap<String, u64>>>,
    beside: bool,
    spare: Arc<Mutex<[Vec<Session>; 2]>>,
    reading: bool,
    live: Live,
}

impl Cx {
    /// A context for one attempt at one step.
    pub fn new(run: RunId, step: StepId, limits: Limits, databases: [Option<Database>; 2], notices: Outbound) -> Self {
        Self {
            run,
            step,
            attempt: 1,
            limits,
            approvals: Arc::default(),
            allow_hooks: false,
            guards: Arc::default(),
            sample: None,
            interrupt: Interrupt::default(),
            notices,
            accounts: Arc::default(),
            databases,
            figures: Arc::default(),
            beside: false,
            spare: Arc::default(),
            reading: false,
            live: Live::default(),
        }
    }

    /// Opens sessions now that [`Cx::connect`] gives later, where the time of a connection would be missed.
    ///
    /// # Errors
    /// When the server cannot be reached.
    pub async fn keep_spare(&self, side: Side, count: usize) -> anyhow::Result<()> {
        for _ in 0..count {
            let session = self.opener(side)?.open().await?;
            self.spare.lock().unwrap_or_else(PoisonError::into_inner)[side as usize].push(session);
        }
        Ok(())
    }

    /// Closes the sessions that nobody took.
    pub fn close_spare(&self) {
        *self.spare.lock().unwrap_or_else(PoisonError::into_inner) = Default::default();
    }

    /// For work beside a driver of the same run: that driver does not take the sessions for those of a dead one.
    #[must_use]
    pub fn beside(mut self) -> Self {
        self.beside = true;
        self
    }

    /// For work that must change nothing: its sessions are read-only, so it may go on beside a serving side, or on a standby.
    #[must_use]
    pub fn reading(mut self) -> Self {
        self.reading = true;
        self
    }

    /// For work of a run: what is measured goes into its record.
    #[must_use]
    pub fn recorded(mut self, records: Records) -> Self {
        self.live = Live::to(records);
        self
    }

    /// The database of a side.
    ///
    /// # Errors
    /// When the plan has no such side (the plan check refuses steps that would ask).
    pub fn database(&self, side: Side) -> anyhow::Result<&Database> {
        self.databases[side as usize].as_ref().with_context(|| format!("this plan has no {side} database"))
    }

    /// Opens a session on a side. Its application name is `crossfade/<run>/<step>/<attempt>`, by which a later driver
    /// finds and ends it if this one dies.
    ///
    /// # Errors
    /// When the server cannot be reached.
    pub async fn connect(&self, side: Side) -> anyhow::Result<Session> {
        loop {
            let spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner)[side as usize].pop();
            match spare {
                Some(session) if session.is_closed() => {}
                Some(session) => return Ok(session),
                None => return self.opener(side)?.open().await,
            }
        }
    }

    /// What a worker on a thread of its own needs to open such sessions.
    ///
    /// # Errors
    /// When the plan has no such side.
    pub fn opener(&self, side: Side) -> anyhow::Result<Opener> {
        let name = match self.beside {
            false => format!("crossfade/{}/{}/{}", self.run, self.step, self.attempt),
            true => format!("crossfade/{}/{}", self.step, self.run),
        };
        let opener = Opener::new(self.database(side)?.clone(), name).reading(self.reading);
        Ok(opener.heard_by(self.live.listener(side)))
    }

    /// The application name of a session that only watches.
    pub fn watcher(&self) -> String {
        match self.beside {
            false => format!("crossfade/{}/watch", self.run),
            true => format!("crossfade/watch/{}", self.run),
        }
    }

    /// The pattern (`LIKE`) of the application names of the sessions of this work.
    pub fn ours(&self) -> String {
        match self.beside {
            false => format!("crossfade/{}/%", self.run),
            true => format!("crossfade/{}/{}", self.step, self.run),
        }
    }

    /// Says how far the step is.
    pub fn progress(&self, done: u64, total: u64, unit: &'static str) {
        self.live.progress(done, total, unit);
        let _ = self.notices.send(Notice::Progress { step: self.step.clone(), done, total, unit });
    }

    /// Says how far the side that follows is behind.
    pub fn lag(&self, lag: Duration) {
        self.live.lag(lag);
    }

    /// Says which part of the step goes on: the beat of a switch.
    pub fn doing(&self, part: &str) {
        self.live.doing(part);
        let entry = self.sampled(BTreeMap::new());
        self.live.write(&entry);
    }

    /// How things stand, with what the databases said: to those who watch. Gives the entry, for the record.
    pub fn sampled(&self, sides: BTreeMap<Side, Reading>) -> Entry {
        let entry = Entry::now(self.step.clone(), Record::Sample(self.live.sample(sides)));
        let _ = self.notices.send(Notice::Sampled(entry.clone()));
        entry
    }

    /// Puts something into the record of the run.
    pub fn record(&self, what: Record) {
        self.keep(&Entry::now(self.step.clone(), what));
    }

    /// Puts an entry into the record of the run, and the statements that ran since the last one.
    pub fn keep(&self, entry: &Entry) {
        self.live.flush(&self.step, self.attempt);
        self.live.write(entry);
    }

    /// Puts the statements that ran into the record.
    pub fn keep_statements(&self) {
        self.live.flush(&self.step, self.attempt);
    }

    /// Says who is in the way.
    pub fn waiting(&self, blockers: &[Blocker]) {
        self.live.waiting(blockers);
        let _ = self.notices.send(Notice::Waiting { step: self.step.clone(), blockers: blockers.to_vec() });
    }

    /// Says one line to the person who watches.
    pub fn remark(&self, text: impl Into<String>) {
        let _ = self.notices.send(Notice::Remark { step: self.step.clone(), text: text.into() });
    }

    /// What a program of the plan gets from us: which run, step and attempt it works for. What it prints becomes remarks.
    pub fn hook(&self) -> hook::Surroundings {
        let cx = self.clone();
        hook::Surroundings {
            variables: vec![
                ("CROSSFADE_RUN".to_owned(), self.run.to_string()),
                ("CROSSFADE_STEP".to_owned(), self.step.to_string()),
                ("CROSSFADE_ATTEMPT".to_owned(), self.attempt.to_string()),
            ],
            listener: Arc::new(move |line| cx.remark(line)),
        }
    }

    /// Keeps a number for the journal, under a name with its unit: `lag_p99_ms`. The last one of a name counts.
    pub fn figure(&self, name: &str, value: u64) {
        self.figures.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned(), value);
    }

    /// The numbers kept so far.
    pub fn figures(&self) -> BTreeMap<String, u64> {
        self.figures.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Keeps what the step counted, for the journal.
    pub fn account(&self, accounts: Vec<Account>) {
        *self.accounts.lock().unwrap_or_else(PoisonError::into_inner) = accounts;
    }

    /// Takes what the step counted.
    pub fn accounts(&self) -> Vec<Account> {
        std::mem::take(&mut *self.accounts.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether a person approved this step.
    pub fn approved(&self) -> bool {
        self.approvals.contains(self.step.as_str())
    }

    /// A named place where tests kill the process: see [`crate::crash`].
    pub fn crash_point(&self, place: &str) {
        crate::crash::point(&format!("{}/{place}", self.step));
    }
}
