//! A report as one HTML page that asks for nothing from anywhere: light and dark, on a wide screen and on a phone. Pure.

mod chart;
mod scale;
mod timeline;

use super::sections::{Cell, Grid, Section, Tone, database, sections};
use super::story::{Figure, Series, Story};
use super::{bytes, steps_grid, thousands, time};
use crate::terms::{RunId, Side, escaped};
use chart::chart;
use scale::Scale;
use timeline::timeline;

/// A longer table is folded.
const MANY: usize = 30;

const STYLE: &str = include_str!("style.css");

/// The page.
pub fn page(run: &RunId, story: &Story) -> String {
    let plan = escaped(&story.summary.plan);
    let scale = Scale::of(&story.spans, story.began, story.ended);
    let mut body = header(run, story);
    body += &part("Steps over time", &timeline_about(&scale), &timeline(&story.spans, &scale));
    body += &charts(story, &scale);
    let (steps, _) = steps_grid(&story.summary);
    body += &part(
        "Steps",
        "Net times; what the server counted for everybody while each step ran; <b>others waited</b>: the longest that a session of others waited for a lock because of the step.",
        &(grid(&steps) + &figures(story)),
    );
    for Section { title, about, tables } in sections(story) {
        body += &part(&title, &with_code(&about), &tables.iter().map(grid).collect::<String>());
    }
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <meta name=\"color-scheme\" content=\"light dark\">\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\
         <title>{plan}: report of a run</title>\n<style>\n{STYLE}</style></head>\n<body><main>\n{body}\
         <footer>crossfade {}, from the run's journal and record alone; times in UTC</footer>\n</main></body></html>\n",
        escaped(&story.version)
    )
}

/// Escaped text, with what stands between backticks as code.
fn with_code(text: &str) -> String {
    let piece = |(number, piece): (usize, &str)| match number % 2 {
        0 => escaped(piece),
        _ => format!("<code>{}</code>", escaped(piece)),
    };
    text.split('`').enumerate().map(piece).collect()
}

fn part(title: &str, about: &str, content: &str) -> String {
    let id: String = title.to_lowercase().chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    format!("<section id=\"{id}\"><h2>{}</h2><p class=\"about\">{about}</p>\n{content}</section>\n", escaped(title))
}

fn header(run: &RunId, story: &Story) -> String {
    let summary = &story.summary;
    let (word, class) = match summary.outcome {
        "done" => ("done", "good"),
        "rolled_back" => ("rolled back", "warn"),
        _ => ("not finished", "warn"),
    };
    let of: Vec<String> = [Side::Blue, Side::Green].into_iter().filter_map(|side| database(story, side)).collect();
    let mut out = format!(
        "<header><h1>{} <span class=\"badge {class}\">{word}</span></h1><p>Run <code>{}</code>, {} to {}<br>{}</p></header>\n",
        escaped(&summary.plan),
        escaped(run.as_str()),
        story.began.strftime("%Y-%m-%d %H:%M:%S"),
        story.ended.strftime("%Y-%m-%d %H:%M:%S"),
        escaped(&of.join(" → ")),
    );
    out += "<dl class=\"cards\">";
    for (name, value) in cards(story) {
        out += &format!("<div><dt>{}</dt><dd>{}</dd></div>", escaped(&name), escaped(&value));
    }
    out + "</dl>\n"
}

/// The figures that are asked for first.
fn cards(story: &Story) -> Vec<(String, String)> {
    let summary = &story.summary;
    let total = summary.total();
    let mut cards = vec![
        ("net time of all steps".to_owned(), time(summary.seconds)),
        ("rows written".to_owned(), thousands(total.rows_inserted + total.rows_updated + total.rows_deleted)),
        ("temporary files".to_owned(), bytes(total.temp_bytes)),
        ("write-ahead log".to_owned(), bytes(total.wal_bytes)),
        ("others waited at most".to_owned(), format!("{:.0} ms", summary.longest_lock_wait_ms)),
    ];
    let figure = |name: &str| summary.steps.iter().filter_map(|step| step.figures.get(name)).max().copied();
    if let Some(held) = figure("hold_ms") {
        cards.push(("traffic held".to_owned(), format!("{held} ms")));
    }
    if let Some(lag) = figure("lag_p99_ms") {
        cards.push(("lag, 99th percentile".to_owned(), format!("{lag} ms")));
    }
    if !story.stops.is_empty() {
        cards.push(("stops before the end".to_owned(), story.stops.len().to_string()));
    }
    cards
}

