//! The source of readings on a machine whose GPUs cannot be read: it says so, each time with the reason.

use std::collections::BTreeMap;

use super::{
    Answer, ConfidentialAnswers, ConfidentialLink, FastReading, GpuSource, Inventory, SignedReport, SlowReading,
    SourceKind, Unanswered,
};

/// No GPU, or none that can be read.
#[derive(Clone, Debug)]
pub struct Absent {
    reason: String,
}

impl Absent {
    /// A source without GPUs, for this reason.
    pub fn new(reason: impl Into<String>) -> Self {
        Self { reason: reason.into() }
    }
}

/// The reason of each single question; why there is no GPU is told once, by the source's kind and its inventory.
fn unanswered() -> Unanswered {
    Unanswered::Failed("gpu absent".to_owned())
}

impl GpuSource for Absent {
    fn kind(&self) -> SourceKind {
        SourceKind::Absent { reason: self.reason.clone() }
    }

    fn uuids(&self) -> Vec<String> {
        Vec::new()
    }

    fn inventory(&self) -> Inventory {
        Inventory { unreadable: BTreeMap::from([("gpu".to_owned(), self.reason.clone())]), ..Inventory::default() }
    }

    fn fast(&self, _uuid: &str, counter: bool) -> FastReading {
        FastReading::failed(&unanswered(), counter)
    }

    fn slow(&self, _uuid: &str) -> SlowReading {
        SlowReading::failed(&unanswered())
    }

    fn confidential_compute(&self) -> ConfidentialAnswers {
        ConfidentialAnswers::failed(&unanswered())
    }

    fn signed_report(&self, _uuid: &str, _nonce_sha256: &str) -> Answer<SignedReport> {
        Err(unanswered())
    }

    fn confidential_link(&self) -> ConfidentialLink {
        ConfidentialLink::failed(&Unanswered::NotSupported)
    }
}
