//! `crossfade rehearse PLAN`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;

use super::databases::DatabaseArgs;
use super::{Format, print_json, print_junit, text};
use crate::junit::{Case, Failure};
use crate::plan;
use crate::rehearse::child::{self, Way};
use crate::rehearse::{Crash, Rehearsal, Rollback, Setup, Stopped, Wanted, rehearse};
use crate::report::{Estimate, Prediction, bytes, forecast, give_or_take, thousands, time};
use crate::step::Stop;
use crate::terms::Exit;

#[derive(Debug, Args)]
pub(super) struct RehearseArgs {
    /// The plan file
    plan: PathBuf,
    #[command(flatten)]
    databases: DatabaseArgs,
    /// Sample about this many rows of the largest table, and the same share of the others
    #[arg(long, value_name = "N", default_value_t = 20_000, conflicts_with = "share")]
    rows: u64,
    /// Sample this part of the rows, in percent; 100 for all
    #[arg(long, value_name = "PERCENT")]
    share: Option<f64>,
    /// Take all rows, and give every table of blue that has none this many generated ones: for a schema without its rows, in CI
    #[arg(long, value_name = "N", conflicts_with_all = ["share", "rows", "copies"], value_parser = clap::value_parser!(u32).range(1..))]
    generate: Option<u32>,
    /// The databases are copies, restored for this, that nobody else uses: rehearse at full size on databases made of them on their
    /// own servers (CREATE DATABASE … TEMPLATE), which are dropped afterwards
    #[arg(long, conflicts_with_all = ["share", "rows", "keep"])]
    copies: bool,
    /// How often the undisturbed run is timed at each of the two sizes
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// How often the plan is killed at some moment of a step, and taken up again
    #[arg(long, value_name = "N", default_value_t = 3)]
    crashes: u32,
    /// Seed of the moments of the crashes
    #[arg(long, value_name = "S", default_value_t = 1)]
    seed: u64,
    /// Do not take the plan back
    #[arg(long)]
    no_rollback: bool,
    /// Write the prediction to a file, for `crossfade report --prediction`
    #[arg(long, value_name = "FILE")]
    save: Option<PathBuf>,
    /// Leave the scratch servers and journals to look at
    #[arg(long)]
    keep: bool,
}

#[derive(Debug, Args)]
pub(super) struct DriveArgs {
    /// The plan file
    plan: PathBuf,
    #[command(flatten)]
    databases: DatabaseArgs,
    /// Directory of all runs (journals)
    #[arg(long)]
    state: PathBuf,
    /// Take the latest run back
    #[arg(long)]
    back: bool,
}

/// What a rehearsal starts to run the plan.
pub(super) async fn drive(args: &DriveArgs) -> Result<Exit> {
    let databases = args.databases.resolve(&plan::load(&args.plan)?)?;
    child::drive(&args.plan, &args.state, databases, if args.back { Way::Back } else { Way::Forward }).await
}

pub(super) async fn rehearse_command(args: &RehearseArgs, format: Format, quiet: bool) -> Result<Exit> {
    let databases = args.databases.resolve(&plan::load(&args.plan)?)?;
    let wanted = match (args.copies, args.generate, args.share) {
        (true, ..) => Wanted::Copies,
        (_, Some(rows), _) => Wanted::Generated(rows),
        (.., Some(percent)) if percent > 0.0 && percent <= 100.0 => Wanted::Share(percent / 100.0),
        (.., Some(_)) => return Err(Stop::Usage("--share is a part in percent, above 0 and at most 100".to_owned()).into()),
        (.., None) if args.rows == 0 => return Err(Stop::Usage("--rows 0: there is nothing to rehearse on".to_owned()).into()),
        (.., None) => Wanted::Rows(args.rows),
    };
    let say = |what: &str| {
        if !quiet {
            eprintln!("{what}");
        }
    };
    let rehearsal = rehearse(Setup {
        plan: &args.plan,
        databases,
        wanted,
        rounds: args.rounds as usize,
        crashes: args.crashes as usize,
        seed: args.seed,
        rollback: !args.no_rollback,
        keep: args.keep,
        program: std::env::current_exe().context("this program cannot be found")?,
        say: &say,
    })
    .await?;
    if let (Some(file), Some(prediction)) = (&args.save, &rehearsal.prediction) {
        let text = serde_json::to_string_pretty(prediction)? + "\n";
        std::fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))?;
    }
    match format {
        Format::Json => print_json(&rehearsal)?,
        Format::Junit => print_junit("crossfade rehearse", &cases(&args.plan, &rehearsal))?,
        _ => text::print(&render(&rehearsal))?,
    }
    Ok(rehearsal.exit())
}

