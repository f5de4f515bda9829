//! Numbers as people read them. JSON documents carry them raw.

use indicatif::HumanBytes;

/// `1234567` → `1 234 567`.
pub fn thousands(number: i64) -> String {
    let digits = number.unsigned_abs().to_string();
    let groups: Vec<&str> = digits.as_bytes().rchunks(3).rev().filter_map(|group| std::str::from_utf8(group).ok()).collect();
    format!("{}{}", if number < 0 { "-" } else { "" }, groups.join(" "))
}

/// `2620536` → `2.50 MiB`.
pub fn bytes(number: i64) -> String {
    HumanBytes(number.unsigned_abs()).to_string()
}

/// Seconds: `0.7 s`, `3 min 12 s`, `2 h 5 min`.
pub fn time(seconds: f64) -> String {
    if seconds < 59.95 {
        return format!("{seconds:.1} s");
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "positive, and as saturates")]
    let whole = seconds.round() as u64;
    match whole / 60 {
        minutes if minutes < 60 => format!("{minutes} min {} s", whole % 60),
        minutes => format!("{} h {} min", minutes / 60, minutes % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped() {
        let shown = [0, 999, 1000, 12_345_678, -1234].map(thousands);
        assert_eq!(shown.each_ref().map(String::as_str), ["0", "999", "1 000", "12 345 678", "-1 234"]);
    }

    #[test]
    fn units_fit_the_size() {
        assert_eq!([0, 2_620_536].map(bytes), ["0 B", "2.50 MiB"]);
        assert_eq!([0.04, 59.9, 59.96, 192.4, 7500.0].map(time), ["0.0 s", "59.9 s", "1 min 0 s", "3 min 12 s", "2 h 5 min"]);
    }
}
