//! `crossfade revocations publish` and `consume`: revocations over NATS JetStream.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;

use super::databases::DatabaseArgs;
use super::{Format, PlanArgs, print_json, text};
use crate::engine::{self, Stop};
use crate::nats::{Account, Consumer, Inbox, Mark, NotOurs, Publisher, Wording};
use crate::plan;
use crate::revocation::figures;
use crate::step::Interrupt;
use crate::terms::{Exit, RunId, Side};

/// Where the stream is.
#[derive(Debug, Args)]
pub(super) struct StreamArgs {
    /// Environment variable with the address, such as nats://user:password@host:4222; several with commas
    #[arg(long, value_name = "NAME", default_value = "NATS_URL")]
    nats_url_env: String,
    /// Environment variable with the path of the credentials file
    #[arg(long, value_name = "NAME")]
    nats_credentials_env: Option<String>,
    /// The stream
    #[arg(long, value_name = "NAME", default_value = "revocations", value_parser = stream_name)]
    stream: String,
    /// How long to wait for a server that is away
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = humantime::parse_duration)]
    retry_for: Duration,
    /// Go on until interrupted
    #[arg(long)]
    follow: bool,
}

#[derive(Debug, Args)]
pub(super) struct PublishArgs {
    #[command(flatten)]
    plan: PlanArgs,
    #[command(flatten)]
    databases: DatabaseArgs,
    /// Which run (default: the latest of the plan)
    #[arg(long)]
    run: Option<String>,
    #[command(flatten)]
    stream: StreamArgs,
    /// What subjects begin with; the kind follows
    #[arg(long, value_name = "PREFIX", default_value = "crossfade.revocations")]
    subjects: String,
    /// Send ids, clients and subjects themselves instead of their SHA-256
    #[arg(long)]
    show_ids: bool,
    /// Publish what is published already again: after the stream lost it
    #[arg(long)]
    from_start: bool,
}

#[derive(Debug, Args)]
pub(super) struct ConsumeArgs {
    /// The file to write: one JSON document a line, each event once
    #[arg(long, value_name = "FILE")]
    into: PathBuf,
    /// The consumer's name: each has its own place in the stream
    #[arg(long, value_name = "NAME", default_value = "crossfade", value_parser = stream_name)]
    consumer: String,
    #[command(flatten)]
    stream: StreamArgs,
}

/// What NATS takes for the name of a stream or a consumer.
fn stream_name(name: &str) -> Result<String, String> {
    let good = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    match !name.is_empty() && name.chars().all(good) {
        true => Ok(name.to_owned()),
        false => Err("letters, digits, - and _".to_owned()),
    }
}

/// Between two looks that found nothing.
const IDLE: Duration = Duration::from_millis(500);

/// Waits for a server that is away: each error is said once and tried again.
struct Patience {
    room: Duration,
    since: Option<Instant>,
}

impl Patience {
    /// # Errors
    /// The error itself when it lasts too long, or does not end by itself.
    async fn after(&mut self, error: anyhow::Error) -> anyhow::Result<()> {
        if error.is::<NotOurs>() {
            return Err(error);
        }
        let since = *self.since.get_or_insert_with(|| {
            say(&format!("tries again: {error:#}"));
            Instant::now()
        });
        if since.elapsed() > self.room {
            return Err(error);
        }
        tokio::time::sleep(IDLE).await;
        Ok(())
    }
}

fn say(what: &str) {
    eprintln!("{what}");
}

impl StreamArgs {
    fn account(&self) -> anyhow::Result<Account> {
        let account = Account::from_env(&self.nats_url_env, self.nats_credentials_env.as_deref());
        account.map_err(|why| Stop::Usage(why).into())
    }
}

pub(super) async fn publish(args: &PublishArgs, format: Format) -> anyhow::Result<Exit> {
    let plan = plan::load(&args.plan.plan)?;
    let run = match &args.run {
        Some(run) => RunId::existing(run),
        None => engine::latest_run(&args.plan.state, plan.name())?
            .ok_or_else(|| Stop::Usage(format!("plan {} has no run: nothing is captured for it", plan.name())))?,
    };
    let account = args.stream.account()?;
    let mut databases = args.databases.resolve_only(&plan, Side::Green)?;
    let Some(green) = databases.remove(&Side::Green) else {
        return Err(Stop::Usage(format!("plan {} has no green database: nothing is captured for it", plan.name())).into());
    };
    let interrupt = Interrupt::default();
    engine::listen(&interrupt)?;
    let server = account.connect(say).await?;
    let wording = if args.show_ids { Wording::Clear } else { Wording::Digests };
    let (name, prefix) = (args.stream.stream.clone(), args.subjects.clone());
    let publisher = Publisher { stream: &server, name: name.clone(), prefix, wording, run: run.clone() };
    let (mut sent, mut again) = (0, args.from_start);
    let mut patience = Patience { room: args.stream.retry_for, since: None };
    while !interrupt.soft.is_cancelled() {
        let round = async {
            let mut session = green.connect("crossfade/publish").await?;
            if figures(&session, &run).await?.captured == 0 {
                return Ok((0, false));
            }
            publisher.prepare().await?;
            let mut mark = Mark { green: &mut session, run: run.clone(), stream: name.clone() };
            if std::mem::take(&mut again) {
                mark.to(0).await?;
            }
            publisher.publish(&mut mark, |page| sent += page).await
        };
        match round.await {
            Ok((_, waits)) => {
                patience.since = None;
                if !waits && !args.stream.follow {
                    break;
                }
                tokio::select! {
                    () = interrupt.soft.cancelled() => {}
                    () = tokio::time::sleep(IDLE) => {}
                }
            }
            Err(error) => patience.after(error).await?,
        }
    }
    told(
        &format!("run {run}: {sent} revocations published to stream {name}\n"),
        serde_json::json!({ "run": run, "published": sent }),
        format,
    )
}

pub(super) async fn consume(args: &ConsumeArgs, format: Format) -> anyhow::Result<Exit> {
    let account = args.stream.account()?;
    let mut inbox = Inbox::open(&args.into)?;
    let interrupt = Interrupt::default();
    engine::listen(&interrupt)?;
    let server = account.connect(say).await?;
    let mut patience = Patience { room: args.stream.retry_for, since: None };
    let (mut messages, mut events) = (0, 0);
    while !interrupt.soft.is_cancelled() {
        let round = async {
            let mut consumer = Consumer::open(&server, &args.stream.stream, &args.consumer).await?;
            loop {
                let (taken, new) = consumer.take(&mut inbox).await?;
                messages += taken;
                events += new;
                if interrupt.soft.is_cancelled() || (!args.stream.follow && taken == 0 && consumer.at_rest().await?) {
                    return anyhow::Ok(());
                }
            }
        };
        match round.await {
            Ok(()) => break,
            Err(error) => patience.after(error).await?,
        }
    }
    let all = inbox.len();
    let document = serde_json::json!({ "messages": messages, "new": events, "events": all });
    told(&format!("{messages} messages taken, {events} events new, {all} in {}\n", args.into.display()), document, format)
}

fn told(line: &str, document: serde_json::Value, format: Format) -> anyhow::Result<Exit> {
    match format {
        Format::Json => print_json(&document)?,
        _ => text::print(line)?,
    }
    Ok(Exit::Done)
}
