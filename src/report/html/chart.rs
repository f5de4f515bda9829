//! Figures over time as one SVG. The lines are stretched over the page, the letters are not. Pure.

use super::scale::{Scale, ticks};
use crate::report::story::Series;
use crate::terms::Side;

/// Height of the drawing in pixels, without the line of times below it.
const HEIGHT: usize = 150;
/// Room above the highest value, in pixels.
const ABOVE: usize = 16;

/// One line per series.
pub(super) fn chart(title: &str, series: &[&Series], scale: &Scale, shown: fn(f64) -> String) -> String {
    let highest = series.iter().flat_map(|series| &series.points).map(|(_, value)| *value).fold(0.0, f64::max);
    let top = rounded_up(highest);
    #[expect(clippy::cast_precision_loss, reason = "pixels")]
    let y = |value: f64| ABOVE as f64 + (HEIGHT - ABOVE) as f64 * (1.0 - (value / top).clamp(0.0, 1.0));
    let mut out = format!(
        "<figure><svg class=\"chart\" role=\"img\" aria-label=\"{title} over time\" width=\"100%\" height=\"{}\">{}",
        HEIGHT + 20,
        ticks(scale, HEIGHT)
    );
    for share in [0.0, 0.5, 1.0] {
        let at = y(top * share);
        out += &format!("<line class=\"grid\" x1=\"0\" x2=\"100%\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>");
    }
    out += &format!("<svg width=\"100%\" height=\"{HEIGHT}\" viewBox=\"0 0 100 {HEIGHT}\" preserveAspectRatio=\"none\">");
    for one in series {
        let points: Vec<String> = one.points.iter().map(|(at, value)| format!("{:.3},{:.2}", scale.at(*at), y(*value))).collect();
        let (first, last) = (points.first().map(|_| scale.at(one.points[0].0)), one.points.last().map(|(at, _)| scale.at(*at)));
        let class = class(one.side);
        if let (Some(first), Some(last)) = (first, last) {
            out +=
                &format!("<polygon class=\"{class}\" points=\"{first:.3},{HEIGHT} {} {last:.3},{HEIGHT}\"/>", points.join(" "));
        }
        out += &format!("<polyline class=\"{class}\" vector-effect=\"non-scaling-stroke\" points=\"{}\"/>", points.join(" "));
    }
    out += "</svg>";
    for share in [0.5, 1.0] {
        out += &format!("<text class=\"tick\" x=\"2\" y=\"{:.1}\">{}</text>", y(top * share) - 4.0, shown(top * share));
    }
    out += "</svg><figcaption>";
    for one in series {
        let peak = one.points.iter().map(|(_, value)| *value).fold(0.0, f64::max);
        let name = one.side.map_or_else(String::new, |side| format!("{side}, "));
        out += &format!("<span class=\"key {}\"></span> {name}at most {} ", class(one.side), shown(peak));
    }
    out + "</figcaption></figure>\n"
}

fn class(side: Option<Side>) -> &'static str {
    match side {
        Some(Side::Blue) => "blue",
        Some(Side::Green) => "green",
        None => "lag",
    }
}

/// The next number of the form 1, 2 or 5 times a power of ten.
fn rounded_up(value: f64) -> f64 {
    if value <= 0.0 {
        return 1.0;
    }
    let power = 10f64.powf(value.log10().floor());
    [1.0, 2.0, 5.0, 10.0].into_iter().map(|times| times * power).find(|round| *round >= value * 0.999).unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_end_at_round_numbers() {
        let cases = [(0.0, 1.0), (0.03, 0.05), (1.0, 1.0), (4.2, 5.0), (5100.0, 10_000.0), (123_456.0, 200_000.0)];
        for (value, wanted) in cases {
            assert!((rounded_up(value) - wanted).abs() < wanted * 1e-9, "{value}: {}", rounded_up(value));
        }
    }
}