fn timeline_about(scale: &Scale) -> String {
    let cut = match scale.cut() {
        0 => String::new(),
        pauses => format!(
            " {pauses} pause{} without work {} drawn short.",
            if pauses == 1 { "" } else { "s" },
            if pauses == 1 { "is" } else { "are" }
        ),
    };
    format!(
        "When each step was at work. <span class=\"key done\"></span> done <span class=\"key stopped\"></span> stopped \
         <span class=\"key undone\"></span> taken back <span class=\"key open\"></span> begun and not ended.{cut}"
    )
}

/// A chart: which figure, its title, what it means, and how a value is written.
type Chart = (Figure, &'static str, &'static str, fn(f64) -> String);

fn charts(story: &Story, scale: &Scale) -> String {
    let all: [Chart; 4] = [
        (
            Figure::RowsPerSecond,
            "Throughput",
            "Rows inserted, updated and deleted per second, everybody's, by the server's counters.",
            rate,
        ),
        (Figure::WalBytesPerSecond, "Write-ahead log", "Bytes per second, of the whole cluster.", |value| {
            bytes(whole(value)) + "/s"
        }),
        (Figure::LagSeconds, "Lag", "How old the oldest change was when the other side had it, per batch.", |value| {
            format!("{value:.2} s")
        }),
        (Figure::ReplicationLagSeconds, "Replication lag", "How far the slowest standby was behind.", |value| {
            format!("{value:.2} s")
        }),
    ];
    let mut out = String::new();
    for (figure, title, about, shown) in all {
        let series: Vec<&Series> = story.figure(figure);
        if series.iter().any(|series| series.points.iter().any(|(_, value)| *value > 0.0)) {
            out += &part(title, about, &chart(title, &series, scale, shown));
        }
    }
    out
}

fn rate(value: f64) -> String {
    thousands(whole(value)) + "/s"
}

#[expect(clippy::cast_possible_truncation, reason = "a rate for people, and as saturates")]
fn whole(value: f64) -> i64 {
    value.round() as i64
}

/// Numbers of the steps' own.
fn figures(story: &Story) -> String {
    let mut out = String::new();
    for step in story.summary.steps.iter().filter(|step| !step.figures.is_empty()) {
        let figures: Vec<String> =
            step.figures.iter().map(|(name, value)| format!("{} <b>{value}</b>", escaped(&name.replace('_', " ")))).collect();
        out += &format!("<li><b>{}</b>: {}</li>", escaped(step.step.as_str()), figures.join(", "));
    }
    if out.is_empty() { out } else { format!("<ul>{out}</ul>") }
}

fn grid(table: &Grid) -> String {
    let mut out = "<div class=\"scroll\"><table><thead><tr>".to_owned();
    for column in &table.head {
        out += &format!("<th{}>{}</th>", if column.number { " class=\"n\"" } else { "" }, escaped(&column.name));
    }
    out += "</tr></thead><tbody>";
    for row in &table.rows {
        out += "<tr>";
        for (Cell { text, tone }, column) in row.iter().zip(&table.head) {
            let (tone, text) = match tone {
                Tone::Plain => ("", escaped(text)),
                Tone::Code => ("", format!("<code>{}</code>", escaped(text))),
                Tone::Good => ("good", escaped(text)),
                Tone::Bad => ("bad", escaped(text)),
            };
            let class = [if column.number { "n" } else { "" }, tone].join(" ");
            out += &match class.trim() {
                "" => format!("<td>{text}</td>"),
                class => format!("<td class=\"{class}\">{text}</td>"),
            };
        }
        out += "</tr>";
    }
    out += "</tbody></table></div>\n";
    match table.rows.len() {
        many if many > MANY => format!("<details><summary>{many} rows</summary>{out}</details>\n"),
        _ => out,
    }
}

#[cfg(test)]
mod tests {
    use super::super::example;
    use super::*;

    #[test]
    fn the_page_is_whole_quotes_what_it_shows_and_asks_for_nothing() {
        let (lines, record) = example::run();
        let page = page(&example::run_id(), &Story::of(&lines, &record).unwrap());
        assert!(page.contains("move &lt;b&gt;all&lt;/b&gt;") && page.contains("&quot;a&lt;b&quot;"), "{page}");
        assert!(!page.contains("<b>all") && !page.contains("no <owner>"));
        for word in ["http:", "https:", "//", "<script", "<link", "<img", "@import", "url("] {
            assert!(!page.contains(word), "{word}");
        }
        for id in ["throughput", "lag", "steps-over-time", "databases", "service", "audit", "quarantine", "statements"] {
            assert_eq!(page.matches(&format!("id=\"{id}\"")).count(), 1, "{id}");
        }
        assert_eq!(page.matches("<svg").count(), page.matches("</svg>").count());
        assert!(!page.contains("NaN") && !page.contains("inf%"));
    }
}
