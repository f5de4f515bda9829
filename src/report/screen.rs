//! What a person sees while a run goes on: a bar on a terminal, plain lines elsewhere. Always on stderr.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::{bytes, thousands, time};
use crate::journal::Event;
use crate::pg::Counters;
use crate::step::Notice;
use crate::terms::Side;

/// Shows notices until every sender is gone.
pub struct Screen {
    task: tokio::task::JoinHandle<()>,
}

impl Screen {
    /// Starts; `quiet` shows only what needs a person.
    pub fn start(quiet: bool) -> (Self, UnboundedSender<Notice>) {
        let (sender, receiver) = unbounded_channel();
        (Self { task: tokio::spawn(show(receiver, quiet)) }, sender)
    }

    /// Waits until the last notice is shown; every sender must be dropped.
    pub async fn finish(self) {
        let _ = self.task.await;
    }
}

async fn show(mut notices: UnboundedReceiver<Notice>, quiet: bool) {
    let now = Instant::now();
    let terminal = std::io::stderr().is_terminal();
    let mut view = View { bar: None, terminal, quiet, last_line: now, last_counters: now, unit: String::new() };
    while let Some(notice) = notices.recv().await {
        view.take(&notice);
    }
    view.clear();
}

struct View {
    bar: Option<ProgressBar>,
    terminal: bool,
    quiet: bool,
    last_line: Instant,
    last_counters: Instant,
    unit: String,
}

/// How often progress becomes a line where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(5);

impl View {
    fn take(&mut self, notice: &Notice) {
        match notice {
            Notice::Event(line) => self.event(&line.event),
            Notice::Progress { step, done, total, unit } => self.progress(step.as_str(), *done, *total, unit),
            Notice::Counters { step, side, counters } => self.counters(step.as_str(), *side, counters),
            Notice::Waiting { step, blockers } => {
                for blocker in blockers {
                    self.say(&format!("{step}: waits for a lock; in the way: {blocker}"));
                }
            }
            Notice::Remark { step, text } => self.say(&format!("{step}: {text}")),
        }
    }

    fn event(&mut self, event: &Event) {
        match event {
            Event::StepStarted { step, attempt, .. } => {
                self.clear();
                let again = if *attempt > 1 { format!(" (attempt {attempt})") } else { String::new() };
                self.say(&format!("{step}: begins{again}"));
                self.last_line = Instant::now();
            }
            Event::StepDone { step, seconds, findings, .. } => {
                self.clear();
                self.say(&format!("{step}: done in {}", time(*seconds)));
                for finding in findings {
                    self.say(&format!("{step}: {finding}"));
                }
            }
            Event::StepAdopted { step } => self.say(&format!("{step}: was complete before this run; left as it is")),
            Event::RunResumed { orphans } if *orphans > 0 => self.say(&format!("resumed; ended {orphans} orphan backends")),
            Event::UndoStarted { step } => self.say(&format!("{step}: undoing")),
            Event::UndoDone { step } => self.say(&format!("{step}: undone")),
            _ => {}
        }
    }

    fn progress(&mut self, step: &str, done: u64, total: u64, unit: &str) {
        if self.quiet {
            return;
        }
        if self.terminal {
            let bar = self.bar.get_or_insert_with(|| ProgressBar::new(total));
            let template = match total {
                0 => "{prefix} {spinner} {human_pos} {msg} {elapsed}",
                _ => "{prefix} [{bar:30}] {human_pos}/{human_len} {msg} {per_sec} ETA {eta}",
            };
            if let Ok(style) = ProgressStyle::with_template(template) {
                bar.set_style(style);
            }
            bar.set_prefix(step.to_owned());
            if self.unit != unit {
                self.unit = unit.to_owned();
                bar.set_message(unit.to_owned());
            }
            bar.set_length(total);
            bar.set_position(done);
        } else if self.last_line.elapsed() >= LINE_EVERY {
            self.last_line = Instant::now();
            match total {
                0 => eprintln!("{step}: {} {unit}", count(done)),
                _ => eprintln!("{step}: {} of {} {unit} ({} %)", count(done), count(total), done * 100 / total),
            }
        }
    }

    fn counters(&mut self, step: &str, side: Side, counters: &Counters) {
        let did = format!(
            "{side}: {} rows inserted, {} updated, {} deleted, {} commits, temp {}, WAL {}",
            thousands(counters.rows_inserted),
            thousands(counters.rows_updated),
            thousands(counters.rows_deleted),
            thousands(counters.transaction_commits),
            bytes(counters.temp_bytes),
            bytes(counters.wal_bytes),
        );
        match &self.bar {
            Some(bar) => bar.set_message(format!("{} {did}", self.unit)),
            None if !self.terminal && !self.quiet && self.last_counters.elapsed() >= LINE_EVERY => {
                self.last_counters = Instant::now();
                eprintln!("{step}: {did}");
            }
            None => {}
        }
    }

    fn say(&self, line: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| eprintln!("{line}")),
            None if !self.quiet => eprintln!("{line}"),
            None => {}
        }
    }

    fn clear(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
            self.unit.clear();
        }
    }
}

fn count(number: u64) -> String {
    thousands(i64::try_from(number).unwrap_or(i64::MAX))
}
