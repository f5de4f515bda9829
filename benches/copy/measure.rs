//! What one clone cost.

use std::collections::BTreeSet;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::family::family_rss;

/// What one clone cost its client programs.
#[derive(Debug, Clone, Copy)]
pub struct Cost {
    /// From start to end.
    pub seconds: f64,
    /// User and system time of the client programs; the servers' is not in it.
    pub cpu_seconds: f64,
    /// The most memory that all client programs held together, in bytes, sampled every 20 ms.
    pub peak_rss: u64,
}

/// Runs a shell script as one process group and measures it.
///
/// # Errors
/// With the end of what it said when it fails.
pub fn measure(script: &str, environment: &[(&str, String)]) -> Result<Cost> {
    let before = children_cpu();
    let began = Instant::now();
    let child: Child = Command::new("bash")
        .args(["-euo", "pipefail", "-c", script])
        .envs(environment.iter().map(|(name, value)| (*name, value.as_str())))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot run bash")?;
    let (pid, going, peak) = (child.id(), Arc::new(AtomicBool::new(true)), Arc::new(AtomicU64::new(0)));
    let (still, most) = (Arc::clone(&going), Arc::clone(&peak));
    let sampler = std::thread::spawn(move || {
        let mut known = BTreeSet::new();
        while still.load(Ordering::Relaxed) {
            most.fetch_max(family_rss(pid, &mut known), Ordering::Relaxed);
            std::thread::sleep(Duration::from_millis(20));
        }
    });
    let output = child.wait_with_output().context("cannot wait")?;
    let seconds = began.elapsed().as_secs_f64();
    going.store(false, Ordering::Relaxed);
    let _ = sampler.join();
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        let lines: Vec<&str> = text.lines().collect();
        bail!("{}: {}", output.status, lines[lines.len().saturating_sub(8)..].join("\n"));
    }
    Ok(Cost { seconds, cpu_seconds: children_cpu() - before, peak_rss: peak.load(Ordering::Relaxed) })
}

/// User and system time of all children that have ended, in seconds: fields 16 and 17 of /proc/self/stat, in ticks of 1/100 s.
fn children_cpu() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let fields: Vec<f64> = after.split_whitespace().skip(13).take(2).filter_map(|field| field.parse().ok()).collect();
    fields.iter().sum::<f64>() / 100.0
}

/// The middle value; of an even number the upper one.
pub fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut sorted: Vec<f64> = values.collect();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}
