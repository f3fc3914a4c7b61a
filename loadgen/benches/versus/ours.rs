//! Our own client as a process of its own: the command line of `teebench loadgen`, and its peak memory at the end.

use std::process::ExitCode;

use anyhow::ensure;
use clap::Parser;
use nix::sys::resource::{UsageWho, getrusage};
use teebench_loadgen::Args;

#[derive(Parser)]
#[command(name = "ours")]
struct Command {
    #[command(flatten)]
    args: Args,
}

/// Runs it and says on standard error how much memory it took at most.
pub fn run(arguments: Vec<String>) -> anyhow::Result<()> {
    let Command { args } = Command::parse_from(std::iter::once("ours".to_owned()).chain(arguments));
    let code = teebench_loadgen::run(args)?;
    eprintln!("peak-rss-kib {}", getrusage(UsageWho::RUSAGE_SELF)?.max_rss());
    ensure!(code == ExitCode::SUCCESS, "the load failed");
    Ok(())
}
