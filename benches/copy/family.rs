//! What a process and everything below it holds.

use std::collections::BTreeSet;

/// The resident memory of a process and everything below it, in bytes. Processes that `known` does not have yet are noted there and
/// not counted: between fork and exec a child shows its parent's memory as its own.
pub fn family_rss(root: u32, known: &mut BTreeSet<u32>) -> u64 {
    let mut family = vec![root];
    let mut sum = 0;
    while let Some(pid) = family.pop() {
        if known.insert(pid) {
            continue;
        }
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let rss = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        sum += rss.and_then(|text| text.trim().trim_end_matches(" kB").parse::<u64>().ok()).unwrap_or(0) * 1024;
        let below = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
        family.extend(below.split_whitespace().filter_map(|pid| pid.parse::<u32>().ok()));
    }
    sum
}
