//! `crossfade revocations PLAN`: what was revoked on blue, and how far that has come on green.

use std::time::SystemTime;

use clap::{Args, Subcommand};
use jiff::Timestamp;
use serde::Serialize;

use super::databases::DatabaseArgs;
use super::{Format, PlanArgs, print_json, text};
use crate::engine::{self, Stop};
use crate::pg::{Opener, Session, Snapshot};
use crate::plan;
use crate::revocation::{Filter, Recorded, Source, figures, list, pending, stored_rules, unknown};
use crate::terms::{Exit, RunId, Side, key_digest};

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(super) struct RevocationsArgs {
    #[cfg(feature = "nats")]
    #[command(subcommand)]
    command: Option<RevocationsCommand>,
    #[command(flatten)]
    plan: Option<PlanArgs>,
    #[command(flatten)]
    databases: DatabaseArgs,
    /// Which run (default: the latest of the plan)
    #[arg(long)]
    run: Option<String>,
    /// Only of this kind, as the rules name it: token, consent, client, ...
    #[arg(long, value_name = "KIND")]
    what: Option<String>,
    /// Only those since then: a time (2026-11-22T04:00:00Z), or how long ago (90s, 2h)
    #[arg(long, value_name = "TIME", value_parser = moment)]
    since: Option<SystemTime>,
    /// Print ids, clients and subjects themselves instead of their digests
    #[arg(long)]
    show_ids: bool,
}

#[derive(Debug, Subcommand)]
#[cfg(feature = "nats")]
enum RevocationsCommand {
    /// Publish the revocations of a run to a stream of NATS JetStream, each at least once and with its identity
    Publish(super::stream::PublishArgs),
    /// Write what such a stream tells to a file, each event once
    Consume(super::stream::ConsumeArgs),
}

/// A time, or how long ago.
fn moment(text: &str) -> Result<SystemTime, String> {
    if let Ok(at) = text.parse::<Timestamp>() {
        return Ok(at.into());
    }
    let ago = humantime::parse_duration(text)
        .map_err(|_| "neither a time such as 2026-11-22T04:00:00Z nor a duration such as 90s or 2h".to_owned())?;
    SystemTime::now().checked_sub(ago).ok_or_else(|| "longer ago than times reach".to_owned())
}

/// One revocation as it is printed.
#[derive(Debug, Serialize)]
struct Shown {
    what: String,
    id: String,
    client: Option<String>,
    subject: Option<String>,
    transaction: u64,
    source: Source,
    state: &'static str,
    revoked_at: String,
    captured_at: Option<String>,
    replayed_at: Option<String>,
    proved_at: Option<String>,
}

impl Shown {
    fn of(recorded: Recorded, show_ids: bool) -> Self {
        let name = |id: String| if show_ids { id } else { key_digest(&id) };
        let Recorded { event, source, captured_at, replayed_at, proved_at } = recorded;
        Self {
            what: event.what,
            id: name(event.id),
            client: event.client.map(name),
            subject: event.subject.map(name),
            transaction: event.transaction,
            source,
            state: match (captured_at, replayed_at, proved_at) {
                (None, ..) => "pending",
                (_, None, _) => "captured",
                (_, _, None) => "replayed",
                (_, _, Some(_)) => "proved",
            },
            revoked_at: second(event.revoked_at),
            captured_at: captured_at.map(second),
            replayed_at: replayed_at.map(second),
            proved_at: proved_at.map(second),
        }
    }

    fn line(&self) -> String {
        let or_none = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
        let Self { what, id, source, state, revoked_at, .. } = self;
        let (client, subject) = (or_none(&self.client), or_none(&self.subject));
        format!("{revoked_at}  {state:8}  {what:13}  {id:12}  {client:12}  {subject:12}  {}\n", source.as_str())
    }
}

/// In UTC, to the second.
fn second(time: SystemTime) -> String {
    Timestamp::try_from(time).map_or_else(|_| "-".to_owned(), |at| at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string())
}

/// Revocations at a time.
const PAGE: i64 = 5_000;

