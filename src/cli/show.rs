//! How the commands that drive or watch a run show it.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Context;
use clap::Args;

use crate::plan::Plan;
use crate::report::{Exporter, Outline, Outlined, Show, Tui};
use crate::step::{Interrupt, Reversal};
use crate::terms::RunId;

#[derive(Debug, Default, Args)]
pub(super) struct ShowArgs {
    /// Show the whole picture on the terminal; plain lines where there is none
    #[arg(long)]
    tui: bool,
    /// Serve metrics to Prometheus at this address (GET /metrics)
    #[arg(long, value_name = "ADDRESS:PORT")]
    metrics_addr: Option<SocketAddr>,
    /// Write metrics to this file, for node_exporter's textfile collector
    #[arg(long, value_name = "FILE.prom")]
    metrics_file: Option<PathBuf>,
}

impl ShowArgs {
    /// Opens what was asked for.
    ///
    /// # Errors
    /// When the address is taken or the terminal refuses.
    pub(super) async fn open(&self, quiet: bool, plan: &Plan, run: Option<RunId>, interrupt: &Interrupt) -> anyhow::Result<Show> {
        let exporter = match self.metrics_addr.is_some() || self.metrics_file.is_some() {
            false => None,
            true => {
                let opened = Exporter::open(self.metrics_addr, self.metrics_file.clone()).await;
                Some(opened.context("cannot listen at --metrics-addr")?)
            }
        };
        if let Some(address) = exporter.as_ref().and_then(Exporter::address).filter(|_| !quiet) {
            eprintln!("metrics: http://{address}/metrics");
        }
        let tui = if self.tui && !quiet { Tui::open().context("the terminal refuses --tui")? } else { None };
        Ok(Show { quiet, tui, exporter, outline: outline(plan, run), interrupt: interrupt.clone() })
    }
}

/// What a picture needs to know of a plan.
pub(super) fn outline(plan: &Plan, run: Option<RunId>) -> Outline {
    let steps = plan.steps().iter().map(|step| Outlined {
        id: step.id.clone(),
        phase: step.phase,
        kind: step.kind,
        irreversible: match step.step.reversal() {
            Reversal::Irreversible(why) => Some(why),
            Reversal::Reversible | Reversal::NothingToUndo(_) => None,
        },
    });
    Outline { plan: plan.name().to_owned(), run, steps: steps.collect() }
}
