//! What a process and everything below it holds.

/// The resident memory of a process and everything below it, in bytes.
pub fn family_rss(root: u32) -> u64 {
    let mut family = vec![root];
    let mut sum = 0;
    while let Some(pid) = family.pop() {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let rss = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        sum += rss.and_then(|text| text.trim().trim_end_matches(" kB").parse::<u64>().ok()).unwrap_or(0) * 1024;
        let below = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
        family.extend(below.split_whitespace().filter_map(|pid| pid.parse::<u32>().ok()));
    }
    sum
}
