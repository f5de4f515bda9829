//! `crossfade route CONFIG` and its subcommands.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

use super::{Format, print_json, text};
use crate::router::{Change, Changed, Control, Position, Router, RouterConfig, Status, TapKey, replay};
use crate::step::Stop;
use crate::terms::{Exit, Finding, Severity};

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(super) struct RouteArgs {
    #[command(subcommand)]
    command: Option<RouteCommand>,
    /// The configuration file; serves until SIGTERM or SIGINT, reads it again on SIGHUP
    #[arg(required = true)]
    config: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum RouteCommand {
    /// Check the configuration: every problem at once
    Check(ConfigArgs),
    /// Say where a running router sends requests, and which routers follow
    Get(ConfigArgs),
    /// Send requests to a side, unless the route was changed since `--epoch`
    Set {
        #[command(flatten)]
        config: ConfigArgs,
        /// The side
        side: SideArg,
        /// The epoch that you saw (default: what it is now)
        #[arg(long)]
        epoch: Option<u64>,
    },
    /// Park requests, for a time at most; then the side that served before serves again
    Hold {
        #[command(flatten)]
        config: ConfigArgs,
        /// How long at most, such as 5s
        #[arg(long, value_parser = humantime::parse_duration)]
        at_most: Duration,
        /// The epoch that you saw (default: what it is now)
        #[arg(long)]
        epoch: Option<u64>,
        /// Wait until nothing is in flight on the side that served
        #[arg(long)]
        drain: bool,
    },
    /// Print the counters of a running router, as Prometheus reads them
    Metrics(ConfigArgs),
    /// List the recorded revocations, without tokens
    Taps(ConfigArgs),
    /// Do the recorded revocations again on green; without --execute say how many there are
    ReplayTaps {
        #[command(flatten)]
        config: ConfigArgs,
        /// Really do it
        #[arg(long)]
        execute: bool,
    },
}

#[derive(Debug, Args)]
struct ConfigArgs {
    /// The router's configuration file
    config: PathBuf,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum SideArg {
    Blue,
    Green,
}

/// A router that has not spoken for this long is not waited for.
const LIVE_FOR: Duration = Duration::from_secs(30);

pub(super) async fn route(args: &RouteArgs, format: Format) -> anyhow::Result<Exit> {
    let Some(command) = &args.command else {
        let path = args.config.as_ref().ok_or_else(|| Stop::Usage("give the configuration file".to_owned()))?;
        return serve(path).await;
    };
    match command {
        RouteCommand::Check(args) => {
            let config = RouterConfig::load(&args.config)?;
            if let Some(tap) = &config.tap {
                TapKey::from_env(&tap.key_env).map_err(|error| Stop::Usage(format!("{error:#}")))?;
            }
            text::print(&format!("{}: {} listener(s), no problem\n", args.config.display(), config.listen.len()))?;
        }
        RouteCommand::Get(args) => {
            let status = control(args)?.status().await.map_err(unreachable)?;
            show(&status, format)?;
        }
        RouteCommand::Set { config, side, epoch } => {
            let to = match side {
                SideArg::Blue => Position::Blue,
                SideArg::Green => Position::Green,
            };
            change(&control(config)?, to, Duration::ZERO, *epoch, format).await?;
        }
        RouteCommand::Hold { config, at_most, epoch, drain } => {
            let control = control(config)?;
            let route = change(&control, Position::Hold, *at_most, *epoch, format).await?;
            if *drain {
                control.wait(route.epoch, Some(route.side), LIVE_FOR, *at_most).await?;
            }
        }
        RouteCommand::Metrics(args) => text::print(&control(args)?.metrics().await.map_err(unreachable)?)?,
        RouteCommand::Taps(args) => {
            let taps = control(args)?.taps().await.map_err(unreachable)?;
            match format {
                Format::Json => print_json(&taps)?,
                _ => {
                    for tap in taps["taps"].as_array().into_iter().flatten() {
                        text::print(&format!("{tap}\n"))?;
                    }
                }
            }
        }
        RouteCommand::ReplayTaps { config, execute } => return replay_taps(config, *execute, format).await,
    }
    Ok(Exit::Done)
}

fn control(args: &ConfigArgs) -> anyhow::Result<Control> {
    Ok(Control::new(RouterConfig::load(&args.config)?.admin))
}

fn unreachable(error: anyhow::Error) -> anyhow::Error {
    Stop::Unreachable(format!("{error:#}")).into()
}

async fn change(
    control: &Control,
    to: Position,
    hold: Duration,
    epoch: Option<u64>,
    format: Format,
) -> anyhow::Result<crate::router::Route> {
    let epoch = match epoch {
        Some(epoch) => epoch,
        None => control.status().await.map_err(unreachable)?.route.epoch,
    };
    let change = Change { epoch, to, hold_ms: u64::try_from(hold.as_millis()).unwrap_or(u64::MAX) };
    match control.change(&change).await? {
        Changed::Done(route) => {
            show_route(&route, format)?;
            Ok(route)
        }
        Changed::Moved(said) => {
            let next = "crossfade route get CONFIG".to_owned();
            let finding = Finding { severity: Severity::Blocks, object: "the route".to_owned(), what: said, next };
            Err(Stop::Findings(vec![finding]).into())
        }
    }
}

fn show_route(route: &crate::router::Route, format: Format) -> anyhow::Result<()> {
    match format {
        Format::Json => print_json(route),
        _ => text::print(&format!("{} at epoch {}\n", route.position, route.epoch)),
    }
}

fn show(status: &Status, format: Format) -> anyhow::Result<()> {
    if format == Format::Json {
        return print_json(status);
    }
    let mut out = format!("{} at epoch {}", status.route.position, status.route.epoch);
    if status.route.position == Position::Hold {
        let left = status.route.deadline_ms.saturating_sub(crate::router::now_ms());
        out += &format!("; {} serves again in {left} ms at the latest", status.route.side);
    }
    out.push('\n');
    for instance in &status.instances {
        out += &format!(
            "  {}: epoch {}, {} in flight on blue, {} on green, {} parked, {} ms ago\n",
            instance.name, instance.epoch, instance.blue, instance.green, instance.parked, instance.age_ms
        );
    }
    text::print(&out)
}

async fn replay_taps(args: &ConfigArgs, execute: bool, format: Format) -> anyhow::Result<Exit> {
    let config = RouterConfig::load(&args.config)?;
    let Some(tap) = &config.tap else {
        return Err(Stop::Usage(format!("{} has no [tap]: no revocation was recorded", args.config.display())).into());
    };
    let done = replay(&config, tap, execute).await?;
    match format {
        Format::Json => print_json(&json!({"executed": execute, "replay": done}))?,
        _ => {
            let what = if execute { "done on green now" } else { "to do (with --execute)" };
            text::print(&format!(
                "{} revocations of blue recorded, {} done on green earlier, {} {what}, {} failed\n",
                done.recorded,
                done.earlier,
                done.replayed,
                done.failed.len()
            ))?;
        }
    }
    if done.failed.is_empty() {
        return Ok(Exit::Done);
    }
    let finding = |(number, digest, why): (u64, String, String)| Finding {
        severity: Severity::Blocks,
        object: format!("tap {number} ({digest})"),
        what: why,
        next: format!("crossfade route replay-taps {} --execute, when green can do it", args.config.display()),
    };
    Err(Stop::Findings(done.failed.into_iter().map(finding).collect()).into())
}

async fn serve(path: &std::path::Path) -> anyhow::Result<Exit> {
    let config = RouterConfig::load(path)?;
    let names: Vec<String> = config.listen.iter().map(|listen| listen.name.clone()).collect();
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let router = Router::start(config).await?;
    for (name, address) in names.iter().zip(router.addresses()) {
        eprintln!("listening on {address} ({name})");
    }
    let route = router.route();
    eprintln!("the route is {} at epoch {}", route.position, route.epoch);
    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            _ = hangup.recv() => match RouterConfig::load(path).and_then(|config| router.reload(config)) {
                Ok(()) => eprintln!("{} is in effect", path.display()),
                Err(error) => eprintln!("error: {} was not read: {error:#}", path.display()),
            },
        }
    }
    eprintln!("stopping: no more requests are taken");
    tokio::select! {
        () = router.stop() => Ok(Exit::Done),
        _ = interrupt.recv() => Ok(Exit::Interrupted),
    }
}
