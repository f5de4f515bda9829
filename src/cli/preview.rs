//! A run without `--execute`: what it would do, for people and as JSON.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::Result;

use super::{Format, print_json, text};
use crate::engine::{self, StepPreview, Stop};
use crate::journal::{Journal, State};
use crate::pg::Database;
use crate::plan::Plan;
use crate::report::thousands;
use crate::step::{Cx, Forecast, Outbound, Reversal};
use crate::terms::{Exit, Extent, RunId, Side, StepId};

/// What the preview needs beside the plan.
pub(super) struct Asked<'a> {
    pub plan_file: &'a Path,
    pub state_dir: &'a Path,
    pub databases: BTreeMap<Side, Database>,
    pub allow_hooks: bool,
    /// One step alone, or every step.
    pub only: Option<StepId>,
}

/// Asks databases and steps, and prints what a run would do. Changes nothing.
pub(super) async fn preview(plan: &Plan, asked: Asked<'_>, notices: Outbound, format: Format) -> Result<Exit> {
    let mut identities = BTreeMap::new();
    for (side, database) in &asked.databases {
        let session = engine::reach(database, "crossfade/preview").await?;
        let identity = crate::pg::identify(&session).await?;
        crate::pg::check_server(&session, &identity).await.map_err(|e| Stop::Usage(e.to_string()))?;
        identities.insert(*side, identity);
    }
    engine::distinct(&identities).map_err(Stop::Usage)?;
    let latest = engine::latest_run(asked.state_dir, plan.name())?;
    let state = match &latest {
        Some(run) => {
            State::of(&Journal::read(&asked.state_dir.join(plan.name()).join(run.as_str()))?).map_err(|e| anyhow::anyhow!(e))?
        }
        None => State::default(),
    };
    let run = latest.unwrap_or_else(|| RunId::existing("preview"));
    let by_side = [asked.databases.get(&Side::Blue).cloned(), asked.databases.get(&Side::Green).cloned()];
    let cx = |step: &StepId| {
        let mut cx = Cx::new(run.clone(), step.clone(), plan.limits().clone(), by_side.clone(), notices.clone());
        cx.allow_hooks = asked.allow_hooks;
        cx.guards = std::sync::Arc::clone(plan.guards());
        cx
    };
    let mut previews = engine::preview(plan, &state, cx).await?;
    previews.retain(|preview| asked.only.as_ref().is_none_or(|only| preview.step == *only));
    match format {
        Format::Json => print_json(&serde_json::json!({"plan": plan.name(), "executed": false, "steps": previews}))?,
        _ => text::print(&render(plan, &previews, asked.plan_file))?,
    }
    Ok(Exit::Done)
}

fn render(plan: &Plan, previews: &[StepPreview], plan_file: &Path) -> String {
    let mut out = format!("Plan {}: {}\nNothing is changed without --execute. It would do:\n", plan.name(), plan.description());
    for (number, step) in previews.iter().enumerate() {
        let state = match &step.extent {
            Some(Extent::Complete) => " [already complete]".to_owned(),
            Some(Extent::Partial(what)) => format!(" [partly there: {what}]"),
            _ => String::new(),
        };
        out += &format!("\n{}. {} ({}, {}){state}\n", number + 1, step.step, step.phase, step.kind);
        out += &format!("   {}\n   lock: {}\n", one_line(&step.summary.effect, 400), step.summary.lock);
        if let Reversal::Irreversible(why) = &step.reversal {
            out += &format!("   cannot be undone: {why}\n");
        }
        if let Some(why) = &step.unknown {
            out += &format!("   not known yet: {why}\n");
        }
        out += &forecast(&step.forecast);
    }
    let all = previews.iter().flat_map(|step| &step.forecast);
    let modes: BTreeSet<&str> = all.filter(|line| mode(&line.lock) != line.lock).map(|line| line.lock.as_str()).collect();
    if !modes.is_empty() {
        out += "\nLocks:\n";
    }
    for lock in modes {
        out += &format!("  {lock}\n");
    }
    out + &format!("\nnext: crossfade run {} --execute\n", plan_file.display())
}

/// Lines of one object stand together under it; a lock that all lines share is the step's, and said there.
fn forecast(lines: &[Forecast]) -> String {
    let shared = lines.iter().all(|line| line.lock == lines[0].lock);
    let grouped = lines.windows(2).any(|pair| pair[0].object == pair[1].object);
    let width =
        |of: fn(&Forecast) -> &str, most: usize| lines.iter().map(|line| of(line).chars().count()).max().unwrap_or(0).min(most);
    let (objects, whats) = (width(|line| &line.object, 47), width(|line| &line.what, 47));
    let rows =
        |line: &Forecast| line.rows.map(|rows| format!("about {} row{}", thousands(rows), if rows == 1 { "" } else { "s" }));
    let mut out = String::new();
    let mut above: Option<&str> = None;
    for (line, times) in repeated(lines) {
        let what = one_line(&line.what, 120);
        let again = if times > 1 { format!("{times} x ") } else { String::new() };
        let lock = if shared { "" } else { mode(&line.lock) };
        let text = if grouped {
            if above != Some(line.object.as_str()) {
                out += &format!("   {}\n", one_line(&line.object, 120));
                above = Some(&line.object);
            }
            let rows = rows(line).map_or(String::new(), |rows| format!(", {rows}"));
            format!("     {:whats$}  {lock}", format!("{again}{what}{rows}"))
        } else {
            let object = one_line(&line.object, 120);
            format!("   {object:objects$}  {:whats$}  {:16}  {lock}", format!("{again}{what}"), rows(line).unwrap_or_default())
        };
        out += text.trim_end();
        out.push('\n');
    }
    out
}

/// Lines that follow each other and say the same, with how often.
fn repeated(lines: &[Forecast]) -> Vec<(&Forecast, usize)> {
    let mut counted: Vec<(&Forecast, usize)> = Vec::new();
    for line in lines {
        match counted.last_mut() {
            Some((last, times)) if *last == line => *times += 1,
            _ => counted.push((line, 1)),
        }
    }
    counted
}

/// The lock without what it blocks: `SHARE: blocks writes` → `SHARE`.
fn mode(lock: &str) -> &str {
    match lock.split_once(": ") {
        Some((mode, _)) if mode.chars().all(|c| c.is_ascii_uppercase() || c == ' ') => mode,
        _ => lock,
    }
}

/// A statement as one line of at most `most` characters.
fn one_line(text: &str, most: usize) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.chars().count() <= most { line } else { line.chars().take(most - 3).chain("...".chars()).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(object: &str, what: &str, lock: &str) -> Forecast {
        Forecast { object: object.to_owned(), what: what.to_owned(), rows: Some(1234), lock: lock.to_owned() }
    }

    #[test]
    fn what_is_said_once_is_not_said_twice() {
        let (a, b) = (line("t", "index", "SHARE: blocks writes"), line("u", "index", "ROW SHARE: blocks nothing"));
        assert_eq!(
            forecast(&[a.clone(), a.clone(), b]),
            "   t\n     2 x index, about 1 234 rows  SHARE\n   u\n     index, about 1 234 rows  ROW SHARE\n"
        );
        assert_eq!(forecast(&[a]), "   t  index  about 1 234 rows\n");
    }

    #[test]
    fn statements_are_one_line() {
        assert_eq!(one_line("SELECT\n   1", 20), "SELECT 1");
        assert_eq!(one_line("0123456789", 8), "01234...");
        assert_eq!(mode("ACCESS SHARE on blue"), "ACCESS SHARE on blue");
    }
}
