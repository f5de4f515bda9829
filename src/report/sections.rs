//! What a report says beside the figures of its steps, as titled tables: the same in text, Markdown and HTML. Pure.

use super::story::Story;
use super::{JourneySummary, StepSummary, bytes, prediction, thousands, time};
use crate::pg::Counters;
use crate::terms::{Account, Severity, Side};

/// A titled part of a report.
#[derive(Debug, Clone, PartialEq)]
pub struct Section {
    /// Its title.
    pub title: String,
    /// What it shows and how that was measured, as a sentence.
    pub about: String,
    /// Its tables.
    pub tables: Vec<Grid>,
}

/// A table.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Grid {
    /// Its columns; those that hold numbers stand to the right.
    pub head: Vec<Column>,
    /// Its rows.
    pub rows: Vec<Vec<Cell>>,
}

/// A column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// Whether it holds numbers.
    pub number: bool,
}

/// A cell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cell {
    /// Its text.
    pub text: String,
    /// How it looks.
    pub tone: Tone,
}

/// How a cell looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// As any text.
    Plain,
    /// As it should be.
    Good,
    /// Somebody should look.
    Bad,
    /// Program text.
    Code,
}

impl Grid {
    /// A table with these columns; `#` before a name: it holds numbers.
    pub(super) fn of(head: &[&str]) -> Self {
        let column = |name: &&str| match name.strip_prefix('#') {
            Some(name) => Column { name: name.to_owned(), number: true },
            None => Column { name: (*name).to_owned(), number: false },
        };
        Self { head: head.iter().map(column).collect(), rows: Vec::new() }
    }

    pub(super) fn row(&mut self, cells: impl IntoIterator<Item = Cell>) {
        self.rows.push(cells.into_iter().collect());
    }
}

pub(super) fn plain(text: impl ToString) -> Cell {
    Cell { text: text.to_string(), tone: Tone::Plain }
}

pub(super) fn toned(text: impl ToString, tone: Tone) -> Cell {
    Cell { text: text.to_string(), tone }
}

pub(super) fn count(number: u64) -> Cell {
    plain(thousands(i64::try_from(number).unwrap_or(i64::MAX)))
}

/// Every section that has something to show, in the order in which they are read.
pub fn sections(story: &Story) -> Vec<Section> {
    let first = [predicted(story), databases(story), measures(story), verified(story)];
    let last = [revocations(story), audits(story), set_aside(story), findings(story), statements(story)];
    first.into_iter().flatten().chain(accounts(story)).chain(last.into_iter().flatten()).collect()
}

pub(super) fn section(title: &str, about: &str, tables: Vec<Grid>) -> Option<Section> {
    let tables: Vec<Grid> = tables.into_iter().filter(|table| !table.rows.is_empty()).collect();
    (!tables.is_empty()).then(|| Section { title: title.to_owned(), about: about.to_owned(), tables })
}

