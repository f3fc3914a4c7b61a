//! What a remote verifier's tokens, given beside the files, add to the evidence in them.

use std::sync::atomic::{AtomicBool, Ordering};

use teebench_api::files::evidence::{Evidence, EvidenceLevel, ReportFields};

use crate::attestation::Verifier;
use crate::endorsement::{Eat, EatError, Keys, Vouched, VouchedGpu};
use crate::evidence::not_of_the_cpu;

/// Tokens with the keys that they are held against.
#[derive(Debug, Default)]
pub struct Tokens {
    tokens: Vec<Token>,
    keys: Keys,
}

#[derive(Debug)]
struct Token {
    file: String,
    eat: Eat,
    used: AtomicBool,
}

impl Tokens {
    /// Tokens by the names of their files.
    #[must_use]
    pub fn new(tokens: impl IntoIterator<Item = (String, Eat)>, keys: Keys) -> Self {
        let used = || AtomicBool::new(false);
        Self { tokens: tokens.into_iter().map(|(file, eat)| Token { file, eat, used: used() }).collect(), keys }
    }

    /// Tokens that were of no evidence so far.
    pub(super) fn unused(&self) -> Vec<String> {
        let unused = self.tokens.iter().filter(|token| !token.used.load(Ordering::Relaxed));
        unused.map(|token| token.file.clone()).collect()
    }

    /// The level that a piece of evidence reaches with the token of it; `None` where there is none of it.
    ///
    /// # Errors
    /// A token is of this evidence and vouches for something else, or for nothing.
    pub(super) fn level(&self, evidence: &Evidence, verifier: &Verifier) -> Result<Option<EvidenceLevel>, String> {
        let taken = evidence.taken_unix_ns / 1_000_000_000;
        let mut found = None;
        for Token { file, eat, used } in &self.tokens {
            match eat.vouched(&self.keys, &evidence.nonce_sha256, taken) {
                Err(EatError::Nonce(name)) if name == "overall" => continue,
                Err(error) => return Err(format!("token {file}: {error}")),
                Ok(vouched) => {
                    same_gpus(evidence, &vouched).map_err(|reason| format!("token {file}: {reason}"))?;
                    found = Some(vouched);
                    used.store(true, Ordering::Relaxed);
                }
            }
        }
        Ok(found.map(|_| match (evidence.level, not_of_the_cpu(evidence, verifier)) {
            (EvidenceLevel::DeviceSigned, None) => EvidenceLevel::Endorsed,
            (level, _) => level,
        }))
    }
}

/// The verifier names GPUs by numbers of its own, so what it says of them is compared as a whole.
fn same_gpus(evidence: &Evidence, vouched: &Vouched) -> Result<(), String> {
    let mut said: Vec<(String, String)> = vouched
        .gpus
        .values()
        .map(|VouchedGpu { driver_version, vbios_version }| {
            (driver_version.clone(), vbios_version.to_ascii_uppercase())
        })
        .collect();
    let fields = evidence.reports.iter().filter_map(|report| report.fields.as_ref());
    let mut reported: Vec<(String, String)> = fields
        .map(|ReportFields { driver_version, vbios_version, firmware_id: _, measurements: _ }| {
            (driver_version.clone(), vbios_version.to_ascii_uppercase())
        })
        .collect();
    said.sort();
    reported.sort();
    if said == reported {
        return Ok(());
    }
    Err("the verifier speaks of other gpus, drivers or vbios versions than the evidence".to_owned())
}
