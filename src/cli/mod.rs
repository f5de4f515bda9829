//! The command line: one file per command. Results go to stdout, everything else to stderr.

mod audit;
mod check;
mod copy;
mod copy_worker;
mod cutover;
mod databases;
mod demo;
mod demo_migrations;
mod explain;
mod finish;
mod follow;
mod grants;
mod hold_snapshot;
mod init;
mod known;
mod lint;
mod logs;
mod migrations;
mod next;
mod notifications;
mod pause;
mod preflight;
mod preview;
mod prove;
mod quarantine;
mod rehearse;
mod report;
mod revocations;
mod rewrite;
mod rollback;
mod route;
mod run;
mod shell;
mod show;
mod slots;
mod status;
#[cfg(feature = "nats")]
mod stream;
mod text;
mod trace;
mod watching;
mod window;

pub use shell::{commands_page, understands};

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{ArgMatches, Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};

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
    /// Write a first plan for two databases, with projections and a list of what is to be decided
    #[command(
        after_help = "Examples:\n  crossfade init --blue URL --green URL -o plan.toml     green has its schema and no rows\n  crossfade check plan.toml                              which decisions are left"
    )]
    Init(init::InitArgs),
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
    /// Run a plan on throw-away servers with a sample of the real rows, kill it, take it back, and predict time, rows and bytes; only reads
    #[command(
        after_help = "Examples:\n  crossfade rehearse PLAN                              20000 rows of the largest table, 3 crashes, a rollback\n  crossfade rehearse PLAN --share 10 --save p.json     a tenth of the rows\n  crossfade rehearse PLAN --generate 5000              a schema without rows: generated ones\n  crossfade rehearse PLAN --copies                     restored copies, at full size\n  crossfade report PLAN --prediction p.json            the real run beside its prediction\n\nNothing but the databases takes part: steps of kind switch, set_lever, run_hook and watch are left out, and what comes after\na switch; guards and notifications too. Exit codes: 0 all went well, 11 the plan stopped or a crash left it stuck, 14 the end\nafter a crash or a rollback is another."
    )]
    Rehearse(rehearse::RehearseArgs),
    /// Run a plan on the databases of a rehearsal; started by the rehearsal itself
    #[command(hide = true)]
    DriveRehearsal(rehearse::DriveArgs),
    /// Say which rows break the constraints to come, and what else would stop the plan; only reads
    #[command(
        after_help = "Examples:\n  crossfade preflight PLAN                    every finding, what blocks first\n  crossfade preflight PLAN --suggest          clean_rows steps and projections for what was found\n  crossfade preflight PLAN --sample 5         of huge tables 5 % of the blocks"
    )]
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
    #[command(
        after_help = "Examples:\n  crossfade pause PLAN                        the latest run\n  crossfade pause .crossfade/copy.toml        what `crossfade copy` runs"
    )]
    Pause(pause::PauseArgs),
    /// Let a paused copy go on; SIGUSR2 for the driver does the same
    #[command(
        after_help = "Examples:\n  crossfade resume PLAN\n\nA run that was stopped or killed is taken up by `crossfade run PLAN --execute`."
    )]
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
    /// Find the quietest windows of the week, what one would lose without follow, and the token lifetime that keeps clients out of it
    #[command(
        after_help = "Examples:\n  crossfade window --blue URL --column hydra_oauth2_access.requested_at --column hydra_oauth2_refresh.requested_at --duration 20m\n  crossfade window --access-log access.log --duration 20m --time-zone Europe/Berlin\n  crossfade window --prometheus 'http://localhost:9090/api/v1/query_range?query=...&start=...&end=...&step=300' --duration 20m\n  crossfade window --blue URL --column token.created_at --duration 20m --token-lifetime 1h --longest-lifetime 24h\n  crossfade window --blue URL --column token.created_at --duration 20m --at 2026-03-01T02:00:00Z\n\nExit code 10 when no time of the week was observed for so long."
    )]
    Window(window::WindowArgs),
    /// Explain an exit code, a SQLSTATE, a preflight check, a rule of lint or a step kind
    #[command(
        after_help = "Examples:\n  crossfade explain 11                 an exit code\n  crossfade explain 55P03 not_null     a SQLSTATE and a preflight check\n  crossfade explain set_not_null       a step kind: keys, locks, undo, an example\n  crossfade explain --list"
    )]
    Explain(explain::ExplainArgs),
    /// Print the JSON schema of plan files, by which editors complete and check them
    #[command(
        after_help = "Examples:\n  crossfade schema > crossfade.schema.json\n\nIn a plan, for editors with a TOML language server (Taplo, Even Better TOML), the first line:\n  #:schema ./crossfade.schema.json"
    )]
    Schema,
    /// Print the completions of a shell
    #[command(
        after_help = "Examples:\n  crossfade completions bash > ~/.local/share/bash-completion/completions/crossfade\n  crossfade completions zsh > ~/.zfunc/_crossfade          with ~/.zfunc in fpath\n  crossfade completions fish > ~/.config/fish/completions/crossfade.fish"
    )]
    Completions(shell::CompletionsArgs),
    /// Write the manual pages of every command to a folder
    #[command(after_help = "Examples:\n  crossfade man /usr/local/share/man/man1\n  crossfade man . && man -l crossfade-run.1")]
    Man(shell::ManArgs),
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
    /// Test cases for CI; `check`, `lint`, `preflight` and `rehearse` alone.
    Junit,
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
    let matches = Cli::command().get_matches();
    let mut cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
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
    let (name, plan) = given(&matches);
    let result = runtime.block_on(dispatch(&cli));
    runtime.shutdown_background();
    match result {
        Ok(exit) => {
            if let Some(next) = next::after(&name, exit, &plan).filter(|_| cli.format == Format::Text && !cli.quiet) {
                eprintln!("next: {next}");
            }
            ExitCode::from(exit as u8)
        }
        Err(error) => ExitCode::from(tell(&error, &plan) as u8),
    }
}

