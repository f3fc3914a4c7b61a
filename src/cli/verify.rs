//! `teebench verify`: whether results hold what they claim.

use std::{path::PathBuf, process::ExitCode};

use clap::ValueEnum;
use teebench_probe::{attestation::Root, verify::verify};

use super::{BAD_INPUT, DONE, FAILED, print};

/// Verify results: digests of every file, nonces that bind evidence to results, evidence levels. Needs no cluster, no
/// GPU and no network.
///
/// Exits 0 when everything that is claimed holds, 1 when something does not, 2 when there is nothing to verify.
#[derive(clap::Args, Debug)]
#[command(before_help = "Example: teebench verify results/quickstart")]
pub struct Args {
    /// Directories of campaigns, or directories above them.
    #[arg(required = true, value_name = "DIR")]
    paths: Vec<PathBuf>,
    /// SHA-256 of a root certificate for tests, in hex, in place of the vendor's pinned root: simulated campaigns may
    /// have reports under one.
    #[arg(long, value_name = "SHA256")]
    attestation_test_root: Option<String>,
    /// Format.
    #[arg(short, long, value_enum, default_value_t = Format::Text)]
    output: Format,
}

#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    /// For people.
    Text,
    /// Everything that was found, run by run.
    Json,
}

/// Verifies.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let root = Root::from_test_hex(args.attestation_test_root.as_deref()).map_err(anyhow::Error::from);
    let found = match root.and_then(|root| Ok(verify(&args.paths, root)?)) {
        Ok(found) => found,
        Err(error) => {
            eprintln!("{error:#}");
            return Ok(ExitCode::from(BAD_INPUT));
        }
    };
    match args.output {
        Format::Text => print(&found.to_string())?,
        Format::Json => print(&(serde_json::to_string_pretty(&found)? + "\n"))?,
    }
    Ok(ExitCode::from(if found.holds { DONE } else { FAILED }))
}
