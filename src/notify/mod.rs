//! Tells systems of yours what a run comes to: `[[notify]]` of a plan, and `--notify`.
//!
//! [`Message::of`] turns a journal event into a message (pure), [`Target`] delivers it to a program or a webhook, [`Notifier`]
//! does so beside the run, in order, and tries again. A message that cannot be delivered is said on the screen and stops nothing:
//! the journal is the record.

mod message;
mod target;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

pub use message::{Happened, Message};
pub use target::{Keys, Target};

use crate::journal::Event;
use crate::step::{Notice, Outbound};
use crate::terms::RunId;

/// Pauses before a message is tried again.
const PAUSES: [Duration; 2] = [Duration::from_millis(500), Duration::from_secs(3)];

/// How long the messages of a run that has ended may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Delivers messages beside a run.
pub struct Notifier {
    run: Arc<OnceLock<RunId>>,
    messages: UnboundedSender<Message>,
    plan: String,
    forwards: tokio::task::JoinHandle<()>,
    delivers: tokio::task::JoinHandle<Vec<String>>,
}

impl Notifier {
    /// Starts. Notices that are sent to what it gives go on to `screen`.
    pub fn start(plan: &str, targets: Vec<Target>, screen: Outbound) -> (Self, Outbound) {
        let (sender, mut receiver) = unbounded_channel();
        let (messages, queue) = unbounded_channel();
        let run = Arc::new(OnceLock::new());
        let (of, name, to) = (Arc::clone(&run), plan.to_owned(), messages.clone());
        let forwards = tokio::spawn(async move {
            let mut failed = None;
            while let Some(notice) = receiver.recv().await {
                if let (Notice::Event(line), Some(run)) = (&notice, of.get()) {
                    if let Event::StepFailed { step, reason, .. } | Event::UndoFailed { step, reason } = &line.event {
                        failed = Some((step.clone(), reason.clone()));
                    }
                    if let Some(message) = Message::of(&name, run, line, failed.as_ref()) {
                        let _ = to.send(message);
                    }
                }
                let _ = screen.send(notice);
            }
        });
        let delivers = tokio::spawn(deliver(targets, queue));
        (Self { run, messages, plan: plan.to_owned(), forwards, delivers }, sender)
    }

    /// The run began, or was taken up again.
    pub fn begun(&self, run: &RunId, resumed: bool) {
        let _ = self.run.set(run.clone());
        let _ = self.messages.send(Message::begun(&self.plan, run, resumed));
    }

    /// Waits until every message is delivered, a minute at most; the sender that [`Notifier::start`] gave must be dropped. Gives
    /// what could not be delivered, a line each.
    pub async fn finish(self) -> Vec<String> {
        let Self { messages, forwards, mut delivers, .. } = self;
        let _ = forwards.await;
        drop(messages);
        match tokio::time::timeout(PATIENCE, &mut delivers).await {
            Ok(failed) => failed.unwrap_or_default(),
            Err(_) => {
                delivers.abort();
                vec![format!("notifications were not delivered within {}", humantime::format_duration(PATIENCE))]
            }
        }
    }
}

async fn deliver(targets: Vec<Target>, mut queue: UnboundedReceiver<Message>) -> Vec<String> {
    let mut failed = Vec::new();
    while let Some(message) = queue.recv().await {
        for target in targets.iter().filter(|target| target.wants(message.happened)) {
            if let Err(why) = patiently(target, &message).await {
                failed.push(format!("{} was not told of {}: {why}", target.shown(), message.happened.name()));
            }
        }
    }
    failed
}

async fn patiently(target: &Target, message: &Message) -> Result<(), String> {
    for pause in PAUSES {
        match target.tell(message).await {
            Ok(()) => return Ok(()),
            Err(_) => tokio::time::sleep(pause).await,
        }
    }
    target.tell(message).await
}
