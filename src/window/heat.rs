//! The heat map of a week, for a terminal.

/// From nothing to the most.
const SHADES: [char; 6] = ['·', '░', '▒', '▓', '█', '█'];
const DAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];

/// Seven lines of 24 hours, `width` columns at most (two characters an hour where they fit), and a line that says what the
/// shades mean. An hour that was not observed is a space.
pub fn heat(hours: &[Option<f64>], width: usize) -> String {
    let wide = if width >= 4 + 48 { 2 } else { 1 };
    let most = hours.iter().flatten().copied().fold(0.0, f64::max);
    let mut out = String::from("    ");
    for hour in (0..24).step_by(6) {
        out += &format!("{hour:<width$}", width = 6 * wide);
    }
    out = out.trim_end().to_owned() + "\n";
    for (day, hours) in DAYS.iter().zip(hours.chunks(24)) {
        let line: String = hours.iter().flat_map(|hour| std::iter::repeat_n(shade(*hour, most), wide)).collect();
        out += &format!("{day} {}\n", line.trim_end());
    }
    let limits: Vec<String> =
        (1..=4).map(|step| format!("{} up to {}", SHADES[step], number(most * f64::from(step_of(step)) / 4.0))).collect();
    out + &format!("· none  {}  an hour\n", limits.join("  "))
}

fn step_of(step: usize) -> u8 {
    u8::try_from(step).unwrap_or(4)
}

fn shade(hour: Option<f64>, most: f64) -> char {
    match hour {
        None => ' ',
        Some(events) if events <= 0.0 || most <= 0.0 => SHADES[0],
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 4")]
        Some(events) => SHADES[1 + ((events / most * 4.0).ceil() as usize).clamp(1, 4) - 1],
    }
}

/// A number as people read it: no decimals from 10 on.
fn number(value: f64) -> String {
    if value >= 10.0 { format!("{value:.0}") } else { format!("{value:.1}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shades_are_quarters_of_the_most_and_the_unknown_is_empty() {
        let mut hours = vec![Some(0.0); 168];
        hours[0] = Some(100.0);
        hours[1] = Some(25.0);
        hours[2] = Some(26.0);
        hours[3] = None;
        let narrow = heat(&hours, 40);
        let monday = narrow.lines().nth(1).unwrap();
        assert!(monday.starts_with("Mon █░▒ ·"), "{narrow}");
        assert!(narrow.lines().take(8).all(|line| line.chars().count() <= 40), "{narrow}");
        assert!(heat(&hours, 80).contains("Mon ██░░▒▒  ··"));
        assert!(narrow.contains("░ up to 25  ▒ up to 50"));
        assert!(heat(&vec![Some(0.0); 168], 80).contains("Sun ····"));
    }
}
