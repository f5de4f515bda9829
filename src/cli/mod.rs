//! The command line: one file per command. Results go to stdout, everything else to stderr.

mod audit;
mod check;
mod copy;
mod copy_worker;
mod cutover;
mod databases;
mod demo;
mod demo_migrations;
mod finish;
mod follow;
mod grants;
mod hold_snapshot;
mod known;
mod lint;
mod logs;
mod migrations;
mod pause;
mod preflight;
mod preview;
mod prove;
mod quarantine;
mod report;
mod revocations;
mod rewrite;
mod rollback;
mod route;
mod run;
mod show;
mod slots;
mod status;
#[cfg(feature = "nats")]
mod stream;
mod text;
mod trace;
mod watching;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::plan::Problems;
use crate::step::Stop;
use crate::terms::Exit;

/// Zero-downtime PostgreSQL migrations: in place, and blue-green across different schemas.
#[derive(Debug, Parser)]
#[command(
    version,
    about,
    after_help = "Exit codes: 0 done, 1 unforeseen, 2 wrong usage, 10 findings that block, \
    11 stopped (run resumes), 12 waiting for approval, 13 an undo failed, 14 divergence, 130 interrupted."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// How results are printed on stdout
    #[arg(long, global = true, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// Say less on stderr
    #[arg(long, short, global = true)]
    quiet: bool,
    /// How stderr is written: lines for people, or JSON with OpenTelemetry's field names
    #[arg(long, global = true, value_enum, default_value_t)]
    log_format: logs::LogFormat,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show both journeys of an OAuth database on throw-away servers, under live traffic
    #[command(
        after_help = "Examples:\n  crossfade demo                              both upgrades with 5000 sessions, about a minute\n  crossfade demo --sessions 20000 --keep      leave servers and journals to look at"
    )]
    Demo(demo::DemoArgs),
    /// Check a plan: every problem at once
    #[command(after_help = "Examples:\n  crossfade check plans/hydra-1x-in-place.toml")]
    Check(check::CheckArgs),
    /// Say what the statements of SQL migrations do to a live database, and the safe form; runs nothing
    #[command(
        after_help = "Examples:\n  crossfade lint migrations/                     every migration, in its tool's order\n  git diff --name-only main | crossfade lint --files-from -\n  crossfade lint migrations/ --connect URL       levels by the sizes of real tables\n  crossfade lint --explain drop-column           what a rule is about"
    )]
    Lint(lint::LintArgs),
    /// Turn existing SQL migrations into a plan that does the same and makes nobody wait
    #[command(
        after_help = "Examples:\n  crossfade rewrite migrations/ -o upgrade.toml           the plan, with its SQL files beside it\n  crossfade rewrite migrations/ -o upgrade.toml --applied 20200101000000 --connect URL\n  crossfade prove migrations/ upgrade.toml                that both end the same"
    )]
    Rewrite(rewrite::RewriteArgs),
    /// Run existing migrations and a plan on throw-away servers, and compare what they leave
    #[command(
        after_help = "Examples:\n  crossfade prove migrations/ upgrade.toml                      from an empty database\n  crossfade prove migrations/ upgrade.toml --start schema.sql   from a dump (pg_dump), with rows if it has them"
    )]
    Prove(prove::ProveArgs),
    /// Run SQL migrations on a throw-away server and say what each statement really locked, rewrote, read and blocked, and where lint says otherwise
    #[command(
        after_help = "Examples:\n  crossfade trace migrations/ --start dump.sql               from a dump (pg_dump), with rows if it has them\n  crossfade trace migrations/ --start schema.sql --rows 100000   generated rows in empty tables\n  crossfade trace migrations/ --applied 20200101000000       the versions up to this one first, unseen\n\nExit code 14 where lint says otherwise."
    )]
    Trace(trace::TraceArgs),
    /// Print the privileges that a run of a plan needs, as SQL for an administrator
    #[command(
        after_help = "Examples:\n  crossfade grants PLAN --role upgrader                      both sides\n  crossfade grants PLAN --role upgrader --side blue | psql \"$BLUE_ADMIN_URL\""
    )]
    Grants(grants::GrantsArgs),
    /// Say which rows break the constraints to come, and what else would stop the plan; only reads
    Preflight(preflight::PreflightArgs),
    /// Compare what sessions mean on blue and on green; only reads, but for --save
    #[command(
        after_help = "Examples:\n  crossfade audit PLAN                                      as the plan's audit step would\n  crossfade audit --facts FILE --blue URL --green URL       without a plan\n  crossfade audit PLAN --save                               keep blue's facts on green\n  crossfade audit PLAN --saved --serving green --html a.html  when blue is gone"
    )]
    Audit(audit::AuditArgs),
    /// Run or resume a plan; without --execute say what it would do
    #[command(
        after_help = "Examples:\n  crossfade run PLAN                          changes nothing: steps, rows, locks\n  crossfade run PLAN --execute                does it; the same command resumes\n  crossfade run PLAN --execute --approve ID   goes on past a step that waits for a person"
    )]
    Run(run::RunArgs),
    /// Clone a whole database: definitions, rows, large objects; as fast as the servers can
    #[command(
        after_help = "Examples:\n  crossfade copy --blue URL --green URL              changes nothing: tables, sizes, what is not carried\n  crossfade copy --blue URL --green URL --execute    does it; the same command resumes\n  crossfade rollback .crossfade/copy.toml --execute  takes it back"
    )]
    Copy(copy::CopyArgs),
    /// Take parts of a copy that goes on, on another machine than the one that drives it; may come and go
    #[command(
        after_help = "Examples:\n  crossfade copy-worker --blue URL --green URL              until no part is left\n  crossfade copy-worker --wait 10m --jobs 4                 waits for a copy to begin\n\nSIGUSR1 pauses this worker, SIGUSR2 lets it go on; the first SIGINT or SIGTERM ends it after the parts in hand."
    )]
    CopyWorker(copy_worker::CopyWorkerArgs),
    /// Keep the snapshot of a copy; started by the copy itself
    #[command(hide = true)]
    HoldSnapshot,
    /// Pause the rows of a copy that goes on, its workers' too; SIGUSR1 for the driver does the same
    #[command(after_help = "Examples:\n  crossfade pause PLAN                        the latest run\n  crossfade pause .crossfade/copy.toml        what `crossfade copy` runs")]
    Pause(pause::PauseArgs),
    /// Let a paused copy go on; SIGUSR2 for the driver does the same
    #[command(after_help = "Examples:\n  crossfade resume PLAN\n\nA run that was stopped or killed is taken up by `crossfade run PLAN --execute`.")]
    Resume(pause::PauseArgs),
    /// Send the traffic to green: hold, fence, last batch, switch, check, release; or take everything back
    #[command(
        after_help = "Examples:\n  crossfade cutover PLAN                                changes nothing: participants, locks, the point of no return\n  crossfade cutover PLAN --execute                      says what is missing; without an approval exit code 12\n  crossfade cutover PLAN --execute --approve cutover    does it; the same command finishes or takes back what a crash left"
    )]
    Cutover(cutover::CutoverArgs),
    /// Go on bringing blue's changes to green, for the latest run of a plan that captures them, until interrupted
    #[command(
        after_help = "Examples:\n  crossfade follow PLAN                       beside a run that waits, until Ctrl-C\n  crossfade follow PLAN --until-caught-up     once: what is committed now is on green then"
    )]
    Follow(follow::FollowArgs),
    /// End what a run that is done keeps going on blue: its replication slot or its triggers; green stays as it is
    #[command(
        after_help = "Examples:\n  crossfade finish PLAN                       changes nothing: what goes on, and what would end\n  crossfade finish PLAN --execute             a last batch, then blue is as it was"
    )]
    Finish(finish::FinishArgs),
    /// Say where a run stands, and how far green is behind blue while it follows
    #[command(
        after_help = "Examples:\n  crossfade status PLAN\n  crossfade status PLAN --follow --tui          what is going on, from another terminal\n  crossfade status PLAN --format json"
    )]
    Status(status::StatusArgs),
    /// Say what a run did
    #[command(
        after_help = "Examples:\n  crossfade report PLAN                       steps, databases, statements, what was found\n  crossfade report PLAN --format html > report.html\n  crossfade report .crossfade/NAME/RUN        of one run, without its plan"
    )]
    Report(report::ReportArgs),
    /// Undo a run, last step first
    #[command(
        after_help = "Examples:\n  crossfade rollback PLAN                     changes nothing: what would be undone\n  crossfade rollback PLAN --execute           does it; the same command resumes"
    )]
    Rollback(rollback::RollbackArgs),
    /// List what was revoked on blue during a run, and how far each revocation has come
    #[command(
        after_help = "Examples:\n  crossfade revocations PLAN                          the latest run; ids as digests\n  crossfade revocations PLAN --what token --since 2h\n  crossfade revocations PLAN --show-ids --format json\n  crossfade revocations publish PLAN --follow         to NATS JetStream; the address is in NATS_URL\n  crossfade revocations consume --into revoked.jsonl --follow"
    )]
    Revocations(revocations::RevocationsArgs),
    /// The rows that steps set aside: list, show, or put them back
    #[command(
        after_help = "Examples:\n  crossfade quarantine list PLAN                 by run, step, table and reason\n  crossfade quarantine restore PLAN --execute    puts the rows of the latest run back"
    )]
    Quarantine(quarantine::QuarantineArgs),
    /// Serve as the reverse proxy in front of blue and green, or ask and tell one that serves
    #[command(
        after_help = "Examples:\n  crossfade route router.toml                        serves\n  crossfade route get router.toml                    where requests go\n  crossfade route hold router.toml --at-most 5s      parks them\n  crossfade route set router.toml green --epoch 7    sends them to green"
    )]
    Route(route::RouteArgs),
}

