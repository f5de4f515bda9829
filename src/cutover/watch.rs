//! What came after the switch against what was before: healthy, degraded, or to be rolled back. Pure.

use serde::{Deserialize, Serialize};

/// How a measure may change.
#[derive(Debug, Clone, Copy, PartialEq, Default, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Limit {
    /// At most this value.
    pub max: Option<f64>,
    /// At most this many times what it was before.
    pub times: Option<f64>,
    /// At most this much more than before.
    pub plus: Option<f64>,
}

impl Limit {
    /// Whether it says anything.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether it can only be judged against a value from before.
    pub fn needs_before(&self) -> bool {
        self.times.is_some() || self.plus.is_some()
    }

    /// Why the value is too high; `None` when it is not. `times` and `plus` together: both must be exceeded, so that a value that
    /// was nearly nothing may become a little.
    fn exceeded(&self, before: Option<f64>, after: f64) -> Option<String> {
        if let Some(max) = self.max.filter(|max| after > *max) {
            return Some(format!("more than {}", shown(max)));
        }
        let before = before?;
        let most = [self.times.map(|times| before * times), self.plus.map(|plus| before + plus)];
        let most = most.into_iter().flatten().reduce(f64::max)?;
        (after > most).then(|| format!("more than {}, from {} before", shown(most), shown(before)))
    }
}

/// One measure and what it was.
#[derive(Debug, Clone, PartialEq)]
pub struct Reading {
    /// Its name.
    pub name: String,
    /// Before the switch; `None` where nothing was measured then.
    pub before: Option<f64>,
    /// After it, or why that is not known.
    pub after: Result<f64, String>,
    /// Beyond this it is degraded.
    pub degraded: Limit,
    /// Beyond this the switch is to be taken back.
    pub roll_back: Limit,
}

/// The verdict, the worst first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Within every limit.
    Healthy,
    /// Beyond a limit, or not known.
    Degraded,
    /// So far beyond that the switch is to be taken back.
    RollBack,
}

/// One line of the table.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row {
    /// The measure.
    pub name: String,
    /// Before.
    pub before: Option<f64>,
    /// After.
    pub after: Option<f64>,
    /// Its own verdict.
    pub verdict: Verdict,
    /// Why it is not healthy; empty when it is.
    pub why: String,
}

/// Judges every measure; the verdict of all is the worst of them.
pub fn judge(readings: &[Reading]) -> (Verdict, Vec<Row>) {
    let rows: Vec<Row> = readings.iter().map(row).collect();
    (rows.iter().map(|row| row.verdict).max().unwrap_or(Verdict::Healthy), rows)
}

fn row(reading: &Reading) -> Row {
    let Reading { name, before, after, degraded, roll_back, .. } = reading;
    let (verdict, why) = match after {
        Err(why) => (Verdict::Degraded, format!("not known: {why}")),
        Ok(after) => match (roll_back.exceeded(*before, *after), degraded.exceeded(*before, *after)) {
            (Some(why), _) => (Verdict::RollBack, why),
            (None, Some(why)) => (Verdict::Degraded, why),
            (None, None) if before.is_none() && (degraded.needs_before() || roll_back.needs_before()) => {
                (Verdict::Degraded, "nothing from before to compare with".to_owned())
            }
            (None, None) => (Verdict::Healthy, String::new()),
        },
    };
    Row { name: name.clone(), before: *before, after: after.as_ref().ok().copied(), verdict, why }
}

/// A value as people read it: three digits that count.
pub fn shown(value: f64) -> String {
    match value.abs() {
        large if large >= 100.0 => format!("{value:.0}"),
        middle if middle >= 1.0 => format!("{value:.2}"),
        0.0 => "0".to_owned(),
        _ => format!("{value:.4}"),
    }
}

/// The change in percent, where there was something before.
pub fn change(before: Option<f64>, after: Option<f64>) -> String {
    match (before, after) {
        (Some(before), Some(after)) if before != 0.0 => format!("{:+.1} %", (after - before) / before * 100.0),
        _ => "-".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(before: Option<f64>, after: f64) -> Reading {
        Reading {
            name: "errors".to_owned(),
            before,
            after: Ok(after),
            degraded: Limit { max: Some(50.0), times: Some(1.5), plus: Some(1.0) },
            roll_back: Limit { max: None, times: Some(10.0), plus: Some(10.0) },
        }
    }

    fn verdict(before: Option<f64>, after: f64) -> Verdict {
        judge(&[reading(before, after)]).0
    }

    #[test]
    fn limits_are_against_before_and_absolute() {
        assert_eq!(verdict(Some(10.0), 15.0), Verdict::Healthy);
        assert_eq!(verdict(Some(10.0), 15.1), Verdict::Degraded);
        assert_eq!(verdict(Some(0.0), 1.0), Verdict::Healthy);
        assert_eq!(verdict(Some(1.0), 11.1), Verdict::RollBack);
        assert_eq!(verdict(Some(45.0), 51.0), Verdict::Degraded);
    }

    #[test]
    fn what_is_not_known_is_not_healthy() {
        assert_eq!(verdict(None, 1.0), Verdict::Degraded);
        let unknown = Reading { after: Err("gone".to_owned()), ..reading(Some(1.0), 0.0) };
        let (verdict, rows) = judge(&[unknown, reading(Some(1.0), 100.0)]);
        assert_eq!((verdict, rows[0].verdict), (Verdict::RollBack, Verdict::Degraded));
        assert_eq!(judge(&[]).0, Verdict::Healthy);
    }

    #[test]
    fn numbers_are_short() {
        assert_eq!([1234.5, 12.345, 0.012_345, 0.0].map(shown), ["1234", "12.35", "0.0123", "0"]);
        assert_eq!((change(Some(2.0), Some(3.0)).as_str(), change(None, Some(1.0)).as_str()), ("+50.0 %", "-"));
    }
}
