//! `teebench fetch`: a campaign's results from the cluster.

use std::{path::PathBuf, process::ExitCode};

use anyhow::Context;

use super::{BAD_INPUT, DONE, FAILED, INTERRUPTED, cluster::ClusterArgs, print};
use crate::fetch::{self, Order, Results};

/// Copy a campaign's results from the cluster to a directory, as a local run would have written them.
///
/// Every file is checked against its sum. Run it again to get what a running campaign has added, or what a broken
/// connection left out: files that are there are not copied again.
#[derive(clap::Args, Debug)]
#[command(before_help = "Example: teebench fetch planetserve-ablation --out results -n benchmarks")]
pub struct Args {
    /// Name of the campaign.
    campaign: String,
    /// Directory for the results; the campaign's own directory lies in it.
    #[arg(long)]
    out: PathBuf,
    /// First digits of the campaign's uid, when it was deleted and another of the same name has results too.
    #[arg(long, value_name = "DIGITS")]
    uid: Option<String>,
    /// Namespace of the results service.
    #[arg(long, value_name = "NAME", default_value = "teebench-system")]
    results_namespace: String,
    /// Name of the results service.
    #[arg(long, value_name = "NAME", default_value = "teebench-results")]
    results_service: String,
    #[command(flatten)]
    cluster: ClusterArgs,
}

/// Copies the results.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let Args { campaign, out, uid, results_namespace, results_service, cluster } = args;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.context("cannot start")?.block_on(async {
        let (client, namespace) = match cluster.connect().await {
            Ok(connected) => connected,
            Err(error) => {
                eprintln!("{error:#}");
                return Ok(ExitCode::from(BAD_INPUT));
            }
        };
        let results = Results::new(client, &results_namespace, &results_service);
        let order = Order { namespace, campaign, uid, out };
        let fetched = tokio::select! {
            fetched = fetch::fetch(&results, &order) => fetched,
            _ = tokio::signal::ctrl_c() => {
                eprintln!("interrupted; the same command continues where it was left");
                return Ok(ExitCode::from(INTERRUPTED));
            }
        };
        match fetched {
            Ok(fetched) => {
                if !fetched.sealed {
                    eprintln!("the campaign is not finished: its own SHA256SUMS is left out until it is");
                }
                let root = fetched.root.display();
                print(&format!("results: {root}\n{}\n", fetched.counts()))?;
                Ok(ExitCode::from(DONE))
            }
            Err(error) => {
                let code = if error.is_bad_input() { BAD_INPUT } else { FAILED };
                eprintln!("{:#}", anyhow::Error::from(error));
                Ok(ExitCode::from(code))
            }
        }
    })
}
