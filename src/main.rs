//! `teebench`: measures what confidential computing costs an LLM service, and what HR-Tree routing wins back.

mod cli;
mod executor;
mod fetch;
mod local;
mod measure;
mod operator;
mod preflight;
mod store;
#[cfg(test)]
mod testing;
mod watch;
mod weights;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::Cli::read().run()
}
