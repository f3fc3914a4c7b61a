//! `teebench verify`: whether a results directory holds what it claims, without a cluster, a GPU or a network.
//!
//! | module | subject |
//! | --- | --- |
//! | [`sums`] | `SHA256SUMS`, read without trust, and the digests of files |
//! | [`campaign`] | the files beside the runs, and which runs there are |
//! | [`run`] | one attempt: its files, its identity, what it claims |
//! | [`server`] | one server's evidence before and after: nonces, answers, samples |
//! | [`manifests`] | the reference manifests: pinned, kept, and named by the evidence |
//! | [`statement`] | the in-toto Statement over a campaign's sums |
//! | [`tokens`] | what a remote verifier's tokens, given beside the files, add |
//! | [`found`] | what was found, for people and for programs |
//!
//! Sums show that nothing changed since they were written, not who wrote them: for that, sign the Statement.

mod campaign;
mod found;
mod manifests;
mod run;
mod server;
mod statement;
mod sums;
mod tokens;

use std::io;
use std::path::{Path, PathBuf};

use crate::attestation::Verifier;

pub use found::{CampaignFound, Fault, Found, Outcome, RunFound};
pub use statement::{STATEMENT_FILE, StatementError, statement};
pub use tokens::Tokens;

/// The file that makes a directory a campaign's.
const PLAN: &str = "plan.json";

/// Nothing could be verified.
#[derive(thiserror::Error, Debug)]
pub enum VerifyError {
    /// No campaign is there.
    #[error("{}: no campaign here nor one level below; give a directory that has plan.json, or the one above it", path.display())]
    NoCampaign {
        /// What was given.
        path: PathBuf,
    },
    /// A directory cannot be read.
    #[error("{}: cannot be read", path.display())]
    Io {
        /// The directory.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
}

/// What is trusted beyond the files.
pub struct Trust {
    /// The roots of what machines signed.
    pub verifier: Verifier,
    /// A remote verifier's tokens.
    pub tokens: Tokens,
}

impl Trust {
    /// Trusts what this verifier does, and no tokens.
    #[must_use]
    pub fn new(verifier: Verifier) -> Self {
        Self { verifier, tokens: Tokens::default() }
    }
}

/// Verifies every campaign under `paths`, each a campaign's directory or the one above several.
///
/// # Errors
/// When a path has no campaign or cannot be listed. What does not hold is no error: it is found, and named.
pub fn verify(paths: &[PathBuf], trust: &Trust) -> Result<Found, VerifyError> {
    let mut campaigns = Vec::new();
    for path in paths {
        for directory in campaign_directories(path)? {
            campaigns.push(campaign::verify(&directory, trust));
        }
    }
    Ok(Found::new(campaigns, trust.tokens.unused()))
}

fn campaign_directories(path: &Path) -> Result<Vec<PathBuf>, VerifyError> {
    if path.join(PLAN).is_file() {
        return Ok(vec![path.to_owned()]);
    }
    let fail = |source| VerifyError::Io { path: path.to_owned(), source };
    let mut below = Vec::new();
    for entry in std::fs::read_dir(path).map_err(fail)? {
        let entry = entry.map_err(fail)?.path();
        if entry.join(PLAN).is_file() {
            below.push(entry);
        }
    }
    below.sort();
    if below.is_empty() { Err(VerifyError::NoCampaign { path: path.to_owned() }) } else { Ok(below) }
}
