//! `teebench watch`: a campaign in the cluster, live.

use std::process::ExitCode;

use anyhow::Context;

use super::{BAD_INPUT, FAILED, cluster::ClusterArgs};
use crate::watch::{self, WatchError};

/// Watch a campaign live: progress, the present run, rate and time to first token by arm, who waits.
///
/// On a terminal a view that is redrawn every second; elsewhere a line for each event. Ends with the campaign: 0 when it is
/// Completed, 1 when it ended otherwise. Ctrl-C leaves the view; the campaign goes on.
#[derive(clap::Args, Debug)]
#[command(before_help = "Example: teebench watch planetserve-ablation -n benchmarks")]
pub struct Args {
    /// Name of the campaign.
    campaign: String,
    #[command(flatten)]
    cluster: ClusterArgs,
}

/// Watches the campaign.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let Args { campaign, cluster } = args;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start")?;
    runtime.block_on(async {
        let (client, namespace) = match cluster.connect().await {
            Ok(connected) => connected,
            Err(error) => {
                eprintln!("{error:#}");
                return Ok(ExitCode::from(BAD_INPUT));
            }
        };
        watch::watch(&client, &namespace, campaign).await.or_else(|error| {
            let code = if matches!(error, WatchError::Unknown { .. }) { BAD_INPUT } else { FAILED };
            eprintln!("{:#}", anyhow::Error::from(error));
            Ok(ExitCode::from(code))
        })
    })
}
