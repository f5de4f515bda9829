//! From the file as written to a plan, collecting every problem on the way.

use std::collections::HashMap;
use std::path::Path;

use toml::Spanned;

use super::file::{self, FORMAT};
use super::{Plan, PlannedStep, Problem, Problems};
use crate::notify::Target;
use crate::step::{self, Guard, Surroundings};
use crate::terms::{Fingerprint, Phase, Side, StepId};

/// Reads and checks the plan at `path` together with every file it names.
///
/// # Errors
/// All problems at once.
pub fn load(path: &Path) -> Result<Plan, Problems> {
    let text =
        std::fs::read_to_string(path).map_err(|e| Problems(vec![Problem::in_file(path, format!("cannot be read: {e}"))]))?;
    let file = file::parse(path, &text).map_err(|problem| Problems(vec![problem]))?;

    let mut problems = Vec::new();
    if file.format != FORMAT {
        problems.push(Problem::in_file(path, format!("format = {}: this crossfade reads format {FORMAT}", file.format)));
    }
    if StepId::new(&file.name).is_err() {
        problems.push(Problem::in_file(path, format!("name = {:?}: 1 to 30 lower-case letters, digits and `-`", file.name)));
    }
    if file.green.as_ref().is_some_and(|green| green.url_env == file.blue.url_env) {
        problems
            .push(Problem::in_file(path, format!("blue and green both read {}: two databases are needed", file.blue.url_env)));
    }
    if file.step.is_empty() {
        problems.push(Problem::in_file(path, "has no [[step]]"));
    }

    let around = Surroundings { base: path.parent().unwrap_or(Path::new(".")).to_owned(), has_green: file.green.is_some() };
    let mut steps: Vec<PlannedStep> = Vec::new();
    let mut seen: HashMap<String, usize> = HashMap::new();
    for (index, written) in file.step.iter().enumerate() {
        let line = file::line_of(&text, written.span().start);
        match planned(path, &text, written, index, &around) {
            Ok(step) => {
                if let Some(first) = seen.insert(step.id.to_string(), line) {
                    problems.push(
                        Problem::in_file(path, format!("the id is taken by the step at line {first}"))
                            .at(line)
                            .of_step(step.id.as_str()),
                    );
                }
                if let Some(before) = steps.iter().rev().find(|before| before.phase > step.phase) {
                    let what = format!(
                        "phase {} after step {} of phase {}: steps stand in the order of the phases",
                        step.phase, before.id, before.phase
                    );
                    problems.push(Problem::in_file(path, what).at(line).of_step(step.id.as_str()));
                }
                steps.push(step);
            }
            Err(more) => problems.extend(more),
        }
    }
    for (index, step) in steps.iter().enumerate().filter(|(_, step)| step.kind == "end_way_back") {
        if !steps[..index].iter().any(|before| before.step.leads_back().is_some()) {
            let what = "no switch with `back` stands before it: there is no way back to end".to_owned();
            let line = seen.get(step.id.as_str()).copied().unwrap_or(1);
            problems.push(Problem::in_file(path, what).at(line).of_step(step.id.as_str()));
        }
    }
    let (mut guards, mut guarded): (Vec<Guard>, Vec<Vec<u8>>) = (Vec::new(), Vec::new());
    for written in &file.guard {
        let line = file::line_of(&text, written.span().start);
        match Guard::parse(written.get_ref().clone(), &around.base, around.has_green) {
            Ok((guard, files)) if guards.iter().all(|known| known.job() != guard.job()) => {
                guards.push(guard);
                guarded.push(toml::to_string(written.get_ref()).unwrap_or_default().into_bytes());
                guarded.extend(files);
            }
            Ok((guard, _)) => {
                problems.push(Problem::in_file(path, format!("job {} has a [[guard]] already", guard.job())).at(line));
            }
            Err(faults) => problems.extend(faults.into_iter().map(|fault| {
                let place = fault.key.as_deref().and_then(|key| line_of_key(&text, written.span().start, key)).unwrap_or(line);
                Problem::in_file(path, format!("guard: {}", fault.what)).at(place)
            })),
        }
    }
    let mut notify = Vec::new();
    for written in &file.notify {
        let line = file::line_of(&text, written.span().start);
        let read = step::from_table(written.get_ref().clone())
            .map_err(|faults| faults.into_iter().map(|fault| fault.what).collect::<Vec<_>>().join("; "))
            .and_then(|keys| Target::read(keys, &around.base));
        match read {
            Ok(target) => notify.push(target),
            Err(what) => problems.push(Problem::in_file(path, format!("notify: {what}")).at(line)),
        }
    }
    if !problems.is_empty() {
        return Err(Problems(problems));
    }
    let prints = steps.iter().map(|step| step.fingerprint.as_str().as_bytes());
    let prints: Vec<&[u8]> = prints.chain(guarded.iter().map(Vec::as_slice)).collect();
    let fingerprint = Fingerprint::of([file.name.as_bytes()].into_iter().chain(prints));
    Ok(Plan {
        name: file.name,
        description: file.description,
        path: path.to_owned(),
        blue: file.blue,
        green: file.green,
        limits: file.limits.into(),
        guards: guards.into(),
        notify,
        steps,
        fingerprint,
    })
}

