//! `teebench health`: asks a health address, for `helm test`.

use std::{process::ExitCode, time::Duration};

use anyhow::Context;

use super::{DONE, FAILED, print};

/// Ask whether a part of teebench is healthy.
#[derive(clap::Args, Debug)]
#[command(before_help = "Example: teebench health http://teebench-metrics.teebench-system.svc:9090/readyz")]
pub struct Args {
    /// Address to ask; anything but status 200 is a failure.
    url: String,
}

/// How long the answer may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Asks and says what was answered.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start")?;
    let (status, text) = runtime.block_on(async {
        let http = reqwest::Client::builder().no_proxy().timeout(PATIENCE).build()?;
        let answer = http.get(&args.url).send().await?;
        anyhow::Ok((answer.status(), answer.text().await?))
    })?;
    print(&format!("{status}: {}\n", text.trim()))?;
    Ok(ExitCode::from(if status == reqwest::StatusCode::OK { DONE } else { FAILED }))
}
