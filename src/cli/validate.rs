//! `teebench validate`: checks campaign files.

use std::{path::PathBuf, process::ExitCode};

use teebench_api::validate::load_path;

use super::{BAD_INPUT, DONE, print};

/// Check campaign files.
#[derive(clap::Args, Debug)]
#[command(before_help = "Example: teebench validate manifests/samples/*.yaml")]
pub struct Args {
    /// Campaign files: a BenchmarkCampaign with its RouterPolicies.
    #[arg(required = true)]
    files: Vec<PathBuf>,
}

/// Checks every file; exits 2 when any has a fault.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let mut faulty = false;
    for file in &args.files {
        match load_path(file) {
            Ok(_) => print(&format!("{}: ok\n", file.display()))?,
            Err(diagnostics) => {
                faulty = true;
                eprintln!("{diagnostics}");
            }
        }
    }
    Ok(ExitCode::from(if faulty { BAD_INPUT } else { DONE }))
}
