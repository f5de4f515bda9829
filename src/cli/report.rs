//! `crossfade report PLAN`, or of the directory of one run.

use std::path::{Path, PathBuf};

use clap::Args;

use super::{Format, print_json, text};
use crate::engine::{self, Stop};
use crate::journal::{Journal, State, read_record};
use crate::plan::{self, Plan};
use crate::report::{PREDICTION_FORMAT, Prediction, Story, markdown, page, text as as_text};
use crate::terms::{Exit, RunId};

#[derive(Debug, Args)]
pub(super) struct ReportArgs {
    /// The plan file, for its latest run; or the directory of a run, which holds its journal
    #[arg(value_name = "PLAN|RUN")]
    of: PathBuf,
    /// Another run of the plan than the latest
    #[arg(long, value_name = "RUN")]
    run: Option<String>,
    /// What `crossfade rehearse --save` predicted: the report compares
    #[arg(long, value_name = "FILE")]
    prediction: Option<PathBuf>,
    /// Directory of all runs (journals)
    #[arg(long, env = "CROSSFADE_STATE", default_value = ".crossfade")]
    state: PathBuf,
}

/// The run that is asked for, where its journal is, and the plan where one was given.
struct Asked {
    run: RunId,
    directory: PathBuf,
    plan: Option<Plan>,
}

pub(super) fn report(args: &ReportArgs, format: Format) -> anyhow::Result<Exit> {
    let Asked { run, directory, plan } = asked(args)?;
    let lines = Journal::read(&directory)?;
    let mut story = Story::of(&lines, &read_record(&directory)).map_err(|why| anyhow::anyhow!(why))?;
    if let Some(file) = &args.prediction {
        story.predicted(predicted(file, &story.summary.plan)?);
    }
    let state = State::of(&lines).map_err(|why| anyhow::anyhow!(why))?;
    match format {
        Format::Json => {
            let kept = plan.iter().flat_map(|plan| engine::kept(plan, &state, &run));
            let kept: Vec<_> = kept.map(|(step, what)| serde_json::json!({"step": step, "what": what})).collect();
            let mut document = serde_json::json!({"run": run, "summary": story.summary, "goes_on": kept});
            let details = serde_json::to_value(&story)?;
            if let (Some(document), serde_json::Value::Object(details)) = (document.as_object_mut(), details) {
                document.extend(details.into_iter().filter(|(name, _)| name != "summary"));
            }
            print_json(&document)?;
        }
        Format::Markdown => text::print(&markdown(&run, &story))?,
        Format::Html => text::print(&page(&run, &story))?,
        _ => {
            let goes_on = plan.map_or_else(String::new, |plan| super::finish::goes_on(&plan, &args.of, &run, &state));
            text::print(&(as_text(&story) + &goes_on))?;
        }
    }
    Ok(Exit::Done)
}

/// Reads a prediction; one of another plan is none.
fn predicted(file: &Path, plan: &str) -> anyhow::Result<Prediction> {
    let wrong = |why: String| Stop::Usage(format!("{}: {why}; `crossfade rehearse PLAN --save FILE` writes it", file.display()));
    let text = std::fs::read_to_string(file).map_err(|error| wrong(error.to_string()))?;
    let prediction: Prediction = serde_json::from_str(&text).map_err(|error| wrong(format!("no prediction: {error}")))?;
    if prediction.format != PREDICTION_FORMAT || prediction.plan != plan {
        let of = &prediction.plan;
        return Err(wrong(format!("a prediction of plan {of} (format {}), not of {plan}", prediction.format)).into());
    }
    Ok(prediction)
}

fn asked(args: &ReportArgs) -> anyhow::Result<Asked> {
    if args.of.join("journal.jsonl").is_file() {
        let name = args.of.canonicalize()?.file_name().unwrap_or_default().to_string_lossy().into_owned();
        return Ok(Asked { run: RunId::existing(&name), directory: args.of.clone(), plan: None });
    }
    let plan = plan::load(&args.of)?;
    let runs = engine::list_runs(&args.state, plan.name())?;
    let run = match &args.run {
        None => runs.last(),
        Some(wanted) => runs.iter().find(|run| run.as_str() == wanted),
    };
    let Some(run) = run.cloned() else { return Err(missing(args, &plan, &args.state).into()) };
    Ok(Asked { directory: args.state.join(plan.name()).join(run.as_str()), run, plan: Some(plan) })
}

fn missing(args: &ReportArgs, plan: &Plan, state: &Path) -> Stop {
    let name = plan.name();
    Stop::Usage(match &args.run {
        Some(wanted) => format!("plan {name} has no run {wanted} in {}", state.display()),
        None => format!("plan {name} has no run in {}; `crossfade run` begins one", state.display()),
    })
}
