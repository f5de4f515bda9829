//! Prometheus' text form (exposition format 0.0.4), as far as watching needs it. Pure.

use std::collections::BTreeMap;

/// One line: a metric, its labels, its value.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// Its name.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its value.
    pub value: f64,
}

/// Reads a page. Lines that are not understood are left out: they are about something else.
pub fn parse(page: &str) -> Vec<Sample> {
    page.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')).filter_map(sample).collect()
}

fn sample(line: &str) -> Option<Sample> {
    let end = line.find(|c: char| c == '{' || c.is_whitespace())?;
    let (name, rest) = line.split_at(end);
    let (labels, rest) = match rest.strip_prefix('{') {
        Some(inside) => labels(inside)?,
        None => (BTreeMap::new(), rest),
    };
    let value = rest.split_whitespace().next()?.parse().ok()?;
    Some(Sample { name: name.to_owned(), labels, value })
}

/// The labels up to the closing brace, and what follows it.
fn labels(mut text: &str) -> Option<(BTreeMap<String, String>, &str)> {
    let mut labels = BTreeMap::new();
    loop {
        text = text.trim_start_matches([',', ' ']);
        if let Some(rest) = text.strip_prefix('}') {
            return Some((labels, rest));
        }
        let (name, rest) = text.split_once("=\"")?;
        let mut value = String::new();
        let mut chars = rest.char_indices();
        let end = loop {
            match chars.next()? {
                (at, '"') => break at + 1,
                (_, '\\') => match chars.next()?.1 {
                    'n' => value.push('\n'),
                    other => value.push(other),
                },
                (_, other) => value.push(other),
            }
        };
        labels.insert(name.trim().to_owned(), value);
        text = &rest[end..];
    }
}

/// Whether a label has the value asked for; `4*` stands for everything that begins with `4`.
fn fits(labels: &BTreeMap<String, String>, wanted: &BTreeMap<String, String>) -> bool {
    wanted.iter().all(|(name, value)| {
        labels.get(name).is_some_and(|found| match value.strip_suffix('*') {
            Some(prefix) => found.starts_with(prefix),
            None => found == value,
        })
    })
}

/// The sum of a metric over all its lines with these labels; `None` where there is none.
pub fn sum(samples: &[Sample], name: &str, wanted: &BTreeMap<String, String>) -> Option<f64> {
    let found: Vec<f64> =
        samples.iter().filter(|sample| sample.name == name && fits(&sample.labels, wanted)).map(|sample| sample.value).collect();
    (!found.is_empty()).then(|| found.iter().sum())
}

/// The buckets of a histogram with these labels: upper bound and cumulative count, by bound.
pub fn buckets(samples: &[Sample], name: &str, wanted: &BTreeMap<String, String>) -> Vec<(f64, f64)> {
    let name = format!("{name}_bucket");
    let mut all: Vec<(f64, f64)> = Vec::new();
    for sample in samples.iter().filter(|sample| sample.name == name && fits(&sample.labels, wanted)) {
        let Some(bound) = sample.labels.get("le").and_then(|le| le.parse::<f64>().ok()) else { continue };
        match all.iter_mut().find(|(known, _)| known.total_cmp(&bound).is_eq()) {
            Some((_, count)) => *count += sample.value,
            None => all.push((bound, sample.value)),
        }
    }
    all.sort_by(|a, b| a.0.total_cmp(&b.0));
    all
}

/// The quantile that a histogram tells, linear within its bucket, as Prometheus' `histogram_quantile` does; `None` without counts.
pub fn quantile(buckets: &[(f64, f64)], share: f64) -> Option<f64> {
    let total = buckets.last()?.1;
    if total <= 0.0 {
        return None;
    }
    let rank = share * total;
    let place = buckets.iter().position(|(_, count)| *count >= rank)?;
    let (below_bound, below) = if place == 0 { (0.0, 0.0) } else { buckets[place - 1] };
    let (bound, count) = buckets[place];
    if bound.is_infinite() {
        return Some(below_bound);
    }
    let within = if count > below { (rank - below) / (count - below) } else { 1.0 };
    Some(below_bound + (bound - below_bound) * within)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "# HELP requests all\n# TYPE requests counter\n\
        requests{side=\"blue\",status=\"200\"} 90 1700000000\nrequests{side=\"blue\",status=\"401\"} 7\nrequests{side=\"blue\",status=\"403\"} 3\n\
        requests{side=\"green\",status=\"200\",path=\"a\\\"b,c}\"} 5\nup 1\nbroken{ x\n\
        seconds_bucket{le=\"0.1\"} 50\nseconds_bucket{le=\"0.5\"} 90\nseconds_bucket{le=\"+Inf\"} 100\n";

    fn of(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn sums_go_by_labels() {
        let samples = parse(PAGE);
        assert_eq!(sum(&samples, "requests", &of(&[("side", "blue")])), Some(100.0));
        assert_eq!(sum(&samples, "requests", &of(&[("side", "blue"), ("status", "4*")])), Some(10.0));
        assert_eq!(sum(&samples, "requests", &of(&[("path", "a\"b,c}")])), Some(5.0));
        assert_eq!((sum(&samples, "up", &of(&[])), sum(&samples, "requests", &of(&[("side", "red")]))), (Some(1.0), None));
    }

    #[test]
    fn quantiles_are_linear_within_a_bucket() {
        let buckets = buckets(&parse(PAGE), "seconds", &of(&[]));
        let near = |share: f64, wanted: f64| (quantile(&buckets, share).unwrap() - wanted).abs() < 1e-9;
        assert!(near(0.25, 0.05) && near(0.7, 0.3) && near(0.95, 0.5));
        assert_eq!(quantile(&[(1.0, 0.0)], 0.5), None);
    }
}
