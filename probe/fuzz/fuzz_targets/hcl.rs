//! The report of the host compatibility layer: whatever the bytes, it is taken apart or refused.

#![no_main]

use libfuzzer_sys::fuzz_target;
use teebench_probe::cpu::{HclReport, SnpReport};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(hcl) = HclReport::parse(bytes) {
        let _ = hcl.attestation_key();
        if let Ok(report) = SnpReport::new(hcl.snp()) {
            assert_eq!(report.report_data().len() + report.measurement().len(), 112);
            assert!(report.signed_by(bytes, &[[0; 32]], 1_780_272_000).is_err(), "no certificate has this digest");
        }
    }
});