/// How results are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people.
    Text,
    /// One JSON document.
    Json,
    /// SARIF 2.1.0, for code review tools; `preflight` and `lint` alone.
    Sarif,
    /// Annotations of GitHub workflows; `lint` alone.
    Github,
    /// Markdown; `report` alone.
    Markdown,
    /// One HTML page that needs nothing else; `report` alone.
    Html,
}

/// The plan and where its runs are kept.
#[derive(Debug, Args)]
struct PlanArgs {
    /// The plan file
    plan: PathBuf,
    /// Directory of all runs (journals)
    #[arg(long, env = "CROSSFADE_STATE", default_value = ".crossfade")]
    state: PathBuf,
}

/// The whole program.
pub fn main() -> ExitCode {
    let mut cli = Cli::parse();
    logs::start(cli.log_format);
    cli.quiet |= cli.log_format == logs::LogFormat::Json; // what a screen would show is logged
    crate::copy::offer();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: cannot start: {error}");
            return ExitCode::from(Exit::Unforeseen as u8);
        }
    };
    let result = runtime.block_on(dispatch(&cli));
    runtime.shutdown_background();
    match result {
        Ok(exit) => ExitCode::from(exit as u8),
        Err(error) => ExitCode::from(tell(&error) as u8),
    }
}

async fn dispatch(cli: &Cli) -> anyhow::Result<Exit> {
    if cli.format == Format::Sarif && !matches!(cli.command, Command::Preflight(_) | Command::Lint(_)) {
        return Err(Stop::Usage("--format sarif belongs to `crossfade preflight` and `crossfade lint`".to_owned()).into());
    }
    if cli.format == Format::Github && !matches!(cli.command, Command::Lint(_)) {
        return Err(Stop::Usage("--format github belongs to `crossfade lint`".to_owned()).into());
    }
    if matches!(cli.format, Format::Markdown | Format::Html) && !matches!(cli.command, Command::Report(_)) {
        return Err(Stop::Usage("--format markdown and html belong to `crossfade report`".to_owned()).into());
    }
    match &cli.command {
        Command::Demo(args) => demo::demo(args, cli.format, cli.quiet).await,
        Command::Check(args) => check::check(args, cli.format).await,
        Command::Grants(args) => grants::run(args, cli.format),
        Command::Lint(args) => lint::lint(args, cli.format).await,
        Command::Rewrite(args) => rewrite::rewrite_command(args, cli.format, cli.quiet).await,
        Command::Prove(args) => prove::prove_command(args, cli.format, cli.quiet).await,
        Command::Trace(args) => trace::trace_command(args, cli.format, cli.quiet).await,
        Command::Preflight(args) => preflight::preflight(args, cli.format, cli.quiet).await,
        Command::Audit(args) => audit::audit(args, cli.format, cli.quiet).await,
        Command::Run(args) => run::run(args, cli.format, cli.quiet).await,
        Command::Copy(args) => copy::copy(args, cli.format, cli.quiet).await,
        Command::CopyWorker(args) => copy_worker::copy_worker(args, cli.format, cli.quiet).await,
        Command::HoldSnapshot => hold_snapshot::hold_snapshot().await,
        Command::Pause(args) => pause::pause(args, true, cli.format).await,
        Command::Resume(args) => pause::pause(args, false, cli.format).await,
        Command::Cutover(args) => cutover::cutover(args, cli.format, cli.quiet).await,
        Command::Follow(args) => follow::follow(args, cli.format, cli.quiet).await,
        Command::Finish(args) => finish::finish(args, cli.format, cli.quiet).await,
        Command::Status(args) => status::status(args, cli.format).await,
        Command::Report(args) => report::report(args, cli.format),
        Command::Rollback(args) => rollback::rollback(args, cli.format, cli.quiet).await,
        Command::Revocations(args) => revocations::revocations(args, cli.format).await,
        Command::Quarantine(args) => quarantine::quarantine(args, cli.format).await,
        Command::Route(args) => route::route(args, cli.format).await,
    }
}

/// Says on stderr what is wrong and gives the exit code for it.
fn tell(error: &anyhow::Error) -> Exit {
    if let Some(problems) = error.downcast_ref::<Problems>() {
        eprintln!("{problems}");
        return Exit::Usage;
    }
    if let Some(problems) = error.downcast_ref::<crate::router::Problems>() {
        eprintln!("{problems}");
        return Exit::Usage;
    }
    eprintln!("error: {}", crate::pg::explain(error));
    match error.downcast_ref::<Stop>() {
        Some(stop) => {
            for finding in stop.findings() {
                eprintln!("{finding}");
            }
            stop.exit()
        }
        None => Exit::Unforeseen,
    }
}

/// Prints the one JSON document of a command.
fn print_json(document: &impl serde::Serialize) -> anyhow::Result<()> {
    text::print(&format!("{}\n", serde_json::to_string_pretty(document)?))
}
