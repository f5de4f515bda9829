//! `crossfade copy-worker`: takes parts of a copy that somebody else drives.

use std::time::{Duration, Instant};

use clap::Args;

use super::databases::DatabaseArgs;
use super::{Format, print_json, text};
use crate::copy::Worker;
use crate::engine;
use crate::limits::Limits;
use crate::step::{Interrupt, Stop};
use crate::terms::Exit;

#[derive(Debug, Args)]
pub(super) struct CopyWorkerArgs {
    #[command(flatten)]
    databases: DatabaseArgs,
    /// Work for this run alone (default: the one that loads rows into green now)
    #[arg(long, value_name = "RUN")]
    run: Option<String>,
    /// Sessions per side (default: the cores of this machine, at least 2 and at most 8)
    #[arg(long, value_name = "N")]
    jobs: Option<usize>,
    /// Wait so long for a copy to begin, as in `10m`
    #[arg(long, value_name = "TIME", default_value = "0s")]
    wait: humantime::Duration,
}

pub(super) async fn copy_worker(args: &CopyWorkerArgs, format: Format, quiet: bool) -> anyhow::Result<Exit> {
    let [blue, green] = args.databases.both()?;
    let jobs = args.jobs.unwrap_or(Limits::default().jobs).max(1);
    let interrupt = Interrupt::default();
    engine::listen(&interrupt)?;
    let began = Instant::now();
    let worker = loop {
        if let Some(worker) = Worker::join(blue.clone(), green.clone(), args.run.as_deref(), jobs).await? {
            break worker;
        }
        if interrupt.soft.is_cancelled() {
            return Ok(Exit::Interrupted);
        }
        if began.elapsed() >= *args.wait {
            return Err(Stop::Usage("no copy loads rows into this green now: start it, or give --wait".to_owned()).into());
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    };
    let run = worker.run().clone();
    if !quiet {
        eprintln!("works for run {run} with {jobs} sessions per side");
    }
    let say = |why: Option<&str>| {
        if !quiet {
            eprintln!("{}", why.unwrap_or("goes on"));
        }
    };
    let work = worker.work(interrupt.soft.clone(), interrupt.wish.clone(), say);
    let brought = tokio::select! {
        brought = work => brought?,
        () = interrupt.hard.cancelled() => return Ok(Exit::Interrupted),
    };
    match format {
        Format::Json => print_json(&serde_json::json!({ "run": run, "brought": brought }))?,
        _ => {
            let (parts, rows) = (brought.parts, brought.rows);
            text::print(&format!("brought {parts} parts with {rows} rows for run {run}\n"))?;
        }
    }
    Ok(Exit::Done)
}
