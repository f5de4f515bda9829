//! What a rehearsal predicts and what the run then takes: 10 % of 50,000 sessions are sampled, the plan runs on all of them. See
//! `benches/README.md`.
//!
//! `SESSIONS=50000 SHARE=10 ROUNDS=4 CRASHES=0`

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use crossfade::demo::create_1x;
use crossfade::shadow::{Binaries, Cluster};
use serde_json::Value;

/// Rows of each kind that breaks naive migrations.
const PLANTED: u32 = 20;

struct Pair {
    blue: Cluster,
    green: Cluster,
}

impl Pair {
    fn crossfade(&self, words: &[&str], state: &Path) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_crossfade"));
        command.args(words).env("BLUE_DATABASE_URL", self.blue.url("app")).env("GREEN_DATABASE_URL", self.green.url("app"));
        command.env("CROSSFADE_STATE", state).stderr(Stdio::inherit());
        command
    }

    fn run(&self, words: &[&str], state: &Path) -> Result<String> {
        let output = self.crossfade(words, state).output()?;
        ensure!(output.status.success(), "{words:?}: {}", output.status);
        Ok(String::from_utf8(output.stdout)?)
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let number = |name: &str, default: u32| std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default);
    let (sessions, share) = (number("SESSIONS", 50_000), number("SHARE", 10).to_string());
    let (rounds, crashes) = (number("ROUNDS", 4).to_string(), number("CRASHES", 0).to_string());
    let plan = |name: &str| Path::new(env!("CARGO_MANIFEST_DIR")).join("plans").join(name).display().to_string();
    let (in_place, blue_green) = (plan("hydra-1x-in-place.toml"), plan("hydra-2x-blue-green.toml"));
    let binaries = Binaries::find()?;
    let settings = || vec![("shared_buffers", "256MB".to_owned()), ("max_wal_size", "4GB".to_owned())];
    let pair = Pair { blue: Cluster::start(&binaries, settings()).await?, green: Cluster::start(&binaries, settings()).await? };
    for cluster in [&pair.blue, &pair.green] {
        let admin = cluster.database("admin", "postgres")?.connect("bench").await?;
        admin.batch_execute("CREATE DATABASE app").await?;
    }
    let folder = tempfile::tempdir()?;
    let state = folder.path().join("state");
    {
        let blue = pair.blue.database("blue", "app")?.connect("bench").await?;
        create_1x(&blue, sessions, PLANTED, "7").await?;
        pair.run(&["run", &in_place, "--execute", "-q"], &state)?;
        blue.batch_execute("VACUUM ANALYZE").await?;
        blue.batch_execute("CHECKPOINT").await?;
    }
    let file = folder.path().join("prediction.json").display().to_string();
    let began = Instant::now();
    let mut words = vec!["rehearse", &blue_green, "--share", &share, "--rounds", &rounds, "--crashes", &crashes, "--save", &file];
    if crashes == "0" {
        words.push("--no-rollback");
    }
    print!("{}", pair.run(&words, &state)?);
    println!("\nrehearsed in {:.0} s", began.elapsed().as_secs_f64());
    pair.run(&["run", &blue_green, "--execute", "-q"], &state)?;
    let report: Value =
        serde_json::from_str(&pair.run(&["report", &blue_green, "--prediction", &file, "--format", "json"], &state)?)?;
    let compared = report["compared"].as_array().context("the report compares nothing")?;
    println!("\n{sessions} sessions; predicted (± stated error) / real, ratio");
    for one in compared {
        let name = one["step"].as_str().unwrap_or("all steps");
        let of = |figure: &str| -> (f64, f64, f64) {
            let number = |value: &Value| value.as_f64().unwrap_or_default();
            (number(&one[figure][0]["value"]), number(&one[figure][0]["error"]), number(&one[figure][1]))
        };
        let (seconds, rows, wal, temp) = (of("seconds"), of("rows"), of("wal_bytes"), of("temp_bytes"));
        println!(
            "{name:20} {:7.2} ± {:5.2} / {:7.2} s {:5.2} | {:8.0} / {:8.0} rows {:6.3} | WAL {:6.1} / {:6.1} MB {:5.2} | temp {:.1} / {:.1} MB",
            seconds.0,
            seconds.1,
            seconds.2,
            seconds.0 / seconds.2,
            rows.0,
            rows.2,
            rows.0 / rows.2,
            wal.0 / 1e6,
            wal.2 / 1e6,
            wal.0 / wal.2,
            temp.0 / 1e6,
            temp.2 / 1e6,
        );
    }
    Ok(())
}
