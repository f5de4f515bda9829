//! From what was measured at some sizes to what it will be at another: a straight line, and how far off that may be. Pure.

use crate::report::Estimate;

/// Of what a prediction adds to what was measured, so much may be off beside the spread: caches, checkpoints and plans of queries
/// are others at other sizes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Doubt(pub f64);

impl Doubt {
    /// Of times and of bytes.
    pub const OF_WORK: Doubt = Doubt(0.2);
    /// Of rows.
    pub const OF_ROWS: Doubt = Doubt(0.02);
}

/// What work on a part of `rows` is of the work on all of them, 1 for all: each row costs more among many than among few, as it is put
/// into deeper indexes, larger sorts and hash tables (n log n).
#[expect(clippy::cast_precision_loss, reason = "rows")]
pub fn work_on(share: f64, rows: u64) -> f64 {
    let log = |rows: f64| rows.max(2.0).log2();
    share * log(share * rows as f64) / log(rows as f64)
}

/// The median of the values at each size: what disturbed one round does not move it.
pub fn medians(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let mut points = points.to_vec();
    points.sort_by(|one, other| one.0.total_cmp(&other.0).then(one.1.total_cmp(&other.1)));
    let at_size = |same: &[(f64, f64)]| {
        let (low, high) = (same[(same.len() - 1) / 2], same[same.len() / 2]);
        (low.0, (low.1 + high.1) / 2.0)
    };
    points.chunk_by(|one, other| one.0 == other.0).map(at_size).collect()
}

/// The value at `at`, by least squares through points of size and value: a fixed part and one that grows with the size, neither
/// below zero. The error is two standard errors of the predicted value, and the doubt about what lies beyond the largest size.
pub fn predict(points: &[(f64, f64)], at: f64, doubt: Doubt) -> Estimate {
    if points.is_empty() {
        return Estimate::default();
    }
    #[expect(clippy::cast_precision_loss, reason = "a handful")]
    let n = points.len() as f64;
    let (middle, mean) = (sum(points, |x, _| x) / n, sum(points, |_, y| y) / n);
    let spread = sum(points, |x, _| (x - middle).powi(2));
    let slope = if spread > 0.0 { sum(points, |x, y| (x - middle) * (y - mean)) / spread } else { 0.0 };
    let (fixed, slope) = match (mean - slope * middle, slope) {
        (_, slope) if slope <= 0.0 => (mean, 0.0),
        (fixed, _) if fixed < 0.0 => (0.0, sum(points, |x, y| x * y) / sum(points, |x, _| x * x)),
        line => line,
    };
    let line = |x: f64| fixed + slope * x;
    let free = n - if spread > 0.0 { 2.0 } else { 1.0 };
    let variance = if free > 0.0 { sum(points, |x, y| (y - line(x)).powi(2)) / free } else { 0.0 };
    let leverage = 1.0 / n + if spread > 0.0 { (at - middle).powi(2) / spread } else { 0.0 };
    let largest = points.iter().map(|(x, _)| *x).fold(0.0, f64::max);
    let beyond = (line(at) - line(largest)).abs() * doubt.0;
    Estimate { value: line(at), error: (2.0 * (variance * leverage).sqrt()).hypot(beyond) }
}

fn sum(points: &[(f64, f64)], of: impl Fn(f64, f64) -> f64) -> f64 {
    points.iter().map(|(x, y)| of(*x, *y)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: Doubt = Doubt(0.0);

    fn near(estimate: Estimate, value: f64) -> bool {
        (estimate.value - value).abs() < 1e-9
    }

    #[test]
    fn one_disturbed_round_moves_no_median() {
        let points = [(0.1, 3.0), (0.01, 2.0), (0.1, 30.0), (0.01, 2.2), (0.1, 3.2)];
        assert_eq!(medians(&points), [(0.01, 2.1), (0.1, 3.2)]);
        assert_eq!(medians(&[]), []);
    }

    #[test]
    fn a_row_among_many_costs_more() {
        assert!((work_on(1.0, 1_000_000) - 1.0).abs() < 1e-9);
        assert!((work_on(0.001, 1_000_000) - 0.0005).abs() < 1e-5);
        assert!((work_on(0.5, 0) - 0.5).abs() < 1e-9, "nothing was sampled");
    }

    #[test]
    fn a_line_is_a_line_at_any_size() {
        let points = [(0.01, 2.1), (0.1, 3.0), (0.01, 2.1), (0.1, 3.0)];
        let found = predict(&points, 1.0, NONE);
        assert!(near(found, 12.0) && found.error < 1e-6, "{found:?}");
        let doubted = predict(&points, 1.0, Doubt(0.2));
        assert!((doubted.error - 1.8).abs() < 1e-6, "a fifth of what is beyond: {doubted:?}");
    }

    #[test]
    fn what_scatters_is_less_certain_the_farther_away() {
        let points = [(0.01, 2.0), (0.1, 2.8), (0.01, 2.2), (0.1, 3.2)];
        let (here, there) = (predict(&points, 0.1, NONE), predict(&points, 1.0, NONE));
        assert!(here.error > 0.1 && there.error > 5.0 * here.error, "{here:?} {there:?}");
        assert!(there.covers(12.0));
    }

    #[test]
    fn nothing_shrinks_and_nothing_begins_below_zero() {
        assert!(near(predict(&[(0.01, 5.0), (0.1, 4.0)], 1.0, NONE), 4.5));
        let from_zero = predict(&[(0.01, 0.0), (0.1, 10.0)], 1.0, NONE);
        assert!((99.0..=101.0).contains(&from_zero.value), "{from_zero:?}");
    }

    #[test]
    fn one_size_is_its_mean() {
        let found = predict(&[(1.0, 4.0), (1.0, 6.0)], 1.0, Doubt::OF_WORK);
        assert!(near(found, 5.0) && (found.error - 2.0).abs() < 1e-9, "{found:?}");
        assert_eq!(predict(&[], 1.0, NONE), Estimate::default());
    }
}
