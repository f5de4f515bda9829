//! What an audit found, for people and programs. Never a key or a value: digests and counts.

use serde::Serialize;

use super::{Class, Declaration, Saved, Tally};
use crate::terms::{Finding, Severity, Side};

/// What an audit found.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// What the facts file is about.
    pub describes: String,
    /// The side users are on: what they do there since is no damage.
    pub serving: Side,
    /// Whether anything was found that harms.
    pub damage: bool,
    /// What blue's facts were saved as; empty when blue was asked itself.
    pub saved: Vec<Saved>,
    /// The sets, in the order of the file.
    pub sets: Vec<SetReport>,
    /// Jobs that delete rows, and what they would delete now.
    pub jobs: Vec<Job>,
}

/// One set of facts.
#[derive(Debug, Clone, Serialize)]
pub struct SetReport {
    /// Its name.
    pub name: String,
    /// Rows on blue.
    pub blue: u64,
    /// Rows on green.
    pub green: u64,
    /// Rows with at least one difference that harms, what users did since included.
    pub differing: u64,
    /// What was found.
    pub found: Vec<Found>,
    /// Blue's states and green's, the rows of each pair; no state: the side has no row.
    pub matrix: Vec<Cell>,
}

/// A pair of states.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Cell {
    /// On blue.
    pub blue: Option<String>,
    /// On green.
    pub green: Option<String>,
    /// Rows.
    pub rows: u64,
}

/// One class of differences.
#[derive(Debug, Clone, Serialize)]
pub struct Found {
    /// `lost`, `changed`...
    pub class: &'static str,
    /// The field, for changed and unlinked.
    pub field: Option<String>,
    /// What the class means.
    pub meaning: &'static str,
    /// Whether it hurts somebody.
    pub harms: bool,
    /// Rows in all.
    pub rows: u64,
    /// Those that users did on green since it serves.
    pub later: u64,
    /// Digests of some keys.
    pub keys: Vec<String>,
    /// Suspected causes.
    pub causes: Vec<Suspected>,
}

/// A cause of some of the differences of a class.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Suspected {
    /// Rows.
    pub rows: u64,
    /// The cause; none when no rule fits.
    pub cause: Option<String>,
    /// What users would see.
    pub users_see: Option<String>,
}

/// A job that deletes rows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Job {
    /// Its name.
    pub name: String,
    /// Whether it is off; none when that is not known.
    pub off: Option<bool>,
    /// Why something about it is not known.
    pub unknown: Option<String>,
    /// What it would delete if it ran now: what, and how many rows.
    pub would_delete: Vec<(String, Option<i64>)>,
}

impl SetReport {
    /// Of a finished tally.
    pub fn of(tally: &Tally) -> Self {
        let facts = tally.facts();
        let (blue, green) = tally.rows();
        let found = tally.classes().iter().map(|(class, counted)| Found {
            class: class.name(),
            field: class.field().map(|at| facts.fields[at].name.clone()),
            meaning: class.meaning(),
            harms: class.harms(),
            rows: counted.rows,
            later: counted.later,
            keys: counted.digests.clone(),
            causes: suspected(tally, *class),
        });
        let cell = |((blue, green), rows): (&(Option<String>, Option<String>), &u64)| Cell {
            blue: blue.clone(),
            green: green.clone(),
            rows: *rows,
        };
        Self {
            name: facts.name.clone(),
            blue,
            green,
            differing: tally.differing(),
            found: found.collect(),
            matrix: tally.matrix().iter().map(cell).collect(),
        }
    }

    /// The rows of a class that are damage; with `field` those of that field.
    pub fn rows(&self, class: &str, field: Option<&str>) -> u64 {
        let same = |found: &&Found| found.class == class && found.field.as_deref() == field;
        self.found.iter().filter(same).map(Found::damage).sum()
    }
}

fn suspected(tally: &Tally, class: Class) -> Vec<Suspected> {
    let rules = &tally.facts().causes;
    let mut causes: Vec<Suspected> = tally.classes()[&class]
        .causes
        .iter()
        .map(|(rule, rows)| Suspected {
            rows: *rows,
            cause: rule.map(|at| rules[at].cause.clone()),
            users_see: rule.map(|at| rules[at].users_see.clone()),
        })
        .collect();
    causes.sort_by_key(|cause| std::cmp::Reverse(cause.rows));
    causes
}