/// The command's name, and the plan file it was given or the word PLAN.
fn given(matches: &ArgMatches) -> (String, String) {
    let Some((name, mut own)) = matches.subcommand() else { return Default::default() };
    while let Some((_, deeper)) = own.subcommand() {
        own = deeper;
    }
    let plan = own.try_get_one::<PathBuf>("plan").ok().flatten();
    (name.to_owned(), plan.map_or("PLAN".to_owned(), |plan| plan.display().to_string()))
}

async fn dispatch(cli: &Cli) -> anyhow::Result<Exit> {
    if cli.format == Format::Sarif && !matches!(cli.command, Command::Preflight(_) | Command::Lint(_)) {
        return Err(Stop::Usage("--format sarif belongs to `crossfade preflight` and `crossfade lint`".to_owned()).into());
    }
    if cli.format == Format::Github && !matches!(cli.command, Command::Lint(_)) {
        return Err(Stop::Usage("--format github belongs to `crossfade lint`".to_owned()).into());
    }
    if cli.format == Format::Junit
        && !matches!(cli.command, Command::Check(_) | Command::Lint(_) | Command::Preflight(_) | Command::Rehearse(_))
    {
        let told =
            "--format junit belongs to `crossfade check`, `crossfade lint`, `crossfade preflight` and `crossfade rehearse`";
        return Err(Stop::Usage(told.to_owned()).into());
    }
    if matches!(cli.format, Format::Markdown | Format::Html) && !matches!(cli.command, Command::Report(_)) {
        return Err(Stop::Usage("--format markdown and html belong to `crossfade report`".to_owned()).into());
    }
    match &cli.command {
        Command::Demo(args) => demo::demo(args, cli.format, cli.quiet).await,
        Command::Init(args) => init::init(args, cli.format).await,
        Command::Check(args) => check::check(args, cli.format).await,
        Command::Grants(args) => grants::run(args, cli.format),
        Command::Lint(args) => lint::lint(args, cli.format).await,
        Command::Rewrite(args) => rewrite::rewrite_command(args, cli.format, cli.quiet).await,
        Command::Prove(args) => prove::prove_command(args, cli.format, cli.quiet).await,
        Command::Trace(args) => trace::trace_command(args, cli.format, cli.quiet).await,
        Command::Rehearse(args) => rehearse::rehearse_command(args, cli.format, cli.quiet).await,
        Command::DriveRehearsal(args) => rehearse::drive(args).await,
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
        Command::Window(args) => window::window(args, cli.format).await,
        Command::Explain(args) => explain::explain(args, cli.format),
        Command::Schema => shell::schema(),
        Command::Completions(args) => shell::completions(args),
        Command::Man(args) => shell::man(args, cli.format),
    }
}

/// Says on stderr what is wrong and gives the exit code for it.
fn tell(error: &anyhow::Error, plan: &str) -> Exit {
    if let Some(problems) = error.downcast_ref::<Problems>() {
        eprintln!("{problems}");
        eprintln!("next: mend what they name, then crossfade check {plan}; crossfade explain KIND has the keys of a step kind");
        return Exit::Usage;
    }
    if let Some(problems) = error.downcast_ref::<crate::router::Problems>() {
        eprintln!("{problems}\nnext: mend what they name, then crossfade route check CONFIG");
        return Exit::Usage;
    }
    let mut said = crate::pg::explain(error);
    eprintln!("error: {said}");
    let exit = match error.downcast_ref::<Stop>() {
        Some(stop) => {
            for finding in stop.findings() {
                eprintln!("{finding}");
                said += &finding.to_string();
            }
            stop.exit()
        }
        None => Exit::Unforeseen,
    };
    if let Some(next) = next::after_error(exit, &said) {
        eprintln!("next: {next}");
    }
    exit
}

/// Prints the test cases of a command, named for its suite.
fn print_junit(suite: &str, cases: &[crate::junit::Case]) -> anyhow::Result<()> {
    text::print(&crate::junit::document(suite, cases)?)
}

/// Prints the one JSON document of a command.
fn print_json(document: &impl serde::Serialize) -> anyhow::Result<()> {
    text::stream(|out| {
        serde_json::to_writer_pretty(&mut *out, document)?;
        out.write_all(b"\n")
    })
}