/// What was tried, each as a test case: undisturbed, back and forward again, each crash.
fn cases(plan: &Path, rehearsal: &Rehearsal) -> Vec<Case> {
    let case = |name: String, wrong: Option<(&str, String)>| Case {
        class: rehearsal.plan.clone(),
        name,
        file: Some(plan.display().to_string()),
        failure: wrong.map(|(kind, text)| Failure {
            kind: kind.to_owned(),
            message: text.lines().next().unwrap_or_default().to_owned(),
            text,
        }),
        ..Case::default()
    };
    let stopped = rehearsal.stopped.as_ref().map(|stopped| {
        let step = stopped.step.as_ref().map_or(String::new(), |step| format!("step {step}: "));
        ("stopped", step + &stopped.why)
    });
    let mut cases = vec![case("undisturbed".to_owned(), stopped)];
    match &rehearsal.rollback {
        Some(Rollback::CameBack { seconds, differences, differences_again }) => {
            let all: Vec<&str> = differences.iter().chain(differences_again).map(String::as_str).collect();
            let mut back = case("rollback and forward again".to_owned(), (!all.is_empty()).then(|| ("differs", all.join("\n"))));
            back.took = Some(Duration::from_secs_f64(*seconds));
            cases.push(back);
        }
        Some(Rollback::Stopped { why }) => {
            cases.push(case("rollback and forward again".to_owned(), Some(("stopped", why.clone()))));
        }
        Some(Rollback::NotPossible { .. }) | None => {}
    }
    for (number, crash) in rehearsal.crashes.iter().enumerate() {
        let at = crash.step.as_ref().map_or("between steps".to_owned(), |step| format!("in {step}"));
        let wrong = match &crash.stuck {
            Some(why) => Some(("stuck", why.clone())),
            None => (!crash.differences.is_empty()).then(|| ("differs", crash.differences.join("\n"))),
        };
        cases.push(case(format!("crash {} {at}", number + 1), wrong));
    }
    cases
}

fn render(rehearsal: &Rehearsal) -> String {
    let mut out = format!("Rehearsal of plan {}\n", rehearsal.plan);
    for one in &rehearsal.left_out {
        out += &format!("left out: {} ({})\n", one.step, one.why);
    }
    for note in &rehearsal.notes {
        out += &format!("note: {note}\n");
    }
    if let Some(Stopped { step, why, exit }) = &rehearsal.stopped {
        let step = step.as_ref().map_or(String::new(), |step| format!(" in step {step}"));
        let exit = exit.map_or("killed".to_owned(), |exit| format!("exit code {exit}"));
        return out + &format!("stopped{step} ({exit}):\n{why}\n");
    }
    if let Some(prediction) = &rehearsal.prediction {
        out += &predicted(prediction, rehearsal.real_rows);
    }
    out += "undisturbed: ok\n";
    if let Some(rollback) = &rehearsal.rollback {
        out += &came_back(rollback);
    }
    out + &crashed(&rehearsal.crashes, &rehearsal.volatile)
}

fn predicted(prediction: &Prediction, rows: u64) -> String {
    let sizes: Vec<String> = prediction
        .sizes
        .iter()
        .map(|size| format!("{} rows ({:.1} %, {} times)", grouped(size.rows), size.share * 100.0, size.rounds))
        .collect();
    let mut out =
        format!("\nPrediction for the real {} rows, from {}; ± is its stated error:\n", grouped(rows), sizes.join(" and "));
    out += &forecast(prediction);
    let size = |estimate: &Estimate| give_or_take(*estimate, |value| bytes(Estimate { value, error: 0.0 }.whole()));
    for (side, grows) in &prediction.disk_growth_bytes {
        let all = prediction.disk_bytes.get(side).map_or(String::new(), |all| format!(", {} in all", bytes(all.whole())));
        out += &format!("disk on {side}: {} more{all}, without write-ahead log\n", size(grows));
    }
    let peaks: Vec<String> = prediction.peak_connections.iter().map(|(side, most)| format!("{most} on {side}")).collect();
    out += &format!("sessions at a time: {}\n", peaks.join(", "));
    out + "as on this machine, with nobody else at work: writes and other readers, slower disks and networks add to it\n\n"
}

fn grouped(rows: u64) -> String {
    thousands(i64::try_from(rows).unwrap_or(i64::MAX))
}

fn came_back(rollback: &Rollback) -> String {
    match rollback {
        Rollback::NotPossible { step, why } => format!("rollback: not possible, step {step} cannot be undone ({why})\n"),
        Rollback::Stopped { why } => format!("rollback: STOPPED: {why}\n"),
        Rollback::CameBack { seconds, differences, differences_again } => {
            let again = differences_again.iter().map(|one| format!("  after the second run: {one}\n"));
            let found: String = differences.iter().map(|one| format!("  {one}\n")).chain(again).collect();
            let word = if found.is_empty() { "ok, as it was before; forward again: ok" } else { "DIFFERS:" };
            format!("rollback ({}): {word}\n{found}", time(*seconds))
        }
    }
}

fn crashed(crashes: &[Crash], volatile: &[String]) -> String {
    if crashes.is_empty() {
        return String::new();
    }
    let stuck = crashes.iter().filter(|crash| crash.stuck.is_some()).count();
    let differ = crashes.iter().filter(|crash| !crash.differences.is_empty()).count();
    let mut out = format!("crashes: {}, {stuck} stuck, {differ} with another end\n", crashes.len());
    for Crash { step, after_seconds, stuck, differences } in crashes {
        let at = step.as_ref().map_or("between steps".to_owned(), |step| format!("in {step}"));
        let end = match stuck {
            Some(why) => format!("STUCK: {why}"),
            None if differences.is_empty() => "taken up, same end".to_owned(),
            None => format!("OTHER END: {}", differences.join("; ")),
        };
        out += &format!("  killed {at} ({after_seconds:.2} s after its beginning): {end}\n");
    }
    if !volatile.is_empty() {
        out += &format!("  not compared, since two undisturbed runs leave other values there: {}\n", volatile.join(", "));
    }
    out
}
