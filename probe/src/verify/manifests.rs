//! The reference manifests of an attempt: which ones the plan pins for its arm, which lie with it, and which ones its
//! evidence says that it was held against. All three must be the same, or there was none to hold it against.

use std::collections::BTreeSet;
use std::path::Path;

use teebench_api::campaign::Arm;
use teebench_api::files::evidence::Evidence;

use super::found::Fault;
use super::sums::{self, Sums};
use crate::endorsement::References;

/// The manifests that lie with an attempt.
#[derive(Debug, Default)]
pub(super) struct Manifests {
    /// What those of them say that are pinned.
    pub(super) references: References,
    kept: BTreeSet<String>,
}

impl Manifests {
    /// Reads the manifests of the attempt in `directory`; one that is broken, or that the plan does not pin, is a fault.
    pub(super) fn read(directory: &Path, sums: &Sums, arm: &Arm, faults: &mut Vec<Fault>) -> Self {
        let pinned = arm.endorsement.as_ref().map_or(&[][..], |endorsement| &endorsement.rim_sha256);
        let kept: BTreeSet<String> = sums.keys().filter_map(|path| sha256_of(path)).map(str::to_owned).collect();
        let (pins, strangers): (Vec<String>, Vec<String>) =
            kept.iter().cloned().partition(|sha256| pinned.contains(sha256));
        for sha256 in strangers {
            faults.push(Fault::new(&file(&sha256), "a reference manifest that the plan does not pin for its arm"));
        }
        let files = pins.iter().map(|pin| sums::read(&directory.join(file(pin))).unwrap_or_default());
        let references = References::pinned(files, &pins).unwrap_or_else(|error| {
            faults.push(Fault::new("", error.to_string()));
            References::default()
        });
        Self { references, kept }
    }

    /// Where the manifests that a piece of evidence names are not those that lie with the attempt.
    pub(super) fn contradictions(&self, evidence: &Evidence) -> Vec<String> {
        let named: BTreeSet<String> = evidence.references_sha256.iter().cloned().collect();
        let missing = named.difference(&self.kept).map(|sha256| {
            format!("says that it was held against the reference manifest {sha256}, and {} is not there", file(sha256))
        });
        let unnamed = self.kept.difference(&named).map(|sha256| {
            format!("does not say that it was held against the reference manifest {}, which is there", file(sha256))
        });
        missing.chain(unnamed).collect()
    }
}

fn file(sha256: &str) -> String {
    format!("rim-{sha256}.xml")
}

fn sha256_of(path: &str) -> Option<&str> {
    path.strip_prefix("rim-")?.strip_suffix(".xml")
}