/// A counter of a database.
type Counter = (&'static str, fn(&Counters) -> i64, fn(i64) -> String);

const COUNTERS: [Counter; 6] = [
    ("rows inserted", |c| c.rows_inserted, thousands),
    ("rows updated", |c| c.rows_updated, thousands),
    ("rows deleted", |c| c.rows_deleted, thousands),
    ("commits", |c| c.transaction_commits, thousands),
    ("bytes of temporary files", |c| c.temp_bytes, bytes),
    ("bytes of write-ahead log", |c| c.wal_bytes, bytes),
];

const COLUMNS: [Counter; 6] = [
    ("rows\nupdated", |c| c.rows_updated, thousands),
    ("rows\ninserted", |c| c.rows_inserted, thousands),
    ("rows\ndeleted", |c| c.rows_deleted, thousands),
    ("temp", |c| c.temp_bytes, bytes),
    ("commits", |c| c.transaction_commits, thousands),
    ("WAL", |c| c.wal_bytes, bytes),
];

/// One line per step and one for all; and the names of the counters that are 0 in every line, which have no column.
pub fn steps_grid(summary: &JourneySummary) -> (Grid, Vec<String>) {
    let total = summary.total();
    let (columns, zero): (Vec<&Counter>, Vec<&Counter>) = COLUMNS.iter().partition(|(_, of, _)| of(&total) != 0);
    let numbers = columns.iter().map(|(name, ..)| format!("#{name}"));
    let head: Vec<String> =
        ["step", "status", "#time"].map(str::to_owned).into_iter().chain(numbers).chain(["#others\nwaited".to_owned()]).collect();
    let mut table = Grid::of(&head.iter().map(String::as_str).collect::<Vec<_>>());
    let mut line = |name: &str, status: String, seconds: f64, counters: &Counters, waited: f64| {
        let numbers = columns.iter().map(|(_, of, show)| plain(show(of(counters))));
        let ends = [plain(name), plain(status), plain(time(seconds))].into_iter().chain(numbers);
        table.row(ends.chain([plain(format!("{waited:.0} ms"))]));
    };
    for step in &summary.steps {
        let sum = step.counters.values().fold(Counters::default(), |sum, counters| sum.plus(counters));
        let status = format!("{:?}", step.status).to_lowercase();
        line(step.step.as_str(), status, step.seconds, &sum, step.longest_lock_wait_ms);
    }
    line("all (net time)", summary.outcome.replace('_', " "), summary.seconds, &total, summary.longest_lock_wait_ms);
    (table, zero.iter().map(|(name, ..)| name.replace('\n', " ")).collect())
}

fn predicted(story: &Story) -> Option<Section> {
    prediction::predicted(story.prediction.as_ref()?, &story.compared)
}

fn databases(story: &Story) -> Option<Section> {
    let mut table = Grid::of(&["database", "figure", "#before", "#after", "#meanwhile", "#while steps ran"]);
    for (side, (before, after)) in &story.counters {
        let name = story.databases.get(side).map_or(side.to_string(), |identity| format!("{} ({side})", identity.name));
        let steps = story.summary.counters.get(side).copied().unwrap_or_default();
        for (number, (figure, of, show)) in COUNTERS.iter().enumerate() {
            let meanwhile = of(&after.since(before));
            table.row([
                plain(if number == 0 { name.as_str() } else { "" }),
                plain(figure),
                plain(show(of(before))),
                plain(show(of(after))),
                plain(show(meanwhile)),
                plain(show(of(&steps))),
            ]);
        }
    }
    section(
        "Databases",
        "The servers' own counters, with everything that others did, at the first and at the last sample of the run; write-ahead log is the whole cluster's.",
        vec![table],
    )
}

fn measures(story: &Story) -> Option<Section> {
    let mut table = Grid::of(&["step", "measure", "#before", "#after", "#change", "verdict"]);
    let value = |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.4}"));
    for (step, measures) in &story.measures {
        for measure in measures {
            let change = match (measure.before, measure.after) {
                (Some(before), Some(after)) if before != 0.0 => format!("{:+.1} %", (after - before) / before * 100.0),
                _ => "-".to_owned(),
            };
            let verdict = match measure.why.as_str() {
                "" => toned(&measure.verdict, Tone::Good),
                why => toned(format!("{}: {why}", measure.verdict), Tone::Bad),
            };
            let (before, after) = (plain(value(measure.before)), plain(value(measure.after)));
            table.row([plain(step), plain(&measure.name), before, after, plain(change), verdict]);
        }
    }
    section("Service", "What users got, measured by the `watch` steps: before the switch and after it.", vec![table])
}

fn verified(story: &Story) -> Option<Section> {
    let mut table = Grid::of(&["step", "table", "#rows compared", "keys that differ"]);
    for (step, tables) in &story.verified {
        for one in tables {
            let differing = match one.differing {
                0 => toned("none", Tone::Good),
                many => toned(many, Tone::Bad),
            };
            table.row([plain(step), plain(&one.table), count(one.rows), differing]);
        }
    }
    section("Verification", "Projection and table compared at one snapshot, down to the keys.", vec![table])
}

