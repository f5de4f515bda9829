//! `crossfade audit`: alone, without a run.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::Context;
use clap::Args;

use super::databases::DatabaseArgs;
use super::{Format, print_json, text};
use crate::audit::{Declaration, Saved, load, page, save};
use crate::engine::{distinct, reach};
use crate::limits::Limits;
use crate::pg::{Database, DriverLock, check_control, check_server, ensure_control, identify};
use crate::plan::{self, Plan, Problem, Problems};
use crate::report::Screen;
use crate::step::{Audited, Cx, Stop};
use crate::terms::{Exit, RunId, Side, StepId};

#[derive(Debug, Args)]
pub(super) struct AuditArgs {
    /// The plan file: facts and guards are those of its audit steps
    #[arg(required_unless_present = "facts")]
    plan: Option<PathBuf>,
    /// A facts file, without a plan; needs --blue and --green
    #[arg(long, value_name = "FILE", conflicts_with = "plan")]
    facts: Option<PathBuf>,
    #[command(flatten)]
    databases: DatabaseArgs,
    /// Which audit step of the plan (default: the last)
    #[arg(long, value_name = "ID", requires = "plan")]
    step: Option<String>,
    /// Keep blue's facts in a side table on green, for an audit when blue is gone; compares nothing
    #[arg(long)]
    save: bool,
    /// Compare with the facts that --save kept on green; blue is not asked
    #[arg(long, conflicts_with = "save")]
    saved: bool,
    /// The side users are on (default: as the plan says, else blue); what they do on green since is no damage
    #[arg(long, value_name = "SIDE", value_parser = side)]
    serving: Option<Side>,
    /// Write the audit as one HTML page
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Let the plan's guards run their own programs
    #[arg(long)]
    allow_hooks: bool,
}

fn side(name: &str) -> Result<Side, String> {
    match name {
        "blue" => Ok(Side::Blue),
        "green" => Ok(Side::Green),
        _ => Err("blue or green".to_owned()),
    }
}

pub(super) async fn audit(args: &AuditArgs, format: Format, quiet: bool) -> anyhow::Result<Exit> {
    let plan = args.plan.as_deref().map(plan::load).transpose()?;
    let mut audited = match &plan {
        Some(plan) => of_plan(plan, args.step.as_deref())?,
        None => Audited { declared: of_file(args)?, side: Side::Green, saved: false, serving: Side::Blue, follows: None },
    };
    audited.saved |= args.saved;
    audited.saved &= !args.save;
    if args.save && audited.side == Side::Blue {
        let why = "the plan has one database, which facts were saved in: save with the plan that has both".to_owned();
        return Err(Stop::Usage(why).into());
    }
    audited.serving = args.serving.unwrap_or(audited.serving);
    let mut databases = match &plan {
        Some(plan) if audited.saved => args.databases.resolve_only(plan, audited.side)?,
        Some(plan) => args.databases.resolve(plan)?,
        None => args.databases.given()?,
    };
    let wanted = if audited.saved { vec![audited.side] } else { vec![Side::Blue, Side::Green] };
    databases.retain(|side, _| wanted.contains(side));
    if let Some(missing) = wanted.iter().find(|side| !databases.contains_key(side)) {
        return Err(Stop::Usage(format!("{missing} has no connection string: pass --{missing}")).into());
    }
    let mut identities = BTreeMap::new();
    for (side, database) in &databases {
        let session = reach(database, "crossfade/audit").await?;
        let identity = identify(&session).await?;
        check_server(&session, &identity).await.map_err(|e| Stop::Usage(e.to_string()))?;
        identities.insert(*side, identity);
    }
    distinct(&identities).map_err(Stop::Usage)?;
    let (screen, notices) = Screen::start(quiet);
    let step = StepId::new("audit").map_err(|e| anyhow::anyhow!(e))?;
    let limits = plan.as_ref().map_or_else(Limits::default, |plan| plan.limits().clone());
    let by_side = [databases.get(&Side::Blue).cloned(), databases.get(&Side::Green).cloned()];
    let mut cx = Cx::new(RunId::existing("audit"), step, limits, by_side, notices);
    cx.allow_hooks = args.allow_hooks;
    if let Some(plan) = &plan {
        cx.guards = std::sync::Arc::clone(plan.guards());
    }
    if args.save {
        let kept = keep(&audited.declared, &cx, &databases[&Side::Green]).await;
        drop(cx);
        screen.finish().await;
        return told(&kept?, format);
    }
    let report = audited.ask(&cx).await;
    drop(cx);
    screen.finish().await;
    let report = report?;
    if let Some(path) = &args.html {
        std::fs::write(path, page(&report)).with_context(|| format!("cannot write {}", path.display()))?;
    }
    match format {
        Format::Json => print_json(&report)?,
        _ => text::print(&report.text())?,
    }
    Ok(match report.damage {
        true => Exit::Divergence,
        false if report.jobs.iter().any(|job| job.off != Some(true)) => Exit::Findings,
        false => Exit::Done,
    })
}

fn of_plan(plan: &Plan, wanted: Option<&str>) -> anyhow::Result<Audited> {
    let steps = plan.steps().iter().filter(|step| wanted.is_none_or(|wanted| step.id.as_str() == wanted));
    let found = steps.filter_map(|step| step.step.audited()).next_back();
    found.cloned().ok_or_else(|| {
        let why = match wanted {
            Some(wanted) => format!("plan {} has no audit step {wanted}", plan.name()),
            None => format!("plan {} has no step of kind audit; give a facts file with --facts", plan.name()),
        };
        Stop::Usage(why).into()
    })
}

fn of_file(args: &AuditArgs) -> anyhow::Result<Declaration> {
    let path = args.facts.clone().unwrap_or_default();
    let (declared, _) = load(&path).map_err(|flaws| {
        Problems(flaws.into_iter().map(|flaw| Problem { line: flaw.line, ..Problem::in_file(&path, flaw.what) }).collect())
    })?;
    Ok(declared)
}

async fn keep(declared: &Declaration, cx: &Cx, green: &Database) -> anyhow::Result<Vec<Saved>> {
    let session = green.connect("crossfade/audit").await?;
    check_control(&session).await.map_err(|why| Stop::Usage(why.to_string()))?;
    let _lock = DriverLock::take(session).await.map_err(|why| Stop::Usage(why.to_string()))?;
    ensure_control(&mut green.connect("crossfade/audit").await?).await?;
    match save(declared, &cx.opener(Side::Blue)?, &cx.opener(Side::Green)?).await? {
        Ok(kept) => Ok(kept),
        Err(findings) => Err(Stop::Findings(findings).into()),
    }
}

fn told(kept: &[Saved], format: Format) -> anyhow::Result<Exit> {
    match format {
        Format::Json => print_json(&serde_json::json!({ "saved": kept }))?,
        _ => {
            let line = |saved: &Saved| {
                format!("{}: {} rows of blue, read at {} UTC, saved on green\n", saved.facts, saved.rows, saved.at)
            };
            let lines: String = kept.iter().map(line).collect();
            text::print(&format!("{lines}next: crossfade audit ... --saved compares green with them, with or without blue\n"))?;
        }
    }
    Ok(Exit::Done)
}
