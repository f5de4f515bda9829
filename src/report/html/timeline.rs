//! The timeline of steps as one SVG. Widths are shares of the page, so that letters keep their size on a phone. Pure.

use super::scale::{Scale, ticks};
use crate::report::story::{End, Span};
use crate::report::time;
use crate::terms::escaped;

/// Height of a step in pixels: its name above its bar.
const ROW: usize = 34;

/// One row per step, one bar per time at work.
pub(super) fn timeline(spans: &[Span], scale: &Scale) -> String {
    let mut steps: Vec<&str> = Vec::new();
    for span in spans {
        if !steps.contains(&span.step.as_str()) {
            steps.push(span.step.as_str());
        }
    }
    let height = steps.len() * ROW + 6;
    let mut out = format!(
        "<svg class=\"timeline\" role=\"img\" aria-label=\"timeline of steps\" width=\"100%\" height=\"{}\">{}",
        height + 20,
        ticks(scale, height)
    );
    for (number, step) in steps.iter().enumerate() {
        let own: Vec<&Span> = spans.iter().filter(|span| span.step.as_str() == *step).collect();
        let total: f64 = own.iter().map(|span| length(span)).sum();
        let first = own.iter().map(|span| scale.at(span.from)).fold(100.0, f64::min);
        let (x, anchor) =
            if first > 60.0 { (own.iter().map(|span| scale.at(span.to)).fold(0.0, f64::max), "end") } else { (first, "start") };
        out += &format!(
            "<text x=\"{x:.3}%\" y=\"{}\" text-anchor=\"{anchor}\">{} <tspan class=\"dim\">{}</tspan></text>",
            number * ROW + 14,
            escaped(step),
            time(total)
        );
        for span in own {
            let (left, right) = (scale.at(span.from), scale.at(span.to));
            let (class, word) = match span.end {
                End::Done => ("done", "done"),
                End::Stopped => ("stopped", "stopped"),
                End::Undone => ("undone", "taken back"),
                End::Open => ("open", "not ended"),
            };
            out += &format!(
                "<svg x=\"{left:.3}%\" y=\"{}\" width=\"{:.3}%\" height=\"10\" overflow=\"visible\">\
                 <rect class=\"{class}\" x=\"-1\" width=\"100%\" height=\"10\" rx=\"2\"/><rect class=\"{class}\" x=\"-1\" width=\"3\" height=\"10\"/>\
                 <title>{}: {word} after {}</title></svg>",
                number * ROW + 20,
                (right - left).max(0.0),
                escaped(step),
                time(length(span))
            );
        }
    }
    out + "</svg>\n"
}

fn length(span: &Span) -> f64 {
    span.to.duration_since(span.from).as_secs_f64()
}
