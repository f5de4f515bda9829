//! Requests from an access log in the common or combined form: `... [10/Oct/2025:13:55:36 +0200] "POST /oauth2/token HTTP/1.1" 200 ...`.

use std::collections::BTreeMap;
use std::io::BufRead;

use super::{SLOT, Series};

/// Methods that change nothing (RFC 9110, 9.2.1).
const SAFE: [&str; 4] = ["GET", "HEAD", "OPTIONS", "TRACE"];

/// So many kinds of writing requests are told apart; the others are one.
const KINDS: usize = 20;

/// Reads it: one series for all requests that change nothing, one for each method and path (without its query) of the others, the
/// most frequent apart. Also gives how many lines were no request.
///
/// # Errors
/// When it cannot be read.
pub fn read(log: impl BufRead) -> std::io::Result<(Vec<Series>, u64)> {
    let (mut reads, mut writes, mut odd) = (BTreeMap::new(), BTreeMap::<String, BTreeMap<i64, f64>>::new(), 0);
    for line in log.split(b'\n') {
        let line = line?;
        let line = String::from_utf8_lossy(&line);
        match request(&line) {
            Some((slot, method, _)) if SAFE.contains(&method) => *reads.entry(slot).or_insert(0.0) += 1.0,
            Some((slot, method, path)) => {
                *writes.entry(format!("{method} {path}")).or_default().entry(slot).or_insert(0.0) += 1.0;
            }
            None if line.trim().is_empty() => {}
            None => odd += 1,
        }
    }
    let total = |slots: &BTreeMap<i64, f64>| slots.values().sum::<f64>();
    let mut kinds: Vec<(String, BTreeMap<i64, f64>)> = writes.into_iter().collect();
    kinds.sort_by(|a, b| total(&b.1).total_cmp(&total(&a.1)));
    let rest = kinds.split_off(kinds.len().min(KINDS));
    let mut series: Vec<Series> =
        kinds.into_iter().map(|(kind, slots)| Series { kind, writes: true, requests: true, slots }).collect();
    if !rest.is_empty() {
        let mut slots = BTreeMap::new();
        rest.into_iter().flat_map(|(_, slots)| slots).for_each(|(slot, events)| *slots.entry(slot).or_insert(0.0) += events);
        series.push(Series { kind: "other writes".to_owned(), writes: true, requests: true, slots });
    }
    series.push(Series { kind: "reads".to_owned(), writes: false, requests: true, slots: reads });
    Ok((series, odd))
}

/// The slot, the method and the path of a line.
fn request(line: &str) -> Option<(i64, &str, &str)> {
    let (_, rest) = line.split_once('[')?;
    let (time, rest) = rest.split_once(']')?;
    let second = jiff::fmt::strtime::parse("%d/%b/%Y:%H:%M:%S %z", time).ok()?.to_timestamp().ok()?.as_second();
    let (_, rest) = rest.split_once('"')?;
    let (line, _) = rest.split_once('"')?;
    let mut words = line.split(' ');
    let (method, target) = (words.next()?, words.next()?);
    let plain = !method.is_empty() && method.bytes().all(|byte| byte.is_ascii_uppercase());
    plain.then(|| (second.div_euclid(SLOT), method, target.split(['?', '#']).next().unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_requests_with_method_path_and_time() {
        let log = "1.2.3.4 - bob [05/Jan/2026:02:00:01 +0200] \"POST /oauth2/token?secret=x HTTP/1.1\" 200 17 \"-\" \"curl\"\n\
                   1.2.3.4 - - [05/Jan/2026:00:14:59 +0000] \"GET /health HTTP/1.1\" 200 2\n\
                   \n\
                   not a line\n\
                   1.2.3.4 - - [05/Jan/2026:00:15:00 +0000] \"POST /oauth2/token HTTP/2.0\" 401 2\n";
        let (series, odd) = read(log.as_bytes()).unwrap();
        assert_eq!(odd, 1);
        let slot = 1_767_571_200 / SLOT;
        assert_eq!(series[0].kind, "POST /oauth2/token");
        assert_eq!(series[0].slots, BTreeMap::from([(slot, 1.0), (slot + 1, 1.0)]));
        assert!(!series[1].writes && series[1].slots == BTreeMap::from([(slot, 1.0)]));
    }

    #[test]
    fn many_kinds_of_writes_become_one() {
        let line = |n: i32| format!("- [05/Jan/2026:00:00:00 +0000] \"DELETE /x/{n} HTTP/1.1\" 204 0\n");
        let log: String = (0..50).map(line).collect();
        let (series, _) = read(log.as_bytes()).unwrap();
        assert_eq!(series.len(), KINDS + 2);
        assert_eq!(series[KINDS].slots.values().sum::<f64>(), 30.0);
    }
}
