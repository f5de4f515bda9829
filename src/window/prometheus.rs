//! Requests from the answer to a Prometheus range query (HTTP API, `/api/v1/query_range`): a matrix of rates per second.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{SLOT, Series};

#[derive(Deserialize)]
struct Answer {
    status: String,
    #[serde(default)]
    error: String,
    data: Option<Data>,
}

#[derive(Deserialize)]
struct Data {
    #[serde(rename = "resultType")]
    sort: String,
    result: Vec<Measured>,
}

#[derive(Deserialize)]
struct Measured {
    #[serde(default)]
    metric: BTreeMap<String, String>,
    values: Vec<(f64, String)>,
}

/// Methods that change nothing, as a label `method` writes them.
const SAFE: [&str; 4] = ["get", "head", "options", "trace"];

/// Reads it. Each series of the matrix is a kind, named by its labels; its value holds until the next one, its steps at most as far
/// apart as the first two. A series whose label `method` is that of a safe method changes nothing; every other one is taken to write.
///
/// # Errors
/// What it is instead of a matrix.
pub fn read(text: &str) -> Result<Vec<Series>, String> {
    let answer: Answer = serde_json::from_str(text).map_err(|e| format!("is no answer to a range query: {e}"))?;
    let data = match (answer.status.as_str(), answer.data) {
        ("success", Some(data)) => data,
        _ => return Err(format!("says: {}", if answer.error.is_empty() { answer.status } else { answer.error })),
    };
    if data.sort != "matrix" {
        return Err(format!("is a {}, not a matrix: ask /api/v1/query_range", data.sort));
    }
    Ok(data.result.iter().map(series).collect())
}

fn series(measured: &Measured) -> Series {
    let method = measured.metric.get("method").map(|method| method.to_lowercase());
    let labels: Vec<String> =
        measured.metric.iter().filter(|(name, _)| *name != "__name__").map(|(name, value)| format!("{name}={value}")).collect();
    let name = measured.metric.get("__name__").map_or("requests", String::as_str);
    let kind = if labels.is_empty() { name.to_owned() } else { labels.join(" ") };
    let step = measured.values.windows(2).map(|pair| pair[1].0 - pair[0].0).fold(f64::INFINITY, f64::min);
    let mut slots = BTreeMap::new();
    for (index, (from, rate)) in measured.values.iter().enumerate() {
        let Some(rate) = rate.parse::<f64>().ok().filter(|rate| rate.is_finite()) else { continue };
        let until = measured.values.get(index + 1).map_or(from + step, |(next, _)| next.min(from + step));
        if until.is_finite() {
            spread(&mut slots, *from, until, rate);
        }
    }
    Series { kind, writes: !method.is_some_and(|method| SAFE.contains(&method.as_str())), requests: true, slots }
}

/// Adds `rate` events a second between two times to the slots they lie in.
fn spread(slots: &mut BTreeMap<i64, f64>, from: f64, until: f64, rate: f64) {
    #[expect(clippy::cast_precision_loss, reason = "seconds of this century")]
    let seconds = |slot: i64| (slot * SLOT) as f64;
    let mut now = from;
    while now < until {
        #[expect(clippy::cast_possible_truncation, reason = "seconds of this century")]
        let slot = (now.floor() as i64).div_euclid(SLOT);
        let end = seconds(slot + 1).min(until);
        *slots.entry(slot).or_insert(0.0) += (end - now) * rate;
        now = end;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_become_events_in_slots() {
        let text = r#"{"status":"success","data":{"resultType":"matrix","result":[
            {"metric":{"method":"POST","path":"/oauth2/token"},"values":[[1767571200,"2"],[1767571800,"4"],[1767572400,"NaN"]]},
            {"metric":{"method":"get"},"values":[[1767571200,"1"],[1767572100,"1"]]}]}}"#;
        let series = read(text).unwrap();
        let slot = 1_767_571_200 / SLOT;
        assert_eq!(series[0].kind, "method=POST path=/oauth2/token");
        // 600 s at 2, then 300 s of the slot at 4, then 300 s at 4.
        assert_eq!(series[0].slots, BTreeMap::from([(slot, 2400.0), (slot + 1, 1200.0)]));
        assert!(series[0].writes && !series[1].writes);
        assert_eq!(series[1].slots, BTreeMap::from([(slot, 900.0), (slot + 1, 900.0)]));
    }

    #[test]
    fn what_is_no_matrix_says_what_it_is() {
        assert!(read("{}").unwrap_err().contains("no answer"));
        assert!(read(r#"{"status":"error","error":"bad query"}"#).unwrap_err().contains("bad query"));
        assert!(read(r#"{"status":"success","data":{"resultType":"vector","result":[]}}"#).unwrap_err().contains("query_range"));
    }
}