fn planned(
    path: &Path,
    text: &str,
    written: &Spanned<toml::Table>,
    index: usize,
    around: &Surroundings,
) -> Result<PlannedStep, Vec<Problem>> {
    let start = written.span().start;
    let line = file::line_of(text, start);
    let mut table = written.get_ref().clone();
    let name = match table.get("id") {
        Some(toml::Value::String(id)) => id.clone(),
        _ => format!("number {}", index + 1),
    };
    let problem = |what: String| Problem::in_file(path, what).at(line).of_step(&name);
    let as_written = toml::to_string(written.get_ref()).unwrap_or_default();

    let mut problems = Vec::new();
    let mut common = |key: &str, required: bool| match table.remove(key) {
        Some(toml::Value::String(value)) => Some(value),
        Some(_) => {
            problems.push(problem(format!("`{key}` must be a string")));
            None
        }
        None => {
            if required {
                problems.push(problem(format!("`{key}` is missing")));
            }
            None
        }
    };
    let (id, phase, kind, description) =
        (common("id", true), common("phase", true), common("kind", true), common("description", false));

    let id = id.and_then(|id| StepId::new(&id).map_err(|e| problems.push(problem(e))).ok());
    let phase = phase.and_then(|phase| {
        let parsed: Result<Phase, _> = toml::Value::String(phase.clone()).try_into();
        parsed
            .map_err(|_| {
                let known = "preflight, expand, capture, copy, convert, follow, cutover, watch, contract";
                problems.push(problem(format!("phase `{phase}` is not one of {known}")));
            })
            .ok()
    });
    let parsed = kind.and_then(|kind| match step::parse(&kind, table, around) {
        Ok(parsed) => Some(parsed),
        Err(more) => {
            problems.extend(more.into_iter().map(|found| {
                let place = found.key.as_deref().and_then(|key| line_of_key(text, start, key)).unwrap_or(line);
                match found.file {
                    Some(file) => Problem { file, line: found.line, step: Some(name.clone()), what: found.what },
                    None => Problem::in_file(path, found.what).at(place).of_step(&name),
                }
            }));
            None
        }
    });
    if let Some(parsed) = &parsed
        && !around.has_green
        && parsed.step.sides().contains(&Side::Green)
    {
        problems.push(problem("works on green, but the plan has no [green]".to_owned()));
    }
    match (id, phase, parsed) {
        (Some(id), Some(phase), Some(parsed)) if problems.is_empty() => {
            let mut parts = vec![as_written.as_bytes()];
            parts.extend(parsed.files.iter().map(Vec::as_slice));
            let fingerprint = Fingerprint::of(parts);
            Ok(PlannedStep {
                id,
                phase,
                kind: parsed.kind,
                description: description.unwrap_or_default(),
                fingerprint,
                step: parsed.step,
            })
        }
        _ => Err(problems),
    }
}

/// The line of `key = ...` within the step table that starts at byte `start`.
fn line_of_key(text: &str, start: usize, key: &str) -> Option<usize> {
    let first = file::line_of(text, start);
    for (offset, line) in text.lines().skip(first - 1).enumerate() {
        let line = line.trim_start();
        if offset > 0 && line.starts_with("[[") {
            break;
        }
        if line.strip_prefix(key).is_some_and(|rest| rest.trim_start().starts_with('=')) {
            return Some(first + offset);
        }
    }
    None
}
