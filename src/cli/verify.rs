//! `teebench verify`: whether results hold what they claim.

use std::{path::PathBuf, process::ExitCode};

use anyhow::Context;
use clap::ValueEnum;
use teebench_probe::{
    attestation::{Root, Verifier},
    endorsement::{Eat, Keys},
    verify::{Tokens, Trust, verify},
};

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
    /// The same for what CPUs signed, in place of AMD's pinned roots.
    #[arg(long, value_name = "SHA256")]
    cpu_test_root: Option<String>,
    /// Answer of a remote verifier to a report in the evidence (EAT, with a detached token for each GPU); may be given
    /// several times.
    #[arg(long, value_name = "FILE", requires = "eat_key")]
    eat: Vec<PathBuf>,
    /// Keys that the verifier signs with: a JWKS, or a public key or certificate in PEM; may be given several times.
    #[arg(long, value_name = "FILE")]
    eat_key: Vec<PathBuf>,
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
    let found = match trust(args).and_then(|trust| Ok(verify(&args.paths, &trust)?)) {
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

fn trust(args: &Args) -> anyhow::Result<Trust> {
    let root = |given: &Option<String>| Root::from_test_hex(given.as_deref());
    let verifier = Verifier::new(root(&args.attestation_test_root)?).with_cpu_root(root(&args.cpu_test_root)?);
    let read = |path: &PathBuf| std::fs::read(path).with_context(|| format!("{}: cannot be read", path.display()));
    let mut keys = Keys::default();
    for path in &args.eat_key {
        keys.extend(Keys::parse(&read(path)?).with_context(|| format!("--eat-key {}", path.display()))?);
    }
    let mut tokens = Vec::new();
    for path in &args.eat {
        let eat = Eat::parse(&read(path)?).with_context(|| format!("--eat {}", path.display()))?;
        tokens.push((path.display().to_string(), eat));
    }
    Ok(Trust { verifier, tokens: Tokens::new(tokens, keys) })
}
