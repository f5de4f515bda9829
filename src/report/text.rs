//! A report as text. Pure.

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};

use super::sections::{Grid, Section, sections};
use super::story::Story;
use super::{JourneySummary, Prediction, Restore, prediction, steps_grid};

/// Columns of the widest table: what does not fit is wrapped.
const WIDTH: u16 = 140;

/// The steps as a table, one line per step and one for all, their figures and findings. A column that is 0 in every line is said
/// below instead.
pub fn outline(summary: &JourneySummary) -> String {
    let (steps, zero) = steps_grid(summary);
    let mut out = format!("Plan {}: {}\n{}\n", summary.plan, summary.outcome.replace('_', " "), table(&steps));
    out += "others waited: the longest that another session waited for a lock because of the step";
    if !zero.is_empty() {
        out += &format!("; 0 in every step: {}", zero.join(", "));
    }
    out.push('\n');
    for step in &summary.steps {
        let figures: Vec<String> =
            step.figures.iter().map(|(name, count)| format!("{} {count}", name.replace('_', " "))).collect();
        if !figures.is_empty() {
            out += &format!("{}: {}\n", step.step, figures.join(", "));
        }
        for finding in &step.findings {
            out += &format!("{}: {finding}\n", step.step);
        }
    }
    for Restore { at, step, side, table, waiting, outcome } in &summary.restores {
        let what = match outcome {
            Some((rows, left)) => format!("{rows} put back, {left} left"),
            None => "cut short: `crossfade quarantine list` says how many went back".to_owned(),
        };
        out += &format!("restore of {step} at {at:.0}, {table} on {side}: of {waiting} rows set aside {what}\n");
    }
    out
}

/// The whole report.
pub fn text(story: &Story) -> String {
    let mut out = outline(&story.summary);
    for Section { title, about, tables } in sections(story).into_iter().filter(|section| section.title != "Findings") {
        out += &format!("\n{title}\n{about}\n");
        for grid in &tables {
            out += &format!("{}\n", table(grid));
        }
    }
    out
}

/// What a rehearsal predicts, as a table.
pub fn forecast(prediction: &Prediction) -> String {
    format!("{}\n", table(&prediction::forecast(prediction)))
}

fn table(grid: &Grid) -> Table {
    let mut table = Table::new();
    table
        .load_style(presets::UTF8_BORDERS_ONLY)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_width(WIDTH)
        .set_header(grid.head.iter().map(|column| column.name.as_str()));
    for row in &grid.rows {
        table.add_row(row.iter().map(|cell| cell.text.as_str()));
    }
    for (column, head) in table.column_iter_mut().zip(&grid.head) {
        if head.number {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

#[cfg(test)]
mod tests {
    use super::super::example;
    use super::*;

    #[test]
    fn figures_of_a_step_are_said_once() {
        let (lines, record) = example::run();
        let mut story = Story::of(&lines, &record).unwrap();
        story.summary.steps[2].figures.insert("lag_p99_ms".to_owned(), 17);
        let text = text(&story);
        assert_eq!(text.matches("lag p99 ms 17").count(), 1, "{text}");
        assert!(text.contains("\nQuarantine\n") && text.contains("no <owner>"), "{text}");
    }
}
