//! Who is told of a run: the plan's `[[notify]]` and `--notify`, behind the permission of all programs and calls of a plan.

use clap::Args;

use crate::engine::Driver;
use crate::journal::Event;
use crate::notify::{Notifier, Target};
use crate::plan::Plan;
use crate::report::Screen;
use crate::step::{Outbound, Stop};
use crate::terms::{Finding, Severity};

#[derive(Debug, Default, Args)]
pub(super) struct NotifyArgs {
    /// Tell the webhook whose URL is in this environment variable what the run comes to (needs --allow-hooks)
    #[arg(long, value_name = "VARIABLE")]
    notify: Option<String>,
    /// Sign what it is told with the secret in this environment variable
    #[arg(long, value_name = "VARIABLE", requires = "notify")]
    notify_secret: Option<String>,
}

/// The screen, and those who are told beside it.
pub(super) struct Listeners {
    screen: Screen,
    notifier: Notifier,
}

impl Listeners {
    /// Starts them; gives where a driver's notices go.
    ///
    /// # Errors
    /// When somebody is to be told and hooks are not allowed, or a variable that is needed is not set: before anything begins.
    pub fn start(
        plan: &Plan,
        args: &NotifyArgs,
        allow_hooks: bool,
        screen: Screen,
        notices: Outbound,
    ) -> anyhow::Result<(Self, Outbound)> {
        let mut targets = plan.notify().to_vec();
        targets.extend(args.notify.clone().map(|variable| Target::webhook(variable, args.notify_secret.clone())));
        if !allow_hooks && !targets.is_empty() {
            let blocked = targets.iter().map(|target| Finding {
                severity: Severity::Blocks,
                object: target.shown(),
                what: "is to be told of the run, and hooks are not allowed".to_owned(),
                next: "look at it, then run the same command with `--allow-hooks`".to_owned(),
            });
            return Err(Stop::Findings(blocked.collect()).into());
        }
        for target in &targets {
            target.ready().map_err(|why| Stop::Usage(format!("{}: {why}", target.shown())))?;
        }
        let (notifier, notices) = Notifier::start(plan.name(), targets, notices);
        Ok((Self { screen, notifier }, notices))
    }

    /// The run is there.
    pub fn begun(&self, driver: &Driver) {
        let resumed = driver.journal().lines().iter().any(|line| matches!(line.event, Event::RunResumed { .. }));
        self.notifier.begun(driver.run(), resumed);
    }

    /// Waits until everybody is told and everything is shown; the driver must be dropped.
    pub async fn finish(self) {
        let failed = self.notifier.finish().await;
        self.screen.finish().await;
        failed.iter().for_each(|line| eprintln!("warning: {line}"));
    }
}
