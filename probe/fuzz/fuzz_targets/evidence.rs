//! An evidence file: whatever it holds, it is judged, and never believed to be signed under the vendor's root.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use teebench_api::files::evidence::{Evidence, EvidenceLevel};
use teebench_probe::attestation::{Root, Verifier};
use teebench_probe::endorsement::References;
use teebench_probe::evidence::recorded;

static VERIFIER: LazyLock<Verifier> = LazyLock::new(|| Verifier::new(Root::Vendor));

fuzz_target!(|bytes: &[u8]| {
    if let Ok(evidence) = serde_json::from_slice::<Evidence>(bytes) {
        let found = recorded::contradictions(&evidence, &References::default(), &VERIFIER);
        assert!(evidence.level < EvidenceLevel::DeviceSigned || !found.is_empty(), "signed by nobody");
    }
});