/// One for each step that counted.
fn accounts(story: &Story) -> Vec<Section> {
    let right = |adds_up: bool| if adds_up { toned("adds up", Tone::Good) } else { toned("DOES NOT ADD UP", Tone::Bad) };
    let of_step = |step: &StepSummary| {
        let mut table =
            Grid::of(&["table", "#rows", "#brought\nto green", "#left out of\nprojection", "#set aside", "#mended", ""]);
        for Account { table: green, from, projected, held, set_aside, mended } in &step.accounts {
            for origin in from {
                let numbers = [origin.rows, origin.brought, origin.left_out, origin.set_aside, origin.mended].map(count);
                let adds_up = origin.rows == origin.brought + origin.left_out;
                table.row([plain(format!("{} on blue", origin.table))].into_iter().chain(numbers).chain([right(adds_up)]));
            }
            let numbers = [count(*projected), count(*held), plain("-"), count(*set_aside), count(*mended)];
            let adds_up = *projected == held + set_aside;
            table.row([plain(format!("→ {green} on green"))].into_iter().chain(numbers).chain([right(adds_up)]));
        }
        let about = "Each row of blue is on green, left out by its projection, or set aside.";
        section(&format!("Where every row is, counted by {}", step.step), about, vec![table])
    };
    story.summary.steps.iter().filter_map(of_step).collect()
}

/// Figures of steps that are about revocations; none may be left in the last column.
const REVOCATIONS: [(&str, &[&str]); 4] = [
    ("#captured on blue", &["captured", "revocations_captured"]),
    ("#replayed on green", &["replayed", "revocations_replayed"]),
    ("#proved without access", &["proved", "revocations_proved"]),
    ("access restored", &["restored_access", "access_restored"]),
];

fn revocations(story: &Story) -> Option<Section> {
    let head: Vec<&str> = ["step"].into_iter().chain(REVOCATIONS.map(|(name, _)| name)).collect();
    let mut table = Grid::of(&head);
    for step in &story.summary.steps {
        let figures: Vec<Option<u64>> =
            REVOCATIONS.iter().map(|(_, names)| names.iter().find_map(|name| step.figures.get(*name)).copied()).collect();
        let [Some(captured), Some(replayed), Some(proved), Some(restored)] = figures[..] else { continue };
        let restored = if restored == 0 { toned("none", Tone::Good) } else { toned(restored, Tone::Bad) };
        table.row([plain(&step.step), count(captured), count(replayed), count(proved), restored]);
    }
    section("Revocations", "Access taken away on blue during the run, and its proof on green.", vec![table])
}

fn audits(story: &Story) -> Option<Section> {
    let mut tables = Vec::new();
    for audited in &story.audits {
        let name = |state: &Option<String>| state.clone().unwrap_or_else(|| "(none)".to_owned());
        let mut across: Vec<&Option<String>> = audited.matrix.iter().map(|(_, green, _)| green).collect();
        across.sort();
        across.dedup();
        let mut down: Vec<&Option<String>> = audited.matrix.iter().map(|(blue, _, _)| blue).collect();
        down.sort();
        down.dedup();
        let head: Vec<String> = [format!("{}: blue ↓ green →", audited.set)]
            .into_iter()
            .chain(across.iter().map(|state| format!("#{}", name(state))))
            .collect();
        let mut table = Grid::of(&head.iter().map(String::as_str).collect::<Vec<_>>());
        for blue in down {
            let cell = |green: &&Option<String>| {
                let rows = audited.matrix.iter().find(|(on_blue, on_green, _)| on_blue == blue && on_green == *green);
                let tone = if blue == *green { Tone::Good } else { Tone::Bad };
                rows.map_or(plain(""), |(_, _, rows)| toned(count(*rows).text, tone))
            };
            table.row([plain(name(blue))].into_iter().chain(across.iter().map(cell)));
        }
        tables.push(table);
        let mut found = Grid::of(&["difference", "#rows", ""]);
        for (class, harms, rows) in &audited.found {
            let harms = if *harms { toned("harms somebody", Tone::Bad) } else { plain("harms nobody") };
            found.row([plain(class), count(*rows), harms]);
        }
        tables.push(found);
    }
    section("Audit", "What rows mean to users on both sides, by declared facts: the rows of each pair of states.", tables)
}

