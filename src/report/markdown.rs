//! A report as Markdown, for a pull request or a wiki. Pure.

use super::sections::{Grid, Section, Tone, database, sections};
use super::steps_grid;
use super::story::Story;
use crate::terms::{RunId, Side};

/// The document.
pub fn markdown(run: &RunId, story: &Story) -> String {
    let summary = &story.summary;
    let of: Vec<String> = [Side::Blue, Side::Green].into_iter().filter_map(|side| database(story, side)).collect();
    let mut out = format!(
        "# {}: {}\n\nRun `{run}`, {} to {} UTC; {}\n\n",
        escaped(&summary.plan),
        summary.outcome.replace('_', " "),
        story.began.strftime("%Y-%m-%d %H:%M:%S"),
        story.ended.strftime("%Y-%m-%d %H:%M:%S"),
        escaped(&of.join(" → ")),
    );
    let (steps, zero) = steps_grid(summary);
    out += &format!("## Steps\n\n{}", grid(&steps));
    if !zero.is_empty() {
        out += &format!("0 in every step: {}\n\n", zero.join(", "));
    }
    for step in summary.steps.iter().filter(|step| !step.figures.is_empty()) {
        let figures: Vec<String> =
            step.figures.iter().map(|(name, value)| format!("{} {value}", name.replace('_', " "))).collect();
        out += &format!("- {}: {}\n", step.step, escaped(&figures.join(", ")));
    }
    for Section { title, about, tables } in sections(story) {
        out += &format!("\n## {title}\n\n{}\n\n{}", escaped(&about), tables.iter().map(grid).collect::<String>());
    }
    out
}

fn grid(table: &Grid) -> String {
    let line = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
    let mut out = line(table.head.iter().map(|column| escaped(&column.name)).collect());
    out += &line(table.head.iter().map(|column| if column.number { "---:" } else { "---" }.to_owned()).collect());
    for row in &table.rows {
        let cells = row.iter().map(|cell| match cell.tone {
            Tone::Bad if !cell.text.is_empty() => format!("**{}**", escaped(&cell.text)),
            _ => escaped(&cell.text),
        });
        out += &line(cells.collect());
    }
    out + "\n"
}

/// Text that stays text: no markup of Markdown or HTML, no new cell, one line.
fn escaped(text: &str) -> String {
    text.chars().fold(String::new(), |mut out, c| {
        match c {
            '\\' | '`' | '*' | '_' | '[' | ']' | '<' | '>' | '|' | '#' | '~' | '&' => out.extend(['\\', c]),
            '\n' | '\r' => out.push(' '),
            c => out.push(c),
        }
        out
    })
}

#[cfg(test)]
mod tests {
    use super::super::example;
    use super::*;

    #[test]
    fn every_line_of_a_table_has_its_columns_and_nothing_is_markup() {
        let (lines, record) = example::run();
        let text = markdown(&example::run_id(), &Story::of(&lines, &record).unwrap());
        assert!(text.contains("# move \\<b\\>all\\</b\\>: not finished") || text.contains("unfinished"), "{text}");
        assert!(!text.contains("<b>"));
        let mut columns = 0;
        for line in text.lines() {
            let bars = line.replace("\\|", "").matches('|').count();
            assert!(!line.starts_with('|') || columns == 0 || bars == columns, "{line}");
            columns = if line.starts_with('|') { bars } else { 0 };
        }
        assert!(text.contains("| watch | p99 of refreshes, seconds | 0.0100 | 0.0250 | +150.0 % | **degraded"), "{text}");
    }
}