pub(super) async fn revocations(args: &RevocationsArgs, format: Format) -> anyhow::Result<Exit> {
    #[cfg(feature = "nats")]
    match &args.command {
        Some(RevocationsCommand::Publish(args)) => return super::stream::publish(args, format).await,
        Some(RevocationsCommand::Consume(args)) => return super::stream::consume(args, format).await,
        None => {}
    }
    let of = args.plan.as_ref().ok_or_else(|| Stop::Usage("give the plan file".to_owned()))?;
    let plan = plan::load(&of.plan)?;
    let run = match &args.run {
        Some(run) => RunId::existing(run),
        None => engine::latest_run(&of.state, plan.name())?.ok_or_else(|| {
            let state = of.state.display();
            Stop::Usage(format!("plan {} has no run in {state}; `crossfade run` begins one", plan.name()))
        })?,
    };
    let databases = args.databases.resolve(&plan)?;
    let (Some(blue), Some(green)) = (databases.get(&Side::Blue), databases.get(&Side::Green)) else {
        return Err(Stop::Usage(format!("plan {} has no green database: nothing is captured for it", plan.name())).into());
    };
    let session = green.connect("crossfade/revocations").await?;
    let blue = Opener::new(blue.clone(), "crossfade/revocations".to_owned());
    let mut printer = Printer { format, show_ids: args.show_ids, all: Vec::new(), lines: 0, waiting: 0 };
    let filter = Filter { what: args.what.clone(), since: args.since };
    let mut last = 0;
    loop {
        let page = list(&session, &run, &filter, last, PAGE).await?;
        let Some((seq, _)) = page.last() else { break };
        last = *seq;
        for (_, recorded) in page {
            printer.take(recorded)?;
        }
    }
    waiting(&blue, &session, &run, &filter, &mut printer).await?;
    let figures = figures(&session, &run).await?;
    if format == Format::Json {
        let document = serde_json::json!({
            "run": run, "captured": figures.captured, "replayed": figures.replayed, "proved": figures.proved,
            "pending": printer.waiting, "revocations": printer.all,
        });
        return print_json(&document).map(|()| Exit::Done);
    }
    text::print(&format!(
        "run {run}: {} captured, {} replayed on green, {} proved there; {} only among the captured changes\n",
        figures.captured, figures.replayed, figures.proved, printer.waiting
    ))?;
    Ok(Exit::Done)
}

/// Those that are only among the captured changes: in the outbox on blue, or in the inbox on green.
async fn waiting(blue: &Opener, green: &Session, run: &RunId, filter: &Filter, printer: &mut Printer) -> anyhow::Result<()> {
    let at = Snapshot::export(blue.clone()).await?;
    let Some(rules) = stored_rules(at.session(), run).await? else { return Ok(()) };
    let sql = "SELECT snapshot::text FROM crossfade.watermark WHERE run = $1";
    let watermark = match crate::pg::control_present(green).await? {
        true => green.query_opt(sql, &[&run.as_str()]).await?.map(|row| row.get::<_, String>(0)),
        false => None,
    };
    // Without a watermark everything is unseen.
    let mut pages = pending(&at, green, run, &rules, watermark.as_deref().unwrap_or("1:1:")).await?;
    while let Some(events) = pages.next().await? {
        for event in unknown(green, run, events).await? {
            printer.waiting += 1;
            if filter.has(&event) {
                let source = Source::Capture;
                printer.take(Recorded { event, source, captured_at: None, replayed_at: None, proved_at: None })?;
            }
        }
    }
    Ok(())
}

/// Prints lines as they come, or gathers what becomes one JSON document.
struct Printer {
    format: Format,
    show_ids: bool,
    all: Vec<Shown>,
    lines: u64,
    waiting: u64,
}

impl Printer {
    fn take(&mut self, recorded: Recorded) -> anyhow::Result<()> {
        let shown = Shown::of(recorded, self.show_ids);
        if self.format == Format::Json {
            self.all.push(shown);
            return Ok(());
        }
        if self.lines == 0 {
            let [id, client, subject] =
                if self.show_ids { ["id", "client", "subject"] } else { ["id digest", "client", "subject"] };
            text::print(&format!(
                "{:20}  {:8}  {:13}  {id:12}  {client:12}  {subject:12}  source\n",
                "revoked at", "state", "what"
            ))?;
        }
        self.lines += 1;
        text::print(&shown.line())
    }
}