fn set_aside(story: &Story) -> Option<Section> {
    let mut table = Grid::of(&["step", "table", "#rows", "reason"]);
    for one in &story.set_aside {
        table.row([plain(&one.step), plain(format!("{} on {}", one.table, one.side)), count(one.rows), plain(&one.reason)]);
    }
    let mut back = Grid::of(&["restored", "table", "#set aside", "#put back", "#left"]);
    for restore in &story.summary.restores {
        let (rows, left) = match restore.outcome {
            Some((rows, left)) => (count(rows), count(left)),
            None => (toned("cut short", Tone::Bad), plain("-")),
        };
        let table = plain(format!("{} on {}", restore.table, restore.side));
        back.row([plain(format!("{:.0}", restore.at)), table, count(restore.waiting), rows, left]);
    }
    section("Quarantine", "Rows kept whole before they were removed or changed (`crossfade quarantine`).", vec![table, back])
}

fn findings(story: &Story) -> Option<Section> {
    let mut table = Grid::of(&["step", "", "object", "what", "next"]);
    for step in &story.summary.steps {
        for finding in &step.findings {
            let severity = match finding.severity {
                Severity::Note => plain("note"),
                Severity::Warning => toned("warning", Tone::Bad),
                Severity::Blocks => toned("blocks", Tone::Bad),
            };
            table.row([plain(&step.step), severity, plain(&finding.object), plain(&finding.what), plain(&finding.next)]);
        }
        if let Some(failure) = &step.failure {
            table.row([plain(&step.step), toned("stopped", Tone::Bad), plain(""), plain(failure), plain("")]);
        }
    }
    section("Findings", "What the steps' own checks found, and why a step stopped last.", vec![table])
}

fn statements(story: &Story) -> Option<Section> {
    let mut table = Grid::of(&["step", "side", "statement", "strongest lock", "#times", "#time", "#longest", "#rows"]);
    for (step, statements) in &story.statements {
        for ran in statements {
            table.row([
                plain(step),
                plain(ran.side),
                toned(&ran.statement, Tone::Code),
                plain(ran.lock.as_deref().unwrap_or("")),
                count(ran.times),
                plain(brief(ran.seconds)),
                plain(brief(ran.longest_seconds)),
                count(ran.rows),
            ]);
        }
    }
    section(
        "Statements",
        "What the steps ran, without values and without crossfade's own notes; the lock is the strongest that PostgreSQL takes for such a statement; what `follow` writes is counted in its batches.",
        vec![table],
    )
}

/// A time that may be short.
fn brief(seconds: f64) -> String {
    if seconds < 1.0 { format!("{:.1} ms", seconds * 1e3) } else { time(seconds) }
}

/// A database as a report names it.
pub(super) fn database(story: &Story, side: Side) -> Option<String> {
    let identity = story.databases.get(&side)?;
    Some(format!("{side}: {} (PostgreSQL {}.{})", identity.name, identity.version / 10_000, identity.version % 10_000))
}

#[cfg(test)]
mod tests {
    use super::super::example;
    use super::*;

    #[test]
    fn every_section_has_what_the_run_recorded() {
        let (lines, record) = example::run();
        let story = Story::of(&lines, &record).unwrap();
        let sections = sections(&story);
        let titles: Vec<&str> = sections.iter().map(|section| section.title.as_str()).collect();
        assert_eq!(titles, ["Databases", "Service", "Verification", "Audit", "Quarantine", "Statements"]);
        for section in &sections {
            for table in &section.tables {
                assert!(table.rows.iter().all(|row| row.len() == table.head.len()), "{}", section.title);
            }
        }
        let green = &sections[0].tables[0].rows[6];
        let texts: Vec<&str> = green.iter().map(|cell| cell.text.as_str()).collect();
        assert_eq!(texts, ["shop2 (green)", "rows inserted", "0", "60 000", "60 000", "60 000"]);
    }
}
