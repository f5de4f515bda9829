//! What a person sees while a run goes on: the whole picture when asked for, else a bar on a terminal, else plain lines. Always on
//! stderr. The same pictures become metrics.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use jiff::Timestamp;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::exporter::Exporter;
use super::lines::{database, lag, line};
use super::picture::{Outline, Picture, Scene};
use super::tui::{Key, Tui};
use super::{thousands, time};
use crate::journal::{Event, Line};
use crate::step::{Interrupt, Notice};
use crate::terms::Exit;

/// How a run is shown.
#[derive(Default)]
pub struct Show {
    /// Only what needs a person.
    pub quiet: bool,
    /// The whole picture, where there is a terminal.
    pub tui: Option<Tui>,
    /// Where metrics go.
    pub exporter: Option<Exporter>,
    /// What is known of the plan.
    pub outline: Outline,
    /// What Ctrl-C asks to stop, for a terminal that takes the keyboard.
    pub interrupt: Interrupt,
}

/// Shows notices until every sender is gone.
pub struct Screen {
    task: tokio::task::JoinHandle<()>,
}

impl Screen {
    /// Starts for work that has no plan to show; `quiet` shows only what needs a person.
    pub fn start(quiet: bool) -> (Self, UnboundedSender<Notice>) {
        Self::with(Show { quiet, ..Show::default() })
    }

    /// Starts.
    pub fn with(show: Show) -> (Self, UnboundedSender<Notice>) {
        let (sender, receiver) = unbounded_channel();
        (Self { task: tokio::spawn(attend(receiver, show)) }, sender)
    }

    /// Waits until the last notice is shown; every sender must be dropped.
    pub async fn finish(self) {
        let _ = self.task.await;
    }
}

/// How often the whole picture is drawn and metrics are told.
const PICTURE_EVERY: Duration = Duration::from_millis(500);
/// How often progress becomes a line where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(5);

async fn attend(mut notices: UnboundedReceiver<Notice>, show: Show) {
    let Show { quiet, tui, exporter, outline, interrupt } = show;
    let mut view = View {
        bar: None,
        terminal: std::io::stderr().is_terminal(),
        quiet,
        last_line: Instant::now(),
        unit: String::new(),
        planned: !outline.steps.is_empty(),
        scene: Scene::new(outline),
        tui,
        exporter,
        later: Vec::new(),
    };
    let mut tick = tokio::time::interval(PICTURE_EVERY);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let key = async {
            match &mut view.tui {
                Some(tui) => tui.key().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            notice = notices.recv() => match notice {
                Some(notice) => view.take(&notice),
                None => break,
            },
            key = key => match key {
                Key::Interrupt => match interrupt.ask() {
                    Some(words) => view.say(words),
                    None => {
                        view.close(); // the terminal is as it was
                        std::process::exit(Exit::Interrupted as i32);
                    }
                },
                Key::Quit => view.close(),
            },
            _ = tick.tick() => view.picture(),
        }
    }
    view.picture();
    view.clear();
    view.close();
}

struct View {
    bar: Option<ProgressBar>,
    terminal: bool,
    quiet: bool,
    last_line: Instant,
    unit: String,
    planned: bool,
    scene: Scene,
    tui: Option<Tui>,
    exporter: Option<Exporter>,
    /// What was said while the whole picture had the terminal.
    later: Vec<String>,
}

impl View {
    fn take(&mut self, notice: &Notice) {
        match notice {
            Notice::Run { run, lines } => {
                self.scene.run(run.clone());
                lines.iter().for_each(|line| self.known(line));
            }
            Notice::Event(line) => {
                self.known(line);
                self.event(&line.event);
            }
            Notice::Progress { step, done, total, unit } => self.progress(step.as_str(), *done, *total, unit),
            Notice::Sampled(entry) => {
                self.scene.entry(entry);
                self.sampled();
            }
            Notice::Waiting { step, blockers } => {
                for blocker in blockers {
                    tracing::info!(%step, %blocker, "waits for a lock");
                    self.say(&format!("{step}: waits for a lock; in the way: {blocker}"));
                }
            }
            Notice::Remark { step, text } => {
                tracing::info!(%step, "{text}");
                self.say(&format!("{step}: {text}"));
            }
        }
    }

    fn known(&mut self, line: &Line) {
        if let Err(why) = self.scene.line(line) {
            tracing::debug!(why, "a line does not fit the picture");
        }
    }

    fn now(&self) -> Picture {
        self.scene.picture(Timestamp::now())
    }

    /// Shows how things stand to whoever wants the whole picture.
    fn picture(&mut self) {
        if self.tui.is_none() && self.exporter.is_none() {
            return;
        }
        let picture = self.now();
        if let Some(exporter) = &mut self.exporter {
            exporter.publish(&picture);
        }
        if let Some(tui) = &mut self.tui
            && let Err(error) = tui.draw(&picture)
        {
            tracing::debug!(%error, "a picture was not drawn");
        }
    }

    /// Gives the terminal back, and says what was said meanwhile.
    fn close(&mut self) {
        if self.tui.take().is_some() {
            for line in std::mem::take(&mut self.later) {
                eprintln!("{line}");
            }
        }
    }

    fn event(&mut self, event: &Event) {
        log(event);
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
        if self.quiet || self.tui.is_some() {
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
        } else if !self.planned && self.last_line.elapsed() >= LINE_EVERY {
            self.last_line = Instant::now();
            match total {
                0 => eprintln!("{step}: {} {unit}", count(done)),
                _ => eprintln!("{step}: {} of {} {unit} ({} %)", count(done), count(total), done * 100 / total),
            }
        }
    }

    /// With a new sample the bar and the lines say more.
    fn sampled(&mut self) {
        if self.quiet || self.tui.is_some() {
            return;
        }
        if let Some(bar) = &self.bar {
            let picture = self.now();
            let sides = picture.sides.iter().map(|(side, one)| database(*side, one));
            let told: Vec<String> = sides.chain(picture.lag.iter().map(lag)).collect();
            bar.set_message(format!("{} {}", self.unit, told.join("; ")));
        } else if !self.terminal && self.planned && self.last_line.elapsed() >= LINE_EVERY {
            self.last_line = Instant::now();
            if let Some(line) = line(&self.now()) {
                eprintln!("{line}");
            }
        }
    }

    fn say(&mut self, line: &str) {
        if self.tui.is_some() {
            self.scene.remark(line.to_owned());
            self.later.push(line.to_owned());
            return;
        }
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

/// An event of the journal for the log.
fn log(event: &Event) {
    match event {
        Event::StepStarted { step, attempt, .. } => tracing::info!(%step, attempt, "step begins"),
        Event::StepDone { step, seconds, longest_lock_wait_ms, .. } => {
            tracing::info!(%step, seconds, longest_lock_wait_ms, "step done");
        }
        Event::StepFailed { step, reason, .. } => tracing::info!(%step, reason, "step stopped"),
        Event::StepAdopted { step } => tracing::info!(%step, "step was complete before this run"),
        Event::UndoStarted { step } => tracing::info!(%step, "undo begins"),
        Event::UndoDone { step } => tracing::info!(%step, "step undone"),
        Event::UndoFailed { step, reason } => tracing::info!(%step, reason, "undo failed"),
        Event::Stopped { exit } => tracing::info!(exit_code = *exit as u8, "run stopped"),
        Event::RunDone => tracing::info!("run done"),
        Event::RolledBack => tracing::info!("run rolled back"),
        _ => {}
    }
}

fn count(number: u64) -> String {
    thousands(i64::try_from(number).unwrap_or(i64::MAX))
}