impl Found {
    /// Rows that hurt somebody.
    pub fn damage(&self) -> u64 {
        if self.harms { self.rows - self.later } else { 0 }
    }

    /// `changed (subject)`.
    pub fn title(&self) -> String {
        self.field.as_ref().map_or(self.class.to_owned(), |field| format!("{} ({field})", self.class))
    }
}

impl Report {
    /// Without jobs: [`Report::with_jobs`] adds them.
    pub fn new(declared: &Declaration, sets: Vec<SetReport>, serving: Side, saved: Vec<Saved>) -> Self {
        let damage = sets.iter().flat_map(|set| &set.found).any(|found| found.damage() > 0);
        Self { describes: declared.describes.clone(), serving, damage, saved, sets, jobs: Vec::new() }
    }

    /// The same with these jobs.
    pub fn with_jobs(mut self, jobs: Vec<Job>) -> Self {
        self.jobs = jobs;
        self
    }

    /// One finding for each class that harms, and one for each job that must be off and is not known to be.
    pub fn findings(&self, next: &str) -> Vec<Finding> {
        let mut findings = Vec::new();
        for set in &self.sets {
            for found in set.found.iter().filter(|found| found.damage() > 0) {
                let (rows, of) = (found.damage(), set.blue.max(set.green));
                let mut what =
                    format!("{rows} of {of} {}: {} (key digests {})", found.title(), found.meaning, found.keys.join(", "));
                for Suspected { rows, cause, users_see } in &found.causes {
                    if let (Some(cause), Some(users_see)) = (cause, users_see) {
                        what += &format!("; {rows} suspected: {cause}; users would see: {users_see}");
                    }
                }
                let object = format!("{} on green", set.name);
                findings.push(Finding { severity: Severity::Blocks, object, what, next: next.to_owned() });
            }
        }
        findings
    }

    /// For people.
    pub fn text(&self) -> String {
        let mut out = format!("Audit: {}\n", self.describes);
        if self.serving == Side::Green {
            out += "Green serves: what users did there since counts as no damage.\n";
        }
        for saved in &self.saved {
            out += &format!("Blue's {} as saved on green: {} rows, read at {} UTC.\n", saved.facts, saved.rows, saved.at);
        }
        for set in &self.sets {
            out += &format!("\n{}: {} on blue, {} on green", set.name, set.blue, set.green);
            out += if set.differing == 0 { ": every one means the same\n" } else { "\n" };
            for found in &set.found {
                out += &format!("  {:24} {:>9}  {}\n", found.title(), found.rows, found.meaning);
                if found.later > 0 {
                    out += &format!("  {:24} {:>9}  of them done by users since green serves\n", "", found.later);
                }
                if !found.harms {
                    continue;
                }
                for Suspected { rows, cause, users_see } in &found.causes {
                    match (cause, users_see) {
                        (Some(cause), Some(users_see)) => {
                            out += &format!("    {rows}: {cause}\n      users would see: {users_see}\n");
                        }
                        _ => out += &format!("    {rows}: no declared rule explains it\n"),
                    }
                }
                if !found.keys.is_empty() {
                    out += &format!("    keys (digests): {}\n", found.keys.join(" "));
                }
            }
            out += &matrix(set);
        }
        for job in &self.jobs {
            let state = match job.off {
                Some(true) => "off",
                Some(false) => "NOT OFF",
                None => "not known to be off",
            };
            out += &format!("\njob {}: {state}\n", job.name);
            if let Some(why) = &job.unknown {
                out += &format!("  {why}\n");
            }
            for (what, rows) in &job.would_delete {
                let rows = rows.map_or("not known".to_owned(), |rows| rows.to_string());
                out += &format!("  if it ran now it would delete {what}: {rows}\n");
            }
        }
        out + if self.damage { "\nDamage found.\n" } else { "\nNo damage found.\n" }
    }
}

/// Blue's states against green's, one line for each pair.
fn matrix(set: &SetReport) -> String {
    if set.matrix.is_empty() {
        return String::new();
    }
    let name = |state: &Option<String>| state.clone().unwrap_or_else(|| "(none)".to_owned());
    let width = set.matrix.iter().map(|cell| name(&cell.blue).chars().count()).max().unwrap_or(0);
    let line = |cell: &Cell| format!("    {:width$} -> {}: {}\n", name(&cell.blue), name(&cell.green), cell.rows);
    format!("  state on blue -> state on green: rows\n{}", set.matrix.iter().map(line).collect::<String>())
}
